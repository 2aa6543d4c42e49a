"""A Faust transport whose message is a chunk of Kafka records.

Faust spends about 100 us of tasks and futures on a message, whatever is in it; so a message is up
to a few thousand consecutive records of one partition. The agent stays an ordinary Faust agent, and
rebalance, supervision and commit stay Faust's (docs/adr/0004-faust-guards.md).

What this changes in Faust's aiokafka driver, besides: reading starts where the ledger stands, never
where Kafka's committed offset does; records of aborted transactions are not seen; a missing offset
stops the worker instead of being reset; an empty fetch does not wait 1.5 s.

The methods that are overridden have no public seam: faust-streaming is pinned, and
tests/processor/stream/test_transport.py holds them.
"""

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError, NoOffsetForPartitionError, OffsetOutOfRangeError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, AppT, ConsumerMessage, Message
from mode.utils.futures import notify

from ops import metrics
from ops.errors import UsageError
from processor.events.chunks import Chunk
from processor.events.reader import Record
from store.ledger import LedgerEntry, Partition

URL_SCHEME = "laurel"
# Below `faust`, which is kept quiet (ops/logs.py); by itself mode would name one after this module.
FAUST_LOGGER = logging.getLogger("faust.laurel")


class OffsetsLost(UsageError):
    """The ledger and the topic do not fit each other.

    Going on would lose records, or count another topic's.
    """

    code = "offsets_lost"


@dataclass(frozen=True, slots=True)
class Fetched:
    """A chunk, and the seek that it was fetched after.

    A later seek of its partition makes it stale.
    """

    chunk: Chunk
    seek: int


class Navigator(Protocol):
    """What the transport needs from the worker; it finds it as `app.navigator`."""

    chunk_records_max: int
    fetch_max_wait_ms: int

    async def positions(
        self, partitions: Mapping[Partition, int]
    ) -> Mapping[Partition, LedgerEntry]:
        """Return the ledger of `partitions`, opened at the offsets given where it has no entry."""
        ...

    def fail(self, error: BaseException) -> None:
        """End the worker."""
        ...


def _navigator(app: AppT) -> Navigator:
    return cast("Navigator", cast("Any", app).navigator)


