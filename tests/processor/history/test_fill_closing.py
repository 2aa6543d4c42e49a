"""Closing a fill gives users what they would have, once, in silence or not, whatever a catalog's job
has not done yet."""

import asyncio
import random
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from ops.errors import UsageError
from processor.catalog.job import JobRunner, SliceSize
from processor.history.fill_closing import ClosingOptions, FillCloser
from processor.history.fill_forecast import forecast
from store import fill_closing
from store.engine import Connection, Database, StatementTimedOut
from store.fills import Fill
from store.values.catalog import Catalog
from store.values.fills import FillState
from store.values.names import CounterName
from tests.builders.catalogs import TENANT, a_catalog, a_level, a_type
from tests.builders.clock import FakeClock
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
    put_in_force,
    taken,
    the_counter,
    the_fill,
    walker,
)
from tests.builders.messages import NOW, Log, a_pipeline, open_ledger
from tests.builders.messages import an_event as a_message
from tests.builders.metrics import Moved
from tests.builders.sql import column, rows
from tests.builders.told_history import FixedSize

COUNTERS = """
    SELECT user_id, code, counters FROM nft_progress JOIN nft_type ON nft_type.id = type_id
"""


class Interrupted(Exception):
    """The process ends after a slice."""


def interrupt(_fill: Fill) -> None:
    raise Interrupted


async def a_closer(database: Database, name: str, size: int = 500) -> FillCloser:
    counter = await the_counter(database, name)
    return FillCloser(database, counter, TENANT, FakeClock(NOW), FixedSize(size))


async def close(database: Database, name: str, **options: bool) -> Fill:
    return await (await a_closer(database, name)).close(ClosingOptions(**options))


async def counters(database: Database, code: str, name: str) -> Mapping[UUID, Any]:
    return {
        user: values[name]
        for user, of_type, values in await rows(database, COUNTERS)
        if of_type == code and name in values
    }


