"""A backfill on a cluster of Spark's own: a master and two workers, processes of this machine."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ops.lifecycle import EXIT_OK
from store.engine import Database
from tests.builders.backfills import a_file
from tests.builders.cli import ROOT, laurel_beside
from tests.builders.messages import ALICE, BOB, a_partner
from tests.builders.spark import needs_spark
from tests.e2e.workers import until

needs_spark()
pytestmark = pytest.mark.integration

MASTER = "org.apache.spark.deploy.master.Master"
WORKER = "org.apache.spark.deploy.worker.Worker"
PLACE = ("--host", "127.0.0.1", "--port", "0", "--webui-port", "0")


@dataclass(frozen=True, slots=True)
class Started:
    process: "subprocess.Popen[bytes]"
    log: Path

    async def says(self, pattern: str) -> str:
        """Wait until the log has `pattern`; return its first group."""
        found: list[str] = []

        async def said() -> bool:
            text = self.log.read_text(errors="replace")
            assert self.process.poll() is None, text
            found.extend(re.findall(pattern, text)[:1])
            return bool(found)

        await until(said, pattern)
        return found[0]


@contextmanager
def started(directory: Path, name: str, *arguments: str) -> Iterator[Started]:
    import pyspark

    log = directory / f"{name}.log"
    program = Path(pyspark.__file__).parent / "bin" / "spark-class"
    environment = {
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_DAEMON_MEMORY": "256m",
        "PYTHONPATH": str(ROOT),
    }
    with log.open("wb") as file:
        process = subprocess.Popen(
            [program, *arguments], stdout=file, stderr=file, env=os.environ | environment
        )
    try:
        yield Started(process, log)
    finally:
        process.terminate()
        process.wait()


async def test_a_cluster_of_two_workers_counts_what_one_process_counts(
    counting: Database, database_url: str, tmp_path: Path
) -> None:
    history, shared = tmp_path / "history", tmp_path / "shared"
    for each in (history, shared):
        each.mkdir()
    events = [a_partner(each) for each in (ALICE, BOB) for _ in range(11)]
    for number in range(6):
        a_file(history / f"{number}.jsonl", *events[number * 3 :], b"{broken")
    environment = {
        "LAUREL_DATABASE_URL": database_url,
        "PYTHONPATH": str(ROOT),
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": "127.0.0.1",
        # Nothing is read before both are there.
        "PYSPARK_SUBMIT_ARGS": (
            "--driver-memory 512m --conf spark.executor.memory=512m --conf spark.ui.enabled=false "
            "--conf spark.driver.host=127.0.0.1 --conf spark.scheduler.minRegisteredResourcesRatio=1 "
            "--conf spark.scheduler.maxRegisteredResourcesWaitingTime=300s pyspark-shell"
        ),
    }
    with ExitStack() as stack:
        master = stack.enter_context(started(tmp_path, "master", MASTER, *PLACE))
        url = await master.says(r"Starting Spark master at (spark://\S+)")
        for name in ("one", "two"):
            work = ("--cores", "1", "--memory", "600m", "--work-dir", str(tmp_path / name))
            worker = stack.enter_context(started(tmp_path, name, WORKER, *PLACE, *work, url))
            await worker.says(r"(Successfully registered with master)")
        expected = await laurel_beside(
            "backfill", "--dry-run", "--json", str(history), **environment
        )
        on_cluster = ("--engine", "spark", "--master", url, "--shared", str(shared))
        found = await laurel_beside("backfill", *on_cluster, "--json", str(history), **environment)
    assert (expected.returncode, found.returncode) == (EXIT_OK, EXIT_OK), found.stderr
    forecast, report = json.loads(expected.stdout), json.loads(found.stdout)
    for field in ("read", "counted", "refused", "refused_examples"):
        assert report[field] == forecast[field], field
    assert report["counted"] == len(events)
    assert not list(shared.iterdir())
    for name in ("one", "two"):
        assert list((tmp_path / name).glob("app-*/*/stderr")), f"{name} has run nothing"
