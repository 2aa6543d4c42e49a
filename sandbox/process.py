"""Start a child process with a log and a readiness check, which ends with its owner.

Also after kill -9 of the owner. Every part of the sandbox, and every process that `laurel demo` and
`laurel dev` start, runs through here:

    with running("tansu", [binary, "broker"], log_path=directory / "broker.log") as child:
        child.wait_until_ready(lambda: answers(port), START_BOUND)

The child has a session of its own, so that Ctrl-C in the owner's terminal reaches the owner alone,
who then decides on the order.
"""

import os
import pwd
import signal
import subprocess
import sys
import sysconfig
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from ops.errors import Permanent, UsageError

_GUARD = Path(__file__).with_name("guard.py")
_POLL_SECONDS = 0.01
_LOG_LINES_IN_ERROR = 15
# They end what hangs; a slow machine needs a fraction of the first, and what dies is seen at once.
START_BOUND = timedelta(minutes=5)
STOP_BOUND = timedelta(seconds=10)

# Linux signals a guarded child when the *thread* that forked it ends. This one ends with the
# interpreter, whoever asks for a child.
_forker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sandbox-forker")


class PartFailed(Permanent):
    """A part of the sandbox died at its start, or was not ready in time.

    The message ends with its log's last lines.
    """

    code = "part_failed"


class PartMissing(UsageError):
    """A part is not installed, or not made for this platform; the message names the way out."""

    code = "part_missing"


@dataclass(frozen=True, slots=True)
class Account:
    """The user and group a child runs as; only root may choose one."""

    name: str
    uid: int
    gid: int


def unprivileged_account() -> Account | None:
    """Return `nobody` when this process is root (PostgreSQL refuses to run as root), else None.

    The child runs as we do.

    Raises:
        UsageError: root on a system without the user `nobody`.
    """
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise UsageError(
            "PostgreSQL does not run as root, and there is no user `nobody`: run as another user."
        ) from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def platform_name() -> str:
    """Return this platform as a wheel would name it, for messages about one that does not exist."""
    return f"{sysconfig.get_platform()}, Python {sys.version_info.major}.{sys.version_info.minor}"


class Child:
    """A running child process. Made by `start`; end it by `stop` or `kill`, which also reap it."""

    def __init__(
        self, name: str, process: "subprocess.Popen[bytes]", log_path: Path, owner_pipe: int | None
    ) -> None:
        self.name = name
        self.log_path = log_path
        self._process = process
        self._owner_pipe = owner_pipe

    @property
    def pid(self) -> int:
        """Return the child's process id; the child's own, not a wrapper's."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """Return the exit code once the child has ended, None while it runs.

        Negative: the signal that ended it.
        """
        return self._process.poll()

    def send(self, number: signal.Signals) -> None:
        """Send a signal; one to a child that has ended does nothing."""
        self._process.send_signal(number)

    def wait(self, bound: timedelta) -> int | None:
        """Return the exit code if the child ends within `bound`, else None."""
        try:
            return self._process.wait(bound.total_seconds())
        except subprocess.TimeoutExpired:
            return None

    def wait_until_ready(self, ready: Callable[[], bool], bound: timedelta) -> None:
        """Return as soon as `ready()` holds; it is asked every 10 ms and must not block for long.

        Raises:
            PartFailed: the child ended, or was not ready within `bound`.
        """
        deadline = time.monotonic() + bound.total_seconds()
        while not ready():
            code = self.exit_code()
            if code is not None:
                raise PartFailed(
                    self._explained(f"ended at its start, {_in_words(code)}"), part=self.name
                )
            if time.monotonic() > deadline:
                raise PartFailed(
                    self._explained(f"was not ready after {bound.total_seconds():g} s"),
                    part=self.name,
                )
            time.sleep(_POLL_SECONDS)

    def stop(self, number: signal.Signals = signal.SIGTERM, bound: timedelta = STOP_BOUND) -> int:
        """Ask the child to end by `number`, kill it after `bound`; return its exit code.

        Stopping twice is fine.
        """
        self.send(number)
        code = self.wait(bound)
        if code is None:
            return self.kill()
        self._release()
        return code

    def kill(self) -> int:
        """End the child, and what it left in its process group, by SIGKILL.

        Return its exit code.
        """
        if self.exit_code() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        code = self._process.wait()
        self._release()
        return code

    def log_tail(self, lines: int = _LOG_LINES_IN_ERROR) -> str:
        """Return the last lines of the child's log."""
        with self.log_path.open(encoding="utf-8", errors="replace") as log:
            return "".join(deque(log, maxlen=lines)).rstrip()

    def _explained(self, what: str) -> str:
        tail = self.log_tail() or "(nothing was logged)"
        return f"{self.name} {what}. The end of {self.log_path}:\n{tail}"

    def _release(self) -> None:
        if self._owner_pipe is not None:
            os.close(self._owner_pipe)
            self._owner_pipe = None


def start(
    name: str,
    command: Sequence[str | Path],
    *,
    log_path: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    account: Account | None = None,
    death_signal: signal.Signals = signal.SIGKILL,
    output_path: Path | None = None,
    watchdog: bool = sys.platform != "linux",
) -> Child:
    """Start `command` and return at once.

    Args:
        name: for messages.
        command: program (a path, or a name looked up in PATH) and arguments.
        log_path: standard output and error are appended here; readable by the owner alone.
        env: the whole environment; this process's own unless given.
        cwd: working directory; this process's own unless given.
        account: who the child runs as; for root only.
        death_signal: what the child gets when this process ends, however it ends. Choose another
            than SIGKILL only for a program that ends by it for certain and cleans up (PostgreSQL's
            SIGQUIT frees its shared memory).
        output_path: standard output is appended here instead: for a command whose result is wanted,
            and not its talk.
        watchdog: guard by a second process and a pipe instead of Linux' parent-death signal.

    Raises:
        OSError: `log_path` cannot be written. A program that cannot be started ends with
            `guard.NOT_STARTED` and a word in its log.
    """
    read_end, write_end = os.pipe() if watchdog else (None, None)
    guard = [
        *(sys.executable, "-I", "-S", str(_GUARD), str(os.getpid()), str(int(death_signal))),
        f"{account.uid}:{account.gid}" if account else "-",
        "-" if read_end is None else str(read_end),
    ]
    log = _opened(log_path)
    output = log if output_path is None else _opened(output_path)

    def fork() -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [*guard, *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=log,
            env=env,
            cwd=cwd,
            start_new_session=True,
            pass_fds=() if read_end is None else (read_end,),
        )

    try:
        process = _forker.submit(fork).result()
    except BaseException:
        if write_end is not None:
            os.close(write_end)
        raise
    finally:
        for descriptor in {log, output}:
            os.close(descriptor)
        if read_end is not None:
            os.close(read_end)
    return Child(name, process, log_path, write_end)


@contextmanager
def running(
    name: str,
    command: Sequence[str | Path],
    *,
    log_path: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    account: Account | None = None,
    death_signal: signal.Signals = signal.SIGKILL,
    stop_signal: signal.Signals = signal.SIGTERM,
    stop_bound: timedelta = STOP_BOUND,
) -> Iterator[Child]:
    """Run `command` for the length of the block.

    `start`, then `stop` by `stop_signal` within `stop_bound`, also on an exception.
    """
    child = start(
        name,
        command,
        log_path=log_path,
        env=env,
        cwd=cwd,
        account=account,
        death_signal=death_signal,
    )
    try:
        yield child
    finally:
        child.stop(stop_signal, stop_bound)


def _opened(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _in_words(code: int) -> str:
    return f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
