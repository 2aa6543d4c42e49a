"""What a silent backfill took from the stream is said and minted when the stream brings it, once."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from ops.settings import Settings
from processor.batch.announce import announce
from processor.batch.attempt import BatchOutcome
from store.engine import Database
from store.silenced_badges import Choice
from tests.builders import backfills
from tests.builders.messages import (
    ALICE,
    BOB,
    Log,
    a_command,
    a_partner,
    a_pipeline,
    a_quest,
    a_visit,
    a_wallet,
    an_address,
    encoded,
    open_ledger,
)
from tests.builders.sql import column, rows, value

Message = dict[str, Any]


def write_lines(path: Path, messages: Sequence[Message]) -> None:
    path.write_bytes(b"".join((encoded(message) or b"") + b"\n" for message in messages))


async def backfill(
    database: Database, path: Path, messages: Sequence[Message], **asked: bool
) -> None:
    """Count `messages` as `laurel backfill` does, silent unless asked otherwise."""
    url = database.engine.url.render_as_string(hide_password=False)
    write_lines(path, messages)
    settings = Settings(database_url=url.replace("postgresql+psycopg", "postgresql"))
    said, minted = asked.get("publish", False), asked.get("mint", False)
    report = await backfills.backfill(settings, path, announce=said, mint=minted)
    assert report.load.finished


async def stream(database: Database, log: Log, *messages: Message) -> BatchOutcome:
    """Bring `messages` live, in one batch."""
    log.append(*messages)
    chunks = log.chunks()
    await open_ledger(database, chunks)
    return await (await a_pipeline(database)).run(chunks)


async def said(database: Database) -> list[tuple[str, str, int]]:
    """Type code, kind and level of each message, in the order of each user."""
    return [
        tuple(row)
        for row in await rows(
            database,
            "SELECT payload->>'type_code', event_type, (payload->>'level')::int"
            "  FROM outbox_message ORDER BY user_id, seq",
        )
    ]


async def mints(database: Database) -> int:
    return int(await value(database, "SELECT count(*) FROM nft_mint_queue"))


async def test_the_stream_says_and_mints_what_a_silent_backfill_took_first(
    counting: Database, tmp_path: Path
) -> None:
    events = [a_partner(ALICE) for _ in range(6)]
    await backfill(counting, tmp_path / "history", events)
    assert (await said(counting), await mints(counting)) == ([], 0)
    log = Log()
    outcome = await stream(counting, log, events[4])
    assert (outcome.counted, outcome.duplicates) == (0, 1)
    assert await said(counting) == [("ambassador", "badge.created", 3)]
    assert await mints(counting) == 1
    # Said once, whichever of its events comes next, and however often.
    await stream(counting, log, *events, events[4])
    assert (len(await said(counting)), await mints(counting)) == (1, 1)
    assert await value(counting, "SELECT count(*) FROM silenced_badge") == 0


async def test_the_outcome_is_that_of_the_stream_alone(counting: Database, tmp_path: Path) -> None:
    """Counters, badges and audit are the backfill's; the message is worded as the stream's."""
    mine = [a_partner(ALICE) for _ in range(6)]
    his = [event | {"id": f"bob-{n}", "subject": str(BOB)} for n, event in enumerate(mine)]
    await backfill(counting, tmp_path / "history", mine)
    await stream(counting, Log(), *mine, *his)
    by_user = """
        SELECT user_id, event_type, payload - 'instance_id' - 'user_id', tenant_id, seq
          FROM outbox_message ORDER BY user_id
    """
    (_, *told), (_, *expected) = await rows(counting, by_user)
    assert told == expected
    tasks = """
        SELECT user_id, operation, task.status, hold_reason FROM nft_mint_queue AS task
               JOIN nft_instance AS badge ON badge.id = nft_instance_id ORDER BY user_id
    """
    (_, *task), (_, *expected_task) = await rows(counting, tasks)
    assert task == expected_task


async def test_other_live_events_of_the_user_end_no_silence(
    counting: Database, tmp_path: Path
) -> None:
    history = [a_partner(ALICE) for _ in range(2)]
    await backfill(counting, tmp_path / "history", history)
    log = Log()
    # Neither a new event of the same counter, nor a repetition that was live from the first.
    new = a_partner(ALICE)
    await stream(counting, log, new, a_quest(ALICE), a_partner(BOB))
    await stream(counting, log, new)
    of_alice = "SELECT event_type FROM outbox_message WHERE user_id = :who ORDER BY seq"
    assert await column(counting, of_alice, who=ALICE) == ["badge.leveled_up"]
    await stream(counting, log, history[0])
    assert await column(counting, of_alice, who=ALICE) == ["badge.leveled_up", "badge.created"]
    # It has the level of now, not the one of then: nobody is told that the badge fell.
    assert [level for code, _, level in await said(counting) if code == "ambassador"][:2] == [2, 2]


async def test_only_badges_that_the_event_counts_for_are_told_of(
    counting: Database, tmp_path: Path
) -> None:
    visits = [a_visit(ALICE, f"city-{n}") for n in range(5)]
    quests = [a_quest(ALICE) for _ in range(5)]
    partner = a_partner(ALICE)
    await backfill(counting, tmp_path / "history", [*visits, *quests, partner])
    log = Log()
    await stream(counting, log, quests[0])
    assert await said(counting) == [("explorer", "badge.created", 1)]
    await stream(counting, log, visits[0])
    assert (await said(counting))[1:] == [("city_explorer", "badge.created", 1)]


async def test_news_of_the_same_batch_follow_what_was_left_out(
    counting: Database, tmp_path: Path
) -> None:
    history = [a_partner(ALICE) for _ in range(2)]
    await backfill(counting, tmp_path / "history", history)
    await stream(counting, Log(), a_partner(ALICE), history[0])
    assert await said(counting) == [
        ("ambassador", "badge.created", 1),
        ("ambassador", "badge.leveled_up", 2),
    ]


async def test_a_badge_that_was_raised_in_silence_is_said_to_have_risen(
    counting: Database, tmp_path: Path
) -> None:
    log = Log()
    await stream(counting, log, a_partner(ALICE))
    history = [a_partner(ALICE) for _ in range(5)]
    await backfill(counting, tmp_path / "a", history[:2])
    await backfill(counting, tmp_path / "b", history[2:])
    await stream(counting, log, history[0])
    assert await said(counting) == [
        ("ambassador", "badge.created", 1),
        ("ambassador", "badge.leveled_up", 3),
    ]
    assert await mints(counting) == 1


async def test_what_was_taken_in_silence_after_the_silence_ended_is_kept_anew(
    counting: Database, tmp_path: Path
) -> None:
    history = [a_partner(ALICE) for _ in range(3)]
    await backfill(counting, tmp_path / "a", history[:1])
    log = Log()
    await stream(counting, log, history[0])
    await backfill(counting, tmp_path / "b", history[1:])
    await stream(counting, log, history[0])
    assert await said(counting) == [("ambassador", "badge.created", 1)]
    await stream(counting, log, history[2])
    assert (await said(counting))[1:] == [("ambassador", "badge.leveled_up", 2)]


async def test_a_backfill_that_publishes_leaves_only_the_mint_out(
    counting: Database, tmp_path: Path
) -> None:
    history = [a_partner(ALICE) for _ in range(6)]
    await backfill(counting, tmp_path / "history", history, publish=True)
    assert (await said(counting), await mints(counting)) == (
        [("ambassador", "badge.created", 3)],
        0,
    )
    await stream(counting, Log(), a_wallet(ALICE, an_address(1)), history[0])
    assert len(await said(counting)) == 1
    assert await column(counting, "SELECT onchain_status FROM nft_instance") == ["pending"]


async def test_a_backfill_that_says_and_mints_leaves_nothing_out(
    counting: Database, tmp_path: Path
) -> None:
    history = [a_partner(ALICE) for _ in range(6)]
    await backfill(counting, tmp_path / "history", history, publish=True, mint=True)
    assert await column(counting, "SELECT DISTINCT silent FROM processed_event") == [False]
    await stream(counting, Log(), history[0])
    assert (len(await said(counting)), await mints(counting)) == (1, 1)


async def test_another_backfill_ends_no_silence(counting: Database, tmp_path: Path) -> None:
    history = [a_partner(ALICE) for _ in range(6)]
    await backfill(counting, tmp_path / "a", history)
    await backfill(counting, tmp_path / "b", history)
    assert (await said(counting), await mints(counting)) == ([], 0)
    assert await column(counting, "SELECT DISTINCT silent FROM processed_event") == [True]


async def test_another_event_under_a_silent_id_ends_no_silence(
    counting: Database, tmp_path: Path
) -> None:
    history = [a_partner(ALICE) for _ in range(6)]
    await backfill(counting, tmp_path / "history", history)
    log = Log()
    outcome = await stream(counting, log, history[0] | {"type": "voucher.redeemed"})
    assert outcome.rejected[0].rejected.reason == "missing_field"
    outcome = await stream(counting, log, history[0] | {"subject": str(BOB)})
    assert [each.rejected.reason for each in outcome.rejected] == ["event_id_conflict"]
    assert await said(counting) == []
    await stream(counting, log, history[0])
    assert len(await said(counting)) == 1


async def test_of_a_badge_that_was_revoked_nothing_is_said(
    counting: Database, tmp_path: Path
) -> None:
    history = [a_partner(ALICE) for _ in range(6)]
    await backfill(counting, tmp_path / "history", history)
    log = Log()
    await stream(counting, log, a_command("revoke", type_code="ambassador", reason="r"))
    await stream(counting, log, history[0])
    assert await said(counting) == [("ambassador", "badge.revoked", 3)]
    assert await mints(counting) == 0


async def test_a_token_that_was_asked_for_meanwhile_is_not_asked_for_again(
    counting: Database, tmp_path: Path
) -> None:
    history = [a_partner(ALICE) for _ in range(6)]
    await backfill(counting, tmp_path / "history", history)
    log = Log()
    await stream(
        counting,
        log,
        a_wallet(ALICE, an_address(1)),
        a_command("mint", type_code="ambassador"),
    )
    await stream(counting, log, history[0])
    assert await mints(counting) == 1
    assert await said(counting) == [("ambassador", "badge.created", 3)]


AWARD = a_command("award", ALICE, "a1", type_code="ambassador", level=3)
REVOKE = a_command("revoke", ALICE, "r1", type_code="ambassador", reason="bought accounts")


async def test_what_a_command_of_history_left_out_follows_once_it_comes_live(
    counting: Database, tmp_path: Path
) -> None:
    await backfill(counting, tmp_path / "history", [AWARD])
    assert (await said(counting), await mints(counting)) == ([], 0)
    log = Log()
    await stream(counting, log, AWARD)
    assert (await said(counting), await mints(counting)) == (
        [("ambassador", "badge.created", 3)],
        1,
    )
    await stream(counting, log, AWARD, AWARD)
    assert (len(await said(counting)), await mints(counting)) == (1, 1)
    assert await value(counting, "SELECT count(*) FROM silenced_badge") == 0
    assert await column(counting, "SELECT reason FROM dead_letter") == []


async def test_a_person_may_announce_what_history_awarded(
    counting: Database, tmp_path: Path
) -> None:
    await backfill(counting, tmp_path / "history", [a_partner(ALICE), AWARD])
    assert await rows(counting, "SELECT message, mint FROM silenced_badge") == [
        ("badge.created", True)
    ]
    await announce(counting, Choice())
    assert (await said(counting), await mints(counting)) == (
        [("ambassador", "badge.created", 3)],
        1,
    )


async def test_another_backfill_of_a_command_ends_no_silence(
    counting: Database, tmp_path: Path
) -> None:
    await backfill(counting, tmp_path / "history", [AWARD])
    await backfill(counting, tmp_path / "again", [AWARD])
    assert await said(counting) == []
    await stream(counting, Log(), AWARD)
    assert len(await said(counting)) == 1


async def test_that_history_revoked_a_badge_is_said_once_it_comes_live(
    counting: Database, tmp_path: Path
) -> None:
    await backfill(counting, tmp_path / "history", [a_partner(ALICE), REVOKE])
    log = Log()
    await stream(counting, log, REVOKE)
    await stream(counting, log, REVOKE)
    assert await said(counting) == [("ambassador", "badge.revoked", 1)]
    assert await column(counting, "SELECT payload->>'reason' FROM outbox_message") == [
        "bought accounts"
    ]


async def test_a_command_that_history_left_waiting_speaks_once_it_comes_live(
    counting: Database, tmp_path: Path
) -> None:
    await backfill(counting, tmp_path / "history", [REVOKE])
    log = Log()
    await stream(counting, log, REVOKE)
    await stream(counting, log, a_partner(ALICE))
    assert await said(counting) == [
        ("ambassador", "badge.created", 1),
        ("ambassador", "badge.revoked", 1),
    ]


async def test_other_content_under_a_silent_command_s_id_ends_no_silence(
    counting: Database, tmp_path: Path
) -> None:
    await backfill(counting, tmp_path / "history", [AWARD])
    other = a_command("award", ALICE, "a1", type_code="ambassador", level=2)
    await stream(counting, Log(), other)
    assert await said(counting) == []
    assert await column(counting, "SELECT reason FROM dead_letter") == ["external_id_conflict"]


@pytest.mark.parametrize("workers", [2, 4])
async def test_workers_that_bring_one_event_at_once_say_it_once(
    counting: Database, tmp_path: Path, workers: int
) -> None:
    """Each waits for the lock that the first holds, and finds the silence ended."""
    history = [a_partner(ALICE) for _ in range(6)]
    await backfill(counting, tmp_path / "history", history)
    log = Log()
    for partition in range(workers):
        log.append(*(history if partition % 2 else reversed(history)), partition=partition)
    chunks = log.chunks()
    await open_ledger(counting, chunks)
    pipelines = [await a_pipeline(counting) for _ in chunks]
    await asyncio.gather(
        *(pipeline.run([chunk]) for pipeline, chunk in zip(pipelines, chunks, strict=True))
    )
    assert (await said(counting), await mints(counting)) == (
        [("ambassador", "badge.created", 3)],
        1,
    )


async def test_a_batch_that_fails_leaves_the_silence_as_it_was(
    counting: Database, tmp_path: Path
) -> None:
    history = [a_partner(ALICE) for _ in range(6)]
    await backfill(counting, tmp_path / "history", history)
    async with counting.transaction() as conn:
        await conn.execute(text("ALTER TABLE outbox_message RENAME TO gone"))
    log = Log()
    with pytest.raises(Exception, match="outbox_message"):
        await stream(counting, log, history[0])
    async with counting.transaction() as conn:
        await conn.execute(text("ALTER TABLE gone RENAME TO outbox_message"))
    await (await a_pipeline(counting)).run(log.chunks(again=True))
    assert (len(await said(counting)), await mints(counting)) == (1, 1)
