"""End a fetch of a partition where a batch cannot be decoded, and say so in its place.

In aiokafka such a batch (another codec, a wrong checksum, bytes that are no batch) raises out of
the fetch of all partitions: what was drained of the others is gone, and the fetcher ends. Here the
records of the partition end before it, with the pause in the place of the next record; the consumer
takes it off (transport.py). tests/processor/stream/test_guarded_records.py holds what is leant on.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.errors import CorruptRecordException, RecordTooLargeError
from aiokafka.record.control_record import ABORT_MARKER, ControlRecord

from processor.events.records import LargeRecord, memory_of
from processor.stream.large_batches import StreamedRecord
from processor.stream.lenient_headers import LenientRecords
from processor.stream.room import Unfinished
from store.values.stream import PausedPartition, PauseReason


class GuardedRecords(PartitionRecords):  # type: ignore[misc]
    """The records of one partition's fetch, and a PausedPartition where they cannot go on.

    An `Unfinished` stands where the next record takes long: for a large batch.
    """

    def _unpack_records(self) -> Iterator[Any]:
        try:
            yield from self._records_of_batches()
        except Exception as error:  # noqa: BLE001 - whatever a batch's bytes do, they are this partition's trouble
            yield self._pause(error)

    def _records_of_batches(self) -> Iterator[Any]:
        while self._records.has_next():
            batch = self._records.next_batch()
            yield from self._checked(batch)
            if not self._is_passed_over(batch):
                for record in batch:
                    if (found := self._taken(record)) is not None:
                        yield found
            # Also where the last records were compacted away, or all of them.
            self.next_fetch_offset = batch.next_offset

    def _checked(self, batch: Any) -> Iterator[Unfinished]:  # noqa: ANN401 - aiokafka has no types
        steps = getattr(batch, "checked", None)
        if not self._check_crcs:
            return
        if steps is not None:
            yield from steps()
        elif not batch.validate_crc():
            raise CorruptRecordException("Invalid CRC")

    def _is_passed_over(self, batch: Any) -> bool:  # noqa: ANN401
        """Return whether nobody is to see the batch: a marker, or of an aborted transaction."""
        if self._isolation_level == READ_COMMITTED and batch.producer_id is not None:
            self._consume_aborted_up_to(batch.base_offset)
            if batch.is_control_batch and self._is_abort_marker(batch):
                self._aborted_producers.discard(batch.producer_id)
        return bool(
            batch.is_control_batch
            or (batch.is_transactional and batch.producer_id in self._aborted_producers)
        )

    def _is_abort_marker(self, batch: Any) -> bool:  # noqa: ANN401
        # A log's cleaner takes the marker out and leaves the batch, of no records, for its
        # producer's sake (KIP-98); aiokafka takes that for an error.
        marker = next(iter(batch), None)
        return marker is not None and ControlRecord.parse(marker.key) == ABORT_MARKER

    def _taken(self, record: Any) -> Any:  # noqa: ANN401
        """Return what is handed on in the place of `record`; None for nothing."""
        if isinstance(record, Unfinished):
            return record
        if record.offset < self.next_fetch_offset:
            # Of a batch that was fetched for a later record.
            is_streamed = isinstance(record, (StreamedRecord, LargeRecord))
            return Unfinished(memory_of(record)) if is_streamed else None
        self.next_fetch_offset = record.offset + 1
        if isinstance(record, LargeRecord):
            return record
        found = self._consumer_record(self._tp, record)
        # Of a message set from before Kafka 0.10; -1 is what later ones say for no time.
        return found if found.timestamp is not None else replace(found, timestamp=-1)

    def _pause(self, error: Exception) -> PausedPartition:
        batch = self._records.last_batch
        words = f"{type(error).__name__}: {error}"
        detail, skip_to = f"the batch at offset {self.next_fetch_offset} cannot be decoded", None
        if batch is not None:
            skip_to = max(batch.next_offset, self.next_fetch_offset + 1)
            detail += f", which ends before {skip_to} as its header says"
        return PausedPartition(
            self._tp.topic,
            self._tp.partition,
            self.next_fetch_offset,
            PauseReason.UNDECODABLE_BATCH,
            f"{detail} ({words})",
            skip_to,
        )


class WholeRecords(LenientRecords):
    """The batches of a fetch; `last_batch` is the one that is being decoded."""

    def __init__(self, data: Any) -> None:  # noqa: ANN401 - aiokafka has no types
        super().__init__(data)
        self.last_batch: Any = None
        # aiokafka would skip such a batch by moving one offset on.
        self._is_cut = bool(not super().has_next() and self.size_in_bytes() > 0)

    def has_next(self) -> bool:
        """Return whether there is another batch, or the beginning of one alone."""
        return self._is_cut or bool(super().has_next())

    def next_batch(self, *arguments: Any) -> Any:  # noqa: ANN401
        """Return the next batch.

        Raises:
            RecordTooLargeError: the broker sent no batch whole.
        """
        if self._is_cut:
            raise RecordTooLargeError("the broker sent no whole batch")
        self.last_batch = None
        self.last_batch = super().next_batch(*arguments)
        return self.last_batch


def install() -> None:
    """Let every consumer of this process read its fetches so; aiokafka has no seam for it."""
    fetcher.MemoryRecords = WholeRecords
    fetcher.PartitionRecords = GuardedRecords
