"""Counters that a type takes over: whole whenever they are looked at, however it is interrupted."""

from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from store import adoption, catalog_jobs, catalogs
from store.engine import Database
from store.values.catalog import Catalog, CounterKind, FieldKind, FieldSpec
from store.values.names import CounterName
from tests.builders.catalogs import a_catalog, a_counter, a_level, a_type, an_event
from tests.builders.sql import rows
from tests.store.test_catalogs import RUNNER, WALKER, applied, some_progress


async def taken_over(database: Database) -> None:
    """Take over what the open job says, for everybody."""
    async with database.transaction() as conn:
        work = await catalog_jobs.adopting(conn)
        assert work is not None
        users = [user for (user,) in await rows(database, "SELECT user_id FROM nft_progress")]
        await adoption.adopt(conn, work.adoptions, work.dropped, set(users))


async def counters(database: Database, type_id: UUID) -> dict[UUID, object]:
    return dict(
        await rows(
            database, "SELECT user_id, counters FROM nft_progress WHERE type_id = :id", id=type_id
        )
    )


def both_catalogs(*runner_counters: str) -> tuple[Catalog, Catalog]:
    levels = (a_level(1, {"points": {"gte": 5}}),)
    counters = tuple(a_counter(name) for name in ("points", "leaps"))
    walker = a_type(*levels, counters=("points", "leaps"))
    runner = a_type(
        a_level(1, {runner_counters[0]: {"gte": 5}}), code="runner", counters=runner_counters
    )
    return a_catalog(walker, counters=counters), a_catalog(walker, runner, counters=counters)


async def test_a_new_type_takes_over_the_values(database: Database) -> None:
    old, new = both_catalogs("points", "leaps")
    await applied(database, old)
    one, other = uuid4(), uuid4()
    await some_progress(database, one, '{"points": 7, "leaps": 0.5}')
    await some_progress(database, other, '{"leaps": 3}')
    assert (await applied(database, new)).rules_changed == {RUNNER}
    await taken_over(database)
    statement = """
        SELECT user_id, counters::text, last_event_at::date::text
          FROM nft_progress WHERE type_id = :type_id
    """
    assert set(await rows(database, statement, type_id=RUNNER)) == {
        (one, '{"leaps": 0.5, "points": 7}', "2026-01-01"),
        (other, '{"leaps": 3}', "2026-01-01"),
    }


async def test_a_type_with_counters_of_its_own_keeps_them(database: Database) -> None:
    levels = (a_level(1, {"points": {"gte": 5}}),)
    walker, runner = (
        a_type(*levels),
        a_type(a_level(1, {"leaps": {"gte": 5}}), code="runner", counters=("leaps",)),
    )
    await applied(database, a_catalog(walker, runner))
    user = uuid4()
    await some_progress(database, user, '{"points": 7}')
    await some_progress(database, user, '{"leaps": 2}', RUNNER)
    outcome = await applied(
        database,
        a_catalog(walker, replace(runner, counters=(CounterName("leaps"), CounterName("points")))),
    )
    assert outcome.rules_changed == {RUNNER}
    await taken_over(database)
    assert await rows(
        database, f"SELECT counters FROM nft_progress WHERE type_id = '{RUNNER}'"
    ) == [({"leaps": 2, "points": 7},)]


async def moving(database: Database, kind: CounterKind = CounterKind.COUNT) -> UUID:
    """Move the counter `leaps` from walker to runner; return a user who has 2 of them."""
    field = {} if kind is CounterKind.COUNT else {"field": "height"}
    defined = (a_counter("points"), a_counter("leaps", kind=kind, **field))
    events = (an_event("step.made", FieldSpec("height", FieldKind.INTEGER, minimum=0)),)
    levels = (a_level(1, {"points": {"gte": 5}}),)
    walker = a_type(*levels, counters=("points", "leaps"))
    runner = a_type(*levels, code="runner")
    both = (CounterName("points"), CounterName("leaps"))
    user = uuid4()
    await applied(database, a_catalog(walker, runner, counters=defined, events=events))
    await some_progress(database, user, '{"points": 7, "leaps": 2}')
    moved = (replace(walker, counters=both[:1]), replace(runner, counters=both))
    await applied(database, a_catalog(*moved, counters=defined, events=events))
    return user


async def test_a_counter_may_move_from_one_type_to_another(database: Database) -> None:
    user = await moving(database)
    for _ in range(2):  # the second finds nothing left to move
        await taken_over(database)
        assert await counters(database, WALKER) == {user: {"points": 7}}
        assert await counters(database, RUNNER) == {user: {"leaps": 2}}


@pytest.mark.parametrize(("kind", "whole"), [(CounterKind.COUNT, 5), (CounterKind.MAX, 3)])
async def test_a_counter_that_moves_keeps_what_was_counted_at_its_new_place(
    database: Database, kind: CounterKind, whole: int
) -> None:
    user = await moving(database, kind)
    await some_progress(database, user, '{"leaps": 3, "points": 1}', RUNNER)
    for _ in range(2):
        await taken_over(database)
        assert await counters(database, RUNNER) == {user: {"leaps": whole, "points": 1}}


async def test_steps_that_both_have_counted_are_not_added_twice(database: Database) -> None:
    old, new = both_catalogs("points", "leaps")
    await applied(database, old)
    user = uuid4()
    await some_progress(database, user, '{"points": 7}')
    await applied(database, new)
    # A batch that counts by the new catalog before anything is taken over.
    await rows(database, "UPDATE nft_progress SET counters = '{\"points\": 9}'")
    await some_progress(database, user, '{"points": 2, "leaps": 1}', RUNNER)
    await taken_over(database)
    assert await counters(database, RUNNER) == {user: {"points": 9, "leaps": 1}}


async def test_two_types_may_change_counters_with_each_other(database: Database) -> None:
    def catalog(walkers: str, runners: str) -> Catalog:
        return a_catalog(
            a_type(a_level(1, {walkers: {"gte": 5}}), counters=(walkers,)),
            a_type(a_level(1, {runners: {"gte": 5}}), code="runner", counters=(runners,)),
            counters=(a_counter("points"), a_counter("leaps")),
        )

    await applied(database, catalog("points", "leaps"))
    user = uuid4()
    await some_progress(database, user, '{"points": 7}')
    await some_progress(database, user, '{"leaps": 2}', RUNNER)
    await applied(database, catalog("leaps", "points"))
    await taken_over(database)
    assert await counters(database, WALKER) == {user: {"leaps": 2}}
    assert await counters(database, RUNNER) == {user: {"points": 7}}


async def test_another_catalog_waits_until_counters_are_taken_over(database: Database) -> None:
    await moving(database)
    with pytest.raises(catalogs.CountersPending):
        await applied(database, a_catalog())
