"""A pause reaches the consumer, /ready and the database, and ends when its row is gone."""

from collections.abc import Iterable

from ops.lifecycle import Readiness
from processor.stream.pausing import Pausing
from store import ledger, paused_partitions
from store.engine import Database
from store.values.names import Partition
from store.values.stream import PausedPartition, PauseReason
from tests.builders.metrics import value

QUESTS = ("laurel.quests", 0)
GAUGE = ("laurel_partitions_paused", "laurel.quests", "records_removed")
PAUSED = PausedPartition(*QUESTS, 5, PauseReason.RECORDS_REMOVED, "gone", 8)


class Reader:
    """A consumer that notes what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[object] = []

    async def pause(self, partition: Partition, *, drop_in_flight: bool) -> None:
        self.asked.append(("pause", partition, drop_in_flight))

    async def read_on(self, partitions: Iterable[Partition]) -> None:
        self.asked.append(("read on", *partitions))


async def test_a_pause_lasts_until_an_operator_decides(database: Database) -> None:
    reader, readiness = Reader(), Readiness()
    pausing = Pausing(database, "a", readiness, lambda: reader)
    async with database.transaction() as conn:
        await ledger.open_partitions(conn, "a", {QUESTS: 5})
    await pausing.pause(PAUSED)
    await pausing.look()
    await pausing.look()
    assert list(readiness.degraded) == ["laurel.quests[0]"]
    assert value(*GAUGE) == 1
    assert pausing.partitions == {QUESTS}
    assert reader.asked == [("pause", QUESTS, False)]
    async with database.transaction() as conn:
        (place,) = await paused_partitions.lock_places(conn, QUESTS, None)
        await paused_partitions.decide(conn, place, to=None, actor="eve", reason=None)
    await pausing.look()
    assert reader.asked[1:] == [("read on", QUESTS)]
    assert value(*GAUGE) == 0
    assert (readiness.degraded, pausing.partitions) == ({}, frozenset())


async def test_a_partition_that_is_skipped_before_the_database_shows_it_is_read_on(
    database: Database,
) -> None:
    reader, readiness = Reader(), Readiness()
    pausing = Pausing(database, "a", readiness, lambda: reader)
    async with database.transaction() as conn:
        await ledger.open_partitions(conn, "a", {QUESTS: 5})
    await pausing.pause(PAUSED)
    async with database.transaction() as conn:
        (place,) = await paused_partitions.lock_places(conn, QUESTS, None)
        await paused_partitions.decide(conn, place, to=8, actor="eve", reason="known")
    await pausing.look()
    assert reader.asked == [("pause", QUESTS, False), ("read on", QUESTS)]
    assert (readiness.degraded, pausing.partitions) == ({}, frozenset())
    async with database.transaction() as conn:
        (place,) = await paused_partitions.lock_places(conn, QUESTS, None)
    assert place.pause_reason is None


async def test_a_revoked_partition_is_its_new_owners(database: Database) -> None:
    reader, readiness = Reader(), Readiness()
    pausing = Pausing(database, "a", readiness, lambda: reader)
    await pausing.pause(PAUSED, drop_in_flight=True)
    pausing.forget([QUESTS])
    await pausing.look()
    assert readiness.degraded == {}
    assert value(*GAUGE) == 0
    assert reader.asked == [("pause", QUESTS, True)]
