"""What two clocks say for certain, and when that is told."""

from datetime import UTC, datetime, timedelta

import pytest

from ops.clock_reading import ClockReading

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
TOLERANCE = 10 * MINUTE


def a_reading(
    ahead: timedelta, uncertainty: timedelta = timedelta(0), *, may_be_later: bool = False
) -> ClockReading:
    return ClockReading("PostgreSQL", NOON, NOON - ahead, uncertainty, may_be_later)


@pytest.mark.parametrize("ahead", [TOLERANCE, -TOLERANCE, timedelta(0)])
def test_the_tolerance_itself_is_fine(ahead: timedelta) -> None:
    assert a_reading(ahead).trouble(TOLERANCE) is None


@pytest.mark.parametrize(
    ("ahead", "words"), [(11 * MINUTE, "11m ahead of"), (-11 * MINUTE, "11m behind")]
)
def test_beyond_it_both_times_and_the_way_out_are_told(ahead: timedelta, words: str) -> None:
    trouble = a_reading(ahead).trouble(TOLERANCE)
    assert trouble is not None
    assert words in trouble
    assert "2026-11-23T12:00:00Z" in trouble
    assert f"{NOON - ahead:%H:%M:%S}Z" in trouble
    assert "LAUREL_WORKER__FUTURE_TOLERANCE (10m)" in trouble
    assert "NTP" in trouble


def test_what_the_way_of_the_answer_may_explain_is_no_difference() -> None:
    assert a_reading(11 * MINUTE, uncertainty=MINUTE).trouble(TOLERANCE) is None
    assert a_reading(-11 * MINUTE, uncertainty=MINUTE).trouble(TOLERANCE) is None
    assert a_reading(12 * MINUTE, uncertainty=MINUTE).trouble(TOLERANCE) is not None


def test_a_time_that_may_be_later_tells_only_of_a_host_that_is_behind() -> None:
    assert a_reading(60 * MINUTE, may_be_later=True).difference == timedelta(0)
    assert a_reading(-60 * MINUTE, may_be_later=True).difference == 60 * MINUTE
