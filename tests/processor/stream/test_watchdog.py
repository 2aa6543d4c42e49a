"""When a worker is stalled, and when it only has nothing to do; without a second of waiting."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from ops.lifecycle import Part, Readiness
from processor.stream.group_watch import GroupTrouble
from processor.stream.positions import PartitionPosition
from processor.stream.watchdog import GroupMissing, Stalled, StreamProgress, StreamWatchdog
from tests.builders.clock import FakeClock
from tests.builders.metrics import value

QUESTS = ("laurel.quests", 0)
CITIES = ("laurel.cities", 1)
STALL_AFTER = timedelta(minutes=5)
SECOND = timedelta(seconds=1)


class Bench:
    """A watchdog and its clock."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.readiness = Readiness()
        self.watchdog = StreamWatchdog(STALL_AFTER, "kafka:9092", self.readiness, self.clock)

    @property
    def epoch(self) -> float:
        return self.clock.now().timestamp()

    def position(self, *, end: int = 100, fetched_to: int = 100) -> PartitionPosition:
        """All up to `fetched_to` is fetched, from offset 0; the broker answers at this moment."""
        return PartitionPosition(fetched_to, end, 0, fetched_to, self.epoch)

    def progress(self, counted_to: int, *, committed_at: float = 0.0) -> StreamProgress:
        """A partition of a hundred records, all fetched."""
        return StreamProgress({QUESTS: self.position()}, {QUESTS: counted_to}, committed_at)


async def test_records_that_wait_without_a_commit_are_a_stall() -> None:
    bench = Bench()
    bench.watchdog.check(bench.progress(40))
    bench.clock.advance(STALL_AFTER)
    bench.watchdog.check(bench.progress(40))
    bench.clock.advance(SECOND)
    with pytest.raises(Stalled) as stalled:
        bench.watchdog.check(bench.progress(40))
    assert stalled.value.message == "60 records wait, and none was counted for 301 s"
    assert stalled.value.code == "stalled"


async def test_a_commit_now_and_then_is_no_stall() -> None:
    bench = Bench()
    for counted_to in range(10):
        bench.watchdog.check(
            bench.progress(counted_to, committed_at=bench.clock.monotonic() - 250.0)
        )
        bench.clock.advance(STALL_AFTER)
    bench.clock.advance(SECOND)
    with pytest.raises(Stalled):
        bench.watchdog.check(bench.progress(9, committed_at=bench.clock.monotonic() - 301.0))


async def test_nothing_to_do_is_no_stall_however_long() -> None:
    bench = Bench()
    for _ in range(10):
        bench.clock.advance(timedelta(days=1))
        bench.watchdog.check(bench.progress(100))
        bench.watchdog.check(StreamProgress({}, {}, 0.0, is_standby=True))
    # Work that comes after the idle days has the whole bound to be done.
    bench.clock.advance(STALL_AFTER)
    bench.watchdog.check(bench.progress(40))


async def test_waiting_for_postgresql_is_no_stall_and_the_bound_begins_after_it() -> None:
    bench = Bench()
    bench.readiness.wait_for(Part.POSTGRESQL, "nobody listens")
    bench.clock.advance(timedelta(hours=3))
    bench.watchdog.check(bench.progress(40))
    bench.readiness.arrived(Part.POSTGRESQL)
    bench.clock.advance(STALL_AFTER)
    bench.watchdog.check(bench.progress(40))
    bench.clock.advance(SECOND)
    with pytest.raises(Stalled):
        bench.watchdog.check(bench.progress(40))


async def test_another_wait_hides_no_stall() -> None:
    bench = Bench()
    bench.readiness.wait_for(Part.CATALOG, "none in force")
    bench.clock.advance(STALL_AFTER + SECOND)
    with pytest.raises(Stalled):
        bench.watchdog.check(bench.progress(40))


async def test_the_lag_of_each_partition_is_published() -> None:
    bench = Bench()
    positions = {QUESTS: bench.position(), CITIES: bench.position(end=130, fetched_to=30)}
    bench.watchdog.check(StreamProgress(positions, {QUESTS: 93, CITIES: 30}, 0.0))
    assert value("laurel_consumer_lag_records", "laurel.quests", "0") == 7
    assert value("laurel_consumer_lag_records", "laurel.cities", "1") == 100
    bench.watchdog.check(StreamProgress(positions, {QUESTS: 100, CITIES: 30}, 0.0))
    assert value("laurel_consumer_lag_records", "laurel.quests", "0") == 0


async def test_records_behind_an_open_transaction_are_published_and_are_no_stall() -> None:
    """Nobody can count them: a restart would not help."""
    bench = Bench()
    held = replace(bench.position(), withheld=30)
    bench.watchdog.check(StreamProgress({QUESTS: held}, {QUESTS: 100}, 0.0))
    assert value("laurel_withheld_records", "laurel.quests", "0") == 30
    assert value("laurel_consumer_lag_records", "laurel.quests", "0") == 0
    bench.clock.advance(STALL_AFTER + SECOND)
    bench.watchdog.check(StreamProgress({QUESTS: bench.position()}, {QUESTS: 100}, 0.0))
    assert value("laurel_withheld_records", "laurel.quests", "0") == 0


