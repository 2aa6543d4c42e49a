"""Collect chunks into batches, and have each batch counted.

Whatever has been read while the database was busy becomes the next batch: at a trickle batches are
small and quick; under load they grow to the limit, and the cost of a transaction is shared by
twenty thousand events. Reading (JSON, validation) goes on while a batch is in the database.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ops import metrics
from ops.clock import SYSTEM_CLOCK, Clock
from ops.errors import InvariantBroken, code_of
from ops.lifecycle import Part, Readiness, until_available
from ops.logs import logger
from processor.batch.attempt import BatchOutcome
from processor.batch.bisection import PartitionRefused
from processor.batch.staging import ReadChunk
from store.engine import (
    ConstraintRefused,
    DatabaseUnreachable,
    DataRefused,
    TransactionConflict,
)
from store.values.names import Partition
from store.values.stream import LedgerEntry

log = logger("batcher")

# What some partition of a batch holds cannot be counted; others can.
_PARTITION_FAULTS = (DataRefused, ConstraintRefused, InvariantBroken)

CommitBatch = Callable[[Sequence[ReadChunk]], Awaitable[BatchOutcome]]
Rewind = Callable[[Iterable[LedgerEntry]], Awaitable[None]]
SetAside = Callable[[Partition, Exception], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class InFlight:
    """A chunk between its fetch and its commit.

    Args:
        chunk: what was read of it.
        is_current: whether no seek of its partition came since; a stale chunk is skipped.
        ack: to be called once it is counted, or skipped.
        memory: about what its records take, in bytes.
    """

    chunk: ReadChunk
    is_current: Callable[[], bool]
    ack: Callable[[], object]
    memory: int = 0

    @property
    def size(self) -> int:
        """Return its number of records."""
        return len(self.chunk.chunk.records)


@dataclass(frozen=True, slots=True)
class BatchBounds:
    """How much a batch may hold; `bytes_max` is of memory."""

    records_max: int
    bytes_max: int


@dataclass(slots=True)
class _Load:
    records: int = 0
    memory: int = 0

    def add(self, in_flight: InFlight) -> None:
        self.records += in_flight.size
        self.memory += in_flight.memory

    def remove(self, in_flight: InFlight) -> None:
        self.records -= in_flight.size
        self.memory -= in_flight.memory

    def fills(self, bounds: BatchBounds) -> bool:
        return self.records >= bounds.records_max or self.memory >= bounds.bytes_max

    def takes(self, in_flight: InFlight, bounds: BatchBounds) -> bool:
        return (
            self.records + in_flight.size <= bounds.records_max
            and self.memory + in_flight.memory <= bounds.bytes_max
        )


class Batcher:
    """Collects chunks in flight, and commits them batch by batch.

    Args:
        commit: counts a batch in one transaction: the pipeline's part.
        bounds: of a batch; a single larger chunk is a batch of its own.
        readiness: shows the wait for an absent database.
        clock: measures the records' age and the time since the last commit.

    Attributes:
        counted_to: the next offset of each partition, as of the last commit of this process.
        committed_at: the last commit, of a batch or a part of one, or when there was something to
            do again, or the start; on `clock`'s monotonic scale.
    """

    def __init__(
        self,
        commit: CommitBatch,
        bounds: BatchBounds,
        readiness: Readiness,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._commit = commit
        self._bounds = bounds
        self._readiness = readiness
        self._clock = clock
        self._queue: deque[InFlight] = deque()
        self._queued = _Load()
        self._filled = asyncio.Event()
        self._has_room = asyncio.Event()
        self._stopping = False
        self._committing = False
        self.counted_to: dict[Partition, int] = {}
        self.committed_at = clock.monotonic()

    @property
    def is_busy(self) -> bool:
        """Return whether a batch is being committed, or chunks wait for the next one."""
        return self._committing or bool(self._queue)

    async def add(self, in_flight: InFlight) -> None:
        """Queue a chunk for the next batch; return once there is room for another."""
        if not self.is_busy:
            self.progressed()  # nothing has stood still before there was something to do
        self._queue.append(in_flight)
        self._queued.add(in_flight)
        self._filled.set()
        while self._queued.fills(self._bounds):
            self._has_room.clear()
            await self._has_room.wait()

    def progressed(self) -> None:
        """Take note that a batch, or a record that takes long, is nearer to its end than before."""
        self.committed_at = self._clock.monotonic()

    def drop_partitions(self, partitions: Iterable[Partition]) -> None:
        """Drop the queued chunks of revoked partitions: somebody else reads them now."""
        gone = set(partitions)
        for partition in gone:
            self.counted_to.pop(partition, None)
        kept = [each for each in self._queue if each.chunk.chunk.key not in gone]
        self._queue = deque(kept)
        self._queued = _Load()
        for each in kept:
            self._queued.add(each)
        self._has_room.set()

    def stop(self) -> None:
        """Let `run` return once the batch in flight is committed."""
        self._stopping = True
        self._filled.set()

    async def run(self, rewind: Rewind, set_aside: SetAside) -> None:
        """Commit batches until `stop`.

        Args:
            rewind: seeks partitions back to the ledger, where a batch did not continue it.
            set_aside: reads no more of a partition, and makes what is in flight of it stale.

        Raises:
            LaurelError: a batch cannot be counted, now or later.
        """
        while not self._stopping:
            await self._filled.wait()
            batch = self._next_batch()
            if not batch:
                continue
            self._committing = True
            try:
                await self._commit_batch(batch, rewind, set_aside)
            finally:
                self._committing = False

    def _next_batch(self) -> list[InFlight]:
        batch: list[InFlight] = []
        load = _Load()
        while self._queue and not self._stopping:
            if batch and not load.takes(self._queue[0], self._bounds):
                break
            in_flight = self._queue.popleft()
            self._queued.remove(in_flight)
            if in_flight.is_current():
                batch.append(in_flight)
                load.add(in_flight)
            else:
                metrics.LEDGER_EVENTS.labels("skipped").inc(in_flight.size)
                in_flight.ack()
        if not self._queue:
            self._filled.clear()
        self._has_room.set()
        return batch

    async def _commit_batch(
        self, batch: list[InFlight], rewind: Rewind, set_aside: SetAside
    ) -> None:
        try:
            outcome = await self._until_committed([each.chunk for each in batch])
        except PartitionRefused as refused:
            rest = [each for each in batch if each.chunk.chunk.key != refused.partition]
            metrics.ERRORS.labels(code_of(refused.fault)).inc()
            await set_aside(refused.partition, refused.fault)
            for in_flight in batch:
                if in_flight.chunk.chunk.key == refused.partition:
                    in_flight.ack()
            if rest:
                await self._commit_batch(rest, rewind, set_aside)
            return
        except _PARTITION_FAULTS as fault:
            await self._commit_apart(batch, fault, rewind, set_aside)
            return
        self.progressed()
        for in_flight in batch:
            chunk = in_flight.chunk.chunk
            if chunk.key in outcome.fenced:
                continue
            self.counted_to[chunk.key] = chunk.reached.next_offset
            # Of a partition that was lost meanwhile its new owner tells; -1: it has no time.
            if in_flight.is_current() and (timestamp := chunk.records[-1].timestamp) >= 0:
                age = self._clock.now().timestamp() - timestamp / 1000
                metrics.EVENT_LAG_SECONDS.labels(chunk.topic).set(max(0.0, age))
            in_flight.ack()
        if outcome.fenced:
            await self._rewind(outcome.fenced, rewind)

    async def _commit_apart(
        self, batch: list[InFlight], fault: Exception, rewind: Rewind, set_aside: SetAside
    ) -> None:
        """Commit each partition by itself; set the one aside that cannot be."""
        parts: dict[Partition, list[InFlight]] = {}
        for in_flight in batch:
            parts.setdefault(in_flight.chunk.chunk.key, []).append(in_flight)
        if len(parts) > 1:
            for part in parts.values():
                await self._commit_batch(part, rewind, set_aside)
            return
        ((partition, part),) = parts.items()
        metrics.ERRORS.labels(code_of(fault)).inc()
        await set_aside(partition, fault)
        for in_flight in part:
            in_flight.ack()

    async def _rewind(self, fenced: Mapping[Partition, LedgerEntry], rewind: Rewind) -> None:
        for (topic, partition), entry in fenced.items():
            metrics.LEDGER_EVENTS.labels("fenced").inc()
            log.warning(
                "ledger_fenced", topic=topic, partition=partition, next_offset=entry.next_offset
            )
        metrics.LEDGER_EVENTS.labels("seek").inc(len(fenced))
        await rewind(fenced.values())

    async def _until_committed(self, chunks: list[ReadChunk]) -> BatchOutcome:
        """Retry the commit until PostgreSQL answers, and nobody keeps the rows locked.

        A commit whose answer was lost is fenced when it is tried again: nothing counts twice. A
        worker that was frozen in a transaction keeps its locks until PostgreSQL ends it
        (store/session.py).
        """
        return await until_available(
            Part.POSTGRESQL,
            lambda: self._commit(chunks),
            DatabaseUnreachable,
            TransactionConflict,
            readiness=self._readiness,
            clock=self._clock,
        )
