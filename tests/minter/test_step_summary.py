"""One line every ten seconds about what was done."""

from collections.abc import MutableMapping
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from minter.step_summary import StepSummary
from store.settlement_effects import Settlement
from store.values.minting import HoldReason, TaskEvent, TaskOperation, TaskStatus
from tests.builders.clock import FakeClock
from tests.builders.tasks import a_leased_task

SECOND = timedelta(seconds=1)
PENDING, CONFIRMED, FAILED = TaskStatus.PENDING, TaskStatus.CONFIRMED, TaskStatus.FAILED


def told(lines: list[MutableMapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what the lines say, without figures that are 0."""
    beside = {"event", "component", "log_level"}
    assert {(line["event"], line["log_level"]) for line in lines} <= {("mint_steps_taken", "info")}
    return [
        {name: value for name, value in line.items() if value and name not in beside}
        for line in lines
    ]


def test_steps_are_added_up_and_told_once() -> None:
    clock = FakeClock()
    steps = StepSummary(clock)
    ended = [
        (CONFIRMED, TaskEvent.CONFIRMED),
        (CONFIRMED, TaskEvent.CONFIRMED),
        (PENDING, TaskEvent.VOID),
        (PENDING, TaskEvent.INDEX_TAKEN),
        (PENDING, TaskEvent.PARKED),
        (FAILED, TaskEvent.FAILED),
        (PENDING, TaskEvent.HELD),
    ]
    with capture_logs() as lines:
        for _ in range(2):
            steps.add(messages=1, tasks=120)
            steps.sent(taken=True, detail="")
        steps.sent(taken=False, detail="exit code 36")
        steps.add(resumed=1)
        steps.add(freed=7)
        steps.settled(
            Settlement(a_leased_task(TaskOperation.MINT), status, event) for status, event in ended
        )
        clock.advance(9 * SECOND)
        steps.tell()
        assert lines == [], "not yet"
        clock.advance(SECOND)
        steps.tell()
        steps.log()
    assert told(lines) == [
        {
            "messages": 2,
            "tasks": 240,
            "resumed": 1,
            "sends": 3,
            "not_taken": 1,
            "detail": "exit code 36",
            "confirmed": 2,
            "again": 2,
            "parked": 1,
            "failed": 1,
            "freed": 7,
            "seconds": 10.0,
        }
    ]


def test_what_is_left_out_is_said_as_none_and_nothing_is_no_line() -> None:
    clock = FakeClock()
    steps = StepSummary(clock)
    with capture_logs() as lines:
        clock.advance(10 * SECOND)
        steps.tell()
        steps.add(messages=1, tasks=1)
        clock.advance(10 * SECOND)
        steps.tell()
        clock.advance(10 * SECOND)
        steps.tell()
    (line,) = lines
    assert (line["messages"], line["confirmed"], line["seconds"]) == (1, 0, 10.0)
    assert "detail" not in line


@pytest.mark.parametrize(("beside", "after"), [({}, 60), ({"confirmed": 1}, 10)])
def test_sends_alone_are_told_once_a_minute(beside: dict[str, int], after: int) -> None:
    clock = FakeClock()
    steps = StepSummary(clock)
    with capture_logs() as lines:
        for _ in range(after):
            assert lines == [], "not yet"
            steps.sent(taken=False, detail="no answer in time")
            steps.add(**beside)
            clock.advance(SECOND)
            steps.tell()
    assert told(lines)[0]["sends"] == after


def test_a_hold_is_no_step() -> None:
    steps = StepSummary(FakeClock())
    held = Settlement(a_leased_task(), PENDING, TaskEvent.HELD, hold_reason=HoldReason.NO_WALLET)
    with capture_logs() as lines:
        steps.settled([held])
        steps.log()
    assert lines == []