async def test_a_group_with_partitions_ends_the_start() -> None:
    bench = Bench()
    bench.watchdog.check(StreamProgress({}, {}, 0.0))
    assert Part.START in bench.readiness.waits
    bench.watchdog.check(bench.progress(100))
    assert bench.readiness.ready


async def test_brokers_that_are_silent_make_the_worker_unready_until_one_answers() -> None:
    bench = Bench()
    bench.watchdog.check(bench.progress(100))
    answered = bench.progress(100)
    bench.clock.advance(timedelta(seconds=10))
    bench.watchdog.check(answered)
    assert bench.readiness.ready
    bench.clock.advance(SECOND)
    bench.watchdog.check(answered)
    assert bench.readiness.waits == {Part.KAFKA: "Kafka at kafka:9092 has not answered for 11 s"}
    bench.watchdog.check(bench.progress(100))
    assert bench.readiness.ready


async def test_one_broker_that_answers_is_enough() -> None:
    bench = Bench()
    silent = bench.position()
    bench.clock.advance(timedelta(minutes=1))
    positions = {QUESTS: silent, CITIES: bench.position()}
    bench.watchdog.check(StreamProgress(positions, {QUESTS: 100, CITIES: 100}, 0.0))
    assert bench.readiness.ready


async def test_nobody_asks_the_brokers_while_chunks_are_in_flight() -> None:
    bench = Bench()
    in_flight = bench.progress(40)
    bench.clock.advance(timedelta(minutes=1))
    bench.watchdog.check(in_flight)
    assert bench.readiness.ready
    bench.watchdog.check(replace(in_flight, counted_to={QUESTS: 100}))
    assert Part.KAFKA in bench.readiness.waits


async def test_it_looks_every_second_and_names_the_coroutine_that_waits() -> None:
    bench = Bench()

    async def waits_for_a_lock(secret: str) -> None:
        del secret
        await asyncio.Event().wait()

    async def counts_a_batch() -> None:
        await waits_for_a_lock("postgresql://laurel:hunter2@db/laurel")

    stuck = asyncio.create_task(counts_a_batch(), name="batcher")
    await asyncio.sleep(0)
    with capture_logs() as logs, pytest.raises(Stalled):
        await bench.watchdog.watch(lambda: bench.progress(40))
    stuck.cancel()
    assert set(bench.clock.slept) == {SECOND}
    assert bench.clock.monotonic() == 301.0
    (line,) = [
        line for line in logs if (line["event"], line.get("task")) == ("task_stack", "batcher")
    ]
    assert line["reason"] == "stalled"
    *_, caller, waiter, event = line["stack"].splitlines()
    assert "counts_a_batch" in caller
    assert waiter.startswith(f"{__file__}:")
    assert "waits_for_a_lock" in waiter
    assert "Event.wait" in event
    assert "hunter2" not in str(logs)


async def test_a_standby_is_ready_and_a_member_that_waits_for_its_group_is_not() -> None:
    bench = Bench()
    bench.watchdog.check(StreamProgress({}, {}, 0.0))
    assert Part.START in bench.readiness.waits
    bench.watchdog.check(StreamProgress({}, {}, 0.0, is_standby=True))
    assert bench.readiness.ready


DENIED = GroupTrouble("Kafka denies this user the consumer group laurel-worker")
KEPT_OUT = StreamProgress({}, {}, 0.0, group_trouble=DENIED)
FORMING = StreamProgress({}, {}, 0.0)


async def test_a_worker_that_is_kept_out_of_its_group_says_why_and_ends_with_it() -> None:
    bench = Bench()
    bench.watchdog.check(KEPT_OUT)
    assert bench.readiness.waits[Part.KAFKA] == DENIED.reason
    bench.clock.advance(STALL_AFTER)
    bench.watchdog.check(KEPT_OUT)
    bench.clock.advance(SECOND)
    with pytest.raises(GroupMissing) as missing:
        bench.watchdog.check(KEPT_OUT)
    assert missing.value.message == DENIED.reason


async def test_trouble_outweighs_what_is_left_of_the_last_assignment() -> None:
    bench = Bench()
    bench.watchdog.check(bench.progress(100))
    bench.watchdog.check(replace(bench.progress(100), group_trouble=DENIED))
    assert bench.readiness.waits == {Part.KAFKA: DENIED.reason}


async def test_a_group_without_a_coordinator_ends_the_worker_at_once() -> None:
    bench = Bench()
    dead = GroupTrouble("the coordinator says: ValueError()", is_final=True)
    with pytest.raises(GroupMissing, match="ValueError"):
        bench.watchdog.check(replace(bench.progress(100), group_trouble=dead))


