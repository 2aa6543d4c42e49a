"""`laurel backfill` as a process: what it says, and how it ends."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

import click
import pytest
from aiokafka import AIOKafkaProducer
from sqlalchemy import text

from ops.lifecycle import EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE
from ops.settings import Settings
from processor.backfill_command import backfill
from processor.history.backfill import BackfillOptions
from processor.stream import topics
from sandbox.broker import Broker
from store.engine import Database
from tests.builders.backfills import a_file, lines
from tests.builders.cli import ROOT, laurel
from tests.builders.messages import ALICE, a_partner, a_visit, encoded, with_catalog
from tests.builders.patience import PATIENCE_S
from tests.e2e.workers import until


@pytest.fixture
def counting_url(database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database that may be counted into, for commands.

    They bring their own loop, and read the environment.
    """

    async def prepare() -> None:
        async with Database(database_url) as database:
            await with_catalog(database)

    asyncio.run(prepare())
    monkeypatch.setenv("LAUREL_DATABASE_URL", database_url)
    return database_url


def test_each_option_is_a_field_and_each_field_an_option() -> None:
    flags = {each.name for each in backfill.params if isinstance(each, click.Option)}
    of_the_source = {"topic", "begin", "end", "partitions"}
    assert flags - {"as_json"} - of_the_source == {each.name for each in fields(BackfillOptions)}


def test_the_command_reports_in_json(counting_url: str, tmp_path: Path) -> None:
    path = a_file(tmp_path / "history.jsonl", *(a_partner(ALICE) for _ in range(2)))
    done = laurel("backfill", str(path), "--json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["counted"], document["finished"]) == (EXIT_OK, 2, True), (
        counting_url
    )


def test_broken_lines_are_named_or_strictly_refused(counting_url: str, tmp_path: Path) -> None:
    path = a_file(tmp_path / "mixed.jsonl", a_partner(ALICE), b"{broken", a_partner(ALICE))
    refused = laurel("backfill", "--strict", str(path))
    assert refused.returncode == EXIT_USAGE, counting_url
    assert f"{path}:2: not_json: " in refused.stderr
    named = tmp_path / "refused.jsonl"
    done = laurel("backfill", "--refused", str(named), "--json", str(path))
    document = json.loads(done.stdout)
    assert (done.returncode, document["counted"], document["refused"]) == (
        EXIT_OK,
        2,
        {"not_json": 1},
    )
    assert json.loads(named.read_text())["place"] == f"{path}:2"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Name a SOURCE"),
        (["x.jsonl", "--topic", "laurel.quests"], "one after the other"),
        (["x.jsonl", "--from", "5"], "name one"),
        (["x.jsonl", "--rate", "5"], "--mint"),
        (["x.jsonl", "--memory", "much"], "512MiB"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments: list[str], said: str) -> None:
    refused = laurel("backfill", *arguments)
    assert (refused.returncode, said in refused.stderr) == (EXIT_USAGE, True), refused.stderr


def test_a_file_that_is_not_there_is_named(counting_url: str, tmp_path: Path) -> None:
    refused = laurel("backfill", str(tmp_path / "nowhere.jsonl"))
    assert refused.returncode == EXIT_USAGE
    assert "nowhere.jsonl: No such file or directory" in refused.stderr, counting_url


def test_a_dry_run_says_what_it_would_count(counting_url: str, tmp_path: Path) -> None:
    path = a_file(tmp_path / "history.jsonl", a_partner(ALICE), b"{broken")
    done = laurel("backfill", "--dry-run", str(path))
    assert done.returncode == EXIT_OK, (done.stderr, counting_url)
    # As the run would: it would refuse the file.
    assert laurel("backfill", "--dry-run", "--strict", str(path)).returncode == EXIT_USAGE
    first, *rest = done.stdout.splitlines()
    assert first.startswith("2 records in ")
    assert rest[:4] == [
        "  would count    1",
        "  duplicates     0 (0 within the input, 0 counted before)",
        "  refused        1",
        "    not_json                 1",
    ]
    assert rest[-1].startswith(f"  {path}:2: not_json: ")


async def test_ctrl_c_ends_after_the_slice_in_flight_with_a_code_of_its_own(
    counting: Database, database_url: str, tmp_path: Path
) -> None:
    """The slice waits for a lock of ours when the signal comes."""
    path = a_file(tmp_path / "history.jsonl", *(a_partner(ALICE) for _ in range(20)))
    async with counting.transaction() as conn:
        await conn.execute(text("LOCK TABLE nft_progress IN EXCLUSIVE MODE"))
        process = await started(database_url, str(path))

        async def waits() -> bool:
            async with counting.transaction() as looking:
                return bool((await looking.execute(text(WAITING))).scalar_one())

        await until(waits, "the slice waits")
        process.send_signal(signal.SIGINT)
    answer, said = await process.communicate()
    document = json.loads(answer)
    # It was the only one, and wallet changes there are none.
    assert (process.returncode, document["finished"]) in {
        (EXIT_OK, True),
        (EXIT_INTERRUPTED, False),
    }, said
    assert document["counted"] == await number_of_events(counting) == 20