async def test_each_user_has_the_past_and_what_it_gives(database: Database) -> None:
    before = await late_world(database)
    await taken(database, "late_points", before)
    assert await counters(database, "climber", "late_points") == {}
    done = await close(database, "late_points")
    expected = dict(zip(PEOPLE, range(1, 10), strict=True))
    assert await counters(database, "climber", "late_points") == expected
    levels = await rows(database, "SELECT user_id, current_level FROM nft_instance")
    assert dict(levels) == {who: min(3, n // 2) for who, n in expected.items() if n > 1}
    assert (done.state, done.users, done.awarded, done.raised) == (FillState.CLOSED, 9, 8, 0)


async def test_its_badges_name_no_event_and_are_told_of_and_minted(database: Database) -> None:
    before = await late_world(database)
    await taken(database, "late_points", before)
    moved = Moved()
    await close(database, "late_points")
    sources = "SELECT DISTINCT source_service, source_event_id, tenant_id FROM nft_instance"
    assert await rows(database, sources) == [("system", None, TENANT)]
    assert await column(database, "SELECT DISTINCT event_type FROM outbox_message") == [
        "badge.created"
    ]
    # Who passes the second level: from four steps on.
    assert await rows(database, "SELECT count(*) FROM nft_mint_queue") == [(6,)]
    assert await rows(database, "SELECT * FROM silenced_badge") == []
    levels = moved.by("laurel_levels_total")
    assert sum(levels.values()) == 8


async def test_it_may_be_closed_in_silence_and_said_later(database: Database) -> None:
    before = await late_world(database)
    await taken(database, "late_points", before)
    await close(database, "late_points", silent=True, no_mint=True)
    assert await rows(database, "SELECT * FROM outbox_message") == []
    assert await rows(database, "SELECT * FROM nft_mint_queue") == []
    left_out = "SELECT message, mint, count(*) FROM silenced_badge GROUP BY 1, 2 ORDER BY 2"
    assert await rows(database, left_out) == [
        ("badge.created", False, 2),
        ("badge.created", True, 6),
    ]


async def test_what_goes_on_says_the_same_as_what_was_begun(database: Database) -> None:
    before = await late_world(database)
    await taken(database, "late_points", before)
    counter = await the_counter(database, "late_points")

    def closer() -> FillCloser:
        return FillCloser(database, counter, TENANT, FakeClock(NOW), FixedSize(2))

    with pytest.raises(Interrupted):
        await closer().close(ClosingOptions(silent=True), interrupt)
    with pytest.raises(UsageError, match="began with --silent, and 2 users have theirs"):
        await closer().close(ClosingOptions())
    done = await closer().close(ClosingOptions(silent=True))
    assert (done.users, done.awarded) == (9, 8)
    assert await rows(database, "SELECT * FROM outbox_message") == []
    again = await closer().close(ClosingOptions())
    assert again == await the_fill(database, "late_points")


async def test_who_has_counted_on_meanwhile_is_raised_by_both(database: Database) -> None:
    before = await late_world(database)
    await taken(database, "late_points", before)
    since = [*(a_step(PEOPLE[0]) for _ in range(3)), a_step(PEOPLE[3])]
    await counted(database, since, partition=1)
    done = await close(database, "late_points")
    assert (done.awarded, done.raised) == (8, 1)
    assert (await counters(database, "climber", "late_points"))[PEOPLE[0]] == 4


async def test_the_forecast_is_what_closing_gives(database: Database) -> None:
    before = await late_world(database)
    await counted(database, [a_step(PEOPLE[0]) for _ in range(2)], partition=1)
    for name in NAMES:
        await taken(database, name, before)
    for name in NAMES:
        users, levels = await forecast(database, await the_counter(database, name))
        moved = Moved()
        done = await close(database, name)
        assert users == done.users
        assert sum(each.created for each in levels.values()) == done.awarded
        assert sum(each.raised for each in levels.values()) == done.raised
        assert moved.by("laurel_levels_total") == {
            (code, str(level)): each.created + each.raised for (code, level), each in levels.items()
        }


@pytest.mark.parametrize("name", ["late_highest", "late_places", "late_standing", "late_climbed"])
@pytest.mark.parametrize("moves", [False, True], ids=["keeps", "moves"])
@pytest.mark.parametrize("done", [0, 1, 2, 3])
async def test_a_type_that_takes_the_counter_over_meanwhile_has_all_of_it(
    database: Database, name: str, moves: bool, done: int
) -> None:
    """Whatever the job has done when the fill is closed, and where it goes on afterwards."""
    before = await late_world(database)
    since = [a_step(who, "p9", 3) for who in PEOPLE[2:5]]
    await counted(database, since, partition=1)
    await taken(database, name, before)
    await put_in_force(database, handed_on(name, moves=moves))
    job = JobRunner(database, TENANT, FakeClock(NOW), FixedSize(3))
    for _ in range(done):
        await job._next(only_counters=False, idle_for=None)
    closer = await a_closer(database, name, 2)
    with pytest.raises(Interrupted):
        await closer.close(ClosingOptions(), interrupt)
    await job._next(only_counters=False, idle_for=None)
    await counted(database, more := [a_step(PEOPLE[6], "p8", 9)], partition=2)
    await (await a_closer_again(database, closer)).close(ClosingOptions())
    await job.work_off()
    expected = truth(name, [*before, *since, *more])
    assert await counters(database, "heir", name) == expected
    assert await counters(database, "climber", name) == ({} if moves else expected)


async def test_what_closing_gives_shows_whole_counters(database: Database) -> None:
    """Where a type takes the counter over, and the job has not come to it yet."""
    before = await late_world(database)
    await counted(database, [a_step(PEOPLE[0]) for _ in range(3)], partition=1)
    await taken(database, "late_points", before)
    await put_in_force(database, handed_on("late_points", moves=False, least=4))
    closer = await a_closer(database, "late_points", 1)
    with pytest.raises(Interrupted):
        await closer.close(ClosingOptions(), interrupt)
    statement = """
        SELECT metadata FROM nft_instance JOIN nft_type ON nft_type.id = type_id
         WHERE code = 'heir' AND user_id = :user
    """
    assert await rows(database, statement, user=PEOPLE[0]) == [({"level": 1, "so_many": 4},)]


async def a_closer_again(database: Database, before: FillCloser) -> FillCloser:
    """Another process."""
    return FillCloser(database, before._counter, TENANT, FakeClock(NOW), FixedSize(2))


def handed_on(name: str, *, moves: bool, least: int = 1) -> Catalog:
    """The heir uses the counter from now on; the climber goes on with it or not."""
    left = tuple(each for each in NAMES if not moves or each != name)
    heir = a_type(
        a_level(1, {name: {"gte": least}}),
        code="heir",
        counters=(name,),
        metadata_fields={"so_many": CounterName(name)},
    )
    return a_catalog(walker(), climber(*left), heir, counters=(*OLD, *LATE), events=EVENTS)


def truth(name: str, messages: list[dict[str, Any]]) -> Mapping[UUID, int]:
    """The slow and obvious way."""
    found = {}
    for who in PEOPLE:
        own = [each for each in messages if each["subject"] == str(who)]
        made = [each["data"] for each in own if each["type"] == "step.made"]
        undone = {each["data"]["place"] for each in own if each["type"] == "step.undone"}
        found[who] = {
            "late_highest": max(each["height"] for each in made),
            "late_climbed": sum(each["height"] for each in made),
            "late_places": len({each["place"] for each in made}),
            "late_standing": len({each["place"] for each in made} - undone),
        }[name]
    return found


async def test_workers_count_for_the_same_users_meanwhile(database: Database) -> None:
    """Into the same members, some of them undone, some before the fill brings them."""
    chance = random.Random(3)
    before = await late_world(database)
    since = [
        a_step(who, f"p{chance.randrange(6)}", chance.randrange(9))
        for who in PEOPLE
        for _ in "1234"
    ]
    since += [a_message("step.undone", who, {"place": "p1"}) for who in PEOPLE[5:7]]
    chance.shuffle(since)
    for name in ("late_standing", "late_highest"):
        await taken(database, name, before)
    closers = [await a_closer(database, each, 2) for each in ("late_standing", "late_highest")]
    await asyncio.gather(
        *(each.close(ClosingOptions()) for each in closers),
        *(one_by_one(database, since[number::3], partition=number + 1) for number in range(3)),
    )
    for name in ("late_standing", "late_highest"):
        assert await counters(database, "climber", name) == truth(name, [*before, *since])


async def one_by_one(database: Database, messages: list[dict[str, Any]], partition: int) -> None:
    """Count each in a batch of its own."""
    log = Log()
    log.append(*messages, topic="laurel.steps", partition=partition)
    chunks = log.chunks(records_max=1)
    await open_ledger(database, chunks[:1])
    pipeline = await a_pipeline(database)
    for chunk in chunks:
        await pipeline.run([chunk])


async def test_a_slice_that_times_out_is_halved(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await late_world(database)
    await taken(database, "late_points", before)
    real, sizes = fill_closing.shares, []

    async def slow(conn: Connection, counter_id: int, limit: int, *more: Any) -> Any:
        sizes.append(limit)
        if limit > 2:
            await conn.execute(text("SET LOCAL statement_timeout = 1"))
            await conn.execute(text("SELECT pg_sleep(600)"))
        return await real(conn, counter_id, limit, *more)

    counter = await the_counter(database, "late_points")
    monkeypatch.setattr(fill_closing, "shares", slow)
    closer = FillCloser(database, counter, TENANT, FakeClock(NOW), SliceSize(8))
    with pytest.raises(StatementTimedOut):
        # The keys and what else is left go in slices that are not halved.
        await closer.close(ClosingOptions())
    assert sizes[:3] == [8, 4, 2]
    monkeypatch.undo()
    assert (await closer.close(ClosingOptions())).users == 9


async def test_a_fill_that_has_taken_nothing_is_not_closed(database: Database) -> None:
    await late_world(database)
    with pytest.raises(UsageError, match="No fill of late_points is open"):
        await close(database, "late_points")
    await taken(database, "late_points", [a_step(PEOPLE[0])])
    with pytest.raises(UsageError, match="has taken no event"):
        await close(database, "late_points")


async def test_the_catalog_keeps_a_counter_that_has_its_past(database: Database) -> None:
    """Also before any batch has counted into it."""
    before = await late_world(database)
    await taken(database, "late_points", before)
    await close(database, "late_points")
    without = a_catalog(walker(), climber(*NAMES[1:]), counters=(*OLD, *LATE[1:]), events=EVENTS)
    with pytest.raises(UsageError, match="late_points: it has counted"):
        await put_in_force(database, without)


async def test_a_user_with_the_lowest_of_ids_has_theirs(database: Database) -> None:
    nobody = UUID(int=0)
    await put_in_force(database, a_catalog(walker(), counters=OLD, events=EVENTS))
    await counted(database, made := [a_step(nobody), a_step(nobody)])
    await put_in_force(
        database, a_catalog(walker(), climber(*NAMES), counters=(*OLD, *LATE), events=EVENTS)
    )
    await taken(database, "late_points", made)
    await close(database, "late_points")
    assert await counters(database, "climber", "late_points") == {nobody: 2}
