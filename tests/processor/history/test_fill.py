"""A fill takes what was counted before the counter was there, once; whatever else there is, it leaves."""

import asyncio
from dataclasses import replace

import pytest

from ops.errors import UsageError
from ops.lifecycle import Stop
from processor.history import fill
from processor.history.fill import TakenSource
from processor.history.fill_closing import ClosingOptions, FillCloser
from store import catalogs, fills, retention
from store.engine import Database
from store.fill_staging import Standing
from store.values.fills import FillState
from tests.builders.catalogs import TENANT, a_catalog, a_counter
from tests.builders.clock import FakeClock
from tests.builders.late_counters import (
    EVENTS,
    FIRST,
    LATE,
    NAMES,
    OLD,
    PEOPLE,
    SECOND,
    a_step,
    climber,
    counted,
    late_world,
    put_in_force,
    steps,
    taken,
    the_counter,
    the_fill,
    walker,
)
from tests.builders.messages import NOW
from tests.builders.sources import a_history
from tests.builders.sql import rows, value

TABLES = ("fill_event", "fill_progress", "fill_member")


async def staged(database: Database) -> list[int]:
    return [await value(database, f"SELECT count(*) FROM {table}") for table in TABLES]


async def refusal(database: Database, name: str) -> str:
    async with database.transaction() as conn:
        with pytest.raises(UsageError) as caught:
            await fill.fillable(conn, name)
    return caught.value.message


async def closed(database: Database, name: str) -> None:
    counter = await the_counter(database, name)
    await FillCloser(database, counter, TENANT, FakeClock(NOW)).close(ClosingOptions())


async def test_it_takes_what_was_counted_before_and_nothing_else(database: Database) -> None:
    before = await late_world(database)
    since = [a_step(PEOPLE[0]), a_step(PEOPLE[1])]
    await counted(database, since, partition=1)
    nobody_has = [a_step(PEOPLE[2]) for _ in range(3)]
    found = await taken(database, "late_points", [*nobody_has, *before, *since])
    made = [each for each in before if each["type"] == "step.made"]
    assert found.numbers == {
        Standing.TAKEN: len(made),
        Standing.COUNTED: len(since),
        Standing.UNKNOWN: len(nobody_has),
    }
    assert await staged(database) == [len(made), len(PEOPLE), 0]


async def test_what_nobody_listened_to_when_it_came_is_left_to_a_backfill(
    database: Database,
) -> None:
    """Of a counter with undo: the undoing was heard by nobody, the done was."""
    only_points = a_catalog(
        replace(walker(), counters=(OLD[0].name,)), counters=OLD[:1], events=EVENTS
    )
    await put_in_force(database, only_points)
    messages = steps()
    await counted(database, messages)
    await put_in_force(database, SECOND)
    found = await taken(database, "late_standing", messages)
    assert found.numbers[Standing.UNHEARD] == 2
    assert found.numbers[Standing.TAKEN] == len(messages) - 2


