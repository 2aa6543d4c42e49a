"""Read what can be read once: a pipe, a FIFO, standard input.

Whoever waits for a writer that never comes can still be asked to end.
"""

import os
import re
import select
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import BinaryIO, cast

STDIN = Path("-")
# Names that mean another file in each process.
_OF_THE_PROCESS = re.compile(r"/dev/stdin|/dev/fd/\d+|/proc/(self|\d+)/fd/\d+")
# How long a request to end may go unseen.
_LOOK_MS = 200


class Stopped(Exception):
    """The end was asked for while nothing came."""


class _Awaited(RawIOBase):
    """A descriptor that is read once there is something to read."""

    def __init__(self, descriptor: int, stopped: Callable[[], bool]) -> None:
        self._descriptor = descriptor
        self._stopped = stopped
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)

    def readable(self) -> bool:
        """Return that it may be read."""
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override] # what BufferedReader gives
        """Read what there is.

        Raises:
            Stopped: the end was asked for.
        """
        while not self._poll.poll(_LOOK_MS):
            if self._stopped():
                raise Stopped
        return os.readv(self._descriptor, [buffer])


@contextmanager
def opened(path: Path, stopped: Callable[[], bool]) -> Iterator[BinaryIO]:
    """Open `path`, `-` for standard input; `stopped` is asked while nothing comes.

    Raises:
        OSError: it cannot be read.
    """
    # Without waiting for a writer: that is waited for where the end can be asked for.
    descriptor = os.dup(0) if path == STDIN else os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with BufferedReader(_Awaited(descriptor, stopped), 128 * 1024) as file:
            yield cast("BinaryIO", file)
    finally:
        os.close(descriptor)


def is_read_once(path: Path) -> bool:
    """Return whether `path` is no file that could be read again.

    Raises:
        OSError: there is no such file.
    """
    return (
        path == STDIN
        or _OF_THE_PROCESS.fullmatch(str(path)) is not None
        or not stat.S_ISREG(path.stat().st_mode)
    )


def name_of(path: Path) -> str:
    """Return what a person, a log and a database can be told: bytes beyond UTF-8 are escaped."""
    if path == STDIN:
        return "<stdin>"
    return os.fsencode(path).decode("utf-8", "backslashreplace")
