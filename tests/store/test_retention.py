"""dedupe_floor only rises, and what is forgotten always lies below it."""

import asyncio
from datetime import UTC, date, datetime, timedelta

import pytest

from store import retention
from store.engine import Database, StatementRefused
from store.retention import PruneReport
from tests.builders.sql import rows, somebody_waits, value

FLOOR = "SELECT floor FROM dedupe_floor"
ADD = """
    INSERT INTO processed_event (event_key, first_version, fingerprint, occurred_on, silent)
    SELECT gen_random_uuid(), 1, 1, CAST((now() - CAST(:age AS interval)) AT TIME ZONE 'UTC' AS date),
           false
      FROM generate_series(1, :number)
"""


async def add(database: Database, number: int, *, days: int) -> None:
    await rows(database, ADD, number=number, age=timedelta(days=days))


async def prune(
    database: Database, days: int, *, dry_run: bool = False, said: list[str] | None = None
) -> PruneReport:
    say = (said if said is not None else []).append
    return await retention.prune(database, timedelta(days=days), dry_run=dry_run, say=say)


async def left(database: Database) -> int:
    return int(await value(database, "SELECT count(*) FROM processed_event"))


async def test_ids_of_whole_days_go_and_the_floor_says_so(database: Database) -> None:
    for days in (20, 11, 10, 9, 0):
        await add(database, days + 1, days=days)
    report = await prune(database, 10)
    floor = await value(database, FLOOR)
    assert report == PruneReport(floor, 21 + 12, dry_run=False)
    assert floor in {datetime.now(UTC).date() - timedelta(days=n) for n in (10, 11)}
    assert await value(database, "SELECT min(occurred_on) FROM processed_event") == floor
    assert (await prune(database, 10)).events == 0


async def test_a_dry_run_counts_the_same_and_changes_nothing(database: Database) -> None:
    await add(database, 5, days=20)
    await add(database, 3, days=1)
    report = await prune(database, 10, dry_run=True)
    assert (report.events, await left(database)) == (5, 8)
    assert await value(database, FLOOR) == date.min
    assert (await prune(database, 10)).floor == report.floor


async def test_a_longer_retention_does_not_lower_the_floor(database: Database) -> None:
    await prune(database, 10)
    before = await value(database, FLOOR)
    await add(database, 4, days=15)
    report = await prune(database, 400)
    assert report == PruneReport(before, 4, dry_run=False)
    assert await value(database, FLOOR) == before


async def test_a_lower_floor_is_no_news(database: Database) -> None:
    for day in (date(2026, 1, 2), date(2026, 1, 1)):
        async with database.transaction() as conn:
            await retention.raise_floor(conn, day)
    assert await value(database, FLOOR) == date(2026, 1, 2)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE dedupe_floor SET floor = '2025-12-31'",
        "DELETE FROM dedupe_floor",
        "TRUNCATE dedupe_floor",
    ],
)
async def test_the_database_refuses_to_forget_the_floor(database: Database, statement: str) -> None:
    await rows(database, "UPDATE dedupe_floor SET floor = '2026-01-01'")
    with pytest.raises(StatementRefused, match="only rises"):
        await rows(database, statement)
    assert await value(database, FLOOR) == date(2026, 1, 1)


async def test_the_table_goes_slice_by_slice(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every slice ends in a commit of its own, and no page is left out."""
    monkeypatch.setattr(retention, "PAGES_A_SLICE", 2)
    monkeypatch.setattr(retention, "SAY_EVERY", 3)
    for _ in range(4):
        await add(database, 200, days=20)
        await add(database, 100, days=1)
    said: list[str] = []
    assert (await prune(database, 10, dry_run=True)).events == 800
    report = await prune(database, 10, said=said)
    assert (report.events, await left(database)) == (800, 400)
    assert said
    assert said[0].startswith("3 of ")


async def test_ids_go_by_the_floor_in_the_database(database: Database) -> None:
    """Whoever asks: above it nothing is forgotten."""
    await add(database, 5, days=20)
    async with database.transaction() as conn:
        assert await retention.forget(conn, 0) == 0
    assert await left(database) == 5


async def test_the_floor_waits_for_the_batches_that_were_read_by_the_old_one(
    database: Database,
) -> None:
    """Batches do not wait for each other, but those that come now wait for the floor."""
    async with database.transaction() as batch:
        assert await retention.floor_for_share(batch) == date.min
        async with database.transaction() as other:
            assert await retention.floor_for_share(other) == date.min
        raising = asyncio.create_task(prune(database, 10))
        await somebody_waits(database)
        later = asyncio.create_task(shared(database))
        await somebody_waits(database, 2)
        assert await value(database, FLOOR) == date.min
    report = await raising
    assert await later == report.floor > date.min


async def shared(database: Database) -> date:
    async with database.transaction() as conn:
        return await retention.floor_for_share(conn)
