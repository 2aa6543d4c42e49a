"""Where the parts of the sandbox keep their files: a directory that is named, kept, or thrown away.

Nameless directories lie in the user's place for such things (ops/throwaway.py).
"""

import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ops.errors import UsageError
from ops.throwaway import home, made_in, throwaway
from sandbox.process import Account


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
        with throwaway(part) as path:
            yield path
        return
    if directory is None:
        kept = home() / "kept"
        kept.mkdir(mode=0o711, exist_ok=True)
        path = made_in(kept, part)
    else:
        path = _named(directory.absolute(), keep=keep)
    try:
        yield path
    finally:
        if not keep:
            shutil.rmtree(path)


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
