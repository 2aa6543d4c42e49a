"""How processes end, seen from outside."""

import json
import signal
import subprocess
import sys
from typing import Any

import pytest
from structlog.testing import capture_logs

from ops.errors import Permanent, Transient
from ops.lifecycle import Part, Readiness, until_available
from tests.builders.clock import FakeClock
from tests.builders.patience import PATIENCE_S

PROGRAM = """
import asyncio, sys, time
from datetime import timedelta
from ops import logs
from ops.lifecycle import Stop, run

logs.configure()

async def main(stop: Stop) -> int:
    print("up", flush=True)
    {before_stop}
    await stop.wait()
    {after_stop}
    return 0

def hangs(secret):
    time.sleep(3600)

async def waits(secret):
    await asyncio.Event().wait()

sys.exit(run(main, timedelta(seconds={bound})))
"""


def start(
    after_stop: str, before_stop: str = "", bound: float = PATIENCE_S
) -> subprocess.Popen[str]:
    code = PROGRAM.format(after_stop=after_stop, before_stop=before_stop, bound=bound)
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "up\n"
    return child


def logged(log: str, event: str) -> list[dict[str, Any]]:
    """The lines of one event."""
    lines = [json.loads(line) for line in log.splitlines()]
    return [line for line in lines if line["event"] == event]


def functions(line: dict[str, Any]) -> list[str]:
    """The functions of a stack, the outermost first."""
    return [call.rpartition(" ")[2] for call in line["stack"].splitlines()]


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_for_an_orderly_end(number: signal.Signals) -> None:
    child = start("print('drained')")
    child.send_signal(number)
    out, _ = child.communicate(timeout=PATIENCE_S)
    assert (child.returncode, out) == (0, "drained\n")


@pytest.mark.integration
def test_a_loop_that_hangs_ends_hard_after_the_bound_and_shows_where_it_hangs() -> None:
    # The loop has to come from the signal to the hang within the bound.
    child = start("hangs('hunter2')", bound=3)
    child.send_signal(signal.SIGTERM)
    _, err = child.communicate(timeout=PATIENCE_S)
    assert child.returncode == 1
    assert [line["seconds"] for line in logged(err, "drain_timed_out")] == [3.0]
    (main,) = (line for line in logged(err, "thread_stack") if line["thread"] == "MainThread")
    assert main["reason"] == "drain_timed_out"
    assert functions(main)[-2:] == ["main", "hangs"]
    assert "hunter2" not in err


@pytest.mark.integration
def test_a_drain_that_waits_for_ever_shows_which_task_waits_for_what() -> None:
    child = start("", before_stop="await waits('hunter2')", bound=0.3)
    child.send_signal(signal.SIGTERM)
    _, err = child.communicate(timeout=PATIENCE_S)
    assert child.returncode == 1
    (task,) = (line for line in logged(err, "task_stack") if "waits" in line["stack"])
    assert functions(task)[-3:] == ["main", "waits", "Event.wait"]
    assert "hunter2" not in err


@pytest.mark.integration
def test_a_process_that_cannot_write_its_log_ends_hard_too() -> None:
    child = start("sys.stderr.write('x' * 10_000_000)", bound=0.3)
    child.send_signal(signal.SIGTERM)
    assert child.wait(PATIENCE_S) == 1  # nobody reads its stderr: the pipe is full
    child.communicate()


@pytest.mark.integration
def test_a_second_interrupt_ends_at_once() -> None:
    child = start("print('stopping', flush=True); await asyncio.sleep(3600)")
    child.send_signal(signal.SIGINT)
    assert child.stdout is not None
    assert child.stdout.readline() == "stopping\n"
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=PATIENCE_S)
    assert child.returncode == 130


async def test_a_start_up_wait_is_unready_and_says_why() -> None:
    readiness = Readiness()
    readiness.arrived(Part.START)
    clock = FakeClock()
    seen = []

    async def connect() -> str:
        seen.append(readiness.waits)
        if len(seen) < 3:
            raise Transient("PostgreSQL does not answer at 127.0.0.1:5432")
        return "connected"

    # A lambda, as callers give it: tenacity by itself would hand its coroutine back unawaited.
    waited = until_available(
        Part.POSTGRESQL,
        lambda: connect(),  # noqa: PLW0108
        readiness=readiness,
        clock=clock,
    )
    assert await waited == "connected"
    assert seen == [{}, *[{"postgresql": "PostgreSQL does not answer at 127.0.0.1:5432"}] * 2]
    assert readiness.ready
    assert len(clock.slept) == 2


async def test_a_loss_and_its_end_are_logged_once_each_and_each_new_reason() -> None:
    readiness = Readiness()
    reasons = ["refused", "refused", "no password", "no password"]

    async def connect() -> None:
        if reasons:
            raise Transient(reasons.pop(0))

    for part in (Part.POSTGRESQL, Part.CATALOG):
        reasons = ["refused", "refused", "no password", "no password"]
        with capture_logs() as logs:
            await until_available(part, connect, readiness=readiness, clock=FakeClock())
            readiness.arrived(part)
        said = [(line["event"], line.get("reason", line.get("after"))) for line in logs]
        if part is Part.POSTGRESQL:
            assert said == [
                ("database_lost", "refused"),
                ("waited", "no password"),
                ("database_back", "no password"),
            ]
        else:
            assert said == [("waited", "refused"), ("waited", "no password")]


async def test_an_error_of_another_kind_ends_a_start_up_wait() -> None:
    async def connect() -> None:
        raise Permanent("no such database")

    with pytest.raises(Permanent):
        await until_available(Part.POSTGRESQL, connect, readiness=Readiness(), clock=FakeClock())
