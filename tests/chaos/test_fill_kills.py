"""kill -9 between every two statements of a fill, while a source is taken and while it is closed, and
then somebody else goes on.

What comes out is what an undisturbed fill gives: nothing is counted twice, and nobody is left out.
"""

import asyncio
import signal
from collections.abc import Mapping
from typing import Any

import pytest

from ops.faults import Point
from processor.history import fill as filling
from processor.history.fill_closing import ClosingOptions, FillCloser
from sandbox.postgres import PostgresServer
from store import migrations
from store.engine import Database
from tests.builders.catalogs import TENANT, a_catalog
from tests.builders.clock import FakeClock
from tests.builders.databases import empty_database
from tests.builders.forked import forked
from tests.builders.history import facts
from tests.builders.late_counters import (
    EVENTS,
    LATE,
    NAMES,
    OLD,
    PEOPLE,
    a_step,
    climber,
    counted,
    late_world,
    steps,
    taken,
    walker,
)
from tests.builders.messages import NOW
from tests.builders.sql import rows
from tests.builders.told_history import FixedSize

# Members, an undoing, and levels that somebody reaches.
NAME = "late_standing"
OF_BADGES = (
    Point.BATCH_RAISED,
    Point.BATCH_REVOKED,
    Point.BATCH_CREATED,
    Point.BATCH_SILENCED,
    Point.BATCH_AUDITED,
)
OF_FILLS = [each for each in Point if each.startswith(("fill.", "closing."))]
KILLS = [(each, n) for each in (*OF_FILLS, *OF_BADGES) for n in (1, 2)]

SECOND = a_catalog(walker(), climber(*NAMES, by=NAME), counters=(*OLD, *LATE), events=EVENTS)


async def prepare(url: str) -> list[dict[str, Any]]:
    """Some have a badge already when they are given their past."""
    async with Database(url) as database:
        before = await late_world(database, SECOND)
        since = [a_step(who, place) for who in PEOPLE[6:] for place in ("x", "y")]
        await counted(database, since, partition=1)
        return before


async def fill(url: str, before: list[dict[str, Any]]) -> None:
    """Take two sources that overlap, unless that is done; then close."""
    async with Database(url) as database:
        async with database.transaction() as conn:
            state = await conn.exec_driver_sql("SELECT state FROM counter_fill")
            begun = state.scalar_one_or_none()
        if begun in (None, "open"):
            await taken(database, NAME, before[:25], slice_events=6)
            await taken(database, NAME, before[10:], slice_events=6)
        await close(database)


async def close(database: Database) -> None:
    async with database.transaction() as conn:
        counter = await filling.known(conn, NAME)
    closer = FillCloser(database, counter, TENANT, FakeClock(NOW), FixedSize(2))
    await closer.close(ClosingOptions())


async def outcome(url: str) -> Mapping[str, object]:
    fills = "SELECT counter_id, state, events, users, awarded, raised FROM counter_fill"
    async with Database(url) as database:
        more = {
            "fill": await rows(database, fills),
            "left": [
                await rows(database, f"SELECT * FROM {table}")
                for table in ("fill_event", "fill_progress", "fill_member")
            ],
        }
    return {**await facts(url), **more}


@pytest.fixture(scope="module")
def truth(database_server: PostgresServer) -> Mapping[str, object]:
    """What a fill comes to that nobody disturbs."""

    async def undisturbed() -> Mapping[str, object]:
        async with empty_database(database_server) as url:
            await migrations.upgrade(url)
            await fill(url, await prepare(url))
            return await outcome(url)

    return asyncio.run(undisturbed())


@pytest.mark.parametrize(("point", "passing"), KILLS)
def test_a_killed_fill_comes_to_what_an_undisturbed_one_does(
    point: str, passing: int, database_url: str, truth: Mapping[str, object]
) -> None:
    before = asyncio.run(prepare(database_url))
    assert forked(f"{point}:{passing}", lambda: fill(database_url, before)) == signal.SIGKILL
    asyncio.run(fill(database_url, before))
    assert asyncio.run(outcome(database_url)) == truth


def test_there_is_something_to_give(truth: Mapping[str, Any]) -> None:
    ((_, state, events, users, awarded, raised),) = truth["fill"]
    assert (state, users) == ("closed", 9)
    assert events == len(steps())
    assert min(awarded, raised) > 1
    assert truth["tasks"]
    assert truth["left"] == [[], [], []]
