"""The demo's commands, where they refuse: exit code 2, one message, the way out."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("command", ["demo", "dev"])
def test_a_directory_that_holds_something_is_refused(command: str, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    said = subprocess.run(
        [sys.executable, "-m", "cli", command, "--directory", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr == (
        f"laurel: {tmp_path} is not empty, and `laurel {command}` starts from nothing. "
        "Name another directory.\n"
    )
    assert (tmp_path / "precious").read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--events", "4", "--travellers", "3"), "Each traveller does two things at least"),
        (("--travellers", "0"), "Each traveller does two things at least"),
        (("--broker", "rabbit"), "'rabbit' is not one of 'tansu', 'kafka'"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(options: tuple[str, ...], message: str) -> None:
    said = subprocess.run(
        [sys.executable, "-m", "cli", "demo", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 2
    assert message in said.stderr
