"""Work that stands still ends its process; work that goes on, or waits for its next turn, does not."""

import json
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest

from ops.lifecycle import Part, Readiness
from ops.progress import went_on
from ops.watchdog import Watchdog
from tests.builders.clock import FakeClock
from tests.builders.patience import PATIENCE_S

BOUND = timedelta(minutes=5)
SECOND = timedelta(seconds=1)


class Bench:
    """A watchdog that nobody runs, and what it would have ended the process with."""

    def __init__(self) -> None:
        self.clock, self.readiness = FakeClock(), Readiness()
        self.readiness.arrived(Part.START)
        self.ended: list[tuple[str, float]] = []
        self.dog = Watchdog(
            BOUND, self.readiness, self.clock, lambda *what: self.ended.append(what)
        )

    def look_after(self, duration: timedelta) -> None:
        self.clock.advance(duration)
        self.dog.check()


def test_work_that_stands_still_for_longer_than_the_bound_ends_the_process() -> None:
    bench = Bench()
    with bench.dog.work("the turn"):
        bench.look_after(BOUND)
        assert bench.ended == []
        bench.look_after(SECOND)
    assert bench.ended == [("the turn", 301.0)]


def test_work_that_goes_on_is_left_alone_however_long_it_takes() -> None:
    bench = Bench()
    with bench.dog.work("the turn"):
        for _ in range(5):
            bench.look_after(BOUND)
            went_on()
    assert bench.ended == []


def test_a_process_that_waits_for_its_next_turn_is_left_alone() -> None:
    bench = Bench()
    with bench.dog.work("the turn"):
        pass
    bench.look_after(3 * BOUND)
    assert bench.ended == []
    assert bench.readiness.ready


def test_a_turn_that_ended_with_an_error_is_over() -> None:
    bench = Bench()
    with pytest.raises(ConnectionError), bench.dog.work("the turn"):
        raise ConnectionError
    bench.look_after(3 * BOUND)
    assert bench.ended == []


def test_after_half_the_bound_the_process_is_not_ready_until_it_goes_on() -> None:
    bench = Bench()
    with bench.dog.work("the turn"):
        bench.look_after(BOUND / 2 + SECOND)
        assert bench.readiness.waits == {Part.PROGRESS: "the turn stands still for 151 s"}
        went_on()
        bench.look_after(SECOND)
        assert bench.readiness.ready


PROGRAM = """
import asyncio, sys, time
from datetime import timedelta
from ops import logs
from ops.watchdog import Watchdog

logs.configure()

def hangs(secret):
    time.sleep(3600)

async def waits(secret):
    await asyncio.Event().wait()

async def main():
    with Watchdog(timedelta(seconds=0.2)) as dog, dog.work("the turn"):
        {work}

asyncio.run(main())
"""


def ended(work: str) -> list[dict[str, Any]]:
    """Run a process until its watchdog ends it; return its log."""
    child = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(work=work)],
        stderr=subprocess.PIPE,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert child.returncode == 1
    assert "hunter2" not in child.stderr
    return [json.loads(line) for line in child.stderr.splitlines()]


@pytest.mark.integration
@pytest.mark.parametrize(
    ("work", "stack", "function"),
    [
        ("hangs('hunter2')", "thread_stack", "hangs"),
        ("await waits('hunter2')", "task_stack", "waits"),
    ],
)
def test_a_process_that_hangs_ends_with_the_stacks_in_its_log(
    work: str, stack: str, function: str
) -> None:
    log = ended(work)
    (stalled,) = (line for line in log if line["event"] == "stalled")
    assert stalled["work"] == "the turn"
    assert any(function in line["stack"] for line in log if line["event"] == stack)
