"""The host's clock, given to whatever waits or measures, so that a test can bring its own."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Wall time, time to measure by, and waiting; tests use tests/builders/clock.py's FakeClock."""

    def now(self) -> datetime:
        """Return the present instant, aware, in UTC. It may jump: never measure by it."""
        ...

    def monotonic(self) -> float:
        """Return seconds since some fixed moment; never goes back."""
        ...

    async def sleep(self, duration: timedelta) -> None:
        """Return after `duration`."""
        ...


class SystemClock:
    """The clock of the machine."""

    def now(self) -> datetime:
        """Return the present instant, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return the seconds of the system's monotonic clock."""
        return time.monotonic()

    async def sleep(self, duration: timedelta) -> None:
        """Wait on the running event loop."""
        await asyncio.sleep(duration.total_seconds())


SYSTEM_CLOCK: Clock = SystemClock()
