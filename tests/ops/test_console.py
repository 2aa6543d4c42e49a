"""What a command says, where it cannot be said, and how a script reads it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest
from click.testing import CliRunner

from cli import main

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
FULL = Path("/dev/full")
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def laurel(
    *arguments: str,
    out: IO[bytes] | int,
    err: IO[bytes] | int = subprocess.PIPE,
    env: dict[str, str] | None = None,
) -> tuple[int, str]:
    """Run a command with these streams; return its exit code and what it said."""
    done = subprocess.run(
        [sys.executable, ROOT / "cli.py", *arguments],
        stdout=out,
        stderr=err,
        env=os.environ | (env or {}),
        check=False,
    )
    return done.returncode, (done.stderr or b"").decode()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        ("catalog", "--help"),
        ("config", "check"),
        ("catalog", "lint"),
        ("events", "schema"),  # larger than a buffer
    ],
)
def test_a_result_that_finds_no_room_is_a_failure_in_one_line(arguments: tuple[str, ...]) -> None:
    with FULL.open("wb") as full:
        code, said = laurel(*arguments, out=full)
    lost = "laurel: output_lost: standard output cannot be written: No space left on device.\n"
    assert (code, said) == (1, lost)


def test_whoever_has_read_enough_ends_a_command_without_a_word() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert laurel("config", "check", out=writing) == (1, "")
    finally:
        os.close(writing)


@pytest.mark.parametrize(("arguments", "code"), [(("config", "check"), 0), (("nope",), 2)])
def test_an_exit_code_stays_where_nobody_can_be_told(arguments: tuple[str, ...], code: int) -> None:
    with FULL.open("wb") as full:
        assert laurel(*arguments, out=subprocess.DEVNULL, err=full)[0] == code


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_change_no_exit_code(closed: str) -> None:
    line = f'"{sys.executable}" "{ROOT}/cli.py" config check {closed}'
    done = subprocess.run(["bash", "-c", line], capture_output=True, check=False)
    assert done.returncode == 0
    assert done.stderr == b""


def test_what_the_locale_cannot_write_is_escaped(tmp_path: Path) -> None:
    event = {"specversion": "1.0", "id": "1", "source": "/s", "type": "☃", "data": {}}
    (tmp_path / "events.jsonl").write_text(json.dumps(event, ensure_ascii=False) + "\n")
    arguments = ("events", "validate", "--catalog", str(ROOT / "catalog"))
    code, said = laurel(
        *arguments, str(tmp_path / "events.jsonl"), out=subprocess.DEVNULL, env=ASCII
    )
    assert (code, said) == (1, "")


def test_an_error_is_a_line_of_json_where_the_result_would_be() -> None:
    result = CliRunner().invoke(main, ["catalog", "lint", "--json", "/nowhere"])
    assert (result.exit_code, result.stdout) == (2, "")
    said = json.loads(result.stderr)
    assert said["error"] == "usage"
    assert said["message"].startswith("/nowhere is no directory")


def test_a_place_in_a_file_stands_where_editors_look_for_it(tmp_path: Path) -> None:
    (tmp_path / "badge.yaml").write_text("types: {explorer: {}}\n")
    result = CliRunner().invoke(main, ["catalog", "lint", str(tmp_path)])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"{tmp_path}/badge.yaml:1: ")


def test_an_argument_that_is_no_text_is_named() -> None:
    code, said = laurel("catalog", "lint", "\udcff\udcfe", out=subprocess.DEVNULL)
    assert (code, said) == (2, "laurel: '\\udcff\\udcfe' is no text in UTF-8.\n")


@pytest.mark.parametrize(
    ("environment", "events"),
    [
        ({}, ["is_slow"]),
        ({"LAUREL_LOG__LEVEL": "INFO"}, ["has_begun", "is_slow"]),
        ({"LAUREL_LOG__LEVEL": "ERROR"}, []),
    ],
)
def test_a_command_that_ends_by_itself_logs_warnings_alone_unless_told(
    environment: dict[str, str], events: list[str]
) -> None:
    program = """
import click
from ops.console import Console
from ops.logs import logger

@click.command()
def command():
    async def main():
        logger("test").info("has_begun")
        logger("test").warning("is_slow")
        console.result({}, "done", as_json=False)
        return 0

    console = Console(list, list)
    console.run_once(main)

command()
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        env=os.environ | environment,
        check=True,
    )
    assert done.stdout == b"done\n"
    assert [json.loads(line)["event"] for line in done.stderr.splitlines()] == events
