"""Expand what a producer compressed, without holding more of it than was asked for.

A megabyte on the wire may be a gigabyte, and with zstd thirty: aiokafka expands a batch as a whole.
Here a batch that is small when it is expanded comes out as a whole, any other in pieces.
"""

import mmap
import os
import struct
import threading
import zlib
from collections.abc import Generator
from contextlib import closing
from typing import Any

import cramjam
from aiokafka.errors import CorruptRecordException, UnsupportedCodecError
from aiokafka.record.default_records import DefaultRecordBase

from processor.stream import snappy

# Of a batch that is expanded as a whole.
WHOLE_BYTES_MAX = 16 * 1024 * 1024
# More than anybody means to send as one batch, and what decoding ends at: it would take longer than
# a consumer may be silent.
BATCH_BYTES_MAX = 4 * 1024 * 1024 * 1024

_PIECE_BYTES = 256 * 1024
# Of gzip, at most a thousand times as much comes out.
_INPUT_BYTES = 16 * 1024
_GZIP = 31  # wbits: a gzip header and the largest window
# Members of gzip in a row that nothing comes out of: none makes sense, and each takes its time.
_EMPTY_MAX = 1000
# What a large batch leaves in memory is given back.
_KEPT_BYTES = 1024 * 1024

_HEADER_BYTES = DefaultRecordBase.HEADER_STRUCT.size
_ATTRIBUTES = DefaultRecordBase.ATTRIBUTES_OFFSET
_STREAMED = {
    DefaultRecordBase.CODEC_LZ4: cramjam.lz4,
    DefaultRecordBase.CODEC_ZSTD: cramjam.zstd,
}

_local = threading.local()


class BatchTooLarge(CorruptRecordException):  # type: ignore[misc]
    """A batch expands to more than BATCH_BYTES_MAX."""


def codec_of(batch: memoryview) -> int:
    """Return the codec of a batch of records, as Kafka numbers them."""
    (attributes,) = struct.unpack_from(">h", batch, _ATTRIBUTES)
    return int(attributes & DefaultRecordBase.CODEC_MASK)


def expanded(batch: memoryview) -> memoryview | bytes | None:
    """Return `batch` as if it had not been compressed; None where that is too much at once."""
    codec = codec_of(batch)
    if len(batch) > WHOLE_BYTES_MAX:
        return None
    if codec == DefaultRecordBase.CODEC_NONE:
        return batch
    data = batch[_HEADER_BYTES:]
    if codec == DefaultRecordBase.CODEC_GZIP:
        records = _gzip_at_once(data)
    elif codec == DefaultRecordBase.CODEC_SNAPPY:
        records = snappy.at_once(data, WHOLE_BYTES_MAX)
    elif codec in _STREAMED:
        records = _at_once(_STREAMED[codec], data)
    else:
        return batch  # of a codec that nobody knows: aiokafka says so
    if records is None:
        return None
    header = bytearray(batch[:_HEADER_BYTES])
    (attributes,) = struct.unpack_from(">h", header, _ATTRIBUTES)
    struct.pack_into(">h", header, _ATTRIBUTES, attributes & ~DefaultRecordBase.CODEC_MASK)
    return b"".join((header, records))


def pieces(batch: memoryview) -> Generator[bytes, None, None]:
    """Return the records of a batch, piece by piece.

    Raises:
        CorruptRecordException, UnsupportedCodecError: it cannot be expanded.
        BatchTooLarge: it does not end.
    """
    return pieces_of(codec_of(batch), batch[_HEADER_BYTES:])


