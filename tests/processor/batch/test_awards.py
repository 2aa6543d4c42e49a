"""badge.award on a real database: a badge given, raised, or given again after it was taken away."""

import asyncio
import random
from itertools import count as numbers
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from processor.rules.badge_ids import instance_id
from store.engine import Database
from store.values.names import TypeCode
from tests.builders.messages import (
    ALICE,
    Log,
    a_command,
    a_partner,
    a_pipeline,
    a_wallet,
    an_address,
    clear,
    count,
    open_ledger,
)
from tests.builders.sql import rows
from tests.processor.batch.conftest import Told
from tests.store.locks import until_somebody_waits

# One partner makes ambassador I, three make II, six make III, which mints by itself.
AMBASSADOR = TypeCode("ambassador")
OTHER_TENANT = UUID(int=9)
AUDIT = """
    SELECT action, actor_service, details FROM nft_audit_log WHERE nft_instance_id IS NOT NULL
"""


def an_award(external_id: str | None = None, **data: Any) -> dict[str, Any]:
    return a_command("award", ALICE, external_id, **({"type_code": AMBASSADOR} | data))


REVOKE = a_command("revoke", ALICE, "r1", type_code=AMBASSADOR, reason="bought accounts")


async def badges(database: Database) -> list[tuple[Any, ...]]:
    return await rows(
        database,
        """
        SELECT ordinal, current_level, status, external_id FROM nft_instance ORDER BY ordinal
        """,
    )


async def audit(database: Database) -> list[tuple[Any, ...]]:
    return await rows(
        database,
        """
        SELECT action, details->'level', actor_service, details->>'external_id'
          FROM nft_audit_log WHERE nft_instance_id IS NOT NULL AND action IN ('created', 'level_up')
         ORDER BY created_at, actor_service DESC, details->'level'
        """,
    )


async def rejections(database: Database) -> list[tuple[Any, ...]]:
    return await rows(database, 'SELECT reason FROM dead_letter ORDER BY "offset"')


async def test_an_award_makes_a_badge_that_names_the_command(
    told: Told, counting: Database
) -> None:
    asked = an_award("a1", level=2, reason="won the contest") | {"tenantid": str(OTHER_TENANT)}
    await told([asked])
    assert await badges(counting) == [(1, 2, "active", "a1")]
    shown = "id, metadata->'level', source_service, source_event_id, tenant_id"
    (made,) = await rows(counting, f"SELECT {shown} FROM nft_instance")
    service, event_id = "connect_service", asked["id"]
    assert made == (instance_id(ALICE, AMBASSADOR, 1), 2, service, event_id, OTHER_TENANT)
    details = {
        "level": 2,
        "source_service": service,
        "source_event_id": event_id,
        "external_id": "a1",
        "reason": "won the contest",
    }
    assert await rows(counting, AUDIT) == [("created", service, details)]
    published = await rows(
        counting, "SELECT event_type, payload->'level', tenant_id FROM outbox_message"
    )
    assert published == [("badge.created", 2, OTHER_TENANT)]
    assert await rows(counting, "SELECT external_id, type, nft_instance_id FROM command_log") == [
        ("a1", "badge.award", made[0])
    ]


@pytest.mark.parametrize(("partners", "level"), [(0, 1), (1, 1), (3, 2), (6, 3)])
async def test_without_a_level_an_award_gives_what_the_counters_reach(
    told: Told, counting: Database, partners: int, level: int
) -> None:
    earned = [a_partner(ALICE) for _ in range(partners)]
    await told([*earned, REVOKE] if partners else [], [an_award("a1")])
    assert (await badges(counting))[-1] == (2 if partners else 1, level, "active", "a1")
    count_shown = await rows(
        counting,
        "SELECT metadata->'partner_count' FROM nft_instance ORDER BY ordinal DESC LIMIT 1",
    )
    assert count_shown == [(partners,)]


async def test_an_award_raises_a_badge_and_never_lowers_it(told: Told, counting: Database) -> None:
    await told([a_partner(ALICE)], [an_award("a1", level=3)])
    raised = [("created", 1, "system", None), ("level_up", 3, "connect_service", "a1")]
    assert (await badges(counting), await audit(counting)) == ([(1, 3, "active", None)], raised)
    await told([an_award("a2", level=1)], [an_award("a3")])
    assert (await badges(counting), await audit(counting)) == ([(1, 3, "active", None)], raised)
    assert await rejections(counting) == []
    applied = await rows(counting, "SELECT external_id FROM command_log ORDER BY external_id")
    assert applied == [("a1",), ("a2",), ("a3",)]


async def test_counters_go_on_from_the_awarded_level(told: Told, counting: Database) -> None:
    await told([an_award("a1", level=2)], [a_partner(ALICE) for _ in range(3)])
    assert await badges(counting) == [(1, 2, "active", "a1")]
    await told([a_partner(ALICE) for _ in range(3)])
    assert await badges(counting) == [(1, 3, "active", "a1")]


async def test_an_award_on_the_way_notes_the_levels_that_the_counters_had_reached(
    told: Told,
    counting: Database,
) -> None:
    await told([*(a_partner(ALICE) for _ in range(3)), REVOKE, an_award("a1", level=3)])
    assert await audit(counting) == [
        ("created", 1, "system", None),
        ("level_up", 2, "system", None),
        ("created", 1, "connect_service", "a1"),
        ("level_up", 2, "connect_service", "a1"),
        ("level_up", 3, "connect_service", "a1"),
    ]


async def test_the_same_award_again_changes_nothing_and_another_under_its_id_is_a_conflict(
    told: Told,
    counting: Database,
) -> None:
    await told([an_award("a1", level=1), an_award("a1", level=1)], [an_award("a1")])
    assert await badges(counting) == [(1, 1, "active", "a1")]
    assert await rejections(counting) == [("external_id_conflict",)]


