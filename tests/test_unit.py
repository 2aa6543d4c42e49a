"""A unit test that is none is found out, and `--unit` runs unit tests alone."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.integration


def run(directory: Path, source: str, *options: str) -> str:
    """Run pytest on a module with this source; return what it prints."""
    (directory / "test_planted.py").write_text(source)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "tests.unit",
            "-c",
            "/dev/null",
            *options,
            directory,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout


@pytest.mark.parametrize(
    "deed",
    [
        "import subprocess; subprocess.run(['true'])",
        "import os; os.posix_spawn('/bin/true', ['true'], {})",
        "import socket; socket.create_connection(('127.0.0.1', 9))",
        "import socket; socket.socket().bind(('127.0.0.1', 0))",
    ],
)
def test_a_process_or_a_socket_fails_a_unit_test(deed: str, tmp_path: Path) -> None:
    hidden = f"def test_it():\n    try:\n        {deed}\n    except Exception:\n        pass\n"
    assert "starts no process and opens no socket" in run(tmp_path, hidden)
    marked = f"import pytest\n\n@pytest.mark.integration\n{hidden}"
    assert "1 passed" in run(tmp_path, marked)


def test_an_event_loop_of_its_own_is_allowed(tmp_path: Path) -> None:
    source = "import asyncio\n\ndef test_it():\n    asyncio.run(asyncio.sleep(0))\n"
    assert "1 passed" in run(tmp_path, source, "--unit")


@pytest.mark.parametrize(
    "source",
    [
        "def test_it(database):\n    pass\n",
        "import pytest\n\n@pytest.mark.usefixtures('broker')\ndef test_it():\n    pass\n",
        "import pytest\n\n@pytest.fixture\ndef ready(database_url):\n    pass\n\ndef test_it(ready):\n    pass\n",
        "import pytest\n\npytestmark = pytest.mark.integration\n\ndef test_it():\n    pass\n",
    ],
)
def test_a_module_that_asks_for_a_part_is_not_even_imported(source: str, tmp_path: Path) -> None:
    printed = run(tmp_path, "1 / 0\n" + source, "--unit")
    assert "no tests ran" in printed
    assert "error" not in printed
