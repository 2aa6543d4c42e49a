"""processed_event: an event enters once, and is known again by what it was counted as."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from uuid import UUID

import pytest

from store import processed_events
from store.binary_format import UuidArray
from store.engine import Database, TransactionConflict
from store.processed_events import CountedBy, CountedEvent
from tests.builders.sql import rows, somebody_waits, value

# On the first of May in UTC, whatever the session's time zone.
LATE = datetime(2026, 5, 1, 23, 30, tzinfo=UTC)
VERSIONS = "SELECT first_version, fingerprint FROM processed_event"


@dataclass(frozen=True, slots=True)
class Identified:
    """What an event is known by."""

    key: str
    fingerprint: int
    time: datetime = LATE
    heard: bool = True


def key(number: int) -> str:
    return f"{number:032x}"


def an_event(number: int, fingerprint: int = 1, *, heard: bool = True) -> Identified:
    return Identified(key(number), fingerprint, heard=heard)


async def remember(
    database: Database, *events: Identified, version: int = 1, silent: bool = False
) -> Mapping[str, CountedEvent]:
    """Remember events in a transaction of their own."""
    async with database.transaction() as conn:
        await conn.exec_driver_sql("SET LOCAL TIME ZONE 'Asia/Vladivostok'")
        return await processed_events.remember(conn, events, CountedBy(version, silent))


@pytest.mark.parametrize("waits", [False, True])
async def test_a_row_says_what_first_counted_the_event_and_never_changes(
    database: Database, waits: bool
) -> None:
    first, second = CountedBy(3, silent=True, waits=waits), CountedBy(4, waits=waits)
    async with database.transaction() as conn:
        known = await processed_events.remember(conn, [an_event(1, -7)], first)
        assert known == {}
    async with database.transaction() as conn:
        events = [an_event(2, 9, heard=False), an_event(1, 8), an_event(3, -(2**31))]
        known = await processed_events.remember(conn, events, second)
        assert known == {key(1): CountedEvent(-7, silent=True)}
    assert await rows(
        database,
        "SELECT event_key, first_version, fingerprint, occurred_on, silent"
        "  FROM processed_event ORDER BY event_key",
    ) == [
        (UUID(int=1), 3, -7, date(2026, 5, 1), True),
        (UUID(int=2), 0, 9, date(2026, 5, 1), False),
        (UUID(int=3), 4, -(2**31), date(2026, 5, 1), False),
    ]


@pytest.mark.parametrize("year", [1, 1999, 9999])
async def test_a_day_is_the_events_own_in_any_year(database: Database, year: int) -> None:
    """The years 1 to 9999 are all that an event may have."""
    moment = datetime(year, 12, 31, 23, 59, tzinfo=UTC)
    await remember(database, Identified(key(1), 1, moment))
    assert await value(database, "SELECT occurred_on FROM processed_event") == moment.date()


async def test_nothing_is_remembered_of_an_empty_batch(database: Database) -> None:
    assert await remember(database) == {}


async def test_two_batches_that_bring_one_event_at_once_count_it_once(database: Database) -> None:
    """Each has asked before the other has written: the second one fails, and finds it then."""
    async with database.transaction() as first:
        await processed_events.remember(first, [an_event(5, 7)], CountedBy(1))
        second = asyncio.create_task(remember(database, an_event(5, 8), an_event(6, 8)))
        await somebody_waits(database)
    with pytest.raises(TransactionConflict):
        await second
    assert await rows(database, VERSIONS) == [(1, 7)]
    assert await remember(database, an_event(5, 8), an_event(6, 8)) == {
        key(5): CountedEvent(7, silent=False)
    }


async def test_a_batch_that_waits_meets_no_conflict(database: Database) -> None:
    async def waiting() -> Mapping[str, CountedEvent]:
        async with database.transaction() as conn:
            events = [an_event(6, 8), an_event(5, 8)]
            return await processed_events.remember(conn, events, CountedBy(1, waits=True))

    async with database.transaction() as first:
        await processed_events.remember(first, [an_event(5, 7)], CountedBy(1))
        second = asyncio.create_task(waiting())
        await somebody_waits(database)
    assert await second == {key(5): CountedEvent(7, silent=False)}
    assert await rows(database, f"{VERSIONS} ORDER BY event_key") == [(1, 7), (1, 8)]


@pytest.mark.parametrize("waits", [False, True])
async def test_an_event_of_a_batch_that_was_rolled_back_is_new(
    database: Database, waits: bool
) -> None:
    async with database.engine.connect() as first:
        await processed_events.remember(first, [an_event(5, 7)], CountedBy(1))
        async with asyncio.TaskGroup() as both:

            async def second() -> Mapping[str, CountedEvent]:
                async with database.transaction() as conn:
                    by = CountedBy(2, waits=waits)
                    return await processed_events.remember(conn, [an_event(5, 8)], by)

            task = both.create_task(second())
            await somebody_waits(database)
            await first.rollback()
    assert task.result() == {}
    assert await rows(database, VERSIONS) == [(2, 8)]


async def test_known_events_are_looked_up_by_the_index_alone(database: Database) -> None:
    """However many there are: nothing reads the table as a whole for a batch."""
    fill = """
        INSERT INTO processed_event (event_key, first_version, fingerprint, occurred_on, silent)
        SELECT gen_random_uuid(), number % 2, 1, now(), false
          FROM generate_series(1, 50000) AS number
    """
    await rows(database, fill)
    await rows(database, "ANALYZE processed_event")
    keys = [UUID(int=number).hex for number in range(100)]
    for statement in (processed_events.KNOWN, processed_events.FORGET_UNHEARD):
        found = await rows(database, f"EXPLAIN {statement.text}", keys=UuidArray(keys))
        assert "Seq Scan on processed_event" not in str(found)


@pytest.mark.parametrize("waits", [False, True])
async def test_an_unheard_event_keeps_its_fingerprint_and_is_new_once(
    database: Database, waits: bool
) -> None:
    async def again(fingerprint: int, version: int) -> Mapping[str, CountedEvent]:
        async with database.transaction() as conn:
            by = CountedBy(version, waits=waits)
            return await processed_events.remember(conn, [an_event(1, fingerprint)], by)

    assert await remember(database, an_event(1, 7, heard=False), version=3) == {}
    assert await rows(database, VERSIONS) == [(0, 7)]
    assert await again(8, 4) == {key(1): CountedEvent(7, silent=False)}
    assert await again(7, 5) == {}
    assert await again(7, 6) == {key(1): CountedEvent(7, silent=False)}
    assert await rows(database, VERSIONS) == [(5, 7)]


async def test_a_row_takes_sixty_bytes(database: Database) -> None:
    """With its line pointer: there is one for every event that ever was."""
    await remember(database, *(an_event(number) for number in range(1, 10_001)))
    pages = await value(
        database,
        "SELECT count(DISTINCT (CAST(CAST(ctid AS text) AS point))[0]) FROM processed_event",
    )
    # 8 192 bytes, less the page's header of 24.
    assert 10_000 / pages > 8_168 // 60 - 1


async def test_a_silence_ends_once(database: Database) -> None:
    await remember(database, an_event(1, 7), an_event(2, 8), silent=True)
    await remember(database, an_event(3, 9))
    for expected in ({key(1)}, set()):
        async with database.transaction() as conn:
            assert await processed_events.end_silence(conn, [key(3), key(1)]) == expected
    assert (await remember(database, an_event(2, 8)))[key(2)].silent
