"""Commands and wallets in batches.

Applied once for ever, rejected without a trace, and never half.
"""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from processor.events.reader import BadgeCommand
from processor.events.rejection import Rejected
from processor.rules.badge_ids import instance_id
from store.engine import Database
from store.values.names import TypeCode
from store.values.stream import CommandType, Reason
from tests.builders.catalogs import TENANT
from tests.builders.messages import (
    ALICE,
    BOB,
    NOW,
    Log,
    a_command,
    a_partner,
    a_pipeline,
    a_quest,
    a_visit,
    a_wallet,
    an_address,
    count,
)
from tests.builders.sql import rows


def partners(who: UUID, number: int) -> list[dict[str, Any]]:
    """One makes ambassador I, which may be minted on request.

    Six make III, which mints by itself.
    """
    return [a_partner(who) for _ in range(number)]


async def after(database: Database, *batches: list[dict[str, Any]]) -> None:
    log = Log()
    for batch in batches:
        log.append(*batch)
        await count(database, log)


async def tasks(database: Database) -> list[tuple[Any, ...]]:
    return await rows(
        database,
        """
        SELECT operation, status, hold_reason FROM nft_mint_queue
         ORDER BY operation DESC, created_at
        """,
    )


async def badges(database: Database) -> list[tuple[Any, ...]]:
    return await rows(
        database, "SELECT status, onchain_status FROM nft_instance ORDER BY created_at, user_id"
    )


async def rejections(database: Database) -> list[str]:
    return [
        row[0] for row in await rows(database, 'SELECT reason FROM dead_letter ORDER BY "offset"')
    ]


async def log_of_commands(database: Database) -> list[tuple[Any, ...]]:
    return await rows(database, "SELECT external_id, type FROM command_log ORDER BY external_id")


WALLET = a_wallet(ALICE, an_address(1))
MINT = a_command("mint", ALICE, "m1", type_code="ambassador")
BURN = a_command("burn", ALICE, "b1", type_code="ambassador")
EXPLORER_OF_ALICE = str(instance_id(ALICE, TypeCode("explorer"), 1))
REVOKE = a_command("revoke", ALICE, "r1", type_code="ambassador", reason="bought accounts")


async def test_a_mint_may_come_with_the_event_that_earns_the_badge(counting: Database) -> None:
    await after(counting, [WALLET, *partners(ALICE, 1), MINT])
    assert await tasks(counting) == [("mint", "pending", None)]
    assert await badges(counting) == [("active", "pending")]
    assert await log_of_commands(counting) == [("m1", "badge.mint")]


@pytest.mark.parametrize("together", [True, False])
async def test_the_same_command_again_changes_nothing(counting: Database, together: bool) -> None:
    again = a_command("mint", ALICE, "m1", type_code="ambassador")
    batches = (
        [[*partners(ALICE, 1), MINT, again]] if together else [[*partners(ALICE, 1), MINT], [again]]
    )
    await after(counting, *batches)
    assert await tasks(counting) == [("mint", "pending", "no_wallet")]
    assert (await rejections(counting), len(await log_of_commands(counting))) == ([], 1)


@pytest.mark.parametrize("together", [True, False])
async def test_the_same_id_with_other_content_is_a_conflict(
    counting: Database, together: bool
) -> None:
    other = a_command("revoke", ALICE, "m1", type_code="ambassador", reason="x")
    batches = (
        [[*partners(ALICE, 1), MINT, other]] if together else [[*partners(ALICE, 1), MINT], [other]]
    )
    await after(counting, *batches)
    assert await rejections(counting) == ["external_id_conflict"]
    assert await badges(counting) == [("active", "not_minted")]


async def test_a_rejected_command_leaves_no_trace_and_may_be_sent_again(counting: Database) -> None:
    """Explorer I may not go on chain, III may."""
    mint = a_command("mint", ALICE, "m1", type_code="explorer")
    lowest, highest = (
        a_command("award", ALICE, f"a{level}", type_code="explorer", level=level)
        for level in (1, 3)
    )
    await after(counting, [lowest, mint])
    assert await rejections(counting) == ["policy_rejected"]
    assert await log_of_commands(counting) == [("a1", "badge.award")]
    log = Log()
    log.append(highest, mint, partition=1)
    await count(counting, log)
    assert ("m1", "badge.mint") in await log_of_commands(counting)


async def test_an_id_that_was_rejected_may_name_another_command_in_the_same_batch(
    counting: Database,
) -> None:
    """One that waits keeps its id (tests/processor/batch/test_waiting.py)."""
    rejected = a_command("mint", ALICE, "x", type_code="nothing")
    applied = a_command("mint", ALICE, "x", type_code="ambassador")
    await after(counting, [*partners(ALICE, 1), rejected, applied])
    assert (await rejections(counting), await log_of_commands(counting)) == (
        ["unknown_badge_type"],
        [("x", "badge.mint")],
    )


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (a_command("mint", ALICE, type_code="nothing"), Reason.UNKNOWN_BADGE_TYPE),
        (a_command("mint", BOB, instance_id=EXPLORER_OF_ALICE), Reason.NO_SUCH_BADGE),
        (
            a_command("mint", ALICE, instance_id=EXPLORER_OF_ALICE, type_code="ambassador"),
            Reason.NO_SUCH_BADGE,
        ),
        (a_command("mint", ALICE, type_code="explorer"), Reason.POLICY_REJECTED),
        (a_command("award", ALICE, type_code="explorer", level=9), Reason.UNKNOWN_LEVEL),
    ],
)
async def test_a_command_that_cannot_be_carried_out_is_a_dead_letter(
    counting: Database, command: dict[str, Any], reason: Reason
) -> None:
    quests = [*(a_quest(ALICE) for _ in range(5)), *(a_visit(ALICE, f"city-{n}") for n in range(3))]
    await after(counting, [*quests, command])  # explorer I is common: it stays off the chain
    assert (await rejections(counting), await log_of_commands(counting)) == ([reason.value], [])


