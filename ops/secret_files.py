"""Secrets from files: every secret setting NAME may be given as NAME_FILE, the file it stands in.

So are they mounted by Kubernetes and Docker, and so they show in no environment and no process
list. A file that others can read is refused: whoever got in by another service would have it. The
group may read, since that is how Kubernetes' fsGroup and Docker's secrets hand a file to a process
that is not root; it may not write.
"""

import os
import stat
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ops.errors import UsageError

SUFFIX = "_file"
_OTHERS = stat.S_IRWXO | stat.S_IWGRP
_BYTES_MAX = 64 * 1024

SecretPath = tuple[str, ...]


def check(path: Path, setting: str) -> None:
    """Return where nobody but its owner and group can read the file.

    Raises:
        UsageError: others can, or the group can write; or it cannot be looked at.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise _unreadable(path, setting, error.strerror) from None
    if stat.S_ISREG(mode) and mode & _OTHERS:
        raise UsageError(
            f"{setting}: others can read or write {path} (mode {stat.S_IMODE(mode):03o}). "
            f"`chmod 600 {path}`, or 640 where only a group that you trust has to read it.",
            setting=setting,
        )


def content(path: Path) -> bytes:
    """Return the beginning of a file, more than any secret has.

    A pipe is read to its end; one that nobody writes to is empty, or it would be waited for without
    end.

    Raises:
        OSError: it cannot be read.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        os.set_blocking(file.fileno(), True)
        return file.read(_BYTES_MAX + 1)


def read(path: Path, setting: str) -> str:
    """Return the secret in the file, without the newline at its end.

    A pipe that somebody writes to is read to its end, as of `<(vault read ...)`.

    Raises:
        UsageError: the file cannot be read, others can read it, or it holds no secret. The message
            has nothing of the content.
    """
    check(path, setting)
    try:
        found = content(path)
        text = found.decode("utf-8-sig")  # Windows' editors begin a file with a mark
    except OSError as error:
        raise _unreadable(path, setting, error.strerror) from None
    except UnicodeDecodeError:
        raise _unreadable(path, setting, "it is not text") from None
    secret = text.rstrip("\r\n")
    if not secret:
        raise _unreadable(path, setting, "it is empty")
    if len(found) > _BYTES_MAX:
        raise _unreadable(path, setting, "it is too long")
    return secret


def resolved(
    tree: Mapping[str, Any], secrets: Collection[SecretPath], named: str
) -> dict[str, Any]:
    """Return a copy of `tree`, each NAME_FILE in the place of a secret read.

    Args:
        tree: settings as one source has them, nested.
        secrets: where in it the secrets are.
        named: what comes before a setting's name in a message.

    Raises:
        UsageError: both NAME and NAME_FILE are given, or `read` refuses the file.
    """
    found = _copied(tree)
    for path in secrets:
        *parts, name = path
        place: Any = found
        for part in parts:
            place = place.get(part) if isinstance(place, dict) else None
        if not isinstance(place, dict) or name + SUFFIX not in place:
            continue
        setting = f"{named}{'__'.join(path)}".upper()
        if name in place:
            raise UsageError(
                f"{setting} and {setting}_FILE are both set. Leave one out.", setting=setting
            )
        place[name] = read(Path(os.fspath(place.pop(name + SUFFIX))), f"{setting}_FILE")
    return found


def _copied(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _copied(value) if isinstance(value, Mapping) else value
        for name, value in tree.items()
    }


def _unreadable(path: Path, setting: str, reason: str | None) -> UsageError:
    return UsageError(
        f"{setting}: {path} cannot be read ({reason}). It should name a file with nothing but the "
        "secret.",
        setting=setting,
    )
