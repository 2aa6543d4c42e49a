"""waiting_command: rows wait with all that their dead letter needs, and are found when due."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from store import dead_letters, waiting_commands
from store.dead_letters import NewDeadLetter
from store.engine import Database
from store.values.stream import Reason, RecordPosition
from store.waiting_commands import NewWaitingCommand, Page
from tests.builders.sql import column, rows
from tests.builders.world import Badge, World

DAY = timedelta(days=1)
NOBODY = UUID(int=77)


def a_letter(offset: int, reason: Reason = Reason.NO_SUCH_BADGE) -> NewDeadLetter:
    return NewDeadLetter(
        RecordPosition("laurel.commands", 3, offset),
        b"key",
        b'{"n": %d}' % offset,
        [("traceparent", b"\xff"), ("empty", None)],
        reason,
        "why",
        1_000 + offset,
    )


def waits(
    external_id: str,
    who: UUID = NOBODY,
    offset: int = 0,
    reason: Reason = Reason.NO_SUCH_BADGE,
    **named: Any,
) -> NewWaitingCommand:
    document = {"type": "badge.mint", "type_code": "explorer", "instance_id": None} | named
    return NewWaitingCommand(external_id, b"hash", who, document, a_letter(offset, reason))


async def keep(
    database: Database, *commands: NewWaitingCommand, wait: timedelta = DAY, silent: bool = False
) -> None:
    async with database.transaction() as conn:
        await waiting_commands.keep(conn, commands, "cluster", wait, silent=silent)


async def of(database: Database, *users: UUID, silent: bool = False) -> list[str]:
    async with database.transaction() as conn:
        found = await waiting_commands.of_users(conn, users, silent=silent)
    return [each.external_id for each in found]


LETTERS = """
    SELECT cluster_id, topic, partition, "offset", record_timestamp_ms, key, value, value_length,
           value_sha256, content_sha256, headers, reason, detail
      FROM dead_letter ORDER BY "offset"
