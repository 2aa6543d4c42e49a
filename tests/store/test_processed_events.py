"""processed_event: an event enters once, and is known again by what it was counted as."""

from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import event, text

from store import counting, processed_events
from store.counting import Staging
from store.engine import Database
from store.processed_events import CountedEvent
from tests.builders.sql import rows, value

ANN = UUID(int=1)
# On the first of May in UTC, whatever the session's time zone.
LATE = datetime(2026, 5, 1, 23, 30, tzinfo=UTC)


def key(number: int) -> str:
    return f"{number:032x}"


async def dedupe(
    database: Database, *events: tuple[int, int], version: int = 1, silent: bool = False
) -> dict[str, CountedEvent]:
    """Stage events (number of the key, fingerprint) in a transaction of their own."""
    staging = Staging()
    for number, fingerprint in events:
        staging.add(key(number), fingerprint, LATE, ANN, ())
    async with database.transaction() as conn:
        await conn.exec_driver_sql("SET LOCAL TIME ZONE 'Asia/Vladivostok'")
        await counting.prepare(conn)
        await counting.stage(conn, [staging])
        return dict(await processed_events.dedupe(conn, version, silent=silent))


async def test_a_row_says_what_first_counted_the_event_and_never_changes(
    database: Database,
) -> None:
    assert await dedupe(database, (1, -7), version=3, silent=True) == {}
    known = await dedupe(database, (1, 8), (2, 9), version=4)
    assert known == {key(1): CountedEvent(-7, silent=True)}
    assert await rows(
        database,
        "SELECT event_key, first_version, fingerprint, occurred_on, silent"
        "  FROM processed_event ORDER BY event_key",
    ) == [
        (UUID(int=1), 3, -7, date(2026, 5, 1), True),
        (UUID(int=2), 4, 9, date(2026, 5, 1), False),
    ]


async def test_only_what_was_never_counted_stays_staged(database: Database) -> None:
    await dedupe(database, (1, 1))
    staging = Staging()
    for number in (1, 2):
        staging.add(key(number), 1, LATE + timedelta(days=1), ANN, ())
    async with database.transaction() as conn:
        await counting.prepare(conn)
        await counting.stage(conn, [staging])
        await processed_events.dedupe(conn, 1, silent=False)
        left = await conn.exec_driver_sql("SELECT event_key FROM batch_event")
        assert [row.event_key for row in left] == [UUID(int=2)]


@pytest.mark.parametrize("unheard", [0, 2_000])
async def test_what_was_never_heard_is_looked_up_by_its_own_index(
    database: Database, unheard: int
) -> None:
    """Neither all events nor all unheard ones are read for a batch."""
    fill = """
        INSERT INTO processed_event (event_key, first_version, fingerprint, occurred_on, silent)
        SELECT gen_random_uuid(), :version, 1, now(), false FROM generate_series(1, :number)
    """
    await rows(database, fill, version=1, number=20_000)
    await rows(database, fill, version=0, number=unheard)
    await rows(database, "ANALYZE processed_event")
    async with database.transaction() as conn:
        await counting.prepare(conn)
        statement = text(f"EXPLAIN {processed_events.FORGET_UNHEARD.text}")
        found = (await conn.execute(statement, {"unheard": counting.UNHEARD})).scalars()
        plan = "\n".join(found)
    assert "Seq Scan on processed_event" not in plan
    assert plan.count("processed_event_unheard_idx") == 2


async def test_an_unheard_event_keeps_its_fingerprint_and_is_new_once(database: Database) -> None:
    staging = Staging()
    staging.add(key(1), 7, LATE, ANN, None)
    async with database.transaction() as conn:
        await counting.prepare(conn)
        await counting.stage(conn, [staging])
        assert await processed_events.dedupe(conn, 3, silent=False) == {}
    versions = "SELECT first_version, fingerprint FROM processed_event"
    assert await rows(database, versions) == [(0, 7)]
    assert await dedupe(database, (1, 8), version=4) == {key(1): CountedEvent(7, silent=False)}
    assert await dedupe(database, (1, 7), version=5) == {}
    assert await dedupe(database, (1, 7), version=6) == {key(1): CountedEvent(7, silent=False)}
    assert await rows(database, versions) == [(5, 7)]


async def test_a_row_takes_sixty_bytes(database: Database) -> None:
    """With its line pointer: there is one for every event that ever was."""
    await dedupe(database, *((number, 1) for number in range(1, 10_001)))
    pages = await value(
        database, "SELECT pg_relation_size('processed_event') / current_setting('block_size')::int"
    )
    # 8 192 bytes, less the page's header of 24.
    assert 10_000 / pages > 8_168 // 60 - 1


async def test_an_event_that_is_forgotten_meanwhile_is_known_all_the_same(
    database: Database, database_url: str
) -> None:
    """Between the statement that leaves it out and the one that asks what it was."""
    await dedupe(database, (1, 7), (2, 8))

    def forget(_conn: object, _cursor: object, statement: str, *_more: object) -> None:
        if "SELECT event_key, fingerprint, silent" in statement:
            with psycopg.connect(database_url) as other:
                other.execute("DELETE FROM processed_event WHERE fingerprint = 7")

    event.listen(database.engine.sync_engine, "before_cursor_execute", forget)
    assert await dedupe(database, (1, 9), (2, 9)) == {
        key(1): CountedEvent(0, silent=False),
        key(2): CountedEvent(8, silent=False),
    }


async def test_a_silence_ends_once(database: Database) -> None:
    await dedupe(database, (1, 7), (2, 8), silent=True)
    await dedupe(database, (3, 9))
    for expected in ({key(1)}, set()):
        async with database.transaction() as conn:
            assert await processed_events.end_silence(conn, [key(3), key(1)]) == expected
    assert (await dedupe(database, (2, 8)))[key(2)].silent
