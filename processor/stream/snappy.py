"""Expand what snappy compressed, without holding more of it than its window.

cramjam expands a block of snappy as a whole. Kafka's clients write one in two ways: as a stream of
small blocks (xerial's, which the Java client uses), or as one block of any size (librdkafka). A
small one is cramjam's; a large one is expanded here, element by element, which takes little memory
and its time (2026-11-27: 14 MB/s).

The format: https://github.com/google/snappy/blob/main/format_description.txt, read 2026-11-27.
"""

import struct
from collections.abc import Generator, Iterator

import cramjam
from aiokafka.errors import CorruptRecordException

_XERIAL = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES = 16
_LENGTH = struct.Struct(">i")

# A block of more is expanded here.
_BLOCK_BYTES_MAX = 32 * 1024 * 1024
_PIECE_BYTES = 256 * 1024
# How far back an element may refer. The format knows no bound; every known encoder begins anew
# after 64 KiB.
_WINDOW_BYTES = 1024 * 1024

_VARINT_BYTES_MAX = 5


def at_once(data: memoryview, bytes_max: int) -> bytes | None:
    """Return what `data` expand to; None where that is more than `bytes_max`, or broken."""
    try:
        blocks = list(_blocks(data))
        if sum(_expanded_length(block)[0] for block in blocks) > bytes_max:
            return None
        return b"".join(cramjam.snappy.decompress_raw(block) for block in blocks)
    except (CorruptRecordException, cramjam.DecompressionError):
        return None


def pieces(data: memoryview) -> Generator[bytes, None, None]:
    """Return what `data` expand to, piece by piece.

    Raises:
        CorruptRecordException: they cannot be expanded.
    """
    for block in _blocks(data):
        if _expanded_length(block)[0] > _BLOCK_BYTES_MAX:
            yield from _elements(block)
            continue
        try:
            yield bytes(cramjam.snappy.decompress_raw(block))
        except cramjam.DecompressionError as error:
            raise CorruptRecordException(f"snappy: {error}") from error


def _blocks(data: memoryview) -> Iterator[memoryview]:
    if data[: len(_XERIAL)] != _XERIAL:
        yield data
        return
    at = _XERIAL_HEADER_BYTES
    if at > len(data):
        raise CorruptRecordException("snappy: its header is cut off")
    while at < len(data):
        if at + _LENGTH.size > len(data):
            raise CorruptRecordException("snappy: a block has no length")
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        if not 0 < length <= len(data) - at:
            raise CorruptRecordException("snappy: a block does not end where it says")
        yield data[at : at + length]
        at += length


def _expanded_length(block: memoryview) -> tuple[int, int]:
    """Return to how many bytes a block expands, and where its elements begin."""
    number = 0
    for at, byte in enumerate(block[:_VARINT_BYTES_MAX]):
        number |= (byte & 0x7F) << 7 * at
        if byte < 0x80:
            return number, at + 1
    raise CorruptRecordException("snappy: a block does not say how long it is")


def _elements(block: memoryview) -> Generator[bytes, None, None]:
    length, at = _expanded_length(block)
    held = _Window()
    while at < len(block):
        tag = block[at]
        if tag & 3:
            size, offset, at = _reference(block, at)
            held.repeat(offset, size)
            if held.fresh >= _PIECE_BYTES:
                yield held.taken()
            continue
        size, at = _literal(block, at)
        # It may be as large as the block.
        for start in range(at, at + size, _PIECE_BYTES):
            held.add(block[start : min(start + _PIECE_BYTES, at + size)])
            if held.fresh >= _PIECE_BYTES:
                yield held.taken()
        at += size
    yield held.taken()
    if held.total != length:
        raise CorruptRecordException(f"snappy: {held.total} bytes where {length} were said")


def _literal(block: memoryview, at: int) -> tuple[int, int]:
    """Return how many bytes stand for themselves, and where they begin."""
    size = (block[at] >> 2) + 1
    at += 1
    if size > 60:
        width = size - 60
        size = int.from_bytes(block[at : at + width], "little") + 1
        at += width
    if at + size > len(block):
        raise CorruptRecordException("snappy: a block ends before its last element")
    return size, at


def _reference(block: memoryview, at: int) -> tuple[int, int, int]:
    """Return how many bytes are repeated, from how far back, and where the next element begins."""
    tag = block[at]
    at += 1
    kind = tag & 3
    width = 1 << kind - 1
    offset = int.from_bytes(block[at : at + width], "little")
    at += width
    if at > len(block):
        raise CorruptRecordException("snappy: a block ends before its last element")
    if kind == 1:
        return (tag >> 2 & 7) + 4, tag >> 5 << 8 | offset, at
    return (tag >> 2) + 1, offset, at


class _Window:
    """What came out last, as far back as an element may refer; `fresh` of it was not taken yet."""

    def __init__(self) -> None:
        self._held = bytearray()
        self.fresh = 0
        self.total = 0

    def add(self, piece: memoryview | bytearray) -> None:
        self._held += piece
        self.fresh += len(piece)
        self.total += len(piece)

    def repeat(self, offset: int, size: int) -> None:
        start = len(self._held) - offset
        if not 0 <= start < len(self._held):
            raise CorruptRecordException("snappy: an element refers to what is not there")
        again = self._held[start : start + size]
        if offset < size:  # it repeats itself
            again = (again * (size // offset + 1))[:size]
        self.add(again)

    def taken(self) -> bytes:
        found = bytes(memoryview(self._held)[len(self._held) - self.fresh :])
        self.fresh = 0
        if len(self._held) > 2 * _WINDOW_BYTES:
            del self._held[: len(self._held) - _WINDOW_BYTES]
        return found
