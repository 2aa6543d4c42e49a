"""A Faust transport whose message is a chunk of Kafka records.

Faust spends about 100 us of tasks and futures on a message, whatever is in it; so a message is up
to a few thousand consecutive records of one partition. The agent stays an ordinary Faust agent, and
rebalance, supervision and commit stay Faust's (docs/adr/0004-faust-guards.md).

What is fetched, and from where, is the thread's (consumer_thread.py). Its methods and these that
override Faust's have no public seam: faust-streaming is pinned, and
tests/processor/stream/test_transport.py holds them.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Mapping
from typing import Any, cast

from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage, Message
from mode.utils.futures import notify

from ops import metrics
from processor.stream.consumer_thread import FAUST_LOGGER, ConsumerOptions, ConsumerThread
from processor.stream.group_watch import GroupTrouble
from processor.stream.positions import FetchedChunk, PartitionPosition
from store.values.names import Partition
from store.values.stream import LedgerEntry


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
        """Drop the chunks in flight of `revoked`, so that nothing waits for them.

        Whenever the group forms anew aiokafka calls this first, also where nothing is ours yet.
        """
        metrics.REBALANCES.inc()
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
