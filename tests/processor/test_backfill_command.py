"""`laurel backfill` as a process: what it says, and how it ends."""

import asyncio
import gzip
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest
from processor.history.commands import backfill
from sqlalchemy import text

from ops.lifecycle import EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE
from processor.history.backfill import BackfillOptions
from store.engine import Database
from tests.builders.cli import ROOT, laurel
from tests.builders.messages import ALICE, a_partner, encoded, with_catalog
from tests.builders.patience import PATIENCE_S
from tests.e2e.workers import until, until_counted


def lines(*messages: dict[str, Any] | bytes) -> bytes:
    return b"".join((encoded(message) or b"") + b"\n" for message in messages)


def a_file(path: Path, *messages: dict[str, Any] | bytes) -> Path:
    path.write_bytes(lines(*messages))
    return path


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
    assert flags - {"as_json"} == {each.name for each in fields(BackfillOptions)}


def test_the_command_reports_in_json(counting_url: str, tmp_path: Path) -> None:
    path = a_file(tmp_path / "history.jsonl", *(a_partner(ALICE) for _ in range(2)))
    done = laurel("backfill", str(path), "--json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["counted"], document["finished"]) == (EXIT_OK, 2, True), (
        counting_url
    )


def test_a_file_with_broken_lines_is_refused_as_a_whole(counting_url: str, tmp_path: Path) -> None:
    path = a_file(tmp_path / "mixed.jsonl", a_partner(ALICE), b"{broken", a_partner(ALICE))
    refused = laurel("backfill", str(path))
    assert refused.returncode == EXIT_USAGE
    assert f"{path}:2: not_json: " in refused.stderr
    assert "--dead-letter" in refused.stderr
    again = laurel("backfill", "--dead-letter", "--json", str(path))
    assert json.loads(again.stdout)["resumed_at"] == 0, counting_url


def test_a_file_that_is_not_there_is_named(counting_url: str, tmp_path: Path) -> None:
    refused = laurel("backfill", str(tmp_path / "nowhere.jsonl"))
    assert refused.returncode == EXIT_USAGE
    assert "nowhere.jsonl: No such file or directory" in refused.stderr, counting_url


def test_a_dry_run_says_what_it_would_count(counting_url: str, tmp_path: Path) -> None:
    path = a_file(tmp_path / "history.jsonl", a_partner(ALICE), b"{broken")
    done = laurel("backfill", "--dry-run", str(path))
    # As the run would: it would refuse the file.
    assert done.returncode == EXIT_USAGE, (done.stderr, counting_url)
    assert laurel("backfill", "--dry-run", "--dead-letter", str(path)).returncode == EXIT_OK
    first, *rest = done.stdout.splitlines()
    assert first.startswith(f"{path}: 2 lines in ")
    assert rest[:4] == [
        "  would count  1",
        "  duplicates   0",
        "  levels       0",
        "  broken       1",
    ]
    assert rest[4].startswith(f"    {path}:2: not_json: ")


async def test_ctrl_c_ends_after_the_batch_in_flight_with_a_code_of_its_own(
    counting: Database, database_url: str, tmp_path: Path
) -> None:
    """The second batch waits for a lock of ours: the signal comes while there is more to count."""
    good = [a_partner(ALICE) for _ in range(20)]
    path = a_file(tmp_path / "history.jsonl", *good[:2], b"{broken", *good[2:])
    process = await started(
        database_url,
        "--dead-letter",
        str(path),
        LAUREL_WORKER__BATCH_RECORDS_MAX="2",
        LAUREL_WORKER__CHUNK_RECORDS_MAX="2",
    )
    async with counting.transaction() as conn:
        await conn.execute(text("LOCK TABLE dead_letter IN EXCLUSIVE MODE"))
        await until_counted(counting, 2)
        process.send_signal(signal.SIGINT)
    answer, _ = await process.communicate()
    document = json.loads(answer)
    assert process.returncode == EXIT_INTERRUPTED
    assert document["finished"] is False
    # The first batch is committed, the second perhaps in flight; the third is not begun.
    assert document["counted"] == await number_of_events(counting) < 4


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


def test_a_pipe_is_counted_like_a_file_and_known_again(counting_url: str) -> None:
    content = lines(*(a_partner(ALICE) for _ in range(3)))
    first, again = (piped(content, "-", "--json") for _ in range(2))
    assert first.returncode == again.returncode == EXIT_OK, (first.stderr, counting_url)
    found = [json.loads(each.stdout) for each in (first, again)]
    assert [(each["path"], each["lines"], each["counted"]) for each in found] == [
        ("<stdin>", 3, 3),
        ("<stdin>", 0, 0),
    ]
    assert found[1]["resumed_at"] == 3
    other = piped(content + lines(a_partner(ALICE)), "/dev/stdin", "--json")
    assert json.loads(other.stdout)["counted"] == 1


def test_a_broken_line_in_a_pipe_is_named(counting_url: str) -> None:
    refused = piped(lines(a_partner(ALICE), b"{broken"), "-")
    assert refused.returncode == EXIT_USAGE, counting_url
    assert "<stdin>:2: not_json: " in refused.stderr.decode()


def test_a_packed_file_is_counted(counting_url: str, tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl.gz"
    path.write_bytes(gzip.compress(lines(*(a_partner(ALICE) for _ in range(2)))))
    done = laurel("backfill", str(path), "--json")
    assert json.loads(done.stdout)["counted"] == 2, counting_url


def test_a_file_name_beyond_utf8_is_escaped(counting_url: str, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"history-\xef.jsonl")
    a_file(path, a_partner(ALICE), b"{broken")
    refused = laurel("backfill", str(path))
    assert refused.returncode == EXIT_USAGE, counting_url
    assert "history-\\xef.jsonl:2: not_json: " in refused.stderr
    done = laurel("backfill", "--dead-letter", "--json", str(path))
    assert (done.returncode, json.loads(done.stdout)["counted"]) == (EXIT_OK, 1)


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
