"""Directories that are thrown away when their process ends, or by the next one if it was killed.

They lie below one directory a user in the system's temporary directory, where also `nobody` may
pass (the sandbox's PostgreSQL runs as `nobody` when the owner is root, and root's home is closed to
it). Each is locked by its owner as long as that lives.
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

_LOCK_SUFFIX = ".lock"


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


def made_in(parent: Path, part: str) -> Path:
    """Return a new directory below `parent`, named after `part`, that others may pass."""
    path = Path(tempfile.mkdtemp(prefix=f"{part}-", dir=parent))
    path.chmod(0o711)  # mkdtemp makes 0700
    return path


@contextmanager
def throwaway(part: str) -> Iterator[Path]:
    """Yield an empty directory, and remove what killed processes left of theirs.

    Args:
        part: a word for its name.

    Raises:
        UsageError: the place for it belongs to somebody else.
    """
    base = home() / "thrown-away"
    base.mkdir(mode=0o711, exist_ok=True)
    with (base / "sweep.lock").open("w") as sweep:
        # Nobody may sweep a directory between its making and its lock. The lock's file comes first:
        # whoever is killed between the two leaves nothing that no sweep would find.
        fcntl.flock(sweep, fcntl.LOCK_EX)
        _sweep(base)
        number, name = tempfile.mkstemp(prefix=f"{part}-", suffix=_LOCK_SUFFIX, dir=base)
        lock = os.fdopen(number, "w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = Path(name.removesuffix(_LOCK_SUFFIX))
        path.mkdir()
        path.chmod(0o711)  # whatever the umask
    with lock:
        try:
            yield path
        finally:
            shutil.rmtree(path)
            _lock_of(path).unlink()


def _lock_of(path: Path) -> Path:
    # Beside it, not in it: it is the last thing to go.
    return path.with_name(path.name + _LOCK_SUFFIX)


def _sweep(base: Path) -> None:
    for lock_path in base.glob(f"*-*{_LOCK_SUFFIX}"):
        try:
            lock = lock_path.open("r")
        except FileNotFoundError:  # its owner has ended since the names were read
            continue
        with lock:
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
