"""What the pipeline takes in: chunks of records, each knowing where its partition stood before it.

Offsets have gaps (transaction markers, compaction), so a chunk cannot be known to continue another
one by its first record; it carries the position it was read from. A batch commits only where the
ledger stands at that position. Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from processor.events.reader import Headers, Record
from store.values import LedgerEntry, Partition


@dataclass(frozen=True, slots=True)
class PlainRecord:
    """A record that comes from no Kafka client: a line of a file. `timestamp` in milliseconds."""

    offset: int
    value: bytes | None
    key: bytes | None = None
    headers: Headers = ()
    timestamp: int = 0


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
