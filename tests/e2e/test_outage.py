"""PostgreSQL dies under a worker and comes back.

The worker says what it waits for, and counts on exactly.
"""

import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ops.lifecycle import EXIT_OK
from sandbox.broker import Broker
from sandbox.postgres import postgres
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
)


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

        async def waits_for_the_database() -> bool:
            return "postgresql" in (await worker.ready()).get("waits", {})

        await until(waits_for_the_database, "a wait for PostgreSQL", worker)
        again = parts.enter_context(postgres(data, keep=True, port=_port(first.url)))
        async with Database(again.url) as database:
            await until_counted(database, len(events), worker)
            await until_read(database, len(events), worker)

            async def ready() -> bool:
                return bool((await worker.ready()).get("ready"))

            await until(ready, "a ready worker", worker)
            assert worker.stop() == EXIT_OK
            assert await counted(database) == len(events)


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

        async def waits_for_the_database() -> bool:
            return "postgresql" in (await worker.ready()).get("waits", {})

        await until(waits_for_the_database, "a wait for PostgreSQL", worker)
        assert worker.stop() == EXIT_OK
        assert worker.logged("drain_timed_out") == []


def _port(url: str) -> int:
    return int(url.rpartition(":")[2].partition("/")[0])
