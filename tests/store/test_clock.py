"""PostgreSQL's clock is read beside the host's, which runs on the same machine here."""

from datetime import timedelta

import pytest

from store import clock
from store.engine import Database
from tests.builders.clock import ShiftedClock
from tests.builders.patience import PATIENCE

HOUR = timedelta(hours=1)


async def test_a_clock_differs_from_itself_by_no_more_than_the_round_trip_explains(
    database: Database,
) -> None:
    reading = await clock.read(database)
    assert reading.difference == timedelta(0)
    assert timedelta(0) < reading.uncertainty < PATIENCE


@pytest.mark.parametrize("shift", [HOUR, -HOUR])
async def test_a_host_clock_that_was_set_wrong_shows_by_how_much(
    database: Database, shift: timedelta
) -> None:
    reading = await clock.read(database, ShiftedClock(shift))
    assert abs(reading.ahead - shift) <= reading.uncertainty
    assert reading.trouble(HOUR / 2) is not None
