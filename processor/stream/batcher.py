"""The one writer of a worker.

Whatever has been read while the database was busy becomes the next batch.

At a trickle batches are small and quick; under load they grow to the limit, and the cost of a
transaction is shared by twenty thousand events. Reading (JSON, validation) goes on while a batch is
in the database.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

from ops import metrics
from ops.lifecycle import Part, Readiness, until_available
from ops.logs import logger
from processor.batch.pipeline import BatchOutcome, Pipeline
from processor.batch.staging import ReadChunk
from store.engine import DatabaseUnreachable
from store.ledger import LedgerEntry, Partition

log = logger("writer")


@dataclass(frozen=True, slots=True)
class Delivery:
    """A chunk that was read, how to tell that it is stale, and what to do once it is counted."""

    chunk: ReadChunk
    is_current: Callable[[], bool]
    done: Callable[[], object]


class Writer:
    """Collects deliveries, and counts them batch by batch.

    Args:
        pipeline: counts a batch.
        readiness: shows the wait for an absent database.
        records_max: of a batch; a single larger chunk is a batch of its own.
        seek: goes on reading where the ledger stands.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        readiness: Readiness,
        records_max: int,
        seek: Callable[[Iterable[LedgerEntry]], Awaitable[None]],
    ) -> None:
        self._pipeline = pipeline
        self._readiness = readiness
        self._records_max = records_max
        self._seek = seek
        self._waiting: deque[Delivery] = deque()
        self._waiting_records = 0
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._stopping = False
        self.counted_to: dict[Partition, int] = {}
        self.committed_at = time.monotonic()

    async def deliver(self, delivery: Delivery) -> None:
        """Take a chunk in; return once there is room for another."""
        self._waiting.append(delivery)
        self._waiting_records += len(delivery.chunk.chunk.records)
        self._filled.set()
        while self._waiting_records >= self._records_max:
            self._emptied.clear()
            await self._emptied.wait()

    def forget(self, partitions: Iterable[Partition]) -> None:
        """Drop what waits of `partitions`: somebody else reads them now."""
        gone = set(partitions)
        for partition in gone:
            self.counted_to.pop(partition, None)
        kept = [delivery for delivery in self._waiting if delivery.chunk.chunk.key not in gone]
        self._waiting = deque(kept)
        self._waiting_records = sum(len(delivery.chunk.chunk.records) for delivery in kept)
        self._emptied.set()

    def stop(self) -> None:
        """Finish the batch in hand and take no other."""
        self._stopping = True
        self._filled.set()

    async def run(self) -> None:
        """Count until `stop`.

        Raises:
            LaurelError: a batch cannot be counted, now or later.
        """
        while not self._stopping:
            await self._filled.wait()
            batch = self._next_batch()
            if batch:
                await self._count(batch)

    def _next_batch(self) -> list[Delivery]:
        batch: list[Delivery] = []
        records = 0
        while self._waiting and not self._stopping:
            size = len(self._waiting[0].chunk.chunk.records)
            if batch and records + size > self._records_max:
                break
            delivery = self._waiting.popleft()
            self._waiting_records -= size
            if delivery.is_current():
                batch.append(delivery)
                records += size
            else:
                metrics.LEDGER_EVENTS.labels("skipped").inc(size)
                delivery.done()
        if not self._waiting:
            self._filled.clear()
        self._emptied.set()
        return batch

    async def _count(self, batch: list[Delivery]) -> None:
        outcome = await self._committed(batch)
        self.committed_at = time.monotonic()
        for delivery in batch:
            chunk = delivery.chunk.chunk
            if chunk.key in outcome.fenced:
                continue
            self.counted_to[chunk.key] = chunk.reached.next_offset
            timestamp = chunk.records[-1].timestamp
            metrics.EVENT_LAG_SECONDS.labels(chunk.topic).set(
                max(0.0, time.time() - timestamp / 1000)
            )
            delivery.done()
        if outcome.fenced:
            await self._go_back(outcome.fenced)

    async def _go_back(self, fenced: Mapping[Partition, LedgerEntry]) -> None:
        for (topic, partition), entry in fenced.items():
            metrics.LEDGER_EVENTS.labels("fenced").inc()
            log.warning(
                "ledger_fenced", topic=topic, partition=partition, next_offset=entry.next_offset
            )
        metrics.LEDGER_EVENTS.labels("sought").inc(len(fenced))
        await self._seek(fenced.values())

    async def _committed(self, batch: list[Delivery]) -> BatchOutcome:
        """Count, again and again while there is no database.

        A commit whose answer was lost shows as a fenced chunk: nothing counts twice.
        """
        chunks = [delivery.chunk for delivery in batch]
        return await until_available(
            Part.POSTGRESQL,
            lambda: self._pipeline.commit(chunks),
            DatabaseUnreachable,
            readiness=self._readiness,
        )
