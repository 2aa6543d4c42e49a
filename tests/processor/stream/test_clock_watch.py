"""A worker's host whose clock is wrong: not ready, and why; against a real PostgreSQL."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from ops.clock_reading import ClockReading
from ops.lifecycle import Part, Readiness
from processor.stream.clock_watch import AppendTimes, ClockWatch
from store import clock as database_clock
from store.engine import Database
from tests.builders.clock import FakeClock, ShiftedClock

MINUTE = timedelta(minutes=1)
TOLERANCE = 10 * MINUTE


def appended(at: float, timestamp_type: int = 1) -> SimpleNamespace:
    return SimpleNamespace(timestamp=round(at * 1000), timestamp_type=timestamp_type)


def a_watch(
    database: Database,
    clock: ShiftedClock,
    readiness: Readiness,
    kafka: Callable[[], ClockReading | None] = lambda: None,
) -> ClockWatch:
    readiness.arrived(Part.START)
    return ClockWatch(
        partial(database_clock.read, database, clock), kafka, TOLERANCE, readiness, clock
    )


@pytest.mark.parametrize(("shift", "side"), [(11 * MINUTE, "ahead of"), (-11 * MINUTE, "behind")])
async def test_a_clock_that_is_set_wrong_makes_the_worker_unready_until_it_is_right(
    database: Database, shift: timedelta, side: str
) -> None:
    clock, readiness = ShiftedClock(shift), Readiness()
    watch = a_watch(database, clock, readiness)
    with capture_logs() as logs:
        await watch.look()
        await watch.look()
        assert f"{side} PostgreSQL's" in readiness.waits[Part.CLOCK]
        clock.shift = timedelta(0)
        await watch.look()
    assert readiness.ready
    assert [line["event"] for line in logs] == ["clock_wrong", "clock_right"]


async def test_a_clock_within_the_tolerance_is_ready(database: Database) -> None:
    readiness = Readiness()
    await a_watch(database, ShiftedClock(9 * MINUTE), readiness).look()
    assert readiness.ready


async def test_a_record_that_the_broker_appended_later_than_now_tells_of_a_host_behind(
    database: Database,
) -> None:
    """PostgreSQL runs on the same host, and is as late."""
    clock, readiness = FakeClock(), Readiness()
    times = AppendTimes(clock)
    times.note(appended((clock.now() + 11 * MINUTE).timestamp()))
    await a_watch(database, ShiftedClock(timedelta(0)), readiness, times.reading).look()
    assert "behind Kafka's" in readiness.waits[Part.CLOCK]
    assert "PostgreSQL" not in readiness.waits[Part.CLOCK]


def test_the_brokers_time_goes_on_between_two_records() -> None:
    clock = FakeClock()
    times = AppendTimes(clock)
    times.note(appended(clock.now().timestamp()))
    clock.advance(MINUTE)
    reading = times.reading()
    assert reading is not None
    assert reading.ahead == timedelta(0)


def test_an_old_record_says_nothing_of_a_clock_that_a_newer_one_told_of() -> None:
    clock = FakeClock()
    times = AppendTimes(clock)
    times.note(appended((clock.now() + MINUTE).timestamp()))
    times.note(appended((clock.now() - 60 * MINUTE).timestamp()))
    reading = times.reading()
    assert reading is not None
    assert reading.ahead == -MINUTE


def test_a_time_that_a_producer_made_up_is_no_brokers() -> None:
    clock = FakeClock()
    times = AppendTimes(clock)
    times.note(appended((clock.now() + 60 * MINUTE).timestamp(), timestamp_type=0))
    assert times.reading() is None


def test_a_broker_is_not_believed_for_ever() -> None:
    """Its clock may have been set back since."""
    clock = FakeClock()
    times = AppendTimes(clock)
    times.note(appended((clock.now() + 60 * MINUTE).timestamp()))
    clock.advance(11 * MINUTE)
    assert times.reading() is None
    times.note(appended(clock.now().timestamp()))
    reading = times.reading()
    assert reading is not None
    assert reading.ahead == timedelta(0)
