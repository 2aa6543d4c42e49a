"""Pause a partition that cannot be read on, while all others go on.

The shell around paused_partitions.py: the consumer stops fetching the partition, /ready, metric and
log name it, and the database shows it to operators; their decision is noticed within seconds.
"""

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Protocol

from ops import metrics
from ops.clock import SYSTEM_CLOCK, Clock
from ops.lifecycle import Readiness
from ops.logs import logger
from processor.stream.paused_partitions import PausedPartitions
from store import paused_partitions
from store.engine import Database, DatabaseUnreachable, TransactionConflict
from store.values.names import Partition
from store.values.stream import PausedPartition

_LOOK_INTERVAL = timedelta(seconds=1)

log = logger("pausing")


class Reading(Protocol):
    """What a pause asks of the consumer."""

    async def pause(self, partition: Partition, *, drop_in_flight: bool) -> None:
        """Fetch no more of `partition`."""

    async def read_on(self, partitions: Iterable[Partition]) -> None:
        """Fetch `partitions` from where the ledger stands."""


class Pausing:
    """The pauses of one worker, and the way back.

    Args:
        db: shows them to operators.
        cluster_id: of the brokers.
        readiness: names them in /ready.
        reading: returns the consumer.
        clock: the time between two looks.
    """

    def __init__(
        self,
        db: Database,
        cluster_id: str,
        readiness: Readiness,
        reading: Callable[[], Reading],
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._db = db
        self._cluster_id = cluster_id
        self._readiness = readiness
        self._reading = reading
        self._clock = clock
        self._pauses = PausedPartitions()

    @property
    def partitions(self) -> frozenset[Partition]:
        """Return the partitions that are paused."""
        return self._pauses.keys

    async def pause(self, found: PausedPartition, *, drop_in_flight: bool = False) -> None:
        """Read no more of the partition.

        `drop_in_flight`: what is fetched of it already is not counted either.
        """
        if self._pauses.pause(found):
            log.error(
                "partition_paused",
                topic=found.topic,
                partition=found.partition,
                offset=found.offset,
                code=found.reason.value,
                detail=found.detail,
                way_out=found.way_out,
            )
            self._show()
        await self._reading().pause(found.key, drop_in_flight=drop_in_flight)

    def forget(self, partitions: Iterable[Partition]) -> None:
        """Drop revoked partitions: their new owner finds for itself what is wrong."""
        if self._pauses.forget(partitions):
            self._show()

    async def watch(self) -> None:
        """Write down what is paused, and read on where an operator has decided, for ever."""
        while True:
            await self._clock.sleep(_LOOK_INTERVAL)
            try:
                await self.look()
            except (DatabaseUnreachable, TransactionConflict):
                continue  # the batcher waits for the database, and says so

    async def look(self) -> None:
        """Look once."""
        if not self._pauses.keys:
            return
        for found in self._pauses.unsaved():
            async with self._db.transaction() as conn:
                await paused_partitions.save(conn, self._cluster_id, found)
            self._pauses.saved(found)
        awaited = self._pauses.awaited
        async with self._db.transaction() as conn:
            still = await paused_partitions.still_paused(conn, self._cluster_id, awaited)
        await self._resume(key for key in self._pauses.decided(still) if key in awaited)

    async def _resume(self, partitions: Iterable[Partition]) -> None:
        resumed = self._pauses.forget(partitions)
        if not resumed:
            return
        self._show()
        for each in resumed:
            log.info("partition_resumed", topic=each.topic, partition=each.partition)
        await self._reading().read_on([each.key for each in resumed])

    def _show(self) -> None:
        self._readiness.degraded = self._pauses.troubles()
        # Not cleared: what may be paused shows 0 from the start (first_series.py).
        (shown,) = metrics.PARTITIONS_PAUSED.collect()
        for sample in shown.samples:
            metrics.PARTITIONS_PAUSED.labels(**sample.labels).set(0)
        for (topic, reason), number in self._pauses.numbers().items():
            metrics.PARTITIONS_PAUSED.labels(topic, reason.value).set(number)
