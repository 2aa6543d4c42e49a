"""Where a stuck process stands: the stacks of all threads and all asyncio tasks, in the log.

File, line and function only: no locals, no arguments, no results, so no secret can be among them.
One log event a stack, the outermost call first.
"""

import asyncio
import sys
import threading
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any

from ops.logs import logger

log = logger("stacks")


def log_all(reason: str, loop: asyncio.AbstractEventLoop | None = None) -> None:
    """Log the stack of every thread, and of every task that is not done.

    Args:
        reason: why; the fields `code` and `reason` of each line.
        loop: the loop whose tasks are meant, where this thread runs another one or none.
    """
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():  # noqa: SLF001 - documented
        if ident != threading.get_ident():
            log.error(
                "thread_stack",
                code=reason,
                reason=reason,
                thread=names.get(ident, str(ident)),
                stack=_lines(_callers(frame)),
            )
    for task, stack in of_tasks(loop):
        log.error("task_stack", code=reason, reason=reason, task=task, stack=stack)


def of_tasks(loop: asyncio.AbstractEventLoop | None = None) -> Iterator[tuple[str, str]]:
    """Yield name and stack of every task of `loop` that is not done."""
    for task in asyncio.all_tasks(loop):
        yield task.get_name(), _lines(_awaited(task.get_coro()))


def _callers(frame: FrameType | None) -> list[FrameType]:
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames[::-1]


def _awaited(awaitable: Any) -> Iterator[FrameType]:  # noqa: ANN401 - coroutines, generators, futures
    """Yield the frames from a task's coroutine down to where it waits.

    Task.get_stack knows the first alone.
    """
    while awaitable is not None:
        for prefix, waits in (("cr", "cr_await"), ("gi", "gi_yieldfrom"), ("ag", "ag_await")):
            frame = getattr(awaitable, f"{prefix}_frame", None)
            if frame is not None:
                yield frame
                awaitable = getattr(awaitable, waits, None)
                break
        else:
            return


def _lines(frames: Iterable[FrameType]) -> str:
    return "\n".join(
        f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_qualname}"
        for frame in frames
    )
