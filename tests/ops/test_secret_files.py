"""A secret from a file: read whole, told to nobody, and refused where others can read it."""

import os
import subprocess
import threading
from pathlib import Path

import pytest

from ops import secret_files
from ops.errors import UsageError

NAME = "LAUREL_KAFKA__SASL_PASSWORD_FILE"


def a_file(directory: Path, content: str | bytes, mode: int = 0o600) -> Path:
    path = directory / "secret"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        ("hunter2", "hunter2"),
        ("hunter2\n", "hunter2"),
        ("hunter2\r\n", "hunter2"),
        ("\ufeffhunter2\r\n", "hunter2"),  # as Windows' editors write it
        (" a b ", " a b "),
    ],
)
def test_the_newline_at_its_end_is_no_part_of_it(tmp_path: Path, content: str, secret: str) -> None:
    assert secret_files.read(a_file(tmp_path, content), NAME) == secret


# 0440 with fsGroup is how Kubernetes hands a secret to a process that is not root.
@pytest.mark.parametrize("mode", [0o400, 0o600, 0o440, 0o640])
def test_owner_and_group_may_read_it(tmp_path: Path, mode: int) -> None:
    assert secret_files.read(a_file(tmp_path, "hunter2", mode), NAME) == "hunter2"


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o601, 0o660, 0o777])
def test_others_may_not_and_chmod_is_the_way_out(tmp_path: Path, mode: int) -> None:
    path = a_file(tmp_path, "hunter2", mode)
    with pytest.raises(
        UsageError, match=f"{NAME}: .*{path} .*{mode:o}.*chmod 600 {path}"
    ) as caught:
        secret_files.read(path, NAME)
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize(
    ("content", "reason"),
    [("", "empty"), ("\n", "empty"), (b"\xffhunter2", "not text"), ("x" * 70_000, "too long")],
)
def test_what_is_no_secret_is_named_by_its_path_alone(
    tmp_path: Path, content: str | bytes, reason: str
) -> None:
    path = a_file(tmp_path, content)
    with pytest.raises(UsageError, match=f"{NAME}: {path} cannot be read .*{reason}") as caught:
        secret_files.read(path, NAME)
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize(("name", "reason"), [("absent", "No such file"), ("", "Is a directory")])
def test_a_file_that_is_none_is_named(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(UsageError, match=f"{tmp_path / name} cannot be read .*{reason}"):
        secret_files.read(tmp_path / name, NAME)


def test_a_pipe_that_nobody_writes_to_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "secret", 0o600)
    with pytest.raises(UsageError, match=r"cannot be read .*empty"):
        secret_files.read(tmp_path / "secret", NAME)


@pytest.mark.integration
def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    os.mkfifo(path, 0o600)
    # Open at both ends before it is read, as of `<(...)`; its writer takes its time.
    script = 'exec 3<>"$0"; echo; read -r _; printf hunter2 >"$0"'
    with subprocess.Popen(
        ["bash", "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        writer.stdout.readline()
        threading.Timer(0.2, writer.stdin.close).start()
        assert secret_files.read(path, NAME) == "hunter2"


def test_files_stand_in_for_secrets_wherever_they_are_in_the_tree(tmp_path: Path) -> None:
    path = str(a_file(tmp_path, "hunter2"))
    tree = {"database_url_file": path, "kafka": {"sasl_password_file": path, "partitions": 3}}
    secrets = [("database_url",), ("kafka", "sasl_password"), ("kafka", "key_password")]
    found = secret_files.resolved(tree, secrets, "LAUREL_")
    assert found == {
        "database_url": "hunter2",
        "kafka": {"sasl_password": "hunter2", "partitions": 3},
    }
    assert tree["database_url_file"] == path  # what was given is left as it was


def test_a_secret_and_its_file_are_not_both_taken(tmp_path: Path) -> None:
    tree = {"kafka": {"sasl_password": "a", "sasl_password_file": str(a_file(tmp_path, "b"))}}
    with pytest.raises(
        UsageError,
        match="LAUREL_KAFKA__SASL_PASSWORD and LAUREL_KAFKA__SASL_PASSWORD_FILE are both",
    ):
        secret_files.resolved(tree, [("kafka", "sasl_password")], "LAUREL_")