async def test_an_award_of_what_the_catalog_does_not_have_is_a_dead_letter(
    told: Told,
    counting: Database,
) -> None:
    await told([an_award(level=4), an_award(type_code="nothing")])
    assert (await badges(counting), await rejections(counting)) == (
        [],
        [("unknown_level",), ("unknown_badge_type",)],
    )


@pytest.mark.parametrize("wallet", [True, False])
async def test_an_award_mints_as_its_level_says(
    told: Told, counting: Database, wallet: bool
) -> None:
    linked = [a_wallet(ALICE, an_address(1))] if wallet else []
    await told([*linked, an_award(level=2)])
    tasks = "SELECT operation, status, hold_reason FROM nft_mint_queue"
    assert await rows(counting, tasks) == []
    await told([an_award(level=3)])
    assert await rows(counting, tasks) == [("mint", "pending", None if wallet else "no_wallet")]


async def test_history_awards_in_silence(counting: Database) -> None:
    log = Log()
    log.append(an_award(level=3))
    await count(counting, log, await a_pipeline(counting, publish=False, mint=False))
    assert await rows(counting, "SELECT 1 FROM nft_mint_queue") == []
    assert await rows(counting, "SELECT 1 FROM outbox_message") == []


async def test_a_badge_that_was_taken_away_is_given_again_under_another_id(
    told: Told,
    counting: Database,
) -> None:
    await told([an_award("a1"), REVOKE, an_award("a2", level=3)])
    assert await badges(counting) == [(1, 1, "revoked", "a1"), (2, 3, "active", "a2")]
    await told([a_command("revoke", ALICE, "r2", type_code=AMBASSADOR, reason="x")])
    await told([an_award("a3")])
    ids = await rows(counting, "SELECT id FROM nft_instance ORDER BY ordinal")
    assert ids == [(instance_id(ALICE, AMBASSADOR, ordinal),) for ordinal in (1, 2, 3)]
    assert [row[2] for row in await badges(counting)] == ["revoked", "revoked", "active"]


WRITTEN = {
    "badges": """
        SELECT id, ordinal, current_level, status, external_id, metadata, source_event_id
          FROM nft_instance ORDER BY ordinal""",
    "outbox": "SELECT seq, event_type, payload FROM outbox_message ORDER BY seq",
    "commands": "SELECT external_id, type, nft_instance_id FROM command_log ORDER BY 1",
    "dead letters": "SELECT reason, value FROM dead_letter ORDER BY value",
    "open tasks": """
        SELECT nft_instance_id, operation, hold_reason FROM nft_mint_queue
         WHERE status = 'pending' ORDER BY 1, 2""",
}


async def written(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """What the batches left, but for tasks that were called off."""
    return {name: await rows(database, statement) for name, statement in WRITTEN.items()}


async def audited(database: Database, known: int) -> list[tuple[Any, ...]]:
    """The audit entries beyond the first `known`: the log cannot be cleared."""
    found = await rows(
        database,
        """
        SELECT nft_instance_id, action, CAST(details AS text) FROM nft_audit_log
         WHERE nft_instance_id IS NOT NULL ORDER BY created_at, 3, 2 OFFSET """
        + str(known),
    )
    return sorted(found)


def some_commands(seed: int) -> list[dict[str, Any]]:
    """Commands of every kind about one user's badge, in an order of chance."""
    rng, number = random.Random(seed), numbers()

    def command(kind: str, **data: Any) -> dict[str, Any]:
        named = {"type_code": AMBASSADOR} | data
        return a_command(kind, ALICE, f"c{next(number)}", **named)

    kinds = [
        lambda: command("award"),
        lambda: command("award", level=rng.choice([1, 2, 3])),
        lambda: command("mint"),
        lambda: command("burn"),
        lambda: command("revoke", reason="r"),
        lambda: an_award(f"c{rng.randrange(3)}", level=rng.choice([1, 2])),
    ]
    return [rng.choice(kinds)() for _ in range(8)]


@pytest.mark.parametrize("seed", range(12))
async def test_commands_in_one_batch_end_as_they_do_one_by_one(
    told: Told, counting: Database, seed: int
) -> None:
    commands = some_commands(seed)
    earned = [a_partner(ALICE) for _ in range(seed % 4)]
    await told(earned, *([command] for command in commands))
    one_by_one = await written(counting)
    entries = await audited(counting, 0)
    await clear(counting)
    log = Log()
    for batch in (earned, commands):
        log.append(*batch)
        await count(counting, log)
    assert await written(counting) == one_by_one
    assert await audited(counting, len(entries)) == entries


async def test_an_award_and_an_event_that_make_the_same_badge_at_once_make_one(
    counting: Database,
) -> None:
    """The second one meets the first one's row when that commits, and is run again."""
    events, commands = Log(), Log()
    events.append(*(a_partner(ALICE) for _ in range(3)))
    commands.append(an_award("a1", level=1))
    await open_ledger(counting, [*events.chunks(), *commands.chunks()])
    pipeline = await a_pipeline(counting)
    async with counting.transaction() as conn:
        # Both have seen no badge: one has made its own, the other waits for what becomes of that.
        await conn.execute(text("LOCK TABLE nft_audit_log"))
        tasks = [
            asyncio.create_task(pipeline.run(log.chunks(again=True))) for log in (events, commands)
        ]
        await until_somebody_waits(conn, 2)
    await asyncio.gather(*tasks)
    assert [row[:3] for row in await badges(counting)] == [(1, 2, "active")]
    assert await rejections(counting) == []
