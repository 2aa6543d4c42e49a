"""`laurel rebuild` as a process: what it says, and how it ends."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from ops.lifecycle import EXIT_FAILURE, EXIT_OK, EXIT_USAGE
from store.engine import Database
from tests.builders.cli import laurel
from tests.builders.messages import ALICE, BOB, Log, a_partner, count, encoded, with_catalog
from tests.builders.sql import rows

BREAK = """
    UPDATE nft_progress SET counters = '{"partners_invited": 9}' WHERE user_id = :who
"""


@pytest.fixture
def sent(database_url: str, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What a database has counted whose command-line tools are this test's."""
    messages = [a_partner(who) for who in (ALICE, ALICE, BOB)]

    async def prepare() -> None:
        async with Database(database_url) as database:
            await with_catalog(database)
            log = Log()
            log.append(*messages)
            await count(database, log)

    asyncio.run(prepare())
    monkeypatch.setenv("LAUREL_DATABASE_URL", database_url)
    return messages


def a_file(path: Path, *messages: dict[str, Any]) -> str:
    path.write_bytes(b"".join((encoded(each) or b"") + b"\n" for each in messages))
    return str(path)


def run(database_url: str, statement: str, **parameters: Any) -> list[Any]:
    async def body() -> list[Any]:
        async with Database(database_url) as database:
            return await rows(database, statement, **parameters)

    return asyncio.run(body())


def rebuild(*arguments: str) -> tuple[int, dict[str, Any]]:
    done = laurel("rebuild", "--json", *arguments)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_a_defect_is_seen_mended_and_ended(
    database_url: str, sent: list[dict[str, Any]], tmp_path: Path
) -> None:
    run(database_url, BREAK, who=BOB)
    assert rebuild("--status") == (
        EXIT_OK,
        dict.fromkeys(("rebuild", "sources", "missing", "drift", "version")),
    )
    code, document = rebuild("--open", "--type", "ambassador")
    assert (code, document["rebuild"]["state"]) == (EXIT_OK, "open")
    assert document["rebuild"]["counters"] == ["partners_invited"]
    code, document = rebuild(a_file(tmp_path / "one.jsonl", *sent[:2]))
    assert (code, document["missing"], document["sources"]["filled"]) == (EXIT_FAILURE, 1, 2)
    code, document = rebuild(a_file(tmp_path / "two.jsonl", *sent[1:]))
    assert (code, document["missing"], document["sources"]["repeated"]) == (EXIT_FAILURE, 0, 1)
    assert document["drift"]["counters"] == [
        {
            "type": "ambassador",
            "counter": "partners_invited",
            "equal": 1,
            "gained": 0,
            "lost": 1,
            "sample": [{"user": str(BOB), "now": 9, "rebuilt": 1}],
        }
    ]
    code, document = rebuild("--swap")
    assert (code, document["rebuild"]["state"], document["version"]) == (EXIT_OK, "swapped", 3)
    assert rebuild("--finish")[1]["rebuild"] is None
    assert run(database_url, "SELECT counters FROM nft_progress ORDER BY user_id") == [
        ({"partners_invited": 2},),
        ({"partners_invited": 1},),
    ]


def test_what_is_right_exits_with_0_and_says_so(
    database_url: str, sent: list[dict[str, Any]], tmp_path: Path
) -> None:
    done = laurel("rebuild", a_file(tmp_path / "all.jsonl", *sent))
    assert done.returncode == EXIT_OK, done.stderr
    assert "2 equal, 0 differ" in done.stdout
    assert "--swap" in done.stdout
    assert run(database_url, "SELECT state FROM rebuild") == [("open",)]


def test_a_backfill_counts_beside_a_rebuild_like_a_batch(
    database_url: str, sent: list[dict[str, Any]], tmp_path: Path
) -> None:
    assert rebuild("--open")[0] == EXIT_OK
    more = [a_partner(who) for who in (ALICE, BOB, BOB)]
    counted = laurel("backfill", a_file(tmp_path / "more.jsonl", *more))
    assert counted.returncode == EXIT_OK, counted.stderr
    code, document = rebuild(a_file(tmp_path / "all.jsonl", *sent, *more))
    assert (code, document["missing"], document["drift"]["rows"]) == (EXIT_OK, 0, 2)
    assert (document["sources"]["filled"], document["sources"]["live"]) == (3, 3)
    assert run(database_url, "SELECT counters FROM nft_progress ORDER BY user_id") == [
        ({"partners_invited": 3, "~partners_invited": 3},),
        ({"partners_invited": 3, "~partners_invited": 3},),
    ]


def test_what_a_person_gets_wrong_is_told_and_changes_nothing(
    database_url: str, sent: list[dict[str, Any]], tmp_path: Path
) -> None:
    there = a_file(tmp_path / "all.jsonl", *sent)
    for arguments, words in (
        (("nowhere.jsonl",), "nowhere.jsonl: No such file"),
        (("--type", "nobody", there), "There is no type nobody"),
        (("--swap", there), "--swap takes no SOURCE"),
        (("--swap",), "No rebuild is open"),
        (("--accept-missing", "1", there), "--accept-missing belongs to --swap"),
        (("--silent", there), "belong to --swap and --undo"),
        (("--type", "ambassador"), "--type says what a rebuild is about"),
    ):
        refused = laurel("rebuild", *arguments)
        assert refused.returncode == EXIT_USAGE, arguments
        assert words in refused.stderr
    assert run(database_url, "SELECT * FROM rebuild") == []
