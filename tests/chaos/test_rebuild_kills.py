"""kill -9 between every two statements of a rebuild, then the same command again.

What comes out is what an undisturbed rebuild leaves, and what was never broken has.
"""

import asyncio
import signal
from collections.abc import Mapping
from typing import Any

import pytest

from ops.faults import Point
from sandbox.postgres import PostgresServer
from store import migrations
from store.engine import Database
from store.values.shadows import RebuildState
from tests.builders.databases import empty_database
from tests.builders.forked import forked
from tests.builders.messages import user
from tests.builders.sql import rows
from tests.builders.told_files import a_history_of
from tests.processor.history.test_rebuild import (
    LOUD,
    Live,
    a_step,
    content,
    held_levels,
    rebuilding,
)

PEOPLE = [user(number) for number in range(6)]
# Of a fill the second slice, too; what follows an exchange is a job's, killed in test_slice_kills.
KILLS = (
    [(each, 1) for each in Point if each.startswith("rebuild.")]
    + [
        (each, 2)
        for each in (
            Point.REBUILD_TAKEN,
            Point.REBUILD_PAIRED,
            Point.REBUILD_KEPT,
            Point.REBUILD_SAVED,
            Point.REBUILD_COMMITTED,
            Point.REBUILD_EXCHANGED,
            Point.REBUILD_EXCHANGED_COMMITTED,
        )
    ]
    + [(each, n) for each in (Point.SLICE_TAKEN, Point.SLICE_SAVED) for n in (2, 9, 14)]
)


def messages() -> list[dict[str, Any]]:
    return [
        a_step(who, f"p{n % 3}", n) | {"id": f"{who}-{n}"}
        for place, who in enumerate(PEOPLE)
        for n in range(place + 1)
    ]


async def prepare(url: str) -> None:
    async with Database(url) as database:
        live = await Live.of(database)
        await live.count(*messages())
        await rows(
            database,
            """
            UPDATE nft_progress SET counters = counters || '{"points": 1, "highest": 70}'
             WHERE user_id = ANY(CAST(:some AS uuid[]))
            """,
            some=PEOPLE[1::2],
        )
        await rows(database, "DELETE FROM progress_member WHERE user_id = :who", who=PEOPLE[4])
        await rows(database, "DELETE FROM nft_progress WHERE user_id = :who", who=PEOPLE[2])


async def rebuild(url: str) -> None:
    """Go on from wherever it stands, to the end: swapped, undone, swapped again and ended."""
    async with Database(url) as database:
        made = rebuilding(database, 2)
        live = Live(database, None)  # type: ignore[arg-type]
        while await made.current() is not None or not await rows(database, "SELECT FROM rebuild"):
            rebuild = await made.open()
            # Opened, swapped, undone, swapped, closing.
            ((version,),) = await rows(database, "SELECT max(id) FROM catalog_version")
            if rebuild.state is RebuildState.OPEN:
                with a_history_of(await live.catalog(), messages(), 5) as history:
                    await made.fill(history)
                await made.swap(LOUD)
            elif version == 3:
                await made.undo(LOUD)
            else:
                await made.settle()
                await made.finish()


async def outcome(url: str) -> Mapping[str, Any]:
    async with Database(url) as database:
        return {
            **await content(database),
            "levels": await held_levels(database),
            "rebuilds": await rows(database, "SELECT id, state, filled FROM rebuild"),
            "versions": await rows(database, "SELECT max(id) FROM catalog_version"),
        }


@pytest.fixture(scope="module")
def truth(database_server: PostgresServer) -> Mapping[str, Any]:
    """What a rebuild leaves that nobody disturbs."""

    async def undisturbed() -> Mapping[str, Any]:
        async with empty_database(database_server) as url:
            await migrations.upgrade(url)
            await prepare(url)
            await rebuild(url)
            return await outcome(url)

    return asyncio.run(undisturbed())


@pytest.mark.parametrize(("point", "passing"), KILLS)
def test_a_killed_rebuild_comes_to_what_an_undisturbed_one_does(
    point: str, passing: int, database_url: str, truth: Mapping[str, Any]
) -> None:
    asyncio.run(prepare(database_url))
    assert forked(f"{point}:{passing}", lambda: rebuild(database_url)) == signal.SIGKILL
    asyncio.run(rebuild(database_url))
    assert asyncio.run(outcome(database_url)) == truth


def test_what_nobody_disturbs_is_what_was_sent(truth: Mapping[str, Any]) -> None:
    steps = {who: place + 1 for place, who in enumerate(PEOPLE)}
    assert {
        who: held["points"] for (who, code), held in truth["counters"].items() if code == "walker"
    } == steps
    assert truth["rebuilds"] == [(1, "done", sum(steps.values()))]
    assert truth["left over"] == []
