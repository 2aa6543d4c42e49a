"""Cut blocks of bytes into pieces of whole lines, and pieces into records.

Two halves of one work: the main process cuts and counts, without a look at single lines, and the
reader of a piece splits it. Together they give what processor/history/lines.py gives, which
tests/processor/history/inputs/test_line_pieces.py holds them to, but for the timestamp: here it is
the checksum (CRC-32) of the line alone, for nobody has read the lines before it. Beside the line's
number and the hash of its content it makes the row of a dead letter the line's own.
"""

from collections.abc import Iterable, Iterator
from typing import ClassVar
from zlib import crc32

import msgspec

from processor.events.chunks import PlainRecord
from processor.events.records import Headers, Record, bounded
from processor.history.lines import LongLine
from processor.history.pieces import Piece

# Some three thousand events: for a reader the work of a hundredth of a second and more, beside
# which the way to it is short; and so little that a dozen under way are no matter.
PIECE_BYTES = 1024 * 1024
# Of a line's end.
_END_BYTES = 2


class Line(msgspec.Struct, frozen=True, gc=False):
    """A line as a record. Its checksum is worked out for who asks: for a dead letter."""

    offset: int
    value: bytes
    key: ClassVar[bytes | None] = None
    headers: ClassVar[Headers] = ()

    @property
    def timestamp(self) -> int:
        """Return the checksum of the line."""
        return crc32(self.value)


def cut(
    blocks: Iterable[bytes], source: int, record_bytes_max: int, first: int = 0
) -> Iterator[Piece]:
    """Yield the lines of `blocks`, which are a file's bytes in any parts, from line `first` on.

    Each line of a piece has its end, the file's last one too. A line beyond `record_bytes_max` is a
    piece of its own where it does not end in the next block: no more of it is held than that.
    """
    number, rest, long = first, b"", None
    held_max = max(record_bytes_max + _END_BYTES, PIECE_BYTES)
    for each in blocks:
        block = each
        if long is not None:
            end = block.find(b"\n") + 1
            long.add(block[: end or None])
            if not end:
                continue
            yield from _long_piece(long, source, number, record_bytes_max)
            number, block, long = number + 1, block[end:], None
        whole = block.rfind(b"\n") + 1
        if whole:
            lines = rest + block[:whole]
            yield Piece(source, number, lines)
            number, rest = number + lines.count(b"\n"), block[whole:]
        else:
            rest += block
        if len(rest) > held_max:
            long, rest = LongLine(rest), b""
    if long is not None:
        yield from _long_piece(long, source, number, record_bytes_max)
    elif rest:
        yield Piece(source, number, rest + b"\n")


def records_of(piece: Piece, record_bytes_max: int) -> Iterator[Record]:
    """Yield the records of a piece; of its lines those that hold anything."""
    if piece.lines is None:
        yield from piece.records
        return
    for number, line in enumerate(piece.lines.split(b"\n"), piece.first):
        value = line.rstrip(b"\r")
        if not value or value.isspace():
            continue
        if len(value) <= record_bytes_max:
            yield Line(number, value)
        else:
            yield bounded(PlainRecord(number, value, timestamp=crc32(value)), record_bytes_max)


def _long_piece(long: LongLine, source: int, number: int, record_bytes_max: int) -> Iterator[Piece]:
    record = long.record(number, long.checksum, record_bytes_max)
    if record is not None:
        yield Piece(source, number, records=(record,))
