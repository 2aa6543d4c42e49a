"""How processes end, seen from outside."""

import signal
import subprocess
import sys

import pytest

from ops.errors import Permanent, Transient
from ops.lifecycle import Part, Readiness, until_available
from tests.builders.clock import FakeClock

PROGRAM = """
import asyncio, sys, time
from datetime import timedelta
from ops import logs
from ops.lifecycle import Stop, run

logs.configure()

async def main(stop: Stop) -> int:
    print("up", flush=True)
    await stop.wait()
    {after_stop}
    return 0

sys.exit(run(main, timedelta(seconds={bound})))
"""


def start(after_stop: str, bound: float = 20) -> subprocess.Popen[str]:
    code = PROGRAM.format(after_stop=after_stop, bound=bound)
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "up\n"
    return child


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_for_an_orderly_end(number: signal.Signals) -> None:
    child = start("print('drained')")
    child.send_signal(number)
    out, _ = child.communicate(timeout=20)
    assert (child.returncode, out) == (0, "drained\n")


@pytest.mark.integration
def test_a_loop_that_hangs_ends_hard_after_the_bound() -> None:
    child = start("time.sleep(60)", bound=0.3)
    child.send_signal(signal.SIGTERM)
    _, err = child.communicate(timeout=20)
    assert child.returncode == 1
    assert "drain_timed_out" in err


@pytest.mark.integration
def test_a_second_interrupt_ends_at_once() -> None:
    child = start("print('stopping', flush=True); await asyncio.sleep(60)")
    child.send_signal(signal.SIGINT)
    assert child.stdout is not None
    assert child.stdout.readline() == "stopping\n"
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=20)
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


async def test_an_error_of_another_kind_ends_a_start_up_wait() -> None:
    async def connect() -> None:
        raise Permanent("no such database")

    with pytest.raises(Permanent):
        await until_available(Part.POSTGRESQL, connect, readiness=Readiness(), clock=FakeClock())