async def test_a_group_that_forms_is_no_trouble_for_a_while_and_then_a_wait_and_an_end() -> None:
    bench = Bench()
    bench.watchdog.check(bench.progress(100))
    bench.clock.advance(timedelta(seconds=10))
    bench.watchdog.check(FORMING)
    assert bench.readiness.ready
    bench.clock.advance(SECOND)
    bench.watchdog.check(FORMING)
    assert bench.readiness.waits == {Part.KAFKA: "no consumer group at kafka:9092 for 11 s"}
    bench.clock.advance(STALL_AFTER)
    with pytest.raises(GroupMissing):
        bench.watchdog.check(FORMING)


async def test_the_bound_on_a_missing_group_begins_after_a_wait_for_postgresql() -> None:
    """What is assigned is not read before PostgreSQL says where."""
    bench = Bench()
    bench.readiness.wait_for(Part.POSTGRESQL, "nobody listens")
    bench.clock.advance(timedelta(hours=3))
    bench.watchdog.check(FORMING)
    bench.readiness.arrived(Part.POSTGRESQL)
    bench.clock.advance(STALL_AFTER)
    bench.watchdog.check(FORMING)
    bench.clock.advance(SECOND)
    with pytest.raises(GroupMissing):
        bench.watchdog.check(FORMING)


async def test_a_standby_outlives_every_bound() -> None:
    bench = Bench()
    for _ in range(3):
        bench.clock.advance(STALL_AFTER + SECOND)
        bench.watchdog.check(StreamProgress({}, {}, 0.0, is_standby=True))
    assert bench.readiness.ready


async def test_the_loss_of_the_group_is_logged_once_and_so_is_its_return() -> None:
    bench = Bench()
    with capture_logs() as logs:
        bench.watchdog.check(KEPT_OUT)
        bench.clock.advance(timedelta(minutes=1))
        for progress in (KEPT_OUT, FORMING, bench.progress(100), bench.progress(100)):
            bench.watchdog.check(progress)
    assert [(line["event"], line.get("reason", line.get("after"))) for line in logs] == [
        ("kafka_lost", DENIED.reason),
        ("kafka_back", DENIED.reason),
        ("worker_ready", None),
    ]
    assert bench.readiness.ready


async def test_what_is_counted_is_logged_once_it_is_and_again_where_it_changes() -> None:
    bench = Bench()
    other = StreamProgress({CITIES: bench.position()}, {CITIES: 100}, 0.0)
    with capture_logs() as logs:
        bench.readiness.wait_for(Part.TOPICS, "one is missing")
        bench.watchdog.check(bench.progress(100))
        bench.readiness.arrived(Part.TOPICS)
        for _ in range(2):
            bench.watchdog.check(bench.progress(100))
        for _ in range(2):
            bench.watchdog.check(other)
    assert [line["partitions"] for line in logs if line["event"] == "worker_ready"] == [
        ["laurel.quests/0"],
        ["laurel.cities/1"],
    ]


async def test_what_waits_in_a_paused_partition_is_no_stall_and_in_its_neighbour_it_is() -> None:
    bench = Bench()
    positions = {QUESTS: bench.position(), CITIES: bench.position()}
    paused = StreamProgress(positions, {QUESTS: 40, CITIES: 100}, 0.0, paused={QUESTS})
    bench.watchdog.check(paused)
    assert value("laurel_consumer_lag_records", "laurel.quests", "0") == 60, "it is shown"
    bench.clock.advance(STALL_AFTER + SECOND)
    bench.watchdog.check(paused)
    behind = replace(paused, counted_to={QUESTS: 40, CITIES: 90})
    bench.watchdog.check(behind)
    bench.clock.advance(STALL_AFTER + SECOND)
    with pytest.raises(Stalled, match="10 records wait"):
        bench.watchdog.check(behind)


async def test_nobody_answers_for_a_paused_partition_and_that_is_no_silence() -> None:
    bench = Bench()
    positions = {QUESTS: bench.position()}
    bench.clock.advance(timedelta(minutes=1))
    bench.watchdog.check(StreamProgress(positions, {QUESTS: 100}, 0.0, paused={QUESTS}))
    assert bench.readiness.ready


async def test_a_denied_topic_makes_the_worker_unready_and_its_lag_is_no_stall() -> None:
    bench = Bench()
    denied = replace(bench.progress(40), denied_topics={"laurel.quests"})
    bench.clock.advance(STALL_AFTER + SECOND)
    bench.watchdog.check(denied)
    assert bench.readiness.waits == {
        Part.KAFKA: "Kafka denies this user to read laurel.quests; the other topics are read: "
        "allow it the operation Read on them"
    }
    bench.watchdog.check(bench.progress(100))
    assert bench.readiness.ready
