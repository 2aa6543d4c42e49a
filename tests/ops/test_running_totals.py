"""Totals between two lines of a log."""

from datetime import timedelta

from ops.running_totals import RunningTotals
from tests.builders.clock import FakeClock


async def test_totals_are_taken_once_with_every_figure_and_their_time() -> None:
    clock = FakeClock()
    totals = RunningTotals(("batches", "records", "levels"), clock)
    totals.add({"records": 2, "batches": 1})
    totals.add({"records": 3, "batches": 1, "levels": 0})
    await clock.sleep(timedelta(seconds=10))
    assert totals.seconds == 10
    assert totals.moved == {"batches", "records"}
    taken = totals.take()
    assert list(taken.items()) == [("batches", 2), ("records", 5), ("levels", 0), ("seconds", 10.0)]
    assert (totals.take(), totals.moved, totals.seconds) == ({}, frozenset(), 0)
