"""`laurel history fill` and `laurel history list` as processes: what they say, and how they end."""

import asyncio
import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ops.lifecycle import EXIT_OK, EXIT_USAGE
from store import history_jobs
from store.engine import Database
from store.history_jobs import NewHistoryJob
from store.values.history import HistoryJobKind
from tests.builders.cli import laurel
from tests.builders.late_counters import PEOPLE, a_step, late_world
from tests.builders.messages import encoded
from tests.builders.sql import rows

Messages = list[dict[str, Any]]


@pytest.fixture
def before(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Messages:
    """What was counted before the counters came; the commands find the database."""

    async def prepare() -> Messages:
        async with Database(database_url) as database:
            return await late_world(database)

    monkeypatch.setenv("LAUREL_DATABASE_URL", database_url)
    return asyncio.run(prepare())


def a_file(path: Path, *messages: Mapping[str, Any] | bytes) -> Path:
    path.write_bytes(b"".join((encoded(message) or b"") + b"\n" for message in messages))
    return path


def fill(*arguments: str | Path, counter: str = "late_points") -> Any:
    return laurel("history", "fill", "--counter", counter, *map(str, arguments))


def number_of(database_url: str, table: str) -> int:
    async def count() -> int:
        async with Database(database_url) as database:
            return len(await rows(database, f"SELECT FROM {table}"))

    return asyncio.run(count())


def test_what_a_fill_would_give_is_said_before_anybody_has_it(
    before: Messages, database_url: str, tmp_path: Path
) -> None:
    unknown = a_step(PEOPLE[0])
    path = a_file(tmp_path / "year.jsonl", *before, before[0], unknown, b"{broken")
    done = fill(path)
    assert done.returncode == EXIT_OK, done.stderr
    assert done.stdout.splitlines()[1:8] == [
        f"  {len(before) + 3} records, 1 of them repeat one of the others",
        "    taken                  45  counted before, and not in it",
        "    not counted             1  by anybody: `laurel backfill` counts them",
        "    refused                 1  not_json 1",
        f"      {path}:{len(before) + 3}: not_json: {done.stdout.splitlines()[5].split(': ', 2)[2]}",
        "  the fill has 45 events of 9 users; closed now, it would give:",
        "    climber, level 1: created 2, raised 0, mint tasks 0",
    ]
    assert done.stdout.splitlines()[-1] == (
        "Nobody sees it yet: `laurel history fill --counter late_points --close` gives it, "
        "`--undo` drops it."
    )
    assert number_of(database_url, "nft_instance") == 0
    again = json.loads(fill("--json").stdout)
    assert (again["events"], again["users"], again["badges_awarded"]) == (45, 9, 8)
    assert again["mint_tasks"] == 6
    assert again["cost_nanograms"] > 6 * 2_000_000
    assert "    6 tokens to mint, " in done.stdout
    assert "sources" not in again


def test_it_is_closed_once_and_listed(before: Messages, database_url: str, tmp_path: Path) -> None:
    half, whole = a_file(tmp_path / "a.jsonl", *before[:20]), tmp_path / "b.jsonl.gz"
    whole.write_bytes(gzip.compress(a_file(tmp_path / "c", *before).read_bytes()))
    first = json.loads(fill(half, "--json").stdout)
    second = json.loads(fill(whole, "--json").stdout)
    assert (first["sources"]["taken"], second["sources"]["taken"]) == (20, 25)
    assert second["sources"]["taken_before"] == 20
    closed = fill("--close", "--silent")
    assert closed.stdout == (
        "late_points has its past: 45 events, 9 users; badges awarded 8, raised 0.\n"
    )
    assert number_of(database_url, "nft_instance") == 8
    assert number_of(database_url, "outbox_message") == 0
    assert laurel("history", "list").stdout.startswith(
        "fill      closed      late_points: 45 events, 9 users, awarded 8, raised 0, "
    )
    (listed,) = json.loads(laurel("history", "list", "--json").stdout)["fills"]
    assert (listed["state"], listed["silent"], listed["no_mint"]) == ("closed", True, False)
    refused = fill(whole)
    assert refused.returncode == EXIT_USAGE
    assert "late_points has its past: a fill of it was closed on" in refused.stderr


def test_the_same_source_again_changes_nothing(before: Messages, tmp_path: Path) -> None:
    path = a_file(tmp_path / "year.jsonl", *before)
    fill(path)
    again = fill(path)
    assert "  taken whole by an earlier run\n" in again.stdout
    assert "the fill has 45 events of 9 users" in again.stdout


def test_an_undone_fill_is_gone(before: Messages, tmp_path: Path) -> None:
    fill(a_file(tmp_path / "year.jsonl", *before))
    undone = fill("--undo")
    assert undone.stdout == (
        "The fill of late_points is undone: 45 events that it had taken are dropped.\n"
    )
    assert laurel("history", "list").stdout == "Nothing was begun with history.\n"
    assert fill().returncode == EXIT_USAGE


def test_loads_are_listed_too(before: Messages, database_url: str) -> None:
    assert before

    async def begin() -> None:
        async with Database(database_url) as database, database.transaction() as conn:
            job = NewHistoryJob(
                HistoryJobKind.BACKFILL, b"digest", ["/archive/2025"], {}, 2, 7, 100, 0, 0
            )
            await history_jobs.opened(conn, job)

    asyncio.run(begin())
    listed = laurel("history", "list").stdout
    assert listed.startswith("backfill  open        /archive/2025: 0 of 7 slices, counted 0, ")
    (job,) = json.loads(laurel("history", "list", "--json").stdout)["jobs"]
    assert (job["kind"], job["state"], job["slices"]) == ("backfill", "open", 7)


def test_another_event_under_a_known_id_is_named_with_its_line(
    before: Messages, tmp_path: Path
) -> None:
    path = a_file(tmp_path / "x.jsonl", before[0], before[5] | {"subject": str(PEOPLE[0])})
    report = json.loads(fill(path, "--json").stdout)["sources"]
    assert (report["taken"], report["refused"]) == (1, {"event_id_conflict": 1})
    assert report["examples"][0].startswith(f"{path}:2: event_id_conflict: the id ")


def test_strict_takes_nothing_of_what_the_stream_would_refuse(
    before: Messages, database_url: str, tmp_path: Path
) -> None:
    path = a_file(tmp_path / "x.jsonl", *before, b"{broken")
    refused = fill(path, "--strict")
    assert refused.returncode == EXIT_USAGE
    assert f"  {path}:{len(before) + 1}: not_json: " in refused.stderr
    assert number_of(database_url, "counter_fill") == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--close", "--undo"], "--close and --undo are opposites"),
        (["--close", "year.jsonl"], "With --close or --undo no SOURCE is taken"),
        (["--silent"], "they go with --close"),
        (["--strict"], "--strict says how a SOURCE is taken"),
        ([], "No fill of late_points is open. Give it a source"),
        (["--close"], "No fill of late_points is open"),
        (["--undo"], "there is nothing to undo"),
        (["nowhere.jsonl"], "nowhere.jsonl"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_2(
    before: Messages, arguments: list[str], words: str
) -> None:
    assert before
    refused = fill(*arguments)
    assert refused.returncode == EXIT_USAGE
    assert words in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_packed_file_that_ends_early_takes_nothing(
    before: Messages, database_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "year.jsonl.gz"
    path.write_bytes(gzip.compress(a_file(tmp_path / "c", *before).read_bytes())[:-40])
    refused = fill(path)
    assert refused.returncode == EXIT_USAGE
    assert str(path) in refused.stderr
    assert number_of(database_url, "counter_fill") == 0


def test_a_counter_that_there_is_not_is_exit_2(before: Messages, tmp_path: Path) -> None:
    refused = fill(a_file(tmp_path / "x.jsonl", *before), counter="late_point")
    assert refused.returncode == EXIT_USAGE
    assert "no counter late_point. Did you mean late_points?" in refused.stderr
