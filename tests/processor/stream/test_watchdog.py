"""When a worker is stalled, and when it only has nothing to do; without a second of waiting."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from ops.lifecycle import Part, Readiness
from processor.stream.positions import PartitionPosition
from processor.stream.watchdog import Stalled, StreamProgress, Watchdog
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
        self.watchdog = Watchdog(STALL_AFTER, "kafka:9092", self.readiness, self.clock)

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
        bench.watchdog.check(StreamProgress({}, {}, 0.0))
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
