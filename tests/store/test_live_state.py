"""What is under way, counted up to a bound, whatever lies in the tables."""

from typing import Any
from uuid import uuid4

import pytest

from store import live_state
from store.engine import Database
from store.live_state import CatalogState, LastToken, OutboxDepth, TaskGroup
from store.values.minting import HoldReason, TaskOperation, TaskStatus
from store.values.names import LeaseToken
from store.values.stream import Reason
from tests.builders.sql import rows
from tests.store.desk import TOKEN_ID, TTL, Desk, opened

MINT, BURN = TaskOperation.MINT, TaskOperation.BURN


async def ask(database: Database, question: Any) -> Any:
    async with database.reading() as conn:
        return await question(conn)


@pytest.fixture
async def minting(database: Database) -> Desk:
    return await opened(database)


async def groups(database: Database) -> dict[tuple[str, str, str | None], tuple[int, float]]:
    found: list[TaskGroup] = await ask(database, live_state.task_groups)
    return {
        (each.operation, each.status, each.hold): (each.tasks, each.oldest_seconds)
        for each in found
    }


async def test_tasks_are_told_by_what_they_are_and_wait_for(minting: Desk) -> None:
    world = minting.world
    due, held, parked = await world.to_mint(2), await world.to_mint(3), await world.to_mint(1)
    await world.sql(
        "UPDATE nft_mint_queue SET run_after = now() - interval '1 hour' WHERE nft_instance_id = :id",
        id=due[0].id,
    )
    for hold, badges, minutes in (("no_wallet", held, 5), ("operator", parked, 7)):
        await world.sql(
            """
            UPDATE nft_mint_queue
               SET hold_reason = :hold, updated_at = now() - :minutes * interval '1 minute'
             WHERE nft_instance_id = ANY(CAST(:ids AS uuid[]))
            """,
            hold=hold,
            minutes=minutes,
            ids=[each.id for each in badges],
        )
    found = await groups(world.db)
    assert {key: tasks for key, (tasks, _) in found.items()} == {
        (MINT, TaskStatus.PENDING, None): 2,
        (MINT, TaskStatus.PENDING, HoldReason.NO_WALLET): 3,
        (MINT, TaskStatus.PENDING, HoldReason.OPERATOR): 1,
    }
    assert found[MINT, TaskStatus.PENDING, None][1] >= 3_600
    assert 300 <= found[MINT, TaskStatus.PENDING, HoldReason.NO_WALLET][1] < 420
    assert await ask(world.db, live_state.due_mints) == 2


async def test_what_is_signed_is_told_until_it_is_settled_and_then_as_the_last(
    minting: Desk,
) -> None:
    world, lease = minting.world, LeaseToken(uuid4())
    (badge,) = await world.to_mint(1)
    assert await ask(world.db, live_state.last_confirmed) is None
    leased = await minting.claim(lease, TTL)
    await minting.sign(lease, leased)
    ((key, (tasks, oldest)),) = (await groups(world.db)).items()
    assert (key, tasks) == ((MINT, TaskStatus.SENT, None), 1)
    assert oldest >= 0
    await world.sql("UPDATE nft_mint_queue SET status = 'confirmed'")
    await world.sql(
        "INSERT INTO mint_task_event (task_id, event, to_status) SELECT id, 'confirmed', 'confirmed' FROM nft_mint_queue"
    )
    await world.sql("UPDATE chain_message SET status = 'settled'")
    await world.sql(
        "UPDATE nft_instance SET onchain_token_id = :token, onchain_status = 'minted'",
        token=TOKEN_ID,
    )
    assert await groups(world.db) == {}
    last: LastToken = await ask(world.db, live_state.last_confirmed)
    assert (last.operation, last.type_code, last.token) == (MINT, "explorer", TOKEN_ID)
    newest = await ask(world.db, live_state.newest_tokens)
    assert list(newest.values()) == [badge.id]


async def test_a_burn_that_waits_for_its_mint_is_not_late(minting: Desk) -> None:
    world = minting.world
    badges = await world.to_mint(1)
    await world.enqueue(badges, BURN)
    await world.sql("UPDATE nft_mint_queue SET run_after = now() - interval '1 hour'")
    assert (await groups(world.db))[BURN, TaskStatus.PENDING, None] == (1, 0.0)
    await world.sql("UPDATE nft_mint_queue SET status = 'failed' WHERE operation = 'mint'")
    assert (await groups(world.db))[BURN, TaskStatus.PENDING, None][1] >= 3_600


