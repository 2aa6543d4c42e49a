"""The queue as metrics show it, counted beside the minting and never at its cost."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

from minter.context import MinterContext
from ops import metrics
from ops.errors import Transient
from store import queue_figures
from store.queue_figures import QueueFigures
from store.values.minting import HoldReason, TaskOperation, TaskStatus

_EVERY = timedelta(seconds=5)
# Counting millions takes seconds: each count has a hundredth of the time at most.
_REST = 100

Place = tuple[TaskStatus, HoldReason | None]

_OPEN: tuple[Place, ...] = (
    (TaskStatus.PENDING, None),
    *((TaskStatus.PENDING, hold) for hold in HoldReason),
    (TaskStatus.SENT, None),
)
_OVER: tuple[Place, ...] = ((TaskStatus.CONFIRMED, None), (TaskStatus.FAILED, None))


class QueueGauges:
    """Two counts: of what is open, with its age, and of what is over, which takes longer."""

    def __init__(self, ctx: MinterContext) -> None:
        self._ctx = ctx
        self._counts = (_Count(ctx, self._open), _Count(ctx, self._over))

    def look(self) -> None:
        """Start what is due."""
        for count in self._counts:
            count.start_if_due()

    async def close(self) -> None:
        """Give up what is under way."""
        for count in self._counts:
            await count.close()

    async def _open(self) -> None:
        async with self._ctx.db.transaction() as conn:
            show_open(await queue_figures.open_tasks(conn))

    async def _over(self) -> None:
        async with self._ctx.db.transaction() as conn:
            show_over(await queue_figures.settled_tasks(conn))


def show_open(found: list[QueueFigures]) -> None:
    """Show these figures of open tasks, and no task in any other open place."""
    by_place = {(each.operation, each.status, each.hold_reason): each for each in found}
    for operation in TaskOperation:
        for status, hold in _OPEN:
            labels = _labels(operation, status, hold)
            figures = by_place.get((operation, status, hold))
            metrics.TASKS.labels(*labels).set(figures.tasks if figures else 0)
            oldest_s = figures.oldest.total_seconds() if figures else 0.0
            metrics.TASK_OLDEST_SECONDS.labels(*labels).set(oldest_s)


def show_over(found: list[QueueFigures]) -> None:
    """Show these figures of tasks that are over, and no task in any other such place."""
    by_place = {(each.operation, each.status): each.tasks for each in found}
    for operation in TaskOperation:
        for status, hold in _OVER:
            tasks = by_place.get((operation, status), 0)
            metrics.TASKS.labels(*_labels(operation, status, hold)).set(tasks)


def _labels(
    operation: TaskOperation, status: TaskStatus, hold: HoldReason | None
) -> tuple[str, str, str]:
    return operation.value, status.value, hold.value if hold else "none"


class _Count:
    """A count that runs beside all else: never twice at once, and a hundredth of the time."""

    def __init__(self, ctx: MinterContext, count: Callable[[], Awaitable[None]]) -> None:
        self._ctx = ctx
        self._clock = ctx.clock
        self._count = count
        self._due_at = float("-inf")
        self._running: asyncio.Task[None] | None = None

    def start_if_due(self) -> None:
        if self._clock.monotonic() < self._due_at:
            return
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())

    async def _run(self) -> None:
        started = self._clock.monotonic()
        try:
            await self._count()
        except Transient as error:
            self._ctx.count_error(error)
        ended = self._clock.monotonic()
        self._due_at = max(started + _EVERY.total_seconds(), ended + _REST * (ended - started))

    async def close(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
