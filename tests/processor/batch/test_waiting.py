"""Commands that overtake their badge or token: they wait, and end as if they had come later."""

import asyncio
import random
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event, text

from processor.batch.admin import BadgeRequest
from processor.batch.pipeline import Pipeline
from processor.rules.badge_ids import instance_id
from store import waiting_commands
from store.engine import Database
from store.values.names import TypeCode
from store.values.stream import Reason
from tests.builders.catalogs import TENANT
from tests.builders.messages import (
    ALICE,
    BOB,
    Log,
    a_command,
    a_partner,
    a_pipeline,
    a_wallet,
    an_address,
    clear,
    count,
    open_ledger,
    user,
)
from tests.builders.sql import column, rows, somebody_waits, value
from tests.processor.batch.conftest import Told

# One partner makes ambassador I, which may be minted on request; six make III, which mints by
# itself.
AMBASSADOR = TypeCode("ambassador")
BADGE_OF_ALICE = instance_id(ALICE, AMBASSADOR, 1)


def mint(external_id: str = "m1", who: UUID = ALICE, **data: Any) -> dict[str, Any]:
    return a_command("mint", who, external_id, **({"type_code": AMBASSADOR} | data))


def burn(external_id: str = "b1", who: UUID = ALICE, **data: Any) -> dict[str, Any]:
    return a_command("burn", who, external_id, **({"type_code": AMBASSADOR} | data))


def revoke(external_id: str = "r1", who: UUID = ALICE) -> dict[str, Any]:
    return a_command("revoke", who, external_id, type_code=AMBASSADOR, reason="bought accounts")


async def waiting(database: Database) -> list[tuple[Any, ...]]:
    return await rows(
        database, "SELECT external_id, reason FROM waiting_command ORDER BY external_id"
    )


async def letters(database: Database) -> list[str]:
    return await column(database, 'SELECT reason FROM dead_letter ORDER BY topic, "offset"')


async def applied(database: Database) -> list[str]:
    return await column(database, "SELECT external_id FROM command_log ORDER BY external_id")


async def open_tasks(database: Database) -> list[str]:
    return await column(
        database,
        "SELECT operation FROM nft_mint_queue WHERE status = 'pending' ORDER BY operation DESC",
    )


@pytest.mark.parametrize("named", [{"type_code": AMBASSADOR}, {"instance_id": str(BADGE_OF_ALICE)}])
@pytest.mark.parametrize("together", [True, False])
async def test_a_command_may_come_before_its_badge(
    told: Told, counting: Database, together: bool, named: dict[str, Any]
) -> None:
    asked = a_command("mint", ALICE, "m1", **named)
    if together:
        await told([asked, a_partner(ALICE)])
    else:
        await told([asked])
        assert (await waiting(counting), await letters(counting)) == ([("m1", "no_such_badge")], [])
        assert await applied(counting) == []
        await told([a_partner(ALICE)])
    assert (await waiting(counting), await letters(counting)) == ([], [])
    assert (await applied(counting), await open_tasks(counting)) == (["m1"], ["mint"])


async def test_events_of_others_and_for_other_badges_leave_it_waiting(
    told: Told, counting: Database
) -> None:
    await told([mint()], [a_partner(BOB)], [a_command("award", ALICE, "a1", type_code="explorer")])
    assert await waiting(counting) == [("m1", "no_such_badge")]


@pytest.mark.parametrize("batches", [1, 2])
async def test_a_burn_waits_for_its_token_and_goes_after_the_mint(
    told: Told, counting: Database, batches: int
) -> None:
    """It waits for the badge first, then for the token."""
    await told([burn()], [a_partner(ALICE)])
    assert await waiting(counting) == [("b1", "no_token")]
    await told(*([[mint(), revoke()]] if batches == 1 else [[mint()], [revoke()]]))
    assert (await applied(counting), await letters(counting)) == (["b1", "m1", "r1"], [])
    assert await waiting(counting) == []
    assert await value(counting, "SELECT status FROM nft_instance") == "revoked"
    assert await open_tasks(counting) == []


async def test_an_award_makes_right_what_waits(told: Told, counting: Database) -> None:
    await told([mint()], [a_command("award", ALICE, "a1", type_code=AMBASSADOR)])
    assert (await applied(counting), await open_tasks(counting)) == (["a1", "m1"], ["mint"])


