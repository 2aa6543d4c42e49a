"""Files that settings name and that are read whole, more than once: plain ones.

A pipe that nobody writes to would be waited for without end, and a second look at one finds it
empty; a device may never end.
"""

import stat
from pathlib import Path

from ops.errors import UsageError


def check(path: Path, setting: str) -> None:
    """Return where `path` is a plain file, or not there at all: who opens it says so.

    Raises:
        UsageError: it is a directory, a pipe, a socket or a device.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if not stat.S_ISREG(mode):
        raise UsageError(
            f"{setting}: {path} is {_kind(mode)}. It should name a plain file.", setting=setting
        )


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a directory"
    if stat.S_ISFIFO(mode):
        return "a pipe"
    return "a socket" if stat.S_ISSOCK(mode) else "a device"
