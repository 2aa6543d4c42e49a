"""`laurel badge announce`: what silent jobs left out is said and minted once, and nothing else."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ops.errors import UsageError
from ops.lifecycle import EXIT_OK, EXIT_USAGE
from ops.settings import Settings
from processor.batch import announce
from processor.batch.announce import Announcement
from store.engine import Database
from store.silenced_badges import Choice
from tests.builders import backfills
from tests.builders.cli import laurel_beside
from tests.builders.messages import (
    ALICE,
    BOB,
    Log,
    a_command,
    a_partner,
    a_visit,
    count,
    encoded,
    user,
)
from tests.builders.sql import column, rows, value

ALL = Choice()
SAID = "SELECT payload->>'type_code', event_type, (payload->>'level')::int FROM outbox_message"
TASKS = "SELECT count(*) FROM nft_mint_queue"


@pytest.fixture
async def history(counting: Database, database_url: str, tmp_path: Path) -> list[dict[str, Any]]:
    """Counted in silence: ALICE is an ambassador (to be minted) and a city explorer, BOB the one."""
    events = [a_partner(ALICE) for _ in range(6)]
    events += [a_visit(ALICE, f"city-{number}") for number in range(5)]
    events += [a_partner(BOB) for _ in range(2)]
    path = tmp_path / "history.jsonl"
    path.write_bytes(b"".join((encoded(event) or b"") + b"\n" for event in events))
    settings = Settings(database_url=database_url)
    await backfills.backfill(settings, path)
    assert await rows(counting, SAID) == []
    return events


async def test_every_badge_is_announced_once(
    counting: Database, history: list[dict[str, Any]]
) -> None:
    done = await announce.announce(counting, ALL)
    badges = Counter({"ambassador": 2, "city_explorer": 1})
    assert done == Announcement(badges, messages=3, mints=1)
    assert sorted(await rows(counting, SAID)) == [
        ("ambassador", "badge.created", 1),
        ("ambassador", "badge.created", 3),
        ("city_explorer", "badge.created", 1),
    ]
    assert await value(counting, TASKS) == 1
    assert await announce.announce(counting, ALL) == Announcement()
    # Nor by the stream, when it brings them at last.
    log = Log()
    log.append(*history)
    await count(counting, log)
    assert (len(await rows(counting, SAID)), await value(counting, TASKS)) == (3, 1)


async def test_each_announcement_stands_in_the_audit_log(
    counting: Database, history: list[dict[str, Any]]
) -> None:
    await announce.announce(counting, Choice(user_id=BOB))
    audited = "SELECT actor_service, details FROM nft_audit_log WHERE action = 'metadata_updated'"
    assert await rows(counting, audited) == [
        ("admin", {"announced": "badge.created", "mint": False})
    ]


@pytest.mark.parametrize(
    ("choice", "badges"),
    [
        (ALL, {"ambassador": 2, "city_explorer": 1}),
        (Choice(type_code="ambassador"), {"ambassador": 2}),
        (Choice(user_id=ALICE), {"ambassador": 1, "city_explorer": 1}),
        (Choice("city_explorer", BOB), {}),
    ],
)
async def test_a_dry_run_counts_what_the_run_does(
    counting: Database, history: list[dict[str, Any]], choice: Choice, badges: dict[str, int]
) -> None:
    would = await announce.counted(counting, choice)
    assert would.badges == badges
    assert await rows(counting, SAID) == []
    assert await announce.announce(counting, choice) == would
    assert len(await rows(counting, SAID)) == would.messages


async def test_slices_come_to_the_same(counting: Database, history: list[dict[str, Any]]) -> None:
    would = await announce.counted(counting, ALL)
    assert await announce.announce(counting, ALL, slice_max=1) == would
    assert await value(counting, "SELECT count(*) FROM silenced_badge") == 0


async def test_of_a_badge_that_was_revoked_nothing_is_said(
    counting: Database, history: list[dict[str, Any]]
) -> None:
    log = Log()
    log.append(a_command("revoke", ALICE, type_code="ambassador", reason="bought accounts"))
    await count(counting, log)
    assert (await announce.counted(counting, ALL)).badges == {"ambassador": 1, "city_explorer": 1}
    await announce.announce(counting, ALL)
    of_alice = "SELECT event_type FROM outbox_message WHERE user_id = :who ORDER BY seq"
    assert await column(counting, of_alice, who=ALICE) == ["badge.revoked", "badge.created"]
    assert await value(counting, TASKS) == 0


async def test_a_badge_that_was_minted_by_hand_is_only_told_of(
    counting: Database, history: list[dict[str, Any]]
) -> None:
    log = Log()
    log.append(a_command("mint", ALICE, type_code="ambassador"))
    await count(counting, log)
    await announce.announce(counting, ALL)
    assert await value(counting, TASKS) == 1


async def test_an_unknown_type_is_named(counting: Database) -> None:
    for act in (announce.counted, announce.announce):
        with pytest.raises(UsageError, match="no badge type ambasador: take one of ambassador"):
            await act(counting, Choice(type_code="ambasador"))


async def test_the_command_answers_in_text_and_json(
    counting: Database, history: list[dict[str, Any]], database_url: str
) -> None:
    where = {"LAUREL_DATABASE_URL": database_url}
    dry = await laurel_beside("badge", "announce", "--dry-run", **where)
    assert dry.returncode == EXIT_OK, dry.stderr
    assert dry.stdout.splitlines()[-1] == "3 badges would be announced: 3 messages, 1 mints."
    run = await laurel_beside("badge", "announce", "--user", str(BOB), "--json", **where)
    assert json.loads(run.stdout) == {"badges": {"ambassador": 1}, "messages": 1, "mints": 0}
    wrong = await laurel_beside("badge", "announce", "--type", "none", **where)
    assert (wrong.returncode, "no badge type none" in wrong.stderr) == (EXIT_USAGE, True)
    nobody = await laurel_beside("badge", "announce", "--user", str(user(77)), **where)
    assert nobody.stdout == "0 badges announced: 0 messages, 0 mints.\n"
