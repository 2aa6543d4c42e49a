"""What moves says so for its own work alone; an attempt that has ended, and is told of, moves too."""

import asyncio
import contextvars
from datetime import timedelta

from ops.errors import Transient
from ops.lifecycle import Part, Readiness, until_available
from ops.progress import went_on
from tests.ops.test_watchdog import BOUND, SECOND, Bench


async def test_what_moves_is_the_work_that_it_belongs_to() -> None:
    bench = Bench()
    moves = asyncio.Event()

    async def a_collection(name: str) -> None:
        with bench.dog.work(name):
            await moves.wait()
            if name == "goes on":
                went_on()
            await asyncio.Event().wait()

    works = [asyncio.create_task(a_collection(name)) for name in ("goes on", "stands still")]
    await asyncio.sleep(0)
    bench.clock.advance(BOUND)
    moves.set()
    await asyncio.sleep(0)
    bench.look_after(SECOND)
    for work in works:
        work.cancel()
    assert bench.ended == [("stands still", 301.0)]


def test_what_nobody_watches_is_no_word_about_what_is_watched() -> None:
    bench = Bench()
    with bench.dog.work("the turn"):
        bench.clock.advance(BOUND)
        contextvars.Context().run(went_on)
        bench.look_after(SECOND)
    assert bench.ended == [("the turn", 301.0)]


async def test_a_wait_that_is_told_of_stands_still_nowhere() -> None:
    bench = Bench()
    attempts = 0

    async def absent_for_a_while() -> int:
        nonlocal attempts
        attempts += 1
        bench.look_after(timedelta(minutes=4))
        if attempts < 5:
            raise Transient("nobody listens")
        return attempts

    with bench.dog.work("the start"):
        found = await until_available(
            Part.KAFKA, absent_for_a_while, readiness=Readiness(), clock=bench.clock
        )
    assert (found, bench.ended) == (5, [])
