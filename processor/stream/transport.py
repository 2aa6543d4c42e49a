"""A Faust transport whose message is a chunk of Kafka records.

Faust spends about 100 us of tasks and futures on a message, whatever is in it; so a message is up
to a few thousand consecutive records of one partition. The agent stays an ordinary Faust agent, and
rebalance, supervision and commit stay Faust's (docs/adr/0004-faust-guards.md).

What this changes in Faust's aiokafka driver, besides: reading starts where the ledger stands, never
where Kafka's committed offset does; records of aborted transactions are not seen; a missing offset,
a batch that cannot be decoded or another topic of the same name pauses its partition instead of
being passed over; an empty fetch does not wait 1.5 s.

The methods that are overridden have no public seam: faust-streaming is pinned, and
tests/processor/stream/test_transport.py holds them.
"""

import asyncio
import logging
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast
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
from faust.types import TP, ConsumerMessage, Message
from mode import Service
from mode.utils.futures import notify

from ops import metrics
from processor.events.chunks import ChunkBounds
from processor.stream import bounded_fetch, guarded_records
from processor.stream.clock_watch import AppendTimes
from processor.stream.group_watch import DeniedTopics, GroupTrouble, GroupWatch
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
from store.values import LedgerEntry, Partition, PausedPartition

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
    transport: "Transport"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._options = self.transport.options
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


class _NothingRead(dict[TP, int | None]):
    """What Faust looks up to drop messages that it has read already: nothing was.

    It would drop them also after a seek back that it has not noticed yet. Chunks know their place.
    """

    def __getitem__(self, _tp: TP) -> None:
        return None