def pieces_of(codec: int, data: memoryview) -> Generator[bytes, None, None]:
    """Return what `data` of a codec, as Kafka numbers them, expand to, piece by piece.

    Raises:
        CorruptRecordException, UnsupportedCodecError: they cannot be expanded.
        BatchTooLarge: there is no end of it.
    """
    of_codec: Generator[bytes, None, None]
    if codec == DefaultRecordBase.CODEC_NONE:
        of_codec = (bytes(data[at : at + _PIECE_BYTES]) for at in range(0, len(data), _PIECE_BYTES))
    elif codec == DefaultRecordBase.CODEC_GZIP:
        of_codec = _gzip_pieces(data)
    elif codec == DefaultRecordBase.CODEC_SNAPPY:
        of_codec = snappy.pieces(data)
    elif codec in _STREAMED:
        of_codec = _piped(_STREAMED[codec], data)
    else:
        raise UnsupportedCodecError(f"a batch of codec {codec}, which Kafka does not have")
    total = 0
    with closing(of_codec):
        for piece in of_codec:
            total += len(piece)
            if total > BATCH_BYTES_MAX:
                raise BatchTooLarge(f"a batch of {len(data)} bytes expands to more than {total}")
            yield piece


def _gzip_at_once(data: memoryview) -> bytes | None:
    decoder = zlib.decompressobj(wbits=_GZIP)
    try:
        found = decoder.decompress(data, WHOLE_BYTES_MAX)
    except zlib.error:
        return None  # broken: whoever reads it in pieces will see
    return found if decoder.eof and not decoder.unused_data else None


def _at_once(codec: Any, data: memoryview) -> bytes | None:  # noqa: ANN401 - a module of cramjam
    room = getattr(_local, "room", None)
    if room is None:
        room = _local.room = mmap.mmap(-1, WHOLE_BYTES_MAX)
    try:
        size = codec.decompress_into(data, memoryview(room))
    except cramjam.DecompressionError:
        return None  # too much, or broken: whoever reads it in pieces will see
    found = room[:size]
    if size > _KEPT_BYTES:
        room.madvise(mmap.MADV_DONTNEED)
    return found


def _gzip_pieces(data: memoryview) -> Generator[bytes, None, None]:
    decoder, at, empty, is_whole = zlib.decompressobj(wbits=_GZIP), 0, 0, True
    try:
        while at < len(data):
            given: memoryview | bytes = data[at : at + _INPUT_BYTES]
            at += len(given)
            is_whole = False
            while piece := decoder.decompress(given, _PIECE_BYTES):
                empty = -1
                yield piece
                given = decoder.unconsumed_tail
            if decoder.eof:  # another member may follow
                at -= len(decoder.unused_data)
                decoder, empty, is_whole = zlib.decompressobj(wbits=_GZIP), empty + 1, True
            if empty > _EMPTY_MAX:
                raise CorruptRecordException(f"gzip: more than {_EMPTY_MAX} members of nothing")
    except zlib.error as error:
        raise CorruptRecordException(f"gzip: {error}") from error
    if not is_whole:
        raise CorruptRecordException("gzip: it is cut off")


def _piped(codec: Any, data: memoryview) -> Generator[bytes, None, None]:  # noqa: ANN401 - a module of cramjam
    # cramjam expands into memory or into a file. The file is a pipe, and whoever fills it waits
    # in a thread of its own, without the interpreter's lock, until there is room.
    source, sink = os.pipe()
    failures: list[Exception] = []

    def fill() -> None:
        try:
            file = cramjam.File(f"/dev/fd/{sink}", read=False, write=True, truncate=False)
        finally:
            os.close(sink)
        try:
            codec.decompress_into(data, file)
        except (cramjam.DecompressionError, OSError) as error:
            failures.append(error)
        finally:
            del file  # closes it: the reader waits for that

    # A daemon: nobody waits for it where the process ends.
    threading.Thread(target=fill, name="expansion", daemon=True).start()
    try:
        while piece := os.read(source, _PIECE_BYTES):
            yield piece
    finally:
        os.close(source)  # whoever still writes there fails, and ends
    if failures:
        raise CorruptRecordException(f"the batch cannot be expanded: {failures[0]}")
