"""What is under way, and when it moved last; ops/watchdog.py ends what does not.

A module of its own, for whoever moves: the database's driver, a chain's client, a wait.
"""

from contextvars import ContextVar

from ops.clock import Clock


class WatchedWork:
    """One piece of work, and when it moved last, on the monotonic clock."""

    def __init__(self, name: str, clock: Clock) -> None:
        self.name = name
        self._clock = clock
        self.moved_at = clock.monotonic()

    def went_on(self) -> None:
        """Say that it has moved."""
        self.moved_at = self._clock.monotonic()


CURRENT: ContextVar[WatchedWork | None] = ContextVar("watched_work", default=None)


def went_on() -> None:
    """Say that the work under way here has moved; what is not watched may say so too."""
    work = CURRENT.get()
    if work is not None:
        work.went_on()