@dataclass(slots=True)
class _Reading:
    """Where the reading of one partition stands.

    `seek` numbers its seeks, which was to `start`; `expected` is the end of the last chunk; `probe`
    is the entry whose last record is to be seen again.
    """

    seek: int
    expected: int
    probe: LedgerEntry | None
    start: int = 0


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread that talks to Kafka. All state about positions lives here, on its loop."""

    logger = FAUST_LOGGER

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._reading: dict[TP, _Reading] = {}
        self._seeks = 0

    def _create_worker_consumer(self, transport: Any) -> Any:  # noqa: ANN401 - Faust is untyped
        consumer = super()._create_worker_consumer(transport)
        # Faust hard-codes the first two, and knows no auto_offset_reset but `earliest` and
        # `latest`.
        consumer._fetch_max_wait_ms = _navigator(self.app).fetch_max_wait_ms
        consumer._isolation_level = "read_committed"
        consumer._auto_offset_reset = "none"
        return consumer

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Forget the positions of `revoked`: what is still in hand of them is stale."""
        for tp in revoked:
            self._reading.pop(tp, None)
        await super().on_partitions_revoked(revoked)

    async def _fetch_records(self, *args: Any, **kwargs: Any) -> Mapping[TP, list[Fetched]]:
        try:
            fetched = await super()._fetch_records(*args, **kwargs)
        except NoOffsetForPartitionError:
            return {}  # assigned and not sought yet: the seek brings the position
        except OffsetOutOfRangeError as error:
            await self._out_of_range(error)
            return {}
        chunks = {
            tp: self._chunks(tp, records) for tp, records in fetched.items() if tp in self._reading
        }
        return {tp: found for tp, found in chunks.items() if found}

    def _chunks(self, tp: TP, records: list[Any]) -> list[Fetched]:
        # No await between aiokafka's answer and this: a seek cannot come between.
        reading = self._reading[tp]
        if reading.probe is not None:
            if not self._same_topic(reading.probe, records[0]):
                return []
            reading.probe = None
        fresh: list[Record] = [record for record in records if record.offset >= reading.expected]
        size = _navigator(self.app).chunk_records_max
        found = []
        for start in range(0, len(fresh), size):
            part = fresh[start : start + size]
            found.append(
                Fetched(Chunk(tp.topic, tp.partition, reading.expected, part), reading.seek)
            )
            reading.expected = part[-1].offset + 1
        return found

    def _same_topic(self, probe: LedgerEntry, record: Any) -> bool:  # noqa: ANN401
        """Compare the first record read with the last one counted, where that is still there."""
        if record.offset != probe.last_offset or record.timestamp == probe.last_timestamp_ms:
            return True
        self._fail(
            f"{probe.topic}, partition {probe.partition}: the record at offset {probe.last_offset} is not the one that was counted "
            f"(timestamp {record.timestamp}, was {probe.last_timestamp_ms}). The topic was made anew, or the broker restored from a copy. "
            f"{_WAY_OUT}"
        )
        return False

    async def _out_of_range(self, error: OffsetOutOfRangeError) -> None:
        for tp, offset in error.args[0].items():
            reading = self._reading.get(TP(tp.topic, tp.partition))
            if reading is None:
                continue
            if reading.probe is not None and offset == reading.probe.last_offset:
                # The last record counted is gone; what matters is the next one.
                reading.probe = None
                self._ensure_consumer().seek(tp, reading.expected)
                continue
            first = (await self._ensure_consumer().beginning_offsets([tp]))[tp]
            lost = (
                f"records {offset} to {first - 1} were removed before they were counted"
                if first > offset
                else (
                    f"the topic ends before record {offset}, which is the next to count: it was made anew, or restored from a copy"
                )
            )
            self._fail(f"{tp.topic}, partition {tp.partition}: {lost}. {_WAY_OUT}")

    def _fail(self, message: str) -> None:
        self.parent_loop.call_soon_threadsafe(_navigator(self.app).fail, OffsetsLost(message))

    async def seek_ledger(self, entries: Iterable[LedgerEntry]) -> dict[TP, int]:
        """Go on reading where the ledger stands; partitions that are no longer ours are left alone.

        Return the seeks' numbers.
        """
        return dict(await self.call_thread(self._seek_ledger, list(entries)))

    async def _seek_ledger(self, entries: list[LedgerEntry]) -> dict[TP, int]:
        seeks: dict[TP, int] = {}
        for entry in entries:
            tp = TP(entry.topic, entry.partition)
            # One record earlier where there is one: it tells whether this is the topic that was
            # counted.
            start = entry.next_offset if entry.last_offset is None else entry.last_offset
            try:
                self._ensure_consumer().seek(TopicPartition(*tp), start)
            except IllegalStateError:
                continue
            self._seeks += 1
            probe = None if entry.last_offset is None else entry
            self._reading[tp] = _Reading(self._seeks, entry.next_offset, probe, entry.next_offset)
            seeks[tp] = self._seeks
        return seeks

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

    def standing(self) -> dict[Partition, "Standing"]:
        """Return how far each partition that is read is fetched, as of the last answer of its
        broker.
        """
        assignment = self._ensure_consumer()._subscription.subscription
        if assignment is None or assignment.assignment is None:
            return {}
        found = {}
        for tp in assignment.assignment.tps:
            state = assignment.assignment.state_value(tp)
            end = state.highwater if state.lso is None or state.lso < 0 else state.lso
            position = state.position if state.has_valid_position else None
            reading = self._reading.get(TP(tp.topic, tp.partition))
            if reading is not None:
                answered_at = (state.timestamp or 0) / 1000
                found[tp.topic, tp.partition] = Standing(
                    position, end, reading.start, reading.expected, answered_at
                )
        return found


