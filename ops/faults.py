"""Fault points: named places where a test may end the process.

A kill matrix needs to die *between* two statements, which no signal from outside can aim at. Code
calls `reach("batch.merged")` at such a place; that is a dictionary look-up and nothing else unless
LAUREL_FAULT_POINT names the place. Armed, the process ends by SIGKILL, exactly as an out-of-memory
kill would: no handler runs, nothing is flushed.
"""

import os
import signal

VARIABLE = "LAUREL_FAULT_POINT"


def _armed() -> tuple[str, int]:
    name, _, count = os.environ.get(VARIABLE, "").partition(":")
    return name, int(count or 1)


_point, _passes_left = _armed()


def reach(point: str) -> None:
    """End this process by SIGKILL if `point` is the armed one, at the pass that was asked for.

    `name:3` asks for the third.
    """
    global _passes_left  # noqa: PLW0603 - a process has one armed point, read once from its environment
    if point != _point:
        return
    _passes_left -= 1
    if _passes_left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
