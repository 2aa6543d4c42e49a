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
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBase

# Of a batch that is expanded as a whole.
WHOLE_BYTES_MAX = 16 * 1024 * 1024
# More than anybody means to send as one batch, and what decoding ends at: it would take longer than
# a consumer may be silent.
BATCH_BYTES_MAX = 4 * 1024 * 1024 * 1024

_PIECE_BYTES = 256 * 1024
# Of gzip, at most a thousand times as much comes out.
_INPUT_BYTES = 16 * 1024
_GZIP = 31  # wbits: a gzip header and the largest window
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
    if codec not in (DefaultRecordBase.CODEC_GZIP, *_STREAMED):
        # Not compressed, or by snappy: that makes at most 22 bytes of one.
        return batch
    data = bytes(batch[_HEADER_BYTES:])
    if codec == DefaultRecordBase.CODEC_GZIP:
        records = _gzip_at_once(data)
    else:
        records = _at_once(_STREAMED[codec], data)
    if records is None:
        return None
    header = bytearray(batch[:_HEADER_BYTES])
    (attributes,) = struct.unpack_from(">h", header, _ATTRIBUTES)
    struct.pack_into(">h", header, _ATTRIBUTES, attributes & ~DefaultRecordBase.CODEC_MASK)
    return b"".join((header, records))


def pieces(batch: memoryview) -> Generator[bytes, None, None]:
    """Return the records of a compressed batch, piece by piece.

    Raises:
        CorruptRecordException: it cannot be expanded.
        BatchTooLarge: it does not end.
    """
    codec, data = codec_of(batch), bytes(batch[_HEADER_BYTES:])
    of_codec = (
        _gzip_pieces(data)
        if codec == DefaultRecordBase.CODEC_GZIP
        else _piped(_STREAMED[codec], data)
    )
    total = 0
    with closing(of_codec):
        for piece in of_codec:
            total += len(piece)
            if total > BATCH_BYTES_MAX:
                raise BatchTooLarge(f"a batch of {len(batch)} bytes expands to more than {total}")
            yield piece


def _gzip_at_once(data: bytes) -> bytes | None:
    decoder = zlib.decompressobj(wbits=_GZIP)
    try:
        found = decoder.decompress(data, WHOLE_BYTES_MAX)
    except zlib.error:
        return None  # broken: whoever reads it in pieces will see
    return found if decoder.eof and not decoder.unused_data else None


def _at_once(codec: Any, data: bytes) -> bytes | None:  # noqa: ANN401 - a module of cramjam
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


def _gzip_pieces(data: bytes) -> Generator[bytes, None, None]:
    decoder = zlib.decompressobj(wbits=_GZIP)
    rest = memoryview(data)
    try:
        while rest:
            given, rest = bytes(rest[:_INPUT_BYTES]), rest[_INPUT_BYTES:]
            while piece := decoder.decompress(given, _PIECE_BYTES):
                yield piece
                given = decoder.unconsumed_tail
            if decoder.eof:  # another member may follow
                rest = memoryview(decoder.unused_data + bytes(rest))
                decoder = zlib.decompressobj(wbits=_GZIP)
    except zlib.error as error:
        raise CorruptRecordException(f"gzip: {error}") from error


def _piped(codec: Any, data: bytes) -> Generator[bytes, None, None]:  # noqa: ANN401 - a module of cramjam
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
