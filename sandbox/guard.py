"""Tie a child of the sandbox to its owner's life, then become the child: its first program.

Run by file name, isolated and without site (`python -I -S sandbox/guard.py ...`), so that it starts
in a few milliseconds and works for a Python that the child's account may not read. It imports the
standard library alone.

- Linux: PR_SET_PDEATHSIG (prctl(2)). The kernel clears it on a change of user, so the user is
  changed first; it is kept by execve. It fires when the *thread* that forked ends, not the process:
  sandbox/process.py forks from a thread that lives as long as the process.
- Elsewhere: a watchdog, forked here, that reads a pipe whose other end only the owner holds; the
  end of file is the owner's end.
"""

import ctypes
import os
import select
import signal
import sys
from typing import NoReturn

OWNER_GONE = 125
NOT_STARTED = 126
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_WATCH_SECONDS = 0.5


def die_with_parent(owner: int, death_signal: int) -> None:
    """Ask the kernel to signal this process when its parent goes.

    Exit at once if `owner` has gone already.

    Raises:
        OSError: prctl refused.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if (
        os.getppid() != owner
    ):  # it went between the fork and the prctl: nothing will be signalled any more
        sys.exit(OWNER_GONE)


def watch(owner_pipe: int, death_signal: int) -> None:
    """Fork a watchdog that signals this process when the owner's end of the pipe closes.

    The watchdog ends with this process.
    """
    guarded = os.getpid()
    if os.fork() != 0:
        os.set_inheritable(owner_pipe, False)
        return
    while os.getppid() == guarded:
        readable, _, _ = select.select([owner_pipe], [], [], _WATCH_SECONDS)
        if readable and os.getppid() == guarded:
            os.kill(guarded, death_signal)
            os.close(owner_pipe)
            break
    os._exit(0)


def become(uid: int, gid: int) -> None:
    """Give up root for the account `uid`, `gid`, with no supplementary groups."""
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def main(arguments: list[str]) -> NoReturn:
    """Guard, then exec: OWNER_PID DEATH_SIGNAL UID:GID|- OWNER_PIPE|- PROGRAM [ARGUMENT...]."""
    owner, death_signal, account, owner_pipe, *command = arguments
    if account != "-":
        uid, _, gid = account.partition(":")
        become(int(uid), int(gid))
    if owner_pipe == "-":
        die_with_parent(int(owner), int(death_signal))
    else:
        watch(int(owner_pipe), int(death_signal))
    signal.pthread_sigmask(
        signal.SIG_SETMASK, []
    )  # a mask survives execve; the child starts with none
    try:
        os.execvp(command[0], command)  # noqa: S606 - an argument list from sandbox/process.py, never a shell
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        sys.exit(NOT_STARTED)


if __name__ == "__main__":
    main(sys.argv[1:])
