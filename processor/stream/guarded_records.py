"""End a fetch of a partition where a batch cannot be decoded, and say so in its place.

In aiokafka such a batch (another codec, a wrong checksum, bytes that are no batch) raises out of
the fetch of all partitions: what was drained of the others is gone, and the fetcher ends. Here the
records of the partition end before it, with the pause in the place of the next record; the consumer
takes it off (transport.py). tests/processor/stream/test_guarded_records.py holds what is leant on.
"""

from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.errors import RecordTooLargeError

from processor.stream.lenient_headers import LenientRecords
from store.values.stream import PausedPartition, PauseReason


class GuardedRecords(PartitionRecords):  # type: ignore[misc]
    """The records of one partition's fetch, and a PausedPartition where they cannot go on."""

    def _unpack_records(self) -> Iterator[Any]:
        try:
            yield from super()._unpack_records()
        except Exception as error:  # noqa: BLE001 - whatever a batch's bytes do, they are this partition's trouble
            yield self._pause(error)

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
