"""`laurel backfill` as a process: what it says, and how it ends."""

import asyncio
import json
import os
import signal
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest
from sqlalchemy import text

from ops.lifecycle import EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE
from processor.history.backfill import BackfillOptions
from processor.history.commands import backfill
from store.engine import Database
from tests.builders.cli import ROOT, laurel
from tests.builders.messages import ALICE, a_partner, encoded, with_catalog


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
    assert done.returncode == EXIT_OK, (done.stderr, counting_url)
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
    """The file is a pipe: the signal comes while there is more to read, however fast we are."""
    path = tmp_path / "history.jsonl"
    os.mkfifo(path)
    environment = {
        "LAUREL_DATABASE_URL": database_url,
        "LAUREL_WORKER__BATCH_RECORDS_MAX": "2",
        "LAUREL_WORKER__CHUNK_RECORDS_MAX": "2",
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli", "backfill", "--dead-letter", "--json", str(path)),
        cwd=ROOT,
        env=os.environ | environment,
        stdout=asyncio.subprocess.PIPE,
    )
    pipe = await asyncio.to_thread(path.open, "wb", 0)
    with pipe:
        pipe.write(lines(a_partner(ALICE), a_partner(ALICE)))
        while await number_of_events(counting) < 2:
            pass
        process.send_signal(signal.SIGINT)
        # The first batch is committed, the second perhaps in flight; the third is not begun.
        pipe.write(lines(*(a_partner(ALICE) for _ in range(4))))
    answer, _ = await process.communicate()
    document = json.loads(answer)
    assert process.returncode == EXIT_INTERRUPTED
    assert document["finished"] is False
    assert document["counted"] == await number_of_events(counting) < 6


async def number_of_events(database: Database) -> int:
    async with database.transaction() as conn:
        rows = await conn.execute(text("SELECT count(*) FROM processed_event"))
        return int(rows.scalar_one())
