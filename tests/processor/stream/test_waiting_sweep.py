"""The sweep decides what waits and no batch has met, and ends what waited in vain."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from processor.batch.pipeline import Pipeline
from processor.stream import waiting_sweep
from processor.stream.waiting_sweep import WaitingSweep
from store.engine import Database, DatabaseUnreachable, StatementTimedOut
from tests.builders.clock import FakeClock
from tests.builders.messages import (
    ALICE,
    BOB,
    Log,
    a_command,
    a_partner,
    a_pipeline,
    count,
    open_ledger,
    terms,
    user,
)
from tests.builders.metrics import Moved
from tests.builders.sql import column, rows, somebody_waits, value

MINT = a_command("mint", ALICE, "m1", type_code="ambassador")
BURN = a_command("burn", ALICE, "b1", type_code="ambassador")
REVOKE = a_command("revoke", ALICE, "r1", type_code="ambassador", reason="bought accounts")

# What the minter writes when it has seen the token of a badge.
MINTED = """
    UPDATE nft_instance
       SET onchain_status = 'minted', onchain_token_id = '0:' || md5(id::text) || md5(id::text)
"""


@pytest.fixture
def sweep(counting: Database) -> WaitingSweep:
    return WaitingSweep(counting, terms(), FakeClock())


async def tell(database: Database, *messages: dict[str, Any], **options: Any) -> None:
    log = Log()
    log.append(*messages, partition=await value(database, "SELECT count(*) FROM offset_ledger"))
    await count(database, log, await a_pipeline(database, **options))


async def waiting(database: Database) -> list[str]:
    return await column(database, "SELECT external_id FROM waiting_command ORDER BY 1")


async def applied(database: Database) -> list[str]:
    return await column(database, "SELECT external_id FROM command_log ORDER BY 1")


async def test_a_command_and_its_badge_that_two_batches_bring_at_once_meet_in_the_sweep(
    counting: Database, sweep: WaitingSweep
) -> None:
    """Neither batch sees what the other writes."""
    commands, events = Log(), Log()
    commands.append(MINT)
    events.append(a_partner(ALICE))
    chunks = [*commands.chunks(), *events.chunks()]
    await open_ledger(counting, chunks)
    pipelines = [await a_pipeline(counting) for _ in chunks]
    async with counting.transaction() as conn:
        await conn.execute(text("LOCK TABLE outbox_message, waiting_command IN SHARE MODE"))
        running = [
            asyncio.create_task(pipeline.run([chunk]))
            for pipeline, chunk in zip(pipelines, chunks, strict=True)
        ]
        await somebody_waits(counting, 2)
    await asyncio.gather(*running)
    assert (await waiting(counting), await applied(counting)) == (["m1"], [])
    await sweep.turn()
    assert (await waiting(counting), await applied(counting)) == ([], ["m1"])
    assert await column(counting, "SELECT operation FROM nft_mint_queue") == ["mint"]


async def test_a_token_that_the_minter_has_minted_ends_a_wait(
    counting: Database, sweep: WaitingSweep
) -> None:
    await tell(counting, a_partner(ALICE), BURN)
    await sweep.turn()
    assert await waiting(counting) == ["b1"]
    await rows(counting, MINTED)
    await sweep.turn()
    assert (await waiting(counting), await applied(counting)) == ([], ["b1"])
    assert await column(counting, "SELECT operation FROM nft_mint_queue") == ["burn"]


async def test_what_history_left_is_carried_out_in_silence(
    counting: Database, sweep: WaitingSweep
) -> None:
    await tell(counting, REVOKE, publish=False, mint=False)
    await tell(counting, a_partner(ALICE), publish=True)
    await sweep.turn()
    assert await applied(counting) == ["r1"]
    assert await value(counting, "SELECT status FROM nft_instance") == "revoked"
    assert await column(counting, "SELECT event_type FROM outbox_message") == ["badge.created"]


async def test_what_waited_in_vain_becomes_a_dead_letter_and_may_be_sent_again(
    counting: Database, sweep: WaitingSweep
) -> None:
    await tell(counting, MINT, command_wait=timedelta(hours=1))
    left = "SELECT extract(epoch FROM expires_at - created_at)::int / 60 FROM waiting_command"
    assert await value(counting, left) == 60
    await sweep.turn()
    assert await waiting(counting) == ["m1"]
    await rows(counting, "UPDATE waiting_command SET expires_at = now()")
    moved = Moved()
    await sweep.turn()
    assert await rows(counting, 'SELECT topic, "offset", reason, detail FROM dead_letter') == [
        (
            "laurel.commands",
            0,
            "no_such_badge",
            "the user has no such badge; it waited for that in vain",
        )
    ]
    assert moved.by("laurel_commands_expired_total") == {(): 1}
    assert moved.by("laurel_dead_letters_total") == {("laurel.commands", "no_such_badge"): 1}
    assert await waiting(counting) == []
    await tell(counting, a_partner(ALICE), MINT)
    assert await applied(counting) == ["m1"]


async def test_what_has_waited_too_long_but_can_be_carried_out_is(
    counting: Database, sweep: WaitingSweep
) -> None:
    """Workers were away: a command is not lost where its badge came in time for them."""
    await tell(counting, a_partner(ALICE), BURN)
    await rows(counting, MINTED)
    await rows(counting, "UPDATE waiting_command SET expires_at = now()")
    await sweep.turn()
    assert (await applied(counting), await column(counting, "SELECT 1 FROM dead_letter")) == (
        ["b1"],
        [],
    )


async def test_a_turn_takes_so_many_and_the_next_one_goes_on(
    counting: Database, sweep: WaitingSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_sweep, "PAGE", 2)
    monkeypatch.setattr(waiting_sweep, "PAGES_A_TURN", 1)
    users = [user(number) for number in range(5)]
    mints = (a_command("mint", who, f"m{n}", type_code="ambassador") for n, who in enumerate(users))
    await tell(counting, *mints)
    await rows(counting, "UPDATE waiting_command SET silent = true")
    await tell(counting, *(a_partner(who) for who in users))
    await rows(counting, "UPDATE waiting_command SET silent = false")
    for number in (2, 4, 5):
        await sweep.turn()
        assert len(await applied(counting)) == number


async def test_two_sweeps_at_once_carry_it_out_once(counting: Database) -> None:
    await tell(counting, a_partner(ALICE), a_partner(BOB), BURN)
    await rows(counting, MINTED)
    await asyncio.gather(*(WaitingSweep(counting, terms()).turn() for _ in range(4)))
    assert await column(counting, "SELECT operation FROM nft_mint_queue") == ["burn"]
    assert await applied(counting) == ["b1"]


async def test_what_a_command_becomes_counts_at_its_topic_however_long_it_waited(
    counting: Database, sweep: WaitingSweep
) -> None:
    """One of a file and one of Kafka, whose badges are revoked before they are tried again."""
    await tell(counting, MINT, a_command("mint", BOB, "m2", type_code="ambassador"))
    await rows(counting, "UPDATE waiting_command SET silent = true")
    await tell(counting, a_partner(ALICE), a_partner(BOB))
    await rows(counting, "UPDATE nft_instance SET status = 'revoked'")
    await rows(counting, "UPDATE waiting_command SET silent = false")
    await rows(
        counting,
        """
        UPDATE waiting_command SET cluster_id = 'file', topic = '/srv/history.jsonl'
         WHERE external_id = 'm1'
        """,
    )
    moved = Moved()
    await sweep.turn()
    assert moved.by("laurel_dead_letters_total") == {
        ("laurel.commands", "not_active"): 1,
        ("file", "not_active"): 1,
    }


async def test_trouble_does_not_end_the_sweep(
    counting: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tell(counting, a_partner(ALICE), BURN)
    await rows(counting, MINTED)
    troubles = [
        DatabaseUnreachable("nobody listens"),
        StatementTimedOut("it took too long"),
        DatabaseUnreachable("nobody listens"),
    ]
    moved = Moved()
    try_again = Pipeline.try_again

    async def troubled(pipeline: Pipeline, external_ids: Any) -> Any:
        if troubles:
            raise troubles.pop()
        return await try_again(pipeline, external_ids)

    monkeypatch.setattr(Pipeline, "try_again", troubled)
    clock = FakeClock()
    watching = asyncio.create_task(WaitingSweep(counting, terms(), clock).watch())
    while await waiting(counting):  # noqa: ASYNC110 - only asking tells
        await asyncio.sleep(0)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert set(clock.slept) == {timedelta(seconds=30)}
    # That the database is away is told by who counts.
    assert moved.by("laurel_errors_total") == {("statement_timed_out",): 1}
    assert await applied(counting) == ["b1"]
