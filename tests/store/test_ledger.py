"""The ledger of offsets: opened once, advanced under its lock, one to each cluster."""

import asyncio
from uuid import UUID

import pytest

from store import ledger
from store.engine import Database
from store.values.names import Partition
from store.values.stream import LedgerEntry
from tests.builders.sql import somebody_waits

QUESTS, TRIPS = ("laurel.quests", 0), ("laurel.trips", 3)


async def opened(database: Database, cluster_id: str = "test", **starts: int) -> None:
    """Open the ledger of quests and trips where `starts` says."""
    partitions = {"quests": QUESTS, "trips": TRIPS}
    async with database.transaction() as conn:
        await ledger.open_partitions(
            conn, cluster_id, {partitions[name]: offset for name, offset in starts.items()}
        )


async def entries(database: Database, cluster_id: str = "test") -> list[LedgerEntry]:
    async with database.transaction() as conn:
        found = await ledger.read(conn, cluster_id, {QUESTS, TRIPS})
    assert all(entry.key == key for key, entry in found.items())
    return sorted(found.values(), key=lambda entry: entry.key)


async def test_a_partition_that_was_never_opened_is_absent(database: Database) -> None:
    await opened(database, quests=5)
    assert await entries(database) == [LedgerEntry(*QUESTS, next_offset=5)]


async def test_opening_again_changes_nothing(database: Database) -> None:
    await opened(database, quests=5)
    await opened(database, quests=0, trips=7)
    assert await entries(database) == [LedgerEntry(*QUESTS, 5), LedgerEntry(*TRIPS, 7)]


async def test_clusters_count_apart(database: Database) -> None:
    await opened(database, "one", quests=5)
    await opened(database, "other", quests=9)
    assert await entries(database, "one") == [LedgerEntry(*QUESTS, 5)]
    assert await entries(database, "other") == [LedgerEntry(*QUESTS, 9)]


async def test_advancing_moves_the_partitions_named_and_no_other(database: Database) -> None:
    await opened(database, quests=5, trips=7)
    await opened(database, "other", quests=5)
    reached = LedgerEntry(*QUESTS, next_offset=12, last_offset=11, last_timestamp_ms=1_780_000)
    async with database.transaction() as conn:
        assert await ledger.lock(conn, "test", {QUESTS}) == {QUESTS: LedgerEntry(*QUESTS, 5)}
        await ledger.advance(conn, "test", [reached])
    assert await entries(database) == [reached, LedgerEntry(*TRIPS, 7)]
    assert await entries(database, "other") == [LedgerEntry(*QUESTS, 5)]


async def test_nothing_to_lock_or_advance_is_fine(database: Database) -> None:
    await opened(database, quests=5)
    async with database.transaction() as conn:
        assert await ledger.lock(conn, "test", set()) == {}
        await ledger.advance(conn, "test", [])
    assert await entries(database) == [LedgerEntry(*QUESTS, 5)]


async def test_who_waited_for_the_lock_sees_where_the_other_came_to(database: Database) -> None:
    await opened(database, quests=5)
    first_holds = asyncio.Event()

    async def first() -> None:
        async with database.transaction() as conn:
            await ledger.lock(conn, "test", {QUESTS})
            first_holds.set()
            await somebody_waits(database)
            await ledger.advance(conn, "test", [LedgerEntry(*QUESTS, 8, 7)])

    async def second() -> LedgerEntry:
        await first_holds.wait()
        async with database.transaction() as conn:
            return (await ledger.lock(conn, "test", {QUESTS}))[QUESTS]

    _, seen = await asyncio.gather(first(), second())
    assert seen == LedgerEntry(*QUESTS, next_offset=8, last_offset=7)


async def test_two_who_lock_the_same_partitions_in_another_order_do_not_deadlock(
    database: Database,
) -> None:
    await opened(database, quests=5, trips=7)

    async def lock(partitions: list[Partition]) -> None:
        for _ in range(20):
            async with database.transaction() as conn:
                await ledger.lock(conn, "test", partitions)

    await asyncio.gather(lock([QUESTS, TRIPS]), lock([TRIPS, QUESTS]))


async def test_an_uncommitted_advance_is_not_seen(database: Database) -> None:
    await opened(database, quests=5)

    async def interrupted() -> None:
        async with database.transaction() as conn:
            await ledger.advance(conn, "test", [LedgerEntry(*QUESTS, 8)])
            raise KeyError("the power went out")

    with pytest.raises(KeyError, match="power"):
        await interrupted()
    assert await entries(database) == [LedgerEntry(*QUESTS, 5)]


OLD, NEW = UUID(int=1), UUID(int=2)


async def topic_ids(database: Database) -> dict[Partition, UUID | None]:
    return {entry.key: entry.topic_id for entry in await entries(database)}


async def test_a_topics_id_is_taken_over_once_something_is_counted_of_it(
    database: Database,
) -> None:
    await opened(database, quests=5, trips=0)
    assert await topic_ids(database) == {QUESTS: None, TRIPS: None}
    for seen, of_trips in ((OLD, OLD), (NEW, NEW)):
        async with database.transaction() as conn:
            await ledger.identify(conn, "test", {QUESTS: seen, TRIPS: seen})
        assert await topic_ids(database) == {QUESTS: OLD, TRIPS: of_trips}
    async with database.transaction() as conn:
        await ledger.advance(conn, "test", [LedgerEntry(*TRIPS, 1, 0, 5)])
        await ledger.identify(conn, "test", {TRIPS: OLD})
        await ledger.identify(conn, "another", {TRIPS: OLD})
        await ledger.identify(conn, "test", {})
    assert await topic_ids(database) == {QUESTS: OLD, TRIPS: NEW}