class Consumer(driver.Consumer):
    """Turns chunks into Faust messages and acknowledges them in order."""

    logger = FAUST_LOGGER
    transport: "Transport"
    _thread: ConsumerThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._inflight: defaultdict[TP, deque[ConsumerMessage]] = defaultdict(deque)
        self._generations: dict[TP, int] = {}
        self._has_room = asyncio.Event()
        # Kept: a task that nobody holds may be collected.
        self._seeking: asyncio.Future[None] | None = None
        super().__init__(*args, **kwargs)
        self._read_offset = _NothingRead()

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def _to_message(self, tp: TP, record: FetchedChunk) -> ConsumerMessage:
        last = record.chunk.records[-1]
        message = ConsumerMessage(
            tp.topic,
            tp.partition,
            last.offset,
            (last.timestamp or 0) / 1000,
            0,
            [],
            None,
            # Faust passes it through unread: the topic's serializer is `raw`.
            cast("bytes", record),
            None,
            0,
            0,
            tp,
            generation_id=self.app.consumer_generation_id,
        )
        self._inflight[tp].append(message)
        return message

    async def _wait_next_records(self, timeout: float) -> Any:  # noqa: ANN401, ASYNC109 - Faust's
        """Take nothing out of the fetches while so much of them is not counted yet."""
        if self.buffered_bytes() >= self.transport.options.buffer_bytes_max:
            self._has_room.clear()
            await self.wait(self._has_room.wait(), timeout=timeout)
            return None, None
        return await super()._wait_next_records(timeout)

    def buffered_bytes(self) -> int:
        """Return about what memory the chunks take that are fetched and not counted."""
        return sum(
            cast("FetchedChunk", message.value).memory
            for queue in self._inflight.values()
            for message in queue
            if not message.acked
        )

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Do nothing: offsets between chunks are no gaps, and Faust's tree of them only grows."""

    def ack(self, message: Message) -> bool:
        """Mark a chunk as counted, and release its records."""
        if message.value is None:
            return False
        self._has_room.set()
        message.acked, message.value = True, None
        self._acked[message.tp]  # the commit handler asks for the keys of this
        self._unacked_messages.discard(message)
        self._n_acked += 1
        notify(self._waiting_for_ack)
        return True

    def _new_offset(self, tp: TP) -> int | None:
        queue, offset = self._inflight[tp], None
        while queue and queue[0].acked:
            offset = queue.popleft().offset + 1
        return offset

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Drop the chunks in flight of `revoked`, so that nothing waits for them."""
        for tp in revoked:
            self._inflight.pop(tp, None)
            self._generations.pop(tp, None)
        self._has_room.set()
        await super().on_partitions_revoked(revoked)

    async def perform_seek(self) -> None:
        """Seek to the ledger; by itself Faust would seek to Kafka's offsets.

        Faust calls this after an assignment, and when it was interrupted.

        Faust waits for it within a bound only, and goes on without it. The seek goes on too: until
        it is done, nothing is delivered.
        """
        self._seeking = asyncio.ensure_future(self._seek_assigned())
        await asyncio.shield(self._seeking)

    async def _seek_assigned(self) -> None:
        starts = await self._thread.starts()
        entries = await self.transport.options.read_ledger(
            {partition: first for partition, (first, _) in starts.items()}
        )
        for partition, (_, committed) in starts.items():
            entry = entries.get(partition)
            if entry is not None and committed is not None and committed > entry.next_offset:
                metrics.LEDGER_EVENTS.labels("offset_skip_detected").inc()
        await self._seek_known(entries)

    async def seek_to_ledger(
        self, entries: Iterable[LedgerEntry], paused: Collection[Partition] = ()
    ) -> None:
        """Read on where the ledger stands; chunks of before are stale from here on.

        Of those that are `paused` nothing is read before the next seek.
        """
        for tp, generation in (await self._thread.seek_to_ledger(entries, paused)).items():
            self._generations[tp] = generation
            self._inflight.pop(tp, None)
            self._has_room.set()
            self._committed_offset[tp] = None  # below it Faust would commit nothing

    async def pause(self, partition: Partition, *, drop_in_flight: bool) -> None:
        """Fetch no more of `partition` before the next seek.

        `drop_in_flight`: its chunks are stale from here on.
        """
        tp = TP(*partition)
        if drop_in_flight:
            self._generations.pop(tp, None)
            self._inflight.pop(tp, None)
        await self._thread.pause(tp)

    async def read_on(self, partitions: Iterable[Partition]) -> None:
        """Seek those of `partitions` that are still ours to the ledger."""
        starts = await self._thread.starts()
        wanted = {key: starts[key][0] for key in partitions if key in starts}
        await self._seek_known(await self.transport.options.read_ledger(wanted))

    async def _seek_known(self, entries: Mapping[Partition, LedgerEntry]) -> None:
        """Seek to the ledger, and read on where the topic is the one that was counted."""
        await self.seek_to_ledger(entries.values(), await self.pause_strangers())

    async def pause_strangers(self) -> frozenset[Partition]:
        """Pause partitions whose topic was made anew, by its id; return which.

        What is fetched of them already is counted: if it is the new topic's, an event that is read
        again counts once.
        """
        found = await self.transport.options.strangers(await self._thread.topic_ids())
        for each in found:
            self.transport.options.pause(each)
        return frozenset(each.key for each in found)

    def is_current(self, fetched: FetchedChunk) -> bool:
        """Return whether no seek has come since `fetched` was made."""
        return self._generations.get(TP(*fetched.chunk.key)) == fetched.generation

    def positions(self) -> Mapping[Partition, PartitionPosition]:
        """Return how far each assigned partition is fetched."""
        return self._thread.positions()

    def is_standby(self) -> bool:
        """Return whether the group has more members than partitions, and this one got none."""
        return self._thread.is_standby()

    @property
    def group_trouble(self) -> GroupTrouble | None:
        """Return why this member is not in the group, where the coordinator said so."""
        return self._thread.group.trouble

    def denied_topics(self) -> Collection[str]:
        """Return the topics read whose records this user may not fetch."""
        return self._thread.denied.among(self.positions())


class Transport(driver.Transport):
    """Faust's aiokafka transport, with our consumer.

    Set as `app.transport` before the first topic is made.
    """

    Consumer = Consumer

    def __init__(self, url: Any, app: Any, options: ConsumerOptions) -> None:  # noqa: ANN401
        super().__init__(url, app)
        self.options = options