async def test_failed_burns_are_counted_and_other_failures_not(minting: Desk) -> None:
    world = minting.world
    await world.to_mint(2)
    await world.sql("UPDATE nft_mint_queue SET status = 'failed'")
    assert await ask(world.db, live_state.failed_burns) == 0
    await world.sql("UPDATE nft_mint_queue SET operation = 'burn'")
    assert await ask(world.db, live_state.failed_burns) == 2


async def test_what_is_more_than_is_counted_is_told_as_more(
    minting: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_state, "_LIMIT", {"limit": 3})
    await minting.world.to_mint(5)
    assert await ask(minting.world.db, live_state.due_mints) == 3


async def test_dead_letters_are_those_of_the_last_hour_by_reason(database: Database) -> None:
    for number, (reason, minutes) in enumerate(
        [("not_json", 90), ("not_json", 50), ("missing_field", 2), ("missing_field", 1)]
    ):
        await rows(
            database,
            """
            INSERT INTO dead_letter (cluster_id, topic, partition, "offset", record_timestamp_ms,
                   value_length, value_sha256, content_sha256, reason, detail, created_at)
            VALUES ('k', 't', 0, :number, 0, 0, '', '', :reason, '',
                    now() - :minutes * interval '1 minute')
            """,
            number=number,
            reason=reason,
            minutes=minutes,
        )
    found = await ask(database, live_state.dead_letters)
    assert list(found.items()) == [(Reason.MISSING_FIELD, 2), (Reason.NOT_JSON, 1)]


async def test_the_outbox_is_as_deep_as_what_is_not_published(database: Database) -> None:
    assert await ask(database, live_state.outbox) == OutboxDepth(0, 0.0, is_published=False)
    for seq, (minutes, published) in enumerate([(90, True), (30, False), (10, False)]):
        await rows(
            database,
            """
            INSERT INTO outbox_message (id, tenant_id, event_type, occurred_at, user_id, seq,
                                        published_at)
            SELECT :id, :id, 'badge.created',
                   now() - :minutes * interval '1 minute', :user, :seq,
                   CASE WHEN :published THEN now() END
            """,
            id=uuid4(),
            user=uuid4(),
            seq=seq,
            minutes=minutes,
            published=published,
        )
    depth: OutboxDepth = await ask(database, live_state.outbox)
    assert (depth.messages, depth.is_published) == (2, True)
    assert 1_800 <= depth.oldest_seconds < 1_860


async def test_the_ledger_tells_how_far_and_since_when(database: Database) -> None:
    await rows(
        database,
        """
        INSERT INTO offset_ledger (cluster_id, topic, partition, next_offset, updated_at)
        VALUES ('a', 't', 0, 7, now() - interval '1 hour'), ('b', 't', 0, 9, now())
        """,
    )
    found = await ask(database, live_state.ledger)
    assert {
        name: {key: each.next_offset for key, each in of.items()} for name, of in found.items()
    } == {
        "a": {("t", 0): 7},
        "b": {("t", 0): 9},
    }
    assert found["a"]["t", 0].idle_seconds >= 3_600 > found["b"]["t", 0].idle_seconds


async def test_the_catalog_in_force_comes_with_its_open_job(database: Database) -> None:
    assert await ask(database, live_state.catalog) is None
    await rows(
        database,
        """
        INSERT INTO catalog_version (id, content_hash, document, is_current)
        VALUES (1, '', '{}', false), (2, '', '{}', true)
        """,
    )
    await rows(
        database,
        "INSERT INTO catalog_job (version, work, silent, no_mint, state) VALUES (1, '{}', false, false, 'done')",
    )
    found: CatalogState = await ask(database, live_state.catalog)
    assert (found.version, found.job_state) == (2, None)
    await rows(
        database,
        """
        INSERT INTO catalog_job (version, work, silent, no_mint, state, users, updated_at)
        VALUES (2, '{}', false, false, 'levels', 12, now() - interval '10 minutes')
        """,
    )
    found = await ask(database, live_state.catalog)
    assert (found.version, found.job_state, found.job_users) == (2, "levels", 12)
    assert found.job_idle_seconds >= 600