WAITING = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_wait_for_a_writer_that_never_writes_can_be_ended(
    counting: Database, database_url: str, tmp_path: Path, number: signal.Signals
) -> None:
    path = tmp_path / "nobody-writes"
    writers: list[int] = []

    async def is_waiting() -> bool:
        with suppress(OSError):  # nobody reads yet
            writers.append(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        return bool(writers)

    os.mkfifo(path)
    process = await started(database_url, str(path), LAUREL_LIFECYCLE__DRAIN_TIMEOUT="PT10M")
    await until(is_waiting, "the pipe is read")
    process.send_signal(number)
    answer, said = await process.communicate()
    os.close(writers[0])
    assert process.returncode == EXIT_INTERRUPTED, said
    assert json.loads(answer)["finished"] is False
    assert await number_of_events(counting) == 0


def test_a_pipe_is_counted_like_a_file(counting_url: str) -> None:
    content = lines(*(a_partner(ALICE) for _ in range(3)))
    first, again = (piped(content, "-", "--json") for _ in range(2))
    assert first.returncode == again.returncode == EXIT_OK, (first.stderr, counting_url)
    found = [json.loads(each.stdout) for each in (first, again)]
    assert [(each["sources"], each["read"], each["counted"]) for each in found] == [
        (["<stdin>"], 3, 3),
        (["<stdin>"], 3, 0),
    ]
    other = piped(content + lines(a_partner(ALICE)), "/dev/stdin", "--json")
    assert json.loads(other.stdout)["counted"] == 1


def test_a_broken_line_in_a_pipe_is_named(counting_url: str) -> None:
    refused = piped(lines(a_partner(ALICE), b"{broken"), "-", "--strict")
    assert refused.returncode == EXIT_USAGE, counting_url
    assert "<stdin>:2: not_json: " in refused.stderr.decode()


def test_a_file_name_beyond_utf8_is_escaped(counting_url: str, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"history-\xef.jsonl")
    a_file(path, a_partner(ALICE), b"{broken")
    done = laurel("backfill", str(path))
    assert done.returncode == EXIT_OK, counting_url
    assert "history-\\xef.jsonl:2: not_json: " in done.stdout


def piped(content: bytes, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
    """Run `laurel backfill` with standard input."""
    return subprocess.run(
        [sys.executable, "-m", "cli", "backfill", *arguments],
        cwd=ROOT,
        input=content,
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )


async def started(url: str, *arguments: str, **environment: str) -> asyncio.subprocess.Process:
    """Start `laurel backfill --json`."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli", "backfill", "--json", *arguments),
        cwd=ROOT,
        env=os.environ | {"LAUREL_DATABASE_URL": url} | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def number_of_events(database: Database) -> int:
    async with database.transaction() as conn:
        rows = await conn.execute(text("SELECT count(*) FROM processed_event"))
        return int(rows.scalar_one())


async def test_a_range_of_a_topic_is_counted_beside_the_group(
    any_broker: Broker, topic_prefix: str, counting: Database, database_url: str
) -> None:
    """What came before, behind or elsewhere does not count; a broken record has its place."""
    topic = f"{topic_prefix}.partners"
    of_kafka = {
        "LAUREL_KAFKA_BROKERS": any_broker.address,
        "LAUREL_KAFKA__TOPIC_PREFIX": topic_prefix,
    }
    await topics.create(Settings(kafka_brokers=any_broker.address), [topic])
    async with AIOKafkaProducer(bootstrap_servers=any_broker.address) as producer:
        for number in range(8):
            value = b"{" if number == 4 else encoded(a_partner(ALICE))
            await producer.send_and_wait(topic, value, partition=0)
        await producer.send_and_wait(topic, encoded(a_partner(ALICE)), partition=1)
        other = encoded(a_visit(ALICE))
        await producer.send_and_wait(topic, other, partition=0)
    asked = ["--topic", topic, "--partition", "0", "--from", "2"]
    process = await started(database_url, *asked, **of_kafka)
    answer, said = await process.communicate()
    document = json.loads(answer)
    assert process.returncode == EXIT_OK, said
    assert (document["counted"], document["refused"]) == (5, {"not_json": 1, "wrong_topic": 1})
    assert document["sources"] == [f"{topic}/0@2-8"]
    assert document["refused_examples"][0].startswith(f"{topic}/0@4: not_json: ")
    async with counting.transaction() as conn:
        found = await conn.execute(text("SELECT count(*) FROM offset_ledger"))
        assert found.scalar_one() == 0
    beyond = await started(database_url, "--topic", topic, "--from", "900", **of_kafka)
    _, said = await beyond.communicate()
    assert (beyond.returncode, len(said.decode().strip().splitlines())) == (EXIT_USAGE, 1), said