@dataclass(frozen=True, slots=True)
class Standing:
    """A partition at the last fetch.

    `position` is the next offset to fetch, `end` the end of what may be read, `sought` where the
    ledger stood at the last seek, `delivered_to` the end of the last chunk that was made, and
    `answered_at` when the broker answered (epoch s).
    """

    position: int | None
    end: int | None
    sought: int
    delivered_to: int
    answered_at: float

    def in_hand(self, counted_to: int) -> bool:
        """Return whether a chunk was made of this partition that is not counted yet."""
        return self.delivered_to > max(self.sought, counted_to)

    def lag(self, counted_to: int) -> int:
        """Return how many offsets wait.

        Transaction markers, which are fetched and never counted, are no work.
        """
        if self.end is None or self.position is None:
            return 0
        return max(
            0,
            self.end
            - (max(self.sought, counted_to) if self.in_hand(counted_to) else self.position),
        )


_WAY_OUT = (
    "Nothing of this partition was counted since. Restore the topic; or, if the loss is known and accepted, remove its row from "
    "offset_ledger: the worker then starts at the first record there is (docs/runbook.md)."
)


class _NothingRead(dict[TP, int | None]):
    """Faust drops messages below the last one it read, also after a seek back that it has not
    noticed yet. Chunks know their place.
    """

    def __getitem__(self, _tp: TP) -> None:
        return None


class Consumer(driver.Consumer):
    """Turns chunks into Faust messages and acknowledges them in order."""

    logger = FAUST_LOGGER
    _thread: ConsumerThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._inflight: defaultdict[TP, deque[ConsumerMessage]] = defaultdict(deque)
        self._seek_numbers: dict[TP, int] = {}
        self._seeking: asyncio.Future[None] | None = (
            None  # kept: a task that nobody holds may be collected
        )
        super().__init__(*args, **kwargs)
        self._read_offset = _NothingRead()

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def _to_message(self, tp: TP, record: Fetched) -> ConsumerMessage:
        last = record.chunk.records[-1]
        message = ConsumerMessage(
            tp.topic,
            tp.partition,
            last.offset,
            (last.timestamp or 0) / 1000,
            0,
            [],
            None,
            cast(
                "bytes", record
            ),  # Faust passes it through unread: the topic's serializer is `raw`
            None,
            0,
            0,
            tp,
            generation_id=self.app.consumer_generation_id,
        )
        self._inflight[tp].append(message)
        return message

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Do nothing: offsets between chunks are no gaps, and Faust's tree of them only grows."""

    def ack(self, message: Message) -> bool:
        """Note that a chunk is counted, and let its records go."""
        if message.value is None:
            return False
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
        """Let go of the chunks of `revoked`, so that nothing waits for them."""
        for tp in revoked:
            self._inflight.pop(tp, None)
            self._seek_numbers.pop(tp, None)
        await super().on_partitions_revoked(revoked)

    async def perform_seek(self) -> None:
        """Go to the ledger. Faust calls this after an assignment, and when it was interrupted.

        By itself it would go to Kafka's offsets.

        Faust waits for it within a bound only, and goes on without it. The seek goes on too: until
        it is done, nothing is delivered.
        """
        self._seeking = asyncio.ensure_future(self._seek_assigned())
        await asyncio.shield(self._seeking)

    async def _seek_assigned(self) -> None:
        starts = await self._thread.starts()
        entries = await _navigator(self.app).positions(
            {partition: first for partition, (first, _) in starts.items()}
        )
        for partition, (_, committed) in starts.items():
            entry = entries.get(partition)
            if entry is not None and committed is not None and committed > entry.next_offset:
                metrics.LEDGER_EVENTS.labels("offset_skip_detected").inc()
        await self.seek_ledger(entries.values())

    async def seek_ledger(self, entries: Iterable[LedgerEntry]) -> None:
        """Go on reading where the ledger stands; chunks of before are stale from here on."""
        for tp, number in (await self._thread.seek_ledger(entries)).items():
            self._seek_numbers[tp] = number
            self._inflight.pop(tp, None)
            self._committed_offset[tp] = None  # below it Faust would commit nothing

    def is_current(self, fetched: Fetched) -> bool:
        """Return whether no seek has come since `fetched` was."""
        return self._seek_numbers.get(TP(*fetched.chunk.key)) == fetched.seek

    def standing(self) -> Mapping[Partition, Standing]:
        """Return how far each assigned partition is fetched."""
        return self._thread.standing()


class Transport(driver.Transport):
    """The scheme `laurel://host:port`."""

    Consumer = Consumer
