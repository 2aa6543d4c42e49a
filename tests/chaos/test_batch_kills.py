"""kill -9 between every two statements of a batch, then a restart.

The counters are the truth, and nothing is there twice.

The pipeline runs without a consumer group, in a process forked for each point: what the kill leaves
is what an out-of-memory kill leaves.
"""

import asyncio
import signal
from collections.abc import Mapping

import pytest

from ops.faults import Point
from processor.events.chunks import Chunk
from sandbox.postgres import PostgresServer
from store import migrations
from store.engine import Database
from tests.builders.databases import empty_database
from tests.builders.forked import forked
from tests.builders.history import a_history, drive, facts
from tests.builders.messages import with_catalog

Facts = Mapping[str, object]


def killed_at(point: str, url: str, chunks: list[Chunk]) -> int:
    """Run `drive` in a process of its own that is killed at `point`."""
    return forked(point, lambda: drive(url, chunks))


@pytest.fixture(scope="module")
def truth(database_server: PostgresServer) -> Facts:
    """What an undisturbed run writes."""
    return asyncio.run(_undisturbed(database_server))


async def _undisturbed(server: PostgresServer) -> Facts:
    async with empty_database(server) as url:
        await migrations.upgrade(url)
        await _prepare(url)
        await drive(url, a_history())
        return await facts(url)


@pytest.fixture
def url(database_url: str) -> str:
    """A database that may be counted into."""
    asyncio.run(_prepare(database_url))
    return database_url


async def _prepare(url: str) -> None:
    async with Database(url) as database:
        await with_catalog(database)


@pytest.mark.parametrize("passing", [1, 2])
@pytest.mark.parametrize("point", [each for each in Point if each.startswith("batch.")])
def test_a_kill_leaves_a_batch_whole_or_not_at_all(
    point: str, passing: int, url: str, truth: Facts
) -> None:
    chunks = a_history()
    assert killed_at(f"{point}:{passing}", url, chunks) == signal.SIGKILL
    asyncio.run(drive(url, chunks))
    assert asyncio.run(facts(url)) == truth


def test_the_history_gives_every_statement_something_to_do(truth: Facts) -> None:
    empty = [name for name, rows in truth.items() if not rows]
    assert empty == []
