"""The thread that talks to Kafka: what it fetches, where it reads from, what it cannot read.

What this changes in Faust's aiokafka driver: reading starts where the ledger stands, never where
Kafka's committed offset does; records of aborted transactions are not seen; a missing offset, a
batch that cannot be decoded or another topic of the same name pauses its partition instead of being
passed over; an empty fetch does not wait 1.5 s.

The methods that are overridden have no public seam: faust-streaming is pinned, and
tests/processor/stream/test_transport.py holds them.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from aiokafka import TopicPartition
from aiokafka.errors import (
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    TopicAuthorizationFailedError,
)
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode import Service

from processor.events.chunks import ChunkBounds
from processor.stream import bounded_fetch, guarded_records
from processor.stream.clock_watch import AppendTimes
from processor.stream.group_watch import DeniedTopics, GroupWatch
from processor.stream.positions import (
    FetchedChunk,
    PartitionPosition,
    PartitionPositions,
    RecordsMissing,
    SeekTo,
    seek_offset,
)
from processor.stream.room import ROOM, Room
from processor.stream.topic_ids import TopicIds
from store.values.names import Partition
from store.values.stream import LedgerEntry, PausedPartition

# Below `faust`, which is kept quiet (ops/logs.py); by itself mode would name one after this module.
FAUST_LOGGER = logging.getLogger("faust.laurel")


# Between two looks at what the coordinator says; after an error, between two attempts to join.
_LOOK_INTERVAL_S = 1.0
_JOIN_INTERVAL_S = 5.0

# Of a fetch of one broker's partitions, on the wire.
_FETCH_BYTES_MAX = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ConsumerOptions:
    """How the transport reads.

    Args:
        chunk: bounds of a chunk.
        take_bytes_max: memory of what is taken out of the fetches at a time.
        buffer_bytes_max: memory of the chunks between their fetch and their commit.
        fetch_max_wait_ms: how long a broker may hold an empty fetch.
        read_ledger: returns the ledger of partitions, opened at the offsets given where it has no
            entry.
        strangers: returns which partitions are of another topic than the one that was counted,
            by the topics' ids.
        pause: told of each partition that cannot be read on; called on the loop of the app.
        append_times: told of the brokers' times that records bring.
        progressed: called in the consumer's thread while a record is read that takes long.
    """

    chunk: ChunkBounds
    take_bytes_max: int
    buffer_bytes_max: int
    fetch_max_wait_ms: int
    read_ledger: Callable[[Mapping[Partition, int]], Awaitable[Mapping[Partition, LedgerEntry]]]
    strangers: Callable[[Mapping[Partition, UUID]], Awaitable[Iterable[PausedPartition]]]
    pause: Callable[[PausedPartition], None]
    append_times: AppendTimes = field(default_factory=AppendTimes)
    progressed: Callable[[], object] = bool


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread that talks to Kafka.

    All state about positions lives here, on its loop; what follows from it is decided in
    positions.py.
    """

    logger = FAUST_LOGGER
    transport: Any  # ours (transport.py), which makes this thread and has the options

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._options: ConsumerOptions = self.transport.options
        self._positions = PartitionPositions(self._options.chunk)
        self._topic_ids = TopicIds()
        self.group = GroupWatch(self.app.conf.id)
        self.denied = DeniedTopics()

    def close(self) -> None:
        """Do nothing: this thread closes its consumer, in order, when it is stopped.

        Faust calls this where a rebalance meets a worker that stops. By itself it would close the
        client from the app's loop, under a coordinator that still waits for metadata: for ever.
        """

    @Service.task
    async def _watch_group(self) -> None:
        while not self.should_stop:
            trouble = self.group.look(self._ensure_consumer())
            await self.sleep(_LOOK_INTERVAL_S if trouble is None else _JOIN_INTERVAL_S)

    def _create_worker_consumer(self, transport: Any) -> Any:  # noqa: ANN401 - Faust is untyped
        bounded_fetch.install()
        guarded_records.install()
        consumer = super()._create_worker_consumer(transport)
        # Faust hard-codes the first two, and knows no auto_offset_reset but `earliest` and
        # `latest`.
        consumer._fetch_max_wait_ms = self._options.fetch_max_wait_ms
        consumer._isolation_level = "read_committed"
        consumer._auto_offset_reset = "none"
        # Of each broker, as they come over the wire; the first batch comes whatever its size.
        consumer._fetch_max_bytes = _FETCH_BYTES_MAX
        return consumer

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Forget the positions of `revoked`: what is still in flight of them is stale."""
        self._positions.forget((tp.topic, tp.partition) for tp in revoked)
        await super().on_partitions_revoked(revoked)

    async def _fetch_records(
        self,
        consumer: Any,  # noqa: ANN401 - aiokafka has no types
        active_partitions: set[TP],
        timeout: float | None = None,  # noqa: ASYNC109 - Faust's
        max_records: int | None = None,
    ) -> Mapping[TP, list[FetchedChunk]]:
        try:
            fetched = await self._take(consumer, active_partitions, 0, max_records)
            if not fetched:
                fetched = await self._take(consumer, active_partitions, timeout, max_records)
        except NoOffsetForPartitionError:
            return {}  # assigned, and no seek yet: the seek brings the position
        except OffsetOutOfRangeError as error:
            await self._out_of_range(error)
            return {}
        except TopicAuthorizationFailedError as error:
            self.denied.deny(str(error.args[0]), time.time())
            return {}
        except KafkaError:
            # An error of the group ends a fetch too; the watchdog tells of it.
            if self.group.look(self._ensure_consumer()) is None:
                raise
            return {}
        chunks: dict[TP, list[FetchedChunk]] = {}
        # No await between aiokafka's answer and this: a seek cannot come between.
        for tp, records in fetched.items():
            if found := self._chunks(tp, records):
                chunks[tp] = found
        return chunks

    async def _take(
        self,
        consumer: Any,  # noqa: ANN401
        active_partitions: set[TP],
        timeout: float | None,  # noqa: ASYNC109
        max_records: int | None,
    ) -> Mapping[TP, list[Any]]:
        """Take what there is room for out of the fetches.

        A record that takes longer than that is gone on with until it is whole; in between the loop
        runs, which heartbeats go out from.
        """
        while True:
            room = Room(self._options.take_bytes_max, self._options.chunk.record_bytes_max)
            ROOM.set(room)
            fetched = await super()._fetch_records(
                consumer, active_partitions, timeout=timeout, max_records=max_records
            )
            if fetched or not room.is_left_unfinished:
                return fetched
            self._options.progressed()
            await asyncio.sleep(0)

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Commit for the dashboards; by itself Faust would end the app where that fails."""
        consumer = self._ensure_consumer()
        ours = {tp: offset for tp, offset in offsets.items() if tp in self.assignment()}
        self.tp_last_committed_at.update(dict.fromkeys(ours, time.monotonic()))
        try:
            await consumer.commit({TopicPartition(*tp): offset for tp, offset in ours.items()})
        except KafkaError as error:
            self.log.warning("Kafka does not take a commit: %r", error)
            return False
        return True

    def _chunks(self, tp: TP, records: list[Any]) -> list[FetchedChunk]:
        undecodable = records.pop() if isinstance(records[-1], PausedPartition) else None
        if records:
            self._options.append_times.note(records[-1])
        found = self._positions.chunks((tp.topic, tp.partition), records) if records else []
        if isinstance(found, PausedPartition):
            self._pause_found(found)
            return []
        if undecodable is not None:
            self._pause_found(undecodable)
        return found

    async def _out_of_range(self, error: OffsetOutOfRangeError) -> None:
        consumer = self._ensure_consumer()
        for tp, offset in error.args[0].items():
            match self._positions.out_of_range((tp.topic, tp.partition), offset):
                case SeekTo(there):
                    consumer.seek(tp, there)
                case RecordsMissing() as missing:
                    first = (await consumer.beginning_offsets([tp]))[tp]
                    self._pause_found(missing.pause(first))
                case None:
                    pass

    def _pause_found(self, found: PausedPartition) -> None:
        self._pause(TopicPartition(*found.key))  # at once: the next fetch would meet it again
        self.parent_loop.call_soon_threadsafe(self._options.pause, found)

    def _pause(self, tp: TopicPartition) -> None:
        with suppress(IllegalStateError):  # no longer ours
            self._ensure_consumer().pause(tp)

    async def pause(self, tp: TP) -> None:
        """Fetch no more of `tp` before the next seek."""
        await self.call_thread(self._pause_on_thread, tp)

    async def _pause_on_thread(self, tp: TP) -> None:
        self._pause(TopicPartition(*tp))

    async def seek_to_ledger(
        self, entries: Iterable[LedgerEntry], paused: Collection[Partition] = ()
    ) -> dict[TP, int]:
        """Read on where the ledger stands; partitions that are no longer ours are left alone.

        Of those of them that are `paused` nothing is fetched. A partition without a place, however,
        would stop the fetches of all.

        Return the generations that begin with it.
        """
        return dict(await self.call_thread(self._seek_to_ledger, list(entries), paused))

    async def _seek_to_ledger(
        self, entries: list[LedgerEntry], paused: Collection[Partition] = ()
    ) -> dict[TP, int]:
        generations: dict[TP, int] = {}
        for entry in entries:
            tp = TP(entry.topic, entry.partition)
            try:
                self._ensure_consumer().seek(TopicPartition(*tp), seek_offset(entry))
                if entry.key in paused:
                    self._ensure_consumer().pause(TopicPartition(*tp))
                else:
                    self._ensure_consumer().resume(TopicPartition(*tp))
            except IllegalStateError:
                continue
            generations[tp] = self._positions.seek(entry)
        return generations

    async def starts(self) -> dict[Partition, tuple[int, int | None]]:
        """Return for each assigned partition its first offset, and Kafka's committed one."""
        return dict(await self.call_thread(self._starts))

    async def _starts(self) -> dict[Partition, tuple[int, int | None]]:
        consumer = self._ensure_consumer()
        assigned = list(consumer.assignment())
        if not assigned:
            return {}
        first = await consumer.beginning_offsets(assigned)
        committed = await asyncio.gather(*(consumer.committed(tp) for tp in assigned))
        return {
            (tp.topic, tp.partition): (first[tp], last)
            for tp, last in zip(assigned, committed, strict=True)
        }

    async def topic_ids(self) -> dict[Partition, UUID]:
        """Return for each assigned partition its topic's id, where a broker tells it."""
        return dict(await self.call_thread(self._ids_of_assigned))

    async def _ids_of_assigned(self) -> dict[Partition, UUID]:
        consumer = self._ensure_consumer()
        assigned = list(consumer.assignment())
        ids = await self._topic_ids.of(consumer._client, {tp.topic for tp in assigned})
        return {(tp.topic, tp.partition): ids[tp.topic] for tp in assigned if tp.topic in ids}

    def is_standby(self) -> bool:
        """Return whether the group gave this member an assignment, of no partitions."""
        subscription = self._ensure_consumer()._subscription.subscription
        assignment = None if subscription is None else subscription.assignment
        return assignment is not None and not assignment.tps

    def positions(self) -> dict[Partition, PartitionPosition]:
        """Return how far each partition is fetched, as of the last answer of its broker."""
        assignment = self._ensure_consumer()._subscription.subscription
        if assignment is None or assignment.assignment is None:
            return {}
        found = {}
        for tp in assignment.assignment.tps:
            state = assignment.assignment.state_value(tp)
            end = state.highwater if state.lso is None or state.lso < 0 else state.lso
            fetched_to = state.position if state.has_valid_position else None
            answered_at = (state.timestamp or 0) / 1000
            withheld = 0 if end is None else max(0, state.highwater - end)
            key = tp.topic, tp.partition
            position = self._positions.position(key, fetched_to, end, answered_at, withheld)
            if position is not None:
                found[key] = position
        return found
