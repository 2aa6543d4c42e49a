"""Reading Kafka, and the whole way into PostgreSQL.

Laurel beside plain aiokafka, on each broker that is found.

First the transport alone: the Faust application whose message is a chunk, against aiokafka's
`getmany`, taking turns over the same topics. Then one `laurel worker` process from the first fetch
to the last commit, against the hand-written aiokafka + COPY merge.
"""

import asyncio
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import psycopg
from mode import CrashingSupervisor
from pydantic import SecretStr

from benchmarks import _peers
from benchmarks._broker import BROKERS, fill, reader, start_at_zero
from benchmarks._database import database, hush
from benchmarks._events import PARTITIONS, TOPICS, Partition, by_partition
from benchmarks._table import Rate, ratio, show
from ops.kafka_settings import KafkaSettings
from ops.settings import Settings
from processor.events.chunks import ChunkBounds
from processor.stream import topics, transport
from processor.stream.app import WorkerApp
from processor.stream.consumer_thread import ConsumerOptions
from sandbox.postgres import PostgresServer, postgres
from sandbox.process import PartMissing
from store.values.stream import LedgerEntry, PausedPartition

EVENTS = int(os.environ.get("BENCH_EVENTS", "200000"))
ROUNDS = 3
BATCH = 20_000
_ROOT = Path(__file__).parents[1]
_QUEUED = 2  # batches read ahead by the hand-written peer, as the worker reads ahead
_POLL_S = 0.02


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

    def __init__(self, address: str) -> None:
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
        self._wanted = EVENTS
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


async def compare_reading(address: str, places: list[Partition]) -> None:
    """Print how fast the transport reads, beside `getmany`."""
    ours, limit = Rate("Faust, a chunk a message"), Rate("aiokafka getmany")
    ratios = []
    consumer = reader(address)
    await consumer.start()
    try:
        async with Chunks(address).running() as chunks:
            for _ in range(ROUNDS):
                ours_before, limit_before = ours.seconds, limit.seconds
                with limit.doing(EVENTS):
                    start_at_zero(consumer, places)
                    seen = 0
                    while seen < EVENTS:
                        seen += sum(map(len, (await consumer.getmany(timeout_ms=1000)).values()))
                with ours.doing(EVENTS):
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


async def by_hand(address: str, url: str, places: list[Partition]) -> Rate:
    """Count the topics with aiokafka, COPY and one merge.

    Reading and writing overlap, a batch is what is there.
    """
    rate = Rate("aiokafka + COPY merge by hand, end to end")
    queue: asyncio.Queue[tuple[int, str, dict[Partition, int]]] = asyncio.Queue(_QUEUED)
    consumer = reader(address)
    await consumer.start()

    async def read() -> None:
        start_at_zero(consumer, places)
        seen = 0
        while seen < EVENTS:
            found = await consumer.getmany(timeout_ms=1000, max_records=BATCH)
            size = sum(map(len, found.values()))
            if not size:
                continue
            staged = "".join(
                _peers.lines(record.value for record in records) for records in found.values()
            )
            reached = {
                (tp.topic, tp.partition): records[-1].offset + 1 for tp, records in found.items()
            }
            await queue.put((size, staged, reached))
            seen += size

    async def write() -> None:
        counted = 0
        async with await psycopg.AsyncConnection.connect(url) as conn:
            while counted < EVENTS:
                size, staged, reached = await queue.get()
                while not queue.empty() and size < BATCH:
                    more, lines, places_reached = queue.get_nowait()
                    size, staged, reached = size + more, staged + lines, reached | places_reached
                await _peers.merge(conn, staged, reached)
                counted += size

    try:
        with rate.doing(EVENTS):
            await asyncio.gather(read(), write())
    finally:
        await consumer.stop()
    return rate


async def by_worker(address: str, url: str) -> Rate:
    """Count the topics with one `laurel worker`.

    From the moment that its ledger is opened, before the first fetch, to the last commit.
    """
    rate = Rate("laurel worker, end to end")
    variables = os.environ | {
        "LAUREL_DATABASE_URL": url,
        "LAUREL_KAFKA_BROKERS": address,
        "LAUREL_LOG__LEVEL": "ERROR",
        "LAUREL_HTTP__ENABLED": "false",
    }
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cli", "worker", cwd=_ROOT, env=variables
    )
    try:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as conn:
            began = 0.0
            while True:
                found = await conn.execute(
                    "SELECT count(*), coalesce(sum(next_offset), 0) FROM offset_ledger"
                )
                entries, counted = await found.fetchone() or (0, 0)
                if entries and not began:
                    began = time.perf_counter()
                if counted >= EVENTS:
                    rate.add(EVENTS, time.perf_counter() - began)
                    return rate
                if worker.returncode is not None:
                    raise ChildProcessError(f"the worker ended with {worker.returncode}")
                await asyncio.sleep(_POLL_S)
    finally:
        if worker.returncode is None:
            worker.terminate()
            await worker.wait()


async def on(
    name: str, address: str, server: PostgresServer, records: dict[Partition, list[bytes]]
) -> None:
    """Fill the topics of one broker, and compare."""
    print(f" {name}, {EVENTS} events")
    base = name.partition(" ")[0].lower()
    async with database(server, base):
        url = server.url_of(base)
        settings = Settings(
            database_url=SecretStr(url),
            kafka_brokers=address,
            kafka=KafkaSettings(partitions=PARTITIONS),
        )
        await topics.prepare(settings, dry_run=False)
        await fill(address, records)
        await compare_reading(address, list(records))
        peer, ours = await by_hand(address, url, list(records)), await by_worker(address, url)
        show([ours, peer])
        ratio(ours, peer, "0.9 against confluent-kafka and the same merge")


async def main() -> None:
    """Compare on each broker."""
    records = by_partition(EVENTS)
    with postgres() as server:
        for name, start in BROKERS.items():
            try:
                with start() as found:
                    await on(name, found.address, server, records)
            except PartMissing as error:
                print(f" {name} is left out: {error.message}")


if __name__ == "__main__":
    hush()
    asyncio.run(main())