"""


async def test_what_waited_in_vain_is_the_letter_that_it_would_have_been_at_once(
    database: Database,
) -> None:
    await keep(database, waits("a", offset=5))
    async with database.transaction() as conn:
        assert await waiting_commands.reject(conn, [("a", Reason.NO_SUCH_BADGE, "why")]) == 0
    waited = await rows(database, LETTERS)
    async with database.transaction() as conn:
        await conn.execute(text("DELETE FROM dead_letter"))
        await dead_letters.append(conn, "cluster", [a_letter(5)])
    assert waited == await rows(database, LETTERS)
    assert await of(database, NOBODY) == []


async def test_a_letter_that_is_there_already_stays_one(database: Database) -> None:
    await keep(database, waits("a", offset=5))
    async with database.transaction() as conn:
        await dead_letters.append(conn, "cluster", [a_letter(5)])
        assert await waiting_commands.reject(conn, [("a", Reason.NOT_ACTIVE, "other")]) == 1
    assert await column(database, "SELECT reason FROM dead_letter") == ["no_such_badge"]


async def test_what_waits_is_read_in_the_order_in_which_it_came(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = UUID(int=78)
    await keep(database, waits("z", offset=1), waits("y", offset=3), waits("o", other, 2))
    await keep(database, waits("a", offset=0))
    await keep(database, waits("s", offset=4), silent=True)
    assert await of(database, NOBODY) == ["z", "y", "a"]
    assert await of(database, NOBODY, other) == ["z", "o", "y", "a"]
    assert await of(database, NOBODY, silent=True) == ["s"]
    assert await of(database) == []
    monkeypatch.setattr(waiting_commands, "OF_A_BATCH_MAX", 2)
    assert await of(database, NOBODY) == ["z", "y"]


async def test_what_is_waited_for_may_change(database: Database) -> None:
    await keep(database, waits("a"))
    async with database.transaction() as conn:
        await waiting_commands.wait_on(conn, [("a", Reason.NO_TOKEN, "no token")])
        (found,) = await waiting_commands.find(conn, ["a", "b"])
    assert (found.reason, found.detail, found.content_hash) == (
        Reason.NO_TOKEN,
        "no token",
        b"hash",
    )


async def test_only_what_has_waited_long_enough_expires(database: Database) -> None:
    await keep(database, waits("old"), waits("older", offset=1), wait=timedelta(0))
    await keep(database, waits("new"))
    async with database.transaction() as conn:
        found = await waiting_commands.expired(conn, 1)
        rest = await waiting_commands.expired(conn, 9)
    assert len(found) == 1
    assert [each.external_id for each in rest] == ["old", "older"]


async def test_what_another_holds_is_left_to_it(database: Database) -> None:
    await keep(database, waits("a"), waits("b", offset=1), wait=timedelta(0))
    async with database.transaction() as conn, database.transaction() as other:
        (held,) = await waiting_commands.by_id(conn, ["a"], silent=False)
        free = await waiting_commands.by_id(other, ["a", "b"], silent=False)
        expired = await waiting_commands.expired(other, 9)
    assert held.external_id == "a"
    assert [each.external_id for each in free] == ["b"]
    assert [each.external_id for each in expired] == ["b"]


async def page(database: Database) -> Page:
    async with database.transaction() as conn:
        return await waiting_commands.page(conn, None, 100)


def by_id(badge: Badge) -> dict[str, Any]:
    return {"type_code": None, "instance_id": str(badge.id)}


NO_TOKEN = Reason.NO_TOKEN
MINT = "INSERT INTO nft_mint_queue (nft_instance_id, operation, status) SELECT id, 'mint', '{}'"
MINT += " FROM nft_instance"


@pytest.mark.parametrize("named", ["by type", "by id"])
@pytest.mark.parametrize(
    ("reason", "change", "due"),
    [
        (Reason.NO_SUCH_BADGE, None, True),
        (NO_TOKEN, None, False),
        (NO_TOKEN, "UPDATE nft_instance SET onchain_token_id = '0:' || repeat('a', 64)", True),
        (NO_TOKEN, "UPDATE nft_instance SET status = 'revoked'", True),
        (NO_TOKEN, MINT.format("pending"), True),
        (NO_TOKEN, MINT.format("failed"), False),
    ],
)
async def test_a_row_is_due_once_it_can_be_decided(
    database: Database, reason: Reason, change: str | None, due: bool, named: str
) -> None:
    """And never again while it waits for the same: else a turn would go round for ever."""
    (badge,) = await World(database).badges()
    names = by_id(badge) if named == "by id" else {}
    await keep(database, waits("a", badge.user_id, reason=reason, **names))
    if change is not None:
        await rows(database, change)
    assert (await page(database)).due == (["a"] if due else [])


async def test_a_badge_of_another_type_or_user_makes_nothing_due(database: Database) -> None:
    (badge,) = await World(database).badges()
    await keep(database, waits("a", badge.user_id, type_code="reviewer"), waits("b", offset=1))
    assert (await page(database)).due == []


async def test_pages_go_through_all_that_waits(database: Database) -> None:
    badges = await World(database).badges(5)
    for number, badge in enumerate(badges):
        await keep(database, waits(f"c{number}", badge.user_id, number), silent=number == 3)
    seen, silent, after = [], [], None
    async with database.transaction() as conn:
        while True:
            found = await waiting_commands.page(conn, after, 2)
            seen += found.due
            silent += found.silent_due
            after = found.end
            if after is None:
                break
        number = await waiting_commands.count(conn)
    assert (seen, silent, number) == (["c0", "c1", "c2", "c4"], ["c3"], 5)


async def test_pages_and_users_are_found_by_their_indexes(database: Database) -> None:
    await keep(database, *(waits(f"c{number}", UUID(int=number), number) for number in range(600)))
    async with database.transaction() as conn:
        await conn.execute(text("ANALYZE waiting_command"))
        plans = [
            "\n".join(
                row[0] for row in await conn.execute(text(f"EXPLAIN {statement.text}"), given)
            )
            for statement, given in (
                (waiting_commands.OF_USERS, {"users": [NOBODY], "silent": False, "limit": 9}),
                (waiting_commands.PAGE, {"after": "-infinity", "after_id": "", "limit": 9}),
                (waiting_commands.EXPIRED, {"limit": 9}),
            )
        ]
    assert "waiting_command_user_id_idx" in plans[0]
    assert "waiting_command_expires_at_external_id_idx" in plans[1]
    assert "waiting_command_expires_at_external_id_idx" in plans[2]
