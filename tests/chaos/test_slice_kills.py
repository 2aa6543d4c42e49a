"""kill -9 between every two statements of a catalog job's slices, then somebody else goes on.

What comes out is what an undisturbed job writes: nobody is given anything twice, nothing is left
out, whichever slice it was.
"""

import ast
import asyncio
import random
import signal
from collections.abc import Mapping
from dataclasses import replace
from uuid import UUID

import pytest

from ops.faults import Point
from processor.catalog.job import JobRunner, SliceSize
from processor.events.chunks import Chunk
from sandbox.postgres import PostgresServer
from store import catalogs, migrations
from store.engine import Database
from store.values.catalog import Catalog, FieldKind, FieldSpec
from tests.builders.catalogs import TENANT, a_catalog, a_counter, a_level, a_type, an_event
from tests.builders.clock import FakeClock
from tests.builders.databases import empty_database
from tests.builders.forked import forked
from tests.builders.history import facts
from tests.builders.messages import NOW, Log, a_pipeline, a_wallet, an_address, open_ledger
from tests.builders.messages import an_event as a_message
from tests.builders.sql import rows

PEOPLE = [UUID(int=0x50000 + number) for number in range(12)]
SLICE = 4
STEP = an_event("step.made", FieldSpec("height", FieldKind.INTEGER, required=True, minimum=0))
COUNTERS = (a_counter("points"), a_counter("climbed"))


def catalog(*thresholds: int, metadata: str, walker: tuple[str, ...]) -> Catalog:
    """Walker and runner; level 2 of each is minted by itself."""
    levels = [a_level(n, {"points": {"gte": each}}) for n, each in enumerate(thresholds, 1)]
    levels[1] = replace(levels[1], auto_mint_onchain=True)
    climber = a_type(
        *(a_level(n, {"climbed": {"gte": each}}) for n, each in enumerate(thresholds, 1)),
        code="climber",
        counters=("climbed",) if "climbed" not in walker else ("climbed", "points"),
    )
    named = a_type(*levels, counters=walker, metadata_fields={metadata: "points"})
    return a_catalog(named, climber, counters=COUNTERS, events=(STEP,))


# Every slice passes the last three: the first are those of counters, the sixth of levels, the tenth
# of metadata.
KILLS = [(each, n) for each in Point if each.startswith("slice.") for n in (1, 2)]
KILLS += [
    (each, n)
    for each in (Point.SLICE_TAKEN, Point.SLICE_SAVED, Point.SLICE_COMMITTED)
    for n in (6, 10)
]

# Lower thresholds raise those who have a badge, and give one to others; the climber takes over
# `points`, the walker drops `climbed`; the field of the metadata has another name.
FIRST = catalog(4, 8, 12, metadata="first", walker=("points",))
SECOND = catalog(2, 5, 12, metadata="second", walker=("points", "climbed"))


def history() -> list[Chunk]:
    chance = random.Random(1)
    log = Log()
    for place, who in enumerate(PEOPLE):
        steps = [
            a_message("step.made", who, {"height": 1}, id=f"{who}-{n}") for n in range(place + 1)
        ]
        log.append(*steps, topic="laurel.steps")
    log.append(
        *(a_wallet(who, an_address(n)) for n, who in enumerate(PEOPLE) if chance.random() < 0.5)
    )
    return log.chunks()


async def prepare(url: str, *, silent: bool) -> None:
    async with Database(url) as database:
        await put_in_force(database, FIRST)
        chunks = history()
        await open_ledger(database, chunks)
        await (await a_pipeline(database)).run(chunks)
        await put_in_force(database, SECOND, silent=silent)


async def put_in_force(database: Database, new: Catalog, *, silent: bool = False) -> None:
    async with database.transaction() as conn:
        await catalogs.apply(conn, new, "admin", silent=silent)


async def work_off(url: str) -> None:
    async with Database(url) as database:
        runner = JobRunner(database, TENANT, FakeClock(NOW), FixedSize(SLICE))
        await runner.work_off()


class FixedSize(SliceSize):
    """Slices whose size does not follow what they take."""

    def took(self, seconds: float) -> None:
        del seconds


async def outcome(url: str) -> Mapping[str, object]:
    async with Database(url) as database:
        job = "SELECT version, state, users, awarded, raised, rewritten FROM catalog_job"
        silenced = "SELECT nft_instance_id, message, mint FROM silenced_badge"
        more = {
            "job": sorted(map(str, await rows(database, job))),
            "silenced": sorted(map(str, await rows(database, silenced))),
        }
    return {**await facts(url), **more}


@pytest.fixture(scope="module", params=[False, True], ids=["said", "silent"])
def silent(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(scope="module")
def truth(database_server: PostgresServer, silent: bool) -> Mapping[str, object]:
    """What a job writes that nobody disturbs."""

    async def undisturbed() -> Mapping[str, object]:
        async with empty_database(database_server) as url:
            await migrations.upgrade(url)
            await prepare(url, silent=silent)
            await work_off(url)
            return await outcome(url)

    return asyncio.run(undisturbed())


@pytest.mark.parametrize(("point", "passing"), KILLS)
def test_a_killed_job_comes_to_what_an_undisturbed_one_does(
    point: str,
    passing: int,
    database_url: str,
    truth: Mapping[str, object],
    silent: bool,
) -> None:
    asyncio.run(prepare(database_url, silent=silent))
    assert forked(f"{point}:{passing}", lambda: work_off(database_url)) == signal.SIGKILL
    asyncio.run(work_off(database_url))
    assert asyncio.run(outcome(database_url)) == truth


def test_the_job_has_something_to_do_in_each_of_its_states(
    truth: Mapping[str, object],
    silent: bool,
) -> None:
    ((version, state, users, awarded, raised, rewritten),) = map(ast.literal_eval, truth["job"])  # type: ignore[call-overload]
    assert (version, state) == (2, "done")
    assert users > 2 * SLICE
    assert min(awarded, raised, rewritten) >= SLICE
    assert truth["tasks"]
    assert bool(truth["silenced"]) == silent
