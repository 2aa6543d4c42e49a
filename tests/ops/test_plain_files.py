"""What is read whole is a plain file: nothing else ends for certain."""

import os
import stat
from pathlib import Path

import pytest

from ops import plain_files
from ops.errors import UsageError

NAME = "LAUREL_TON_CONFIG"


def test_a_plain_file_is_one_and_one_that_is_absent_is_its_readers_to_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("file", "link", "loop", "absent"):
        plain_files.check(tmp_path / name, NAME)


def test_what_is_none_is_named_by_its_kind(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    os.mknod(tmp_path / "socket", 0o600 | stat.S_IFSOCK)
    for path, kind in (
        (tmp_path, "a directory"),
        (tmp_path / "pipe", "a pipe"),
        (tmp_path / "socket", "a socket"),
        (Path("/dev/zero"), "a device"),
    ):
        with pytest.raises(UsageError, match=f"^{NAME}: {path} is {kind}[.]"):
            plain_files.check(path, NAME)