async def test_overlapping_sources_are_taken_once(database: Database) -> None:
    before = await late_world(database)
    half = before[: len(before) // 2]
    first = await taken(database, "late_places", half)
    second = await taken(database, "late_places", before, slice_events=7)
    again = await taken(database, "late_places", before[5:])
    made = sum(each["type"] == "step.made" for each in before)
    assert first.numbers[Standing.TAKEN] + second.numbers[Standing.TAKEN] == made
    assert again.numbers[Standing.TAKEN] == 0
    found = await the_fill(database, "late_places")
    assert found is not None
    assert (found.state, found.events) == (FillState.OPEN, made)


async def test_the_same_source_goes_on_where_it_was_left(database: Database) -> None:
    before = await late_world(database)
    counter = await the_counter(database, "late_points")
    async with database.transaction() as conn:
        catalog = await catalogs.current(conn)
    assert catalog is not None
    stop = Stop()
    with a_history(before, fill.only(catalog, counter), 5) as history:
        begun = await fill.take(database, counter, history, stop, lambda _: stop.request())
        rest = await fill.take(database, counter, history, Stop())
        again = await fill.take(database, counter, history, Stop())
    assert (begun.finished, begun.done) == (False, 1)
    assert (rest.resumed_at, rest.finished) == (1, True)
    assert (again.resumed_at, again.numbers) == (history.slices, {})


async def test_another_event_under_a_known_id_is_refused_with_its_place(
    database: Database,
) -> None:
    before = await late_world(database)
    other = before[3] | {"subject": str(PEOPLE[0])}
    found = await taken(database, "late_points", [before[0], other])
    assert found.numbers == {Standing.TAKEN: 1, Standing.CONFLICTING: 1}
    ((place, rejected),) = [(each.place, each.rejected) for each in found.conflicts]
    assert place == 1
    assert rejected.reason == "event_id_conflict"
    assert str(other["id"]) in rejected.detail


async def test_an_event_of_an_unknown_fingerprint_conflicts_with_nothing(
    database: Database,
) -> None:
    before = await late_world(database)
    await rows(database, "UPDATE processed_event SET fingerprint = 0")
    found = await taken(database, "late_points", before[:1])
    assert found.numbers == {Standing.TAKEN: 1}


async def test_a_counter_that_there_is_not_is_named_with_its_neighbour(database: Database) -> None:
    await late_world(database)
    message = await refusal(database, "late_point")
    assert message.startswith("The catalog in force has no counter late_point. Did you mean late_p")


async def test_a_counter_that_was_there_before_all_others_has_no_past(database: Database) -> None:
    await late_world(database)
    assert "points has no past: before version 1 of the catalog" in await refusal(
        database, "points"
    )


async def test_a_counter_of_events_that_nobody_counted_has_no_past(database: Database) -> None:
    await put_in_force(database, FIRST)
    leaps = a_counter("leaps", event_type="leap.made")
    types = (walker(), climber("leaps"))
    await put_in_force(database, a_catalog(*types, counters=(*OLD, leaps), events=EVENTS))
    message = await refusal(database, "leaps")
    assert "no counter listened to leap.made" in message
    assert "`laurel backfill`" in message


async def test_a_counter_that_went_and_came_back_begins_where_it_came_back(
    database: Database,
) -> None:
    """Nobody counted into it between: what came then is its past, too."""
    await put_in_force(database, FIRST)
    await put_in_force(database, SECOND)
    await put_in_force(database, FIRST)
    between = [a_step(PEOPLE[0])]
    await counted(database, between)
    again = a_catalog(walker(), climber(*NAMES), counters=(*OLD, *LATE), events=EVENTS)
    await put_in_force(database, again)
    assert (await the_counter(database, "late_points")).first_version == 4
    assert (await taken(database, "late_points", between)).numbers == {Standing.TAKEN: 1}


async def test_a_fill_is_refused_where_ids_of_its_time_may_be_forgotten(
    database: Database,
) -> None:
    await late_world(database)
    async with database.transaction() as conn:
        began_on = (await fill.known(conn, "late_points")).began_on
        await retention.raise_floor(conn, began_on)
    await the_counter(database, "late_points")
    await rows(database, "UPDATE dedupe_floor SET floor = floor + 1")
    assert "may be forgotten" in await refusal(database, "late_points")


async def test_what_is_closed_is_not_filled_again(database: Database) -> None:
    before = await late_world(database)
    await taken(database, "late_points", before)
    await closed(database, "late_points")
    assert "late_points has its past: a fill of it was closed" in await refusal(
        database, "late_points"
    )
    assert await staged(database) == [0, 0, 0]


async def test_an_undone_fill_leaves_nothing_and_may_begin_anew(database: Database) -> None:
    before = await late_world(database)
    await taken(database, "late_standing", before)
    assert min(await staged(database)) > 0
    gone = await fill.undo(database, "late_standing")
    assert gone.events == len(before)
    assert await staged(database) == [0, 0, 0]
    assert await the_fill(database, "late_standing") is None
    assert (await taken(database, "late_standing", before)).numbers == {Standing.TAKEN: len(before)}


async def test_a_fill_that_is_half_undone_is_undone_or_nothing(database: Database) -> None:
    before = await late_world(database)
    await taken(database, "late_points", before)
    await rows(database, "UPDATE counter_fill SET state = 'undoing'")
    await rows(database, "DELETE FROM fill_event")
    assert "is being undone" in await refusal(database, "late_points")
    await fill.undo(database, "late_points")
    assert await the_fill(database, "late_points") is None


async def test_what_users_have_is_not_undone(database: Database) -> None:
    before = await late_world(database)
    await taken(database, "late_points", before)
    await closed(database, "late_points")
    with pytest.raises(UsageError, match="cannot be undone any more: 9 users have"):
        await fill.undo(database, "late_points")


async def test_nothing_is_undone_where_there_is_nothing(database: Database) -> None:
    await late_world(database)
    with pytest.raises(UsageError, match="there is nothing to undo"):
        await fill.undo(database, "late_points")


async def test_a_source_that_is_taken_while_somebody_closes_ends(database: Database) -> None:
    before = await late_world(database)
    counter = await the_counter(database, "late_points")
    async with database.transaction() as conn:
        catalog = await catalogs.current(conn)
    assert catalog is not None
    with a_history(before, fill.only(catalog, counter), 5) as history:
        await fill.take(database, counter, history, (stop := Stop()), lambda _: stop.request())
        await closed(database, "late_points")
        with pytest.raises(UsageError, match="has its past"):
            await fill.take(database, counter, history, Stop())


async def test_the_catalog_keeps_a_counter_that_is_being_filled(database: Database) -> None:
    before = await late_world(database)
    without = a_catalog(walker(), climber(*NAMES[1:]), counters=(*OLD, *LATE[1:]), events=EVENTS)
    await taken(database, "late_points", before)
    with pytest.raises(UsageError, match="late_points: it is being given its past"):
        await put_in_force(database, without)
    await fill.undo(database, "late_points")
    await put_in_force(database, without)


async def test_another_catalog_meanwhile_changes_nothing(database: Database) -> None:
    before = await late_world(database)
    await taken(database, "late_points", before[:20])
    await put_in_force(
        database,
        a_catalog(walker("late_points"), climber(*NAMES), counters=(*OLD, *LATE), events=EVENTS),
    )
    await taken(database, "late_points", before)
    async with database.transaction() as conn:
        fill_now = (await fills.every(conn))[0]
    assert fill_now.events == sum(each["type"] == "step.made" for each in before)


def test_a_source_without_slices_left_is_finished() -> None:
    assert TakenSource(3, resumed_at=3, done=3).finished


async def test_two_who_take_at_once_take_each_event_once(database: Database) -> None:
    before = await late_world(database)
    both = await asyncio.gather(
        taken(database, "late_climbed", before, slice_events=4),
        taken(database, "late_climbed", before[7:], slice_events=3),
    )
    made = sum(each["type"] == "step.made" for each in before)
    assert sum(each.numbers[Standing.TAKEN] for each in both) == made
    assert (await staged(database))[0] == made


async def test_what_a_kind_listens_to_is_said(database: Database) -> None:
    await late_world(database)
    counter = await the_counter(database, "late_standing")
    assert set(counter.event_types) == {"step.made", "step.undone"}
    assert (counter.is_max, counter.is_undoable) == (False, True)
    assert (await the_counter(database, "late_highest")).is_max
