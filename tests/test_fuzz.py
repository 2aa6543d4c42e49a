"""`make fuzz` says that it found nothing, or how what it found is run again."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[1]


def fuzz(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run one round of very few examples."""
    return subprocess.run(
        [sys.executable, "tests/fuzz.py", "--seconds=0", "--examples=5", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_round_that_finds_nothing_says_so() -> None:
    done = fuzz("tests/processor/events/test_json_schema.py")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "1 rounds, nothing found.")


def test_what_fails_can_be_run_again() -> None:
    done = fuzz("tests/nowhere.py")
    assert done.returncode == 1
    assert re.fullmatch(
        r"Again: FUZZ_EXAMPLES=5 .*/python.* -m pytest -q -x tests/nowhere\.py "
        r"--hypothesis-profile=fuzz --hypothesis-seed=\d+",
        done.stdout.splitlines()[-1],
    )


def test_it_drives_tests_that_are_there() -> None:
    from tests.fuzz import TESTS

    assert all((ROOT / each).is_file() for each in TESTS)
