"""The transport alone: Faust whose message is a chunk, beside aiokafka's `getmany`, in turns."""

import asyncio
import statistics
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast
from uuid import UUID

from mode import CrashingSupervisor

from benchmarks._broker import reader, start_at_zero
from benchmarks._events import PARTITIONS, TOPICS, Partition
from benchmarks._table import Rate, ratio, show
from processor.events.chunks import ChunkBounds
from processor.stream import transport
from processor.stream.app import WorkerApp
from processor.stream.consumer_thread import ConsumerOptions
from store.values.stream import LedgerEntry, PausedPartition

_ROUNDS = 3


async def _from_the_beginning(
    partitions: Mapping[Partition, int],
) -> Mapping[Partition, LedgerEntry]:
    """Return an empty ledger: everything is read from its first record."""
    return {place: LedgerEntry(*place, 0) for place in partitions}


async def _no_strangers(_topic_ids: Mapping[Partition, UUID]) -> list[PausedPartition]:
    """Take every topic as it comes."""
    return []


def _fail(error: PausedPartition) -> None:
    """End the benchmark."""
    raise RuntimeError(error.detail)


class Chunks:
    """The transport in an agent that does nothing but count records and acknowledge."""

    def __init__(self, address: str, events: int) -> None:
        self.app = WorkerApp(
            "benchmark",
            broker=f"kafka://{address}",
            web_enabled=False,
            topic_disable_leader=True,
            topic_allow_declare=False,
            stream_buffer_maxsize=32,
            stream_wait_empty=False,
            broker_commit_interval=1.0,
            broker_session_timeout=6.0,
            broker_heartbeat_interval=1.5,
            agent_supervisor=CrashingSupervisor,
            loghandlers=[],
            logging_config=None,
        )
        options = ConsumerOptions(
            ChunkBounds(5_000, 1 << 22, 1 << 20),
            1 << 24,
            1 << 26,
            50,
            _from_the_beginning,
            _no_strangers,
            _fail,
        )
        self.app.transport = transport.Transport(self.app.conf.broker_consumer, self.app, options)
        topic = self.app.topic(*TOPICS, key_serializer="raw", value_serializer="raw")
        self.app.agent(topic, name="benchmark", supervisor_strategy=CrashingSupervisor)(self._read)
        self._seen = 0
        self._wanted = events
        self._done = asyncio.Event()

    @property
    def _consumer(self) -> transport.Consumer:
        return cast("transport.Consumer", self.app.consumer)

    async def _read(self, stream: Any) -> None:  # noqa: ANN401 - Faust is untyped
        async for event in stream.noack().events():
            if self._consumer.is_current(event.value):
                self._seen += len(event.value.chunk.records)
                if self._seen >= self._wanted:
                    self._done.set()
            event.ack()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Chunks"]:
        """Run the application; yield once it has read everything a first time."""
        started = asyncio.create_task(self.app.start())
        await self._done.wait()
        try:
            yield self
        finally:
            await started
            await self.app.stop()

    async def read_again(self) -> None:
        """Go back to the beginning, and read to the end."""
        self._seen = 0
        self._done.clear()
        await self._consumer.seek_to_ledger(
            LedgerEntry(topic, part, 0) for topic in TOPICS for part in range(PARTITIONS)
        )
        await self._done.wait()


async def compare_reading(address: str, places: list[Partition], events: int) -> None:
    """Print how fast the transport reads, beside `getmany`."""
    ours, limit = Rate("Faust, a chunk a message"), Rate("aiokafka getmany")
    ratios = []
    consumer = reader(address)
    await consumer.start()
    try:
        async with Chunks(address, events).running() as chunks:
            for _ in range(_ROUNDS):
                ours_before, limit_before = ours.seconds, limit.seconds
                with limit.doing(events):
                    start_at_zero(consumer, places)
                    seen = 0
                    while seen < events:
                        seen += sum(map(len, (await consumer.getmany(timeout_ms=1000)).values()))
                with ours.doing(events):
                    await chunks.read_again()
                ratios.append((limit.seconds - limit_before) / (ours.seconds - ours_before))
    finally:
        await consumer.stop()
    show([ours, limit])
    ratio(ours, limit, "0.85")
    print(
        f"  {'':4}round by round: {', '.join(f'{each:.2f}' for each in ratios)}, "
        f"median {statistics.median(ratios):.2f}"
    )
