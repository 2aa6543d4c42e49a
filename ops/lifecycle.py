"""How a process starts waiting, works, and ends.

SIGTERM asks for an orderly end: work in hand is finished within a bound, then the process exits
hard. The bound is not politeness but
need: a Faust worker whose broker is down never finishes its own shutdown
    (docs/adr/0004-faust-guards.md). The first SIGINT is the
same request; a second one exits at once.
"""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_never,
    wait_exponential_jitter,
)

from ops import metrics
from ops.errors import Transient
from ops.logs import logger

EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

log: structlog.typing.FilteringBoundLogger = logger("lifecycle")


class Readiness:
    """Which waits keep this process from its work; it is ready when there are none. Answers /ready.

    A name is a part ("kafka", "postgresql", "ton"); the word beside it tells a person what is being
    waited for, and where.
    """

    def __init__(self) -> None:
        self._waits: dict[str, str] = {"start": "the process is starting"}
        metrics.READY.set(0)

    @property
    def waits(self) -> dict[str, str]:
        """Return a copy of the open waits: name -> word."""
        return dict(self._waits)

    @property
    def ready(self) -> bool:
        """Return whether nothing is waited for."""
        return not self._waits

    def wait_for(self, name: str, word: str) -> None:
        """Open the wait `name`, or change its word."""
        self._waits[name] = word
        metrics.READY.set(0)

    def arrived(self, name: str) -> None:
        """Close the wait `name`; closing one that is not open is fine."""
        self._waits.pop(name, None)
        metrics.READY.set(int(self.ready))


class Stop:
    """The request to end, as the work sees it."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    @property
    def requested(self) -> bool:
        """Return whether the end was asked for."""
        return self._event.is_set()

    def request(self) -> None:
        """Ask for the end; asking twice is fine."""
        self._event.set()

    async def wait(self) -> None:
        """Return once the end was asked for."""
        await self._event.wait()

    async def sleep(self, duration: timedelta) -> bool:
        """Wait for `duration`, or for the request to end; return whether that came."""
        try:
            async with asyncio.timeout(duration.total_seconds()):
                await self._event.wait()
        except TimeoutError:
            return False
        return True


def run(main: Callable[[Stop], Awaitable[int]], drain_timeout: timedelta) -> int:
    """Run `main` until it returns; return its exit code.

    Args:
        main: the process's work; returns soon after `stop.requested`.
        drain_timeout: how long it may take after SIGTERM or the first SIGINT before the process
            exits hard with code 1.
    """
    return asyncio.run(_supervised(main, drain_timeout))


async def _supervised(main: Callable[[Stop], Awaitable[int]], drain_timeout: timedelta) -> int:
    stop = Stop()
    loop = asyncio.get_running_loop()

    def asked(number: signal.Signals) -> None:
        if stop.requested and number == signal.SIGINT:
            _exit_now(EXIT_INTERRUPTED)
        log.info("stop_requested", signal=number.name, drain_seconds=drain_timeout.total_seconds())
        if not stop.requested:
            exit_hard_after(drain_timeout)
        stop.request()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked, number)
    return await main(stop)


def exit_hard_after(bound: timedelta, code: int = EXIT_FAILURE) -> threading.Timer:
    """End this process with `code` after `bound` unless it has ended by itself.

    A thread, because the loop itself may hang.
    """

    def expire() -> None:
        log.error("drain_timed_out", seconds=bound.total_seconds())
        _exit_now(code)

    timer = threading.Timer(bound.total_seconds(), expire)
    timer.daemon = True
    timer.start()
    return timer


def _exit_now(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def retrying(
    operation: str, *kinds: type[Transient], readiness: Readiness | None = None, wait: str = ""
) -> AsyncRetrying:
    """Return tenacity's loop for a start-up wait.

    For ever, with backoff up to 5 s, counted, unready meanwhile.

    Args:
        operation: label of laurel_retries_total and name of the wait.
        kinds: errors that mean "not yet"; `Transient` unless given.
        readiness: where the wait is shown.
        wait: the word for a person; the error's own message unless given.
    """

    def before_sleep(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        word = wait or str(error)
        metrics.RETRIES.labels(operation, getattr(error, "code", "unknown")).inc()
        log.warning("waited", operation=operation, attempt=state.attempt_number, reason=str(error))
        if readiness is not None:
            readiness.wait_for(operation, word)

    return AsyncRetrying(
        retry=retry_if_exception_type(kinds or (Transient,)),
        wait=wait_exponential_jitter(multiplier=0.2, max=5),
        stop=stop_never,
        before_sleep=before_sleep,
        reraise=True,
    )
