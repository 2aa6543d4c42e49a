"""End a process whose work does not go on, with all its stacks in the log.

Whoever hangs may hold the event loop, so a thread looks. Work is watched while it is under way:
`work` brackets it, and `went_on` says that it moved (ops/progress.py), which each statement and
transaction does by itself (store/engine.py), and each attempt at an absent part that has ended
(ops/lifecycle.py): an outage is said, and kills nobody.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Self

from ops.clock import SYSTEM_CLOCK, Clock
from ops.lifecycle import Part, Readiness, end_hard
from ops.logs import logger
from ops.progress import CURRENT, WatchedWork

_TICK_S = 1.0

log = logger("watchdog")


class Watchdog:
    """Watches the work of one process; use it as `with Watchdog(...) as watchdog`.

    Args:
        bound: the longest that work under way may stand still.
        readiness: shows work that has stood still for half of it.
        clock: what time is measured by.
        end: is told what stands still, and since how many seconds; ends the process unless given.
    """

    def __init__(
        self,
        bound: timedelta,
        readiness: Readiness | None = None,
        clock: Clock = SYSTEM_CLOCK,
        end: Callable[[str, float], None] | None = None,
    ) -> None:
        self._bound_s = bound.total_seconds()
        self._readiness = readiness
        self._clock = clock
        self._end = end or self._end_process
        self._works: list[WatchedWork] = []
        self._closed = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._closed.set()

    @contextmanager
    def work(self, name: str) -> Iterator[None]:
        """Watch the block, and what it awaits: it must end, or go on, within the bound."""
        work = WatchedWork(name, self._clock)
        self._works.append(work)
        token = CURRENT.set(work)
        try:
            yield
        finally:
            CURRENT.reset(token)
            self._works.remove(work)

    def check(self) -> None:
        """Look once; may be called by any thread."""
        now = self._clock.monotonic()
        slow = [(now - work.moved_at, work.name) for work in self._works.copy()]
        stood_s, name = max(slow, default=(0.0, ""))
        if self._readiness is not None:
            if stood_s > self._bound_s / 2:
                self._readiness.wait_for(Part.PROGRESS, f"{name} stands still for {stood_s:.0f} s")
            else:
                self._readiness.arrived(Part.PROGRESS)
        if stood_s > self._bound_s:
            self._end(name, stood_s)

    def _watch(self) -> None:
        while not self._closed.wait(_TICK_S):
            self.check()

    def _end_process(self, name: str, stood_s: float) -> None:
        end_hard("stalled", self._loop, work=name, seconds=round(stood_s))
