"""`laurel demo` as a stranger runs it, where `make demo` does not go.

A real Kafka, an interruption, a kill.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from demo.stack.memory import family
from sandbox.broker import Broker
from tests.builders.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]


@contextmanager
def a_demo(log: Path, *options: str) -> Iterator["subprocess.Popen[str]"]:
    """Run the demo, its talk in `log`; kill it at the end if it is still there."""
    command = [sys.executable, "-m", "cli", "demo", *options]
    with (
        log.open("w") as talk,
        subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=talk, text=True
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def wait_for(log: Path, words: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while words not in log.read_text():
        assert time.monotonic() < deadline, f"{words!r} is not in:\n{log.read_text()}"
        time.sleep(0.1)


def still_there(pids: set[int]) -> set[int]:
    return {pid for pid in pids if Path(f"/proc/{pid}").exists()}


@pytest.mark.kafka
def test_all_of_it_holds_on_a_real_kafka_and_in_a_restored_database(
    kafka_broker: Broker, tmp_path: Path
) -> None:
    del kafka_broker  # Java and the jars are there
    log = tmp_path / "talk"
    with a_demo(
        log, "--full", "--broker", "kafka", "--events", "3000", "--travellers", "150", "--json"
    ) as process:
        output, _ = process.communicate()
    verdict = json.loads(output)
    assert verdict["differences"] == []
    assert [check for check in verdict["checks"] if not check["holds"]] == []
    assert verdict["holds"]
    assert sum(check["name"].startswith("restored: ") for check in verdict["checks"]) == 3
    ((knew, of),) = re.findall(r"its backup knew (\d+) of (\d+) tokens", str(verdict["notes"]))
    assert int(knew) < int(of), "the chain went on after the backup"
    assert process.returncode == 0
    assert re.search("killed worker-1 by SIGKILL", log.read_text())
    assert re.search("killed minter by SIGKILL", log.read_text())


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells who is there")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
@pytest.mark.parametrize("moment", ["starting PostgreSQL", "phase 1: sending"])
def test_nothing_is_left_behind(tmp_path: Path, number: signal.Signals, moment: str) -> None:
    log = tmp_path / "talk"
    with a_demo(log, "--events", "3000", "--travellers", "150") as process:
        wait_for(log, moment)
        below: set[int] = set()
        while not below:
            assert process.poll() is None, log.read_text()
            below = set(family(process.pid)) - {process.pid}
            time.sleep(0.01)
        os.kill(process.pid, number)
        assert process.wait(PATIENCE_S) == (130 if number is signal.SIGINT else -signal.SIGKILL)
        deadline = time.monotonic() + PATIENCE_S
        while still_there(below):
            assert time.monotonic() < deadline, f"{still_there(below)} are left"
            time.sleep(0.1)
    assert "Traceback" not in log.read_text()
