"""A forked process that is killed at a fault point: what that leaves is what an out-of-memory kill
leaves."""

import asyncio
import os
import warnings
from collections.abc import Callable, Coroutine

from ops import faults


def forked(point: str, work: Callable[[], Coroutine[object, object, object]]) -> int:
    """Do `work` in a forked process with the fault point armed (`name:3` is its third pass).

    Return the signal that ended it, 0 for none.
    """
    with warnings.catch_warnings():
        # 3.12: fork beside threads; pytest's watchdog is one, and holds no lock.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        name, _, passes = point.partition(":")
        faults._point, faults._passes_left = name, int(passes)
        code = 1
        try:
            asyncio.run(work())
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
