"""A clock that stands still until a test, or whoever sleeps on it, moves it."""

import asyncio
from datetime import UTC, datetime, timedelta

from ops.clock import Clock, SystemClock


class FakeClock:
    """Sleeping moves it and yields to the event loop once; nothing ever waits."""

    def __init__(self, now: datetime = datetime(2026, 11, 23, 8, tzinfo=UTC)) -> None:
        self._now = now
        self._elapsed = 0.0
        self.slept: list[timedelta] = []

    def now(self) -> datetime:
        """The instant it stands at."""
        return self._now

    def monotonic(self) -> float:
        """Seconds since it was made."""
        return self._elapsed

    async def sleep(self, duration: timedelta) -> None:
        """Move by `duration`, and let others run."""
        self.slept.append(duration)
        self.advance(duration)
        await asyncio.sleep(0)

    def advance(self, duration: timedelta) -> None:
        """Move forward."""
        self._now += duration
        self._elapsed += duration.total_seconds()


class ShiftedClock(SystemClock):
    """The machine's clock, as if somebody had set it by so much."""

    def __init__(self, shift: timedelta) -> None:
        self.shift = shift

    def now(self) -> datetime:
        """The instant that a host would say whose clock is wrong."""
        return super().now() + self.shift


def conforms(clock: FakeClock) -> Clock:
    """What mypy holds: a FakeClock is a Clock."""
    return clock