async def test_a_revoked_badge_loses_a_mint_that_was_never_signed(counting: Database) -> None:
    await after(counting, [WALLET, *partners(ALICE, 1), MINT], [REVOKE])
    assert await tasks(counting) == [("mint", "failed", None)]
    assert (await badges(counting))[0][0] == "revoked"
    audit = await rows(
        counting,
        "SELECT actor_service, details->>'reason' FROM nft_audit_log WHERE action = 'revoked'",
    )
    assert audit == [("connect_service", "bought accounts")]


async def test_a_command_sees_the_mint_that_its_batch_asks_for_by_itself(
    counting: Database,
) -> None:
    await after(counting, [WALLET, *partners(ALICE, 6), BURN])
    assert (await tasks(counting), await rejections(counting)) == (
        [("mint", "pending", None), ("burn", "pending", None)],
        [],
    )


async def test_a_revocation_takes_back_the_mint_that_its_batch_asks_for_by_itself(
    counting: Database,
) -> None:
    await after(counting, [WALLET, *partners(ALICE, 6), REVOKE])
    assert (await tasks(counting), await rejections(counting)) == ([], [])
    assert await badges(counting) == [("revoked", "not_minted")]


async def test_mint_burn_and_revoke_in_one_batch_leave_nothing_to_do(counting: Database) -> None:
    await after(counting, [WALLET, *partners(ALICE, 1), MINT, BURN, REVOKE])
    assert (await tasks(counting), await rejections(counting)) == ([], [])
    assert (await badges(counting))[0][0] == "revoked"


SIGNED = (  # what the minter writes when it signs the only task there is
    """INSERT INTO chain_wallet (address, public_key, subwallet_id, timeout_s, zero_state_hash)
       SELECT '0:1', zeros, 1, 300, zeros FROM decode(repeat('00', 32), 'hex') AS zeros""",
    """INSERT INTO chain_collection (type_id, chain_wallet_id, address, content_uri, item_prefix)
       SELECT type_id, wallet.id, '0:2', 'u', 'p' FROM nft_instance, chain_wallet AS wallet""",
    """INSERT INTO chain_message (chain_wallet_id, chain_collection_id, kind, query_seq, signed_at,
              valid_until, boc, message_hash)
       SELECT chain_wallet_id, id, 'mint', 0, now(), now(), '', '' FROM chain_collection""",
    """UPDATE nft_mint_queue SET status = 'sent', chain_message_id = message.id,
              chain_collection_id = message.chain_collection_id, token_index = 0,
              recipient = '0:3' FROM chain_message AS message""",
)


async def test_a_revoked_badge_whose_mint_was_signed_is_burned(counting: Database) -> None:
    await after(counting, [WALLET, *partners(ALICE, 1), MINT])
    async with counting.transaction() as conn:  # what the minter writes when it signs
        for statement in SIGNED:
            await conn.execute(text(statement))
    log = Log()
    log.append(REVOKE, partition=1)
    await count(counting, log)
    assert await tasks(counting) == [("mint", "sent", None), ("burn", "pending", None)]


async def test_a_revoked_badge_is_not_given_again_by_events(counting: Database) -> None:
    await after(counting, [*partners(ALICE, 1), REVOKE], partners(ALICE, 6))
    assert await badges(counting) == [("revoked", "not_minted")]


async def test_a_wallet_releases_what_was_held(counting: Database) -> None:
    await after(counting, partners(ALICE, 6))
    assert await tasks(counting) == [("mint", "pending", "no_wallet")]
    log = Log()
    log.append(WALLET, partition=1)
    await count(counting, log)
    assert await tasks(counting) == [("mint", "pending", None)]
    assert await badges(counting) == [("active", "pending")]


async def test_a_wallet_that_was_unlinked_later_receives_nothing(counting: Database) -> None:
    unlinked = a_wallet(ALICE, an_address(1), NOW, linked=False)
    linked = a_wallet(ALICE, an_address(1), NOW.replace(hour=11))
    await after(
        counting, [unlinked, linked, *partners(ALICE, 6)]
    )  # by their own times, whatever comes first
    assert await tasks(counting) == [("mint", "pending", "no_wallet")]


async def test_history_is_silent_when_asked(counting: Database) -> None:
    log = Log()
    log.append(WALLET, *partners(ALICE, 6))
    await count(counting, log, await a_pipeline(counting, publish=False, mint=False))
    assert (await tasks(counting), await rows(counting, "SELECT 1 FROM outbox_message")) == ([], [])
    assert await badges(counting) == [("active", "not_minted")]


async def test_a_person_may_give_the_same_commands(counting: Database) -> None:
    await after(counting, partners(ALICE, 1))
    pipeline = await a_pipeline(counting)
    revoke = BadgeCommand(
        CommandType.REVOKE, "a1", ALICE, "ambassador", None, "why", b"hash", "admin", TENANT
    )
    assert await pipeline.apply(revoke) is None
    assert await pipeline.apply(revoke) is None
    rejected = await pipeline.apply(
        BadgeCommand(CommandType.MINT, "a2", ALICE, "ambassador", None, None, b"h", "admin", TENANT)
    )
    assert isinstance(rejected, Rejected)
    assert rejected.reason is Reason.NOT_ACTIVE
    audit = await rows(counting, "SELECT actor_service FROM nft_audit_log WHERE action = 'revoked'")
    assert (audit, await rejections(counting)) == ([("admin",)], [])