@pytest.mark.parametrize("together", [True, False])
async def test_the_same_command_again_is_a_repetition_and_no_second_row(
    told: Told, counting: Database, together: bool
) -> None:
    again = mint()
    await told(*([[mint(), again]] if together else [[mint()], [again]]))
    assert (await waiting(counting), await letters(counting)) == ([("m1", "no_such_badge")], [])
    await told([a_partner(ALICE)], [mint()])
    assert (await applied(counting), await letters(counting)) == (["m1"], [])
    assert await open_tasks(counting) == ["mint"]


@pytest.mark.parametrize("who", [ALICE, BOB])
@pytest.mark.parametrize("together", [True, False])
async def test_other_content_under_the_id_of_what_waits_is_a_conflict(
    told: Told, counting: Database, together: bool, who: UUID
) -> None:
    other = revoke("m1", who)
    await told(*([[mint(), other]] if together else [[mint()], [other]]))
    assert await waiting(counting) == [("m1", "no_such_badge")]
    assert await letters(counting) == ["external_id_conflict"]


async def test_an_id_that_waits_may_not_name_another_command_that_could_be_carried_out(
    told: Told, counting: Database
) -> None:
    await told([a_partner(ALICE), burn("x"), mint("x")])
    assert await waiting(counting) == [("x", "no_token")]
    assert (await letters(counting), await applied(counting)) == (["external_id_conflict"], [])


LETTER = """
    SELECT cluster_id, topic, partition, "offset", record_timestamp_ms, key, value, value_length,
           value_sha256, content_sha256, headers, reason, detail
      FROM dead_letter ORDER BY "offset"
"""


async def test_what_turns_out_to_be_wrong_is_the_dead_letter_that_it_would_have_been(
    told: Told, counting: Database
) -> None:
    """With the bytes and the place of its own record, and the reason of now."""
    await told([revoke()], [mint()])
    assert await waiting(counting) == [("m1", "no_such_badge"), ("r1", "no_such_badge")]
    late = mint("m2")
    await told([a_partner(ALICE)], [late])
    assert (await applied(counting), await waiting(counting)) == (["r1"], [])
    waited, direct = await rows(counting, LETTER)
    place, content = slice(0, 5), slice(5, 11)
    assert waited[place] == ("cluster-of-tests", "laurel.commands", 0, 1, 1_780_000_000_001)
    assert direct[place] == ("cluster-of-tests", "laurel.commands", 0, 2, 1_780_000_000_002)
    assert waited[11:] == direct[11:]
    assert waited[11] == "not_active"
    assert b'"m1"' in waited[content][1]
    assert waited[content][2] == len(waited[content][1])


async def test_nothing_waits_for_the_badge_of_another(told: Told, counting: Database) -> None:
    await told([a_partner(ALICE)])
    stranger = mint("s1", BOB, instance_id=str(BADGE_OF_ALICE))
    wrong_type = mint("s2", instance_id=str(BADGE_OF_ALICE), type_code="explorer")
    await told([stranger, wrong_type])
    assert (await waiting(counting), await letters(counting)) == ([], ["no_such_badge"] * 2)


async def test_it_may_wait_for_an_id_that_turns_out_to_be_of_another(
    told: Told, counting: Database
) -> None:
    """Whoever comes next of the user finds it, and says so."""
    await told([mint("s1", BOB, instance_id=str(BADGE_OF_ALICE))], [a_partner(ALICE)])
    assert await waiting(counting) == [("s1", "no_such_badge")]
    await told([a_partner(BOB)])
    assert (await waiting(counting), await letters(counting)) == ([], ["no_such_badge"])


async def test_a_burned_token_is_not_waited_for(told: Told, counting: Database) -> None:
    await told([a_partner(ALICE), a_wallet(ALICE, an_address(1)), mint()])
    async with counting.transaction() as conn:
        await conn.execute(text("UPDATE nft_mint_queue SET status = 'failed'"))
        await conn.execute(
            text("""
                INSERT INTO nft_mint_queue (nft_instance_id, operation, status)
                SELECT id, 'burn', 'confirmed' FROM nft_instance
            """)
        )
    await told([burn()])
    assert (await waiting(counting), await letters(counting)) == ([], ["no_token"])


def a_request(kind: str, external_id: str) -> BadgeRequest:
    return BadgeRequest(kind, ALICE, AMBASSADOR, external_id)


