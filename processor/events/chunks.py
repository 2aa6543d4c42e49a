"""What the pipeline takes in: chunks of records, each knowing where its partition stood before it.

Offsets have gaps (transaction markers, compaction), so a chunk cannot be known to continue another
one by its first record; it carries the position it was read from. A batch commits only where the
ledger stands at that position. Pure.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from processor.events.records import Headers, Record, bounded, memory_of
from store.values.names import Partition
from store.values.stream import LedgerEntry


@dataclass(frozen=True, slots=True)
class PlainRecord:
    """A record that comes from no Kafka client: a line of a file. `timestamp` in milliseconds."""

    offset: int
    value: bytes | None
    key: bytes | None = None
    headers: Headers = ()
    timestamp: int = 0


@dataclass(frozen=True, slots=True)
class ChunkBounds:
    """How much a chunk may hold, and a record of it.

    `bytes_max` is of memory, which one record may exceed; `record_bytes_max` of a record's key,
    value and headers.
    """

    records_max: int
    bytes_max: int
    record_bytes_max: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive records of one partition (at least one), read from `position` on."""

    topic: str
    partition: int
    position: int
    records: Sequence[Record]

    @property
    def key(self) -> Partition:
        """Return topic and partition."""
        return self.topic, self.partition

    @property
    def reached(self) -> LedgerEntry:
        """Return what the ledger says once this chunk is counted."""
        last = self.records[-1]
        return LedgerEntry(self.topic, self.partition, last.offset + 1, last.offset, last.timestamp)


def cut(records: Iterable[Record], bounds: ChunkBounds) -> Iterator[tuple[list[Record], int]]:
    """Cut consecutive records into the parts that become chunks, and say what memory each takes.

    Each has at least one record. Of a record that is too large only what identifies it is kept.
    """
    part: list[Record] = []
    memory = 0
    for each in records:
        record = bounded(each, bounds.record_bytes_max)
        size = memory_of(record)
        if part and (len(part) == bounds.records_max or memory + size > bounds.bytes_max):
            yield part, memory
            part, memory = [], 0
        part.append(record)
        memory += size
    if part:
        yield part, memory
