"""PostgreSQL dies under a worker and comes back.

The worker says what it waits for, and counts on exactly.
"""

import asyncio
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from ops.lifecycle import EXIT_OK
from sandbox.broker import Broker
from sandbox.kafka import kafka
from sandbox.postgres import postgres
from sandbox.process import PartMissing
from store import migrations
from store.engine import Database
from tests.builders.messages import a_quest, user, with_catalog
from tests.e2e.workers import (
    Site,
    a_worker,
    counted,
    produce,
    until,
    until_counted,
    until_read,
    until_ready,
    until_waits,
)
from tests.fixtures.parts import missing


@pytest.fixture
def data() -> Iterator[Path]:
    """A directory that PostgreSQL can reach, which is another user where the tests run as root."""
    with tempfile.TemporaryDirectory(prefix="laurel-outage-") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory) / "postgresql"


async def test_a_worker_outlives_a_database_that_was_killed(
    broker: Broker, topic_prefix: str, data: Path, tmp_path: Path
) -> None:
    events = [a_quest(user(number % 20)) for number in range(600)]
    with ExitStack() as parts:
        killed = parts.enter_context(ExitStack())
        first = killed.enter_context(postgres(data, keep=True))
        await migrations.upgrade(first.url)
        site = Site(broker.address, first.url, topic_prefix)
        await site.make_topics()
        await produce(site, events[:200])
        worker = parts.enter_context(a_worker(site, tmp_path / "worker.log"))
        async with Database(first.url) as database:
            await with_catalog(database)
            await until_counted(database, 200, worker)

        os.kill(first.pid, signal.SIGKILL)
        killed.close()
        await produce(site, events[200:])
        await until_waits(worker, "postgresql")
        again = parts.enter_context(postgres(data, keep=True, port=_port(first.url)))
        async with Database(again.url) as database:
            await until_counted(database, len(events), worker)
            await until_read(database, len(events), worker)
            await until_ready(worker)

            async def told() -> bool:
                return bool(worker.logged("worker_ready"))

            await until(told, "worker_ready in the log", worker)
            shown = await worker.metrics("laurel_")
            assert worker.stop() == EXIT_OK
            assert await counted(database) == len(events)
    quests = f'topic="{site.prefix}.quests"'
    assert f'laurel_dead_letters_total{{reason="not_json",{quests}}} 0.0' in shown
    assert not [line for line in shown if line.startswith("laurel_wallet") or "_created" in line]
    assert len(worker.logged("database_lost")) == len(worker.logged("database_back")) == 1
    assigned = worker.logged("worker_ready")[-1]["partitions"]
    assert f"{site.prefix}.quests/0" in assigned
    assert sum(line["records"] for line in worker.logged("batches_committed")) == len(events)
    assert worker.logged("batch_committed") == []  # a dozen a second at a trickle


@pytest.mark.kafka
async def test_a_broker_that_was_away_is_told_of_twice_and_not_a_thousand_times(
    database: Database, database_url: str, topic_prefix: str, tmp_path: Path
) -> None:
    await with_catalog(database)
    with ExitStack() as parts:
        killed = parts.enter_context(ExitStack())
        broker = killed.enter_context(a_kafka(tmp_path / "kafka"))
        site = Site(broker.address, database_url, topic_prefix)
        await site.make_topics()
        await produce(site, [a_quest()])
        worker = parts.enter_context(a_worker(site, tmp_path / "worker.log"))
        await until_counted(database, 1, worker)
        os.kill(broker.pid, signal.SIGKILL)
        killed.close()

        async def lost() -> bool:
            return bool(worker.logged("kafka_lost"))

        await until(lost, "the loss of Kafka in the log", worker)
        await asyncio.sleep(5)  # in which aiokafka tries some hundred times more
        parts.enter_context(a_kafka(tmp_path / "kafka", port=_port(broker.address)))
        await produce(site, [a_quest()])
        await until_counted(database, 2, worker)

        async def back() -> bool:
            return bool(worker.logged("kafka_back"))

        await until(back, "the return of Kafka in the log", worker)
        assert worker.stop() == EXIT_OK
    assert len(worker.logged("kafka_lost")) == len(worker.logged("kafka_back")) == 1
    assert "has not answered" in worker.logged("kafka_lost")[0]["reason"]
    assert len(worker.log_path.read_text().splitlines()) < 100


@contextmanager
def a_kafka(directory: Path, port: int | None = None) -> Iterator[Broker]:
    try:
        with kafka(directory, keep=True, port=port) as running:
            yield running
    except PartMissing as error:
        missing(error.message)


async def test_sigterm_ends_a_worker_whose_database_is_away_at_once(
    broker: Broker, topic_prefix: str, data: Path, tmp_path: Path
) -> None:
    with ExitStack() as parts:
        killed = parts.enter_context(ExitStack())
        server = killed.enter_context(postgres(data, keep=True))
        await migrations.upgrade(server.url)
        site = Site(broker.address, server.url, topic_prefix)
        await site.make_topics()
        await produce(site, [a_quest()])
        worker = parts.enter_context(a_worker(site, tmp_path / "worker.log"))
        async with Database(server.url) as database:
            await with_catalog(database)
            await until_counted(database, 1, worker)
        os.kill(server.pid, signal.SIGKILL)
        killed.close()
        await produce(site, [a_quest()])
        await until_waits(worker, "postgresql")
        assert worker.stop() == EXIT_OK
        assert worker.logged("drain_timed_out") == []


def _port(url: str) -> int:
    return int(url.rpartition(":")[2].partition("/")[0])
