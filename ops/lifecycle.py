"""How a process starts waiting, works, and ends.

SIGTERM asks for an orderly end: work in flight is finished within a bound, then the process exits
hard. The bound is not politeness but need: a Faust worker whose broker is down never finishes its
own shutdown (docs/adr/0004-faust-guards.md). The first SIGINT is the same request; a second one
exits at once.
"""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from datetime import timedelta
from enum import StrEnum
from typing import TypeVar

import structlog
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_never,
    wait_exponential_jitter,
)

from ops import garbage, metrics, stacks
from ops.clock import SYSTEM_CLOCK, Clock
from ops.errors import Transient, code_of
from ops.logs import logger
from ops.progress import went_on

EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

# For the log of a process that did not end in its time; then it ends without.
_LAST_WORDS = timedelta(seconds=5)

Result = TypeVar("Result")


class Part(StrEnum):
    """What a process may have to wait for.

    The names of the waits in /ready, and label values of laurel_retries_total.
    """

    START = "start"
    POSTGRESQL = "postgresql"
    KAFKA = "kafka"
    TOPICS = "topics"
    TON = "ton"
    CATALOG = "catalog"
    WALLET = "wallet"
    BREAKER = "breaker"
    CLOCK = "clock"
    PROGRESS = "progress"


log: structlog.typing.FilteringBoundLogger = logger("lifecycle")

# What is logged once where a part is lost, and once where it is back. Kafka's loss has several
# kinds: processor/stream/watchdog.py tells it.
_LOSSES = {
    Part.POSTGRESQL: ("database_lost", "database_back"),
    Part.TON: ("ton_lost", "ton_back"),
    Part.WALLET: ("wallet_ran_dry", "wallet_can_pay"),
}


class Readiness:
    """Which waits keep this process from its work; it is ready when there are none. Answers /ready.

    The reason beside each part tells a person what is being waited for, and where.

    Attributes:
        degraded: what a person has to see to while the process goes on with all else: place -> what
            is wrong, and the way out. A restart would not help it, so the process stays ready.
        facts: what a person may like to know, name -> value.
    """

    def __init__(self) -> None:
        self.degraded: dict[str, str] = {}
        self.facts: dict[str, object] = {}
        self._waits: dict[Part, str] = {Part.START: "the process is starting"}
        metrics.READY.set(0)

    @property
    def waits(self) -> dict[Part, str]:
        """Return a copy of the open waits: part -> reason."""
        return dict(self._waits)

    @property
    def ready(self) -> bool:
        """Return whether nothing is waited for."""
        return not self._waits

    def wait_for(self, part: Part, reason: str, code: str | None = None) -> None:
        """Open the wait for `part`, or change its reason; `code`: the error's, for the log."""
        if part in _LOSSES and part not in self._waits:
            log.warning(_LOSSES[part][0], code=code or part.value, reason=reason)
        self._waits[part] = reason
        metrics.READY.set(0)

    def arrived(self, part: Part) -> None:
        """Close the wait for `part`; closing one that is not open is fine."""
        reason = self._waits.pop(part, None)
        if reason is not None and part in _LOSSES:
            log.info(_LOSSES[part][1], after=reason)
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
    garbage.collect_seldom()
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

    Where it stands by then is in the log: the stacks of all threads, and of the running loop's
    tasks. A thread sees to it, because the loop itself may hang.
    """
    loop = asyncio.get_running_loop()

    return _after(
        bound, lambda: end_hard("drain_timed_out", loop, code, seconds=bound.total_seconds())
    )


def end_hard(
    reason: str,
    loop: asyncio.AbstractEventLoop | None,
    code: int = EXIT_FAILURE,
    **details: object,
) -> None:
    """End this process now, with `reason` and all stacks in the log, whatever hangs."""
    # Whoever hangs may hold the lock of stderr: the end does not wait for the last words.
    _after(_LAST_WORDS, lambda: os._exit(code))
    try:
        log.error(reason, code=reason, **details)
        stacks.log_all(reason, loop)
    finally:
        _exit_now(code)


def _after(duration: timedelta, work: Callable[[], None]) -> threading.Timer:
    timer = threading.Timer(duration.total_seconds(), work)
    timer.daemon = True
    timer.start()
    return timer


def _exit_now(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


async def until_available(
    part: Part,
    work: Callable[[], Awaitable[Result]],
    *kinds: type[Transient],
    readiness: Readiness,
    clock: Clock = SYSTEM_CLOCK,
) -> Result:
    """Retry `work` until `part` is available: without end, with backoff up to 5 s, counted.

    Readiness shows the wait from the first failure on, and closes it with the first success.

    Args:
        part: name of the wait, and label of laurel_retries_total.
        work: may be repeated after an error of `kinds`; other errors pass.
        kinds: errors that mean "not yet"; `Transient` unless given.
        readiness: where the wait is shown, with the error's message as its reason.
        clock: sleeps between the attempts.
    """

    def before_sleep(state: RetryCallState) -> None:
        went_on()  # the attempt has ended: what is waited for is said, and stands still nowhere
        error = state.outcome.exception() if state.outcome else None
        code, reason = code_of(error), str(error)
        metrics.RETRIES.labels(part, code).inc()
        known = readiness.waits.get(part)
        # Once a reason: a part may be away for hours. The loss itself is logged by the readiness.
        if reason != known and (known is not None or part not in _LOSSES):
            attempt = state.attempt_number
            log.warning("waited", part=part.value, code=code, attempt=attempt, reason=reason)
        readiness.wait_for(part, reason, code)

    async def sleep(seconds: float) -> None:
        await clock.sleep(timedelta(seconds=seconds))

    async def attempt() -> Result:
        # tenacity awaits what it is given only where it is an `async def` itself: a lambda that
        # returns a coroutine would come back unawaited.
        return await work()

    result: Result = await AsyncRetrying(
        retry=retry_if_exception_type(kinds or (Transient,)),
        wait=wait_exponential_jitter(multiplier=0.2, max=5),
        stop=stop_never,
        before_sleep=before_sleep,
        sleep=sleep,
        reraise=True,
    )(attempt)
    readiness.arrived(part)
    return result
