"""Where the parts of the sandbox keep their files: a directory that is named, kept, or thrown away.

Nameless directories lie below one directory a user in the system's temporary directory, where also
`nobody` may pass (PostgreSQL runs as `nobody` when the owner is root, and root's home is closed to
it). A thrown-away directory is locked by its owner as long as that lives; the next start removes
what a killed owner left behind.
"""

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ops.errors import UsageError
from sandbox.process import Account

_LOCK_SUFFIX = ".lock"


@contextmanager
def data_directory(part: str, directory: Path | None, *, keep: bool) -> Iterator[Path]:
    """Yield an existing directory for the data and the log of `part`.

    Args:
        part: a word for nameless directories.
        directory: named by the user, or None for one of our own.
        keep: leave it there. Then a named one may hold what an earlier run kept; otherwise it must
            be empty or missing, since it is removed at the end.

    Raises:
        UsageError: the named directory is not empty and would be thrown away, or cannot be made.
    """
    if directory is None and not keep:
        with _locked_throwaway(part) as path:
            yield path
        return
    if directory is None:
        kept = home() / "kept"
        kept.mkdir(mode=0o711, exist_ok=True)
        path = _passable(Path(tempfile.mkdtemp(prefix=f"{part}-", dir=kept)))
    else:
        path = _named(directory.absolute(), keep=keep)
    try:
        yield path
    finally:
        if not keep:
            shutil.rmtree(path)


def home() -> Path:
    """Return this user's directory for nameless data, made if missing.

    Raises:
        UsageError: somebody else made it, or it is no directory: nothing of ours goes there.
    """
    path = Path(tempfile.gettempdir()) / f"laurel-{os.getuid()}"
    path.mkdir(mode=0o711, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise UsageError(
            f"{path} belongs to somebody else. Remove it, or set TMPDIR to a directory of your own."
        )
    return path


def refuse_unreachable(path: Path, account: Account | None) -> None:
    """Do nothing if `account` may pass every directory down to `path`.

    Raises:
        UsageError: it may not; the message names the directory in the way.
    """
    blocked = first_closed(path, account)
    if blocked is not None and account is not None:
        raise UsageError(
            f"{path}: PostgreSQL does not run as root but as `{account.name}`, "
            f"who may not enter {blocked}. "
            "Name a directory elsewhere, or run as another user."
        )


def first_closed(path: Path, account: Account | None) -> Path | None:
    """Return the first directory on the way to `path` that `account` may not enter.

    `path` itself counts, too; None if all are open.
    """
    if account is None:
        return None
    for directory in (*reversed(path.resolve().parents), path.resolve()):
        found = directory.stat()
        if found.st_uid == account.uid:
            allowed = found.st_mode & stat.S_IXUSR
        elif found.st_gid == account.gid:
            allowed = found.st_mode & stat.S_IXGRP
        else:
            allowed = found.st_mode & stat.S_IXOTH
        if not allowed:
            return directory
    return None


def _named(path: Path, *, keep: bool) -> Path:
    try:
        path.mkdir(mode=0o711, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{path} cannot be made: {error.strerror}.") from error
    if not keep and any(path.iterdir()):
        raise UsageError(
            f"{path} is not empty, and would be thrown away at the end. "
            "Name an empty one, or keep it."
        )
    return path


def _passable(path: Path) -> Path:
    path.chmod(0o711)  # mkdtemp makes 0700; the umask may have taken more from mkdir's mode
    return path


@contextmanager
def _locked_throwaway(part: str) -> Iterator[Path]:
    base = home() / "thrown-away"
    base.mkdir(mode=0o711, exist_ok=True)
    with (base / "sweep.lock").open("w") as sweep:
        fcntl.flock(
            sweep, fcntl.LOCK_EX
        )  # nobody may sweep a directory between its making and its lock
        _sweep(base)
        path = _passable(Path(tempfile.mkdtemp(prefix=f"{part}-", dir=base)))
        lock = _lock_of(path).open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
    with lock:
        try:
            yield path
        finally:
            shutil.rmtree(path)
            _lock_of(path).unlink()


def _lock_of(path: Path) -> Path:
    return path.with_name(
        path.name + _LOCK_SUFFIX
    )  # beside it, not in it: it is the last thing to go


def _sweep(base: Path) -> None:
    for lock_path in base.glob(f"*-*{_LOCK_SUFFIX}"):
        with lock_path.open("r") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            left = lock_path.with_name(lock_path.name.removesuffix(_LOCK_SUFFIX))
            # Processes of a killed owner may still be dying in there; what cannot be removed now,
            # the next sweep removes.
            shutil.rmtree(left, ignore_errors=True)
            if not left.exists():
                lock_path.unlink(missing_ok=True)
