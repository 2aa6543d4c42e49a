"""Where each partition is read from, and what of the fetched records is new.

Pure: no clock, no I/O, nothing of Faust or aiokafka. The consumer's thread asks and obeys
(consumer_thread.py); whether a record is lost, or counted twice, is decided here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from processor.events.chunks import Chunk, ChunkBounds, cut
from processor.events.records import Record
from store.values.names import Partition
from store.values.stream import LedgerEntry, PausedPartition, PauseReason


@dataclass(frozen=True, slots=True)
class FetchedChunk:
    """A chunk, and the generation of its partition's position.

    A later seek of the partition begins another generation, which makes the chunk stale. `memory`
    is about what its records take, in bytes.
    """

    chunk: Chunk
    generation: int
    memory: int = 0


@dataclass(frozen=True, slots=True)
class SeekTo:
    """Read on at `offset`: nothing is missing."""

    offset: int


@dataclass(frozen=True, slots=True)
class RecordsMissing:
    """The record at `offset` is the next to count, and the broker does not have it."""

    partition: Partition
    offset: int

    def pause(self, first_offset: int) -> PausedPartition:
        """Return what that means where the partition now begins at `first_offset`."""
        if first_offset > self.offset:
            reason = PauseReason.RECORDS_REMOVED
            detail = (
                f"records {self.offset} to {first_offset - 1} were removed before they were counted"
            )
        else:
            reason = PauseReason.TOPIC_ENDS_EARLY
            detail = (
                f"the topic ends before record {self.offset}, which is the next to count: "
                "it was made anew, or restored from a copy"
            )
        return PausedPartition(*self.partition, self.offset, reason, detail, skip_to=first_offset)


@dataclass(frozen=True, slots=True)
class PartitionPosition:
    """A partition at the last fetch.

    Args:
        position: the next offset to fetch; None before the first seek is done.
        end_offset: the end of what may be read; None before the broker's first answer.
        start_offset: where the ledger stood at the last seek.
        expected_offset: the end of the last chunk that was made.
        answered_at: when the broker answered last (epoch, seconds; 0 for never).
        withheld: offsets that the broker keeps back: an open transaction stands before them.
    """

    position: int | None
    end_offset: int | None
    start_offset: int
    expected_offset: int
    answered_at: float
    withheld: int = 0

    def is_in_flight(self, counted_to: int) -> bool:
        """Return whether a chunk was made of this partition that is not counted yet."""
        return self.expected_offset > max(self.start_offset, counted_to)

    def lag(self, counted_to: int) -> int:
        """Return how many offsets wait to be counted.

        Transaction markers, which are fetched and never counted, are no work.
        """
        if self.end_offset is None or self.position is None:
            return 0
        done = self.position
        if self.is_in_flight(counted_to):
            done = max(self.start_offset, counted_to)
        return max(0, self.end_offset - done)


@dataclass(slots=True)
class _Reading:
    """The reading of one partition since its last seek."""

    generation: int
    # Where the ledger stood at the seek.
    start: int
    # The end of the last chunk; the next one continues it.
    expected: int
    # The entry whose last record is fetched once more, to see that it is the one that was counted.
    probe: LedgerEntry | None


def seek_offset(entry: LedgerEntry) -> int:
    """Return where to fetch from so that the partition is read on where `entry` stands.

    One record earlier where there is one: it tells whether this is the topic that was counted.
    """
    return entry.next_offset if entry.last_offset is None else entry.last_offset


def made_anew(entry: LedgerEntry, topic_id: UUID) -> PausedPartition | None:
    """Return the pause of a partition whose topic now has another id than the one counted."""
    if entry.topic_id in (None, topic_id):
        return None
    return PausedPartition(
        *entry.key,
        entry.next_offset,
        PauseReason.TOPIC_RECREATED,
        f"the topic was deleted and made anew: its id is {topic_id}, and {entry.topic_id} was "
        "counted",
        skip_to=0,
        topic_id=topic_id,
    )


class PartitionPositions:
    """The positions of the partitions that one consumer reads.

    Args:
        bounds: of a chunk; a fetch is cut into as many as it takes.
    """

    def __init__(self, bounds: ChunkBounds) -> None:
        self._bounds = bounds
        self._readings: dict[Partition, _Reading] = {}
        self._generations = 0

    def seek(self, entry: LedgerEntry) -> int:
        """Note that the partition is fetched from `seek_offset(entry)`; return its generation."""
        self._generations += 1
        self._readings[entry.key] = _Reading(
            generation=self._generations,
            start=entry.next_offset,
            expected=entry.next_offset,
            probe=None if entry.last_offset is None else entry,
        )
        return self._generations

    def forget(self, partitions: Iterable[Partition]) -> None:
        """Drop the positions of revoked partitions."""
        for partition in partitions:
            self._readings.pop(partition, None)

    def chunks(
        self, partition: Partition, records: Sequence[Record]
    ) -> list[FetchedChunk] | PausedPartition:
        """Return what of the fetched `records` is new, cut into chunks that continue each other.

        Args:
            partition: none of its records is new before its seek.
            records: consecutive, in the order of their offsets, which have gaps; at least one.
        """
        reading = self._readings.get(partition)
        if reading is None:
            return []
        if reading.probe is not None:
            if pause := _another_topic(reading.probe, records[0]):
                return pause
            reading.probe = None
        fresh = [record for record in records if record.offset >= reading.expected]
        found = []
        for part, memory in cut(fresh, self._bounds):
            chunk = Chunk(*partition, reading.expected, part)
            found.append(FetchedChunk(chunk, reading.generation, memory))
            reading.expected = part[-1].offset + 1
        return found

    def out_of_range(self, partition: Partition, offset: int) -> SeekTo | RecordsMissing | None:
        """Return what to do where the broker does not have `offset`.

        Nothing, where the partition is not read any more. Where only the last record counted is
        gone, what matters is the next one.
        """
        reading = self._readings.get(partition)
        if reading is None:
            return None
        if reading.probe is not None and offset == reading.probe.last_offset:
            reading.probe = None
            return SeekTo(reading.expected)
        return RecordsMissing(partition, offset)

    def position(
        self,
        partition: Partition,
        fetched_to: int | None,
        end_offset: int | None,
        answered_at: float,
        withheld: int = 0,
    ) -> PartitionPosition | None:
        """Return how far `partition` is fetched; None where it is not read."""
        reading = self._readings.get(partition)
        if reading is None:
            return None
        return PartitionPosition(
            fetched_to, end_offset, reading.start, reading.expected, answered_at, withheld
        )


def _another_topic(probe: LedgerEntry, record: Record) -> PausedPartition | None:
    """Compare the first record fetched with the last one counted, where that is still there."""
    if record.offset != probe.last_offset or record.timestamp == probe.last_timestamp_ms:
        return None
    return PausedPartition(
        *probe.key,
        probe.next_offset,
        PauseReason.TOPIC_RECREATED,
        f"the record at offset {probe.last_offset} is not the one that was counted (timestamp "
        f"{record.timestamp}, was {probe.last_timestamp_ms}): the topic was made anew, or the "
        "broker restored from a copy",
    )
