"""Paused partitions: shown until they are counted past or decided about."""

from uuid import UUID

from store import ledger, paused_partitions
from store.engine import Database
from store.values.stream import LedgerEntry, PausedPartition, PauseReason
from tests.builders.sql import rows, value

QUESTS = ("laurel.quests", 0)
PAUSED = PausedPartition(*QUESTS, 5, PauseReason.RECORDS_REMOVED, "gone\x00", 8)


async def paused(database: Database, found: PausedPartition = PAUSED, cluster: str = "a") -> None:
    async with database.transaction() as conn:
        await ledger.open_partitions(conn, cluster, {found.key: found.offset})
        await paused_partitions.save(conn, cluster, found)


async def listed(database: Database) -> list[PausedPartition]:
    async with database.transaction() as conn:
        return [row.paused for row in await paused_partitions.listed(conn)]


async def test_a_pause_is_shown_until_its_records_are_counted_after_all(
    database: Database,
) -> None:
    await paused(database)
    (row,) = await listed(database)
    assert (row.key, row.offset, row.skip_to, row.detail) == (QUESTS, 5, 8, "gone\\0")
    async with database.transaction() as conn:
        await ledger.advance(conn, "a", [LedgerEntry(*QUESTS, 6, 5, 1)])
    assert await listed(database) == []


async def test_the_same_pause_again_keeps_its_time_and_another_begins_anew(
    database: Database,
) -> None:
    since = "SELECT paused_at FROM paused_partition"
    await paused(database)
    first = await value(database, since)
    await paused(database)
    assert await value(database, since) == first
    await paused(database, PausedPartition(*QUESTS, 6, PauseReason.RECORDS_REMOVED, "more"))
    assert await value(database, since) > first


async def test_a_decision_ends_the_pause_of_its_cluster_moves_the_ledger_and_is_kept(
    database: Database,
) -> None:
    await paused(database)
    await paused(database, cluster="b")
    async with database.transaction() as conn:
        (place,) = await paused_partitions.lock_places(conn, QUESTS, "a")
        await paused_partitions.decide(conn, place, to=8, actor="admin:eve", reason="known")
        assert await paused_partitions.still_paused(conn, "a", [QUESTS]) == set()
        assert await paused_partitions.still_paused(conn, "b", [QUESTS]) == {QUESTS}
        assert await ledger.read(conn, "a", [QUESTS]) == {QUESTS: LedgerEntry(*QUESTS, 8)}
        assert await ledger.read(conn, "b", [QUESTS]) == {QUESTS: LedgerEntry(*QUESTS, 5)}
    kept = await rows(
        database,
        "SELECT cluster_id, action, pause_reason, from_offset, to_offset, reason, actor "
        "FROM partition_decision",
    )
    assert kept == [("a", "skipped", "records_removed", 5, 8, "known", "admin:eve")]


async def test_a_skip_takes_over_the_topic_that_was_made_anew_and_a_resumption_does_not(
    database: Database,
) -> None:
    old, new = UUID(int=1), UUID(int=2)
    found = PausedPartition(*QUESTS, 5, PauseReason.TOPIC_RECREATED, "anew", 0, new)
    for to, counted in ((None, old), (5, new)):
        await paused(database, found)
        assert [each.topic_id for each in await listed(database)] == [new]
        async with database.transaction() as conn:
            await ledger.identify(conn, "a", {QUESTS: old})
            (place,) = await paused_partitions.lock_places(conn, QUESTS, "a")
            await paused_partitions.decide(conn, place, to=to, actor="eve", reason=None)
            assert (await ledger.read(conn, "a", [QUESTS]))[QUESTS].topic_id == counted
    kept = await rows(database, "SELECT action, topic_id FROM partition_decision ORDER BY id")
    assert kept == [("resumed", None), ("skipped", new)]


async def test_a_skip_for_another_reason_leaves_the_topic_what_it_is(database: Database) -> None:
    await paused(database)
    async with database.transaction() as conn:
        await ledger.identify(conn, "a", {QUESTS: UUID(int=1)})
        (place,) = await paused_partitions.lock_places(conn, QUESTS, "a")
        await paused_partitions.decide(conn, place, to=8, actor="eve", reason="known")
        assert (await ledger.read(conn, "a", [QUESTS]))[QUESTS].topic_id == UUID(int=1)
