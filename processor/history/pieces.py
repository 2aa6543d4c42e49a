"""What a source of history is read in: pieces, each small enough for one reader at a time.

A piece is a value that travels to a reader in another process. Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from processor.events.records import Record

# A place is one number: the source's in the order they were given, then the record's in it. So
# places compare as the records come, and 2**40 lines of a source are more than anybody has.
_NUMBER_BITS = 40


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive records of one source.

    Args:
        source: its number among all that are read, from 0.
        first: the number of the first record in it: lines before it, a row of a Parquet file, an
            offset of a partition.
        lines: whole lines, each with its end; None where there are records instead.
        records: what came as records; their `offset` is their number.
        topic: the contract's name of the topic that they come from; None where any type may come.
        read_bytes: what the source has shrunk by, as it lies on disk: for progress.
    """

    source: int
    first: int
    lines: bytes | None = None
    records: Sequence[Record] = ()
    topic: str | None = None
    read_bytes: int = 0


def place_of(source: int, number: int) -> int:
    """Return the place of a record."""
    return source << _NUMBER_BITS | number


def source_of(place: int) -> tuple[int, int]:
    """Return the source's number and the record's number of a place."""
    return place >> _NUMBER_BITS, place & (1 << _NUMBER_BITS) - 1
