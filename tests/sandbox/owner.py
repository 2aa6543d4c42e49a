"""A second process that owns parts of the sandbox, for tests of what happens when it goes.

It and its parts sleep for an hour, far longer than PATIENCE_S: who is gone by then was ended.
"""

import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.builders.patience import PATIENCE_S

REPOSITORY = Path(__file__).parents[2]


@contextmanager
def an_owner(program: str, *arguments: str | Path) -> Iterator[list[str]]:
    """Run a Python program, yield the words of the first line that it prints, and kill it by
    SIGKILL at the end of the block."""
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as owner:
        try:
            assert owner.stdout is not None
            yield owner.stdout.readline().split()
        finally:
            owner.kill()


def is_running(pid: int) -> bool:
    """Return whether `pid` executes; a zombie that its new parent has not reaped yet does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def wait_until_gone(pid: int) -> None:
    """Return as soon as `pid` does not run any more; fail if it never goes."""
    wait_for(lambda: not is_running(pid), f"process {pid} outlived its owner")


def wait_for(condition: Callable[[], bool], otherwise: str) -> None:
    """Return as soon as `condition()` holds.

    Fail with `otherwise` if it never does.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.02)