async def test_a_person_gets_an_answer_at_once(told: Told, counting: Database) -> None:
    pipeline = await a_pipeline(counting)
    answer = await pipeline.apply(a_request("badge.mint", "m1").command(TENANT))
    assert answer is not None
    assert answer.reason is Reason.NO_SUCH_BADGE
    assert await waiting(counting) == []
    # Also where the same waits already: it is not done.
    await told([mint()])
    answer = await pipeline.apply(a_request("badge.mint", "m1").command(TENANT))
    assert answer is not None
    assert answer.reason is Reason.NO_SUCH_BADGE
    assert await waiting(counting) == [("m1", "no_such_badge")]
    assert await letters(counting) == []


async def test_what_a_person_does_makes_right_what_waits(told: Told, counting: Database) -> None:
    """And what waits is no answer to the person, whatever becomes of it."""
    await told([revoke()], [mint()])
    pipeline = await a_pipeline(counting)
    assert await pipeline.apply(a_request("badge.award", "a1").command(TENANT)) is None
    assert await applied(counting) == ["a1", "r1"]
    assert (await waiting(counting), await letters(counting)) == ([], ["not_active"])


async def test_what_waits_says_what_the_run_that_left_it_would_have_said(
    counting: Database,
) -> None:
    """A silent run tries what silent runs left, and a live one what live ones left."""
    silent, live = await a_pipeline(counting, publish=False, mint=False), await a_pipeline(counting)
    log = Log()
    log.append(revoke("of-history"), revoke("live", BOB))
    first, *_ = log.chunks()
    await open_ledger(counting, [first])
    await silent.run([first])
    assert [external_id for external_id, _ in await waiting(counting)] == ["live", "of-history"]
    log.append(a_partner(ALICE), a_partner(BOB))
    chunks = log.chunks()
    await open_ledger(counting, chunks)
    await live.run(chunks)
    assert [external_id for external_id, _ in await waiting(counting)] == ["live", "of-history"]
    log.append(a_partner(ALICE), a_partner(BOB))
    await silent.run(log.chunks())
    assert await waiting(counting) == []
    assert await column(counting, "SELECT DISTINCT event_type FROM outbox_message") == [
        "badge.created"
    ]


async def test_a_batch_asks_once_where_nothing_waits(counting: Database) -> None:
    log = Log()
    log.append(*(a_partner(who) for who in (ALICE, BOB) for _ in range(3)))
    pipeline, chunks = await a_pipeline(counting), log.chunks()
    await open_ledger(counting, chunks)
    asked: list[str] = []

    def note(_conn: object, _cursor: object, statement: str, *_rest: object) -> None:
        if "waiting_command" in statement:
            asked.append(statement)

    engine = counting.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        await pipeline.run(chunks)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert asked == [waiting_commands.ANY.text]


async def test_a_batch_takes_up_no_more_than_so_many(
    told: Told, counting: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_commands, "OF_A_BATCH_MAX", 2)
    await told([mint(f"m{number}") for number in range(5)])
    await told([a_partner(ALICE)])
    assert await applied(counting) == ["m0", "m1"]
    await told([a_partner(BOB)], [a_partner(ALICE)], [a_partner(ALICE)])
    assert await applied(counting) == [f"m{number}" for number in range(5)]


async def test_a_record_that_is_delivered_again_after_a_crash_waits_once(
    counting: Database,
) -> None:
    log = Log()
    log.append(mint())
    (chunk,) = log.chunks()
    await open_ledger(counting, [chunk])
    pipeline = await a_pipeline(counting)
    async with counting.transaction() as conn:
        await conn.execute(text("ALTER TABLE offset_ledger RENAME COLUMN next_offset TO gone"))
    with pytest.raises(Exception, match="next_offset"):
        await pipeline.run([chunk])
    async with counting.transaction() as conn:
        await conn.execute(text("ALTER TABLE offset_ledger RENAME COLUMN gone TO next_offset"))
    assert await waiting(counting) == []
    await pipeline.run([chunk])
    outcome = await pipeline.run([chunk])
    assert set(outcome.fenced) == {chunk.key}
    assert await waiting(counting) == [("m1", "no_such_badge")]


# ---- any order, any batching


