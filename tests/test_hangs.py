"""A test that hangs is named, with where it waits, and the run goes on or ends: tests/hangs.py."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders.patience import PATIENCE_S

pytestmark = pytest.mark.integration

# As `make test` runs them.
OPTIONS = (
    "-n 1 --dist loadscope --max-worker-restart=0"
    " -c /dev/null -p tests.hangs -o asyncio_mode=auto --timeout=3600 --timeout-method=signal"
)
WAITS = """\
import asyncio, signal

async def never():
    signal.setitimer(signal.ITIMER_REAL, 2)  # instead of the hour
    await asyncio.Event().wait()

async def test_it():
    await never()

def test_after():
    pass
"""
CLINGS = """\
import pytest, time
from tests import hangs

@pytest.fixture
def clings():
    yield
    time.sleep(3600)

def test_it(clings):
    hangs.TEST_END_S = 2.0  # of what comes next
    raise AssertionError
"""
DEAF = """\
import pytest, signal, time
from tests import hangs

@pytest.fixture
def deaf():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    hangs.TEST_END_S = 2.0

def test_it(deaf):
    time.sleep(3600)
"""


def run(directory: Path, source: str) -> str:
    """Run a module of tests, which fails; return what is said."""
    (directory / "test_it.py").write_text(source)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *OPTIONS.split(), f"--rootdir={directory}", directory],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode != 0
    return done.stdout + done.stderr


def test_where_a_hanging_test_waits_is_said_and_the_run_goes_on(tmp_path: Path) -> None:
    said = run(tmp_path, WAITS)
    assert "test_it.py::test_it (call): Timeout (>3600.0s)" in said
    assert "test_it.py:5 never\n" in said
    assert "1 failed, 1 passed" in said


@pytest.mark.parametrize(
    ("source", "place"), [(CLINGS, "line 7 in clings"), (DEAF, "line 10 in test_it")]
)
def test_one_that_hangs_for_good_ends_the_run_by_its_name(
    tmp_path: Path, source: str, place: str
) -> None:
    """In what cleans up after it, or where no signal reaches it."""
    said = run(tmp_path, source)
    assert "crashed while running 'test_it.py::test_it'" in said
    assert f'/test_it.py", {place}\n' in said