WRITTEN = {
    "badges": "SELECT user_id, current_level, status, onchain_status FROM nft_instance ORDER BY 1",
    "commands": "SELECT external_id, type, nft_instance_id FROM command_log ORDER BY 1",
    "waiting": "SELECT external_id, reason FROM waiting_command ORDER BY 1",
    "letters": "SELECT reason, value FROM dead_letter ORDER BY value",
    "tasks": """
        SELECT nft_instance_id, operation, hold_reason FROM nft_mint_queue
         WHERE status = 'pending' ORDER BY 1, 2""",
}


async def written(database: Database) -> dict[str, list[Any]]:
    return {name: await rows(database, statement) for name, statement in WRITTEN.items()}


def some_messages(rng: random.Random) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Events that earn badges, and commands about them, each user's in an order of chance.

    One level: a badge that is revoked rises no more, so its level is a matter of order.
    """
    events = [a_partner(who) for who in (ALICE, BOB) for _ in range(rng.choice([0, 1, 2]))]
    kinds = [mint, burn, revoke]
    commands = [rng.choice(kinds)(f"c{number}", rng.choice([ALICE, BOB])) for number in range(8)]
    return events, commands


@pytest.mark.parametrize("seed", range(12))
async def test_it_does_not_matter_whether_the_command_or_the_event_came_first(
    counting: Database, seed: int
) -> None:
    """The commands keep their own order; the events come anywhere among them."""
    rng = random.Random(seed)
    events, commands = some_messages(rng)
    pipeline = await a_pipeline(counting)

    async def run(*batches: list[dict[str, Any]]) -> dict[str, list[Any]]:
        log = Log()
        for batch in batches:
            log.append(*batch)
            await count(counting, log, pipeline)
        found = await written(counting)
        await clear(counting)
        return found

    usual = await run(events, commands)
    assert await run(commands, events) == usual
    for _ in range(3):
        mixed = list(commands)
        for each in events:
            mixed.insert(rng.randrange(len(mixed) + 1), each)
        assert await run(*([each] for each in mixed)) == usual
        assert await run(mixed) == usual


# ---- two at once


async def two_at_once(database: Database, *logs: Log) -> list[Pipeline]:
    """Run one batch of each log at once, so that both have read before one has written."""
    chunks = [log.chunks() for log in logs]
    await open_ledger(database, [chunk for some in chunks for chunk in some])
    pipelines = [await a_pipeline(database) for _ in logs]
    async with database.transaction() as conn:
        # The end of every batch waits here.
        await conn.execute(text("LOCK TABLE dead_letter, nft_audit_log IN EXCLUSIVE MODE"))
        running = [
            asyncio.create_task(pipeline.run(some))
            for pipeline, some in zip(pipelines, chunks, strict=True)
        ]
        await somebody_waits(database, len(logs))
    await asyncio.gather(*running)
    return pipelines


async def test_one_command_by_two_ways_at_once_waits_once(counting: Database) -> None:
    """Whoever claims it second waits for the first, and then finds its row."""
    logs = Log(), Log()
    for partition, log in enumerate(logs):
        log.append(mint(), partition=partition)
        # Its dead letter holds up whichever is first.
        log.append(b"{", topic="laurel.commands", partition=partition)
    await two_at_once(counting, *logs)
    assert await waiting(counting) == [("m1", "no_such_badge")]
    assert await letters(counting) == ["not_json", "not_json"]


async def test_two_batches_that_share_users_and_ids_in_two_orders_both_commit(
    counting: Database,
) -> None:
    """Each locks what waits, then the ids, then the badges, each sorted: never in a circle."""
    users = [user(number) for number in range(20, 32)]
    before = Log()
    before.append(*(mint(f"m-{who}", who) for who in users), topic="laurel.commands", partition=9)
    await count(counting, before)
    logs = Log(), Log(), Log()
    for partition, log in enumerate(logs):
        some = users if partition % 2 else users[::-1]
        log.append(
            *(burn(f"b-{who}", who) for who in some),
            *(mint(f"m-{who}", who) for who in some),
            *(a_partner(who) for who in some),
            partition=partition,
        )
    chunks = [log.chunks() for log in logs]
    await open_ledger(counting, [chunk for some in chunks for chunk in some])
    pipelines = [await a_pipeline(counting, attempts_max=1) for _ in logs]
    await asyncio.gather(
        *(pipeline.run(some) for pipeline, some in zip(pipelines, chunks, strict=True))
    )
    assert (await waiting(counting), await letters(counting)) == ([], [])
    assert await applied(counting) == sorted(f"{kind}-{who}" for kind in "bm" for who in users)
