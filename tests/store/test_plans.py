"""The queue's hot statements stay on their indexes, also with a backlog."""

import json
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import TextClause, text

from store import (
    chain_messages,
    claiming,
    fence,
    live_state,
    mint_queue,
    outbox,
    queue_figures,
    reconciliation,
)
from store.engine import Database
from store.values.minting import HoldReason
from store.values.outbox import OutboxType
from tests.builders.world import World

BACKLOG = 20_000


@pytest.fixture
async def world(database: Database) -> World:
    """A backlog of mints of one type, most of them over."""
    world = World(database)
    await world.badges(2_000)
    await world.sql(
        """
        INSERT INTO nft_mint_queue (nft_instance_id, status, recipient, token_index, run_after)
        SELECT instance.id, 'failed', '0:cc', NULL, now() - number * interval '1 second'
          FROM nft_instance AS instance, generate_series(1, :copies) AS number
        """,
        copies=BACKLOG // 2_000,
    )
    await world.sql("INSERT INTO nft_mint_queue (nft_instance_id) SELECT id FROM nft_instance")
    await world.sql(
        "ANALYZE nft_mint_queue, nft_instance, nft_type, chain_message, chain_collection"
    )
    return world


async def plan(world: World, statement: TextClause, **parameters: object) -> list[dict[str, Any]]:
    """Return every node of a statement's plan."""
    async with world.db.transaction() as conn:
        explained = text(f"EXPLAIN (FORMAT JSON) {statement.text}")
        (found,) = (await conn.execute(explained, parameters)).scalar_one()
    nodes = [found["Plan"] if isinstance(found, dict) else json.loads(found)["Plan"]]
    for node in nodes:
        nodes += node.get("Plans", [])
    return nodes


def below(nodes: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """Return the nodes of one named part of a plan."""
    (top,) = (node for node in nodes if node.get("Subplan Name") == name)
    found = [top]
    for node in found:
        found += node.get("Plans", [])
    return found


def indexes(nodes: list[dict[str, Any]]) -> set[str]:
    return {node["Index Name"] for node in nodes if "Index Name" in node}


def scanned(nodes: list[dict[str, Any]]) -> set[str]:
    return {node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"}


async def test_the_claim_reads_the_due_index(world: World) -> None:
    types: dict[str, list[UUID]] = {"busy": [], "without_mints": [], "without_burns": []}
    nodes = await plan(
        world, claiming.CLAIM_DUE, lease=uuid4(), ttl=timedelta(minutes=1), limit=120, **types
    )
    due = below(nodes, "CTE due")  # what comes after has `limit` rows, whatever the backlog
    assert "nft_mint_queue_due_idx" in indexes(due)
    assert "nft_mint_queue" not in scanned(due)
    assert "Sort" not in {node["Node Type"] for node in due}, (
        "the index's order is the claim's order"
    )


async def test_what_is_swept_shown_and_compared_reads_no_whole_queue(world: World) -> None:
    """Whatever waits there: these come every few seconds, or while a person waits."""
    await world.sql(
        """
        UPDATE nft_mint_queue SET hold_reason = 'no_wallet'
         WHERE status = 'pending' AND hashtext(id::text) % 2 = 0
        """
    )
    await world.sql("ANALYZE nft_mint_queue")
    after = {"after_at": mint_queue.BEFORE_ALL.created_at, "after_id": mint_queue.BEFORE_ALL.id}
    swept = await plan(world, mint_queue.SWEEP, **after, limit=100)
    held = await plan(world, fence.HOLD, reason="why")
    ids = [row.id for row in await world.sql("SELECT id FROM nft_instance LIMIT 5")]
    compared = await plan(world, reconciliation.TOKEN_RECORDS, ids=ids, asked=False)
    # What comes after these has as many rows as they let through.
    swept, held = below(swept, "CTE waiting"), below(held, "CTE waiting")
    compared = below(compared, "CTE task")
    for nodes in (swept, held, compared):
        assert "nft_mint_queue" not in scanned(nodes)
    assert "nft_mint_queue_held_idx" in indexes(swept)
    assert "nft_mint_queue_due_idx" in indexes(held)


async def test_what_is_asked_for_each_message_reads_no_whole_queue(world: World) -> None:
    sent = await plan(world, claiming.CLAIM_SENT, lease=uuid4(), ttl=timedelta(minutes=1), busy=[])
    kept = await plan(
        world,
        claiming.TAKE_RESERVED,
        lease=uuid4(),
        ttl=timedelta(minutes=1),
        collection_id=uuid4(),
    )
    committed = await plan(world, chain_messages.COMMITMENTS, wallet_id=uuid4())
    assert "nft_mint_queue" not in scanned(sent) | scanned(kept) | scanned(committed)
    assert "nft_mint_queue_token_index_key" in indexes(kept)
    ids = [uuid4() for _ in range(100)]
    references = await plan(world, claiming.REFERENCES, ids=ids, collection_id=uuid4())
    badges = await plan(world, claiming.SHARE_BADGES, ids=ids[:10])
    assert scanned(references) | scanned(badges) == set()


@pytest.mark.parametrize("published", [0, 50, 100])
async def test_the_ends_of_the_outbox_are_found_and_its_messages_counted_in_indexes(
    database: Database, published: int
) -> None:
    """Whether nobody publishes, or everything went out: of a hundred, so many."""
    world = World(database)
    await world.sql(
        """
        INSERT INTO outbox_message (id, tenant_id, event_type, payload, occurred_at, user_id, seq,
                                    published_at)
        SELECT gen_random_uuid(), gen_random_uuid(), 'badge.created',
               jsonb_build_object('text', repeat('x', 200)), now() - number * interval '1 second',
               gen_random_uuid(), 1, CASE WHEN number % 100 < :published THEN now() END
          FROM generate_series(1, :number) AS number
        """,
        published=published,
        number=BACKLOG,
    )
    await vacuumed(world, "outbox_message")
    ends = await plan(world, outbox.ENDS)
    assert scanned(ends) == set()
    assert indexes(ends) == {"outbox_message_published_at_occurred_at_idx"}
    # An entry of the index for each of the two.
    assert {node["Node Type"] for node in ends} >= {"Limit"}
    assert "Sort" not in {node["Node Type"] for node in ends}
    assert max(node["Total Cost"] for node in ends if node["Node Type"] == "Limit") < 10
    counted = await plan(world, outbox.UNPUBLISHED)
    assert scanned(counted) == set()
    assert "Index Only Scan" in {node["Node Type"] for node in counted}


async def vacuumed(world: World, table: str) -> None:
    """Do what autovacuum does some time after many rows were written."""
    async with world.db.engine.connect() as conn:
        alone = await conn.execution_options(isolation_level="AUTOCOMMIT")
        await alone.execute(text(f"VACUUM ANALYZE {table}"))


async def test_what_is_open_is_counted_without_what_is_over(world: World) -> None:
    """Every few seconds, for the gauges: however many tasks a database has seen."""
    await world.sql(
        """
        UPDATE nft_mint_queue SET hold_reason = 'no_wallet'
         WHERE status = 'pending' AND hashtext(id::text) % 2 = 0
        """
    )
    await world.sql("ANALYZE nft_mint_queue")
    counted = await plan(world, queue_figures.OPEN)
    assert "nft_mint_queue" not in scanned(counted)
    assert "nft_mint_queue_held_idx" in indexes(counted)
    assert "nft_mint_queue" in scanned(await plan(world, queue_figures.OVER))


async def test_what_status_shows_reads_no_whole_table(world: World) -> None:
    """It is asked every two seconds, beside minters and workers at full load."""
    await world.sql(
        """
        UPDATE nft_mint_queue SET hold_reason = 'no_wallet'
         WHERE status = 'pending' AND hashtext(id::text) % 2 = 0
        """
    )
    await world.sql(
        """
        INSERT INTO mint_task_event (task_id, event, to_status)
        SELECT id, 'signed', 'pending' FROM nft_mint_queue
        """
    )
    await world.sql(
        """
        INSERT INTO dead_letter (cluster_id, topic, partition, "offset", record_timestamp_ms,
               value_length, value_sha256, content_sha256, reason, detail)
        SELECT 'k', 't', 0, number, 0, 0, '', '', 'not_json', ''
          FROM generate_series(1, 20000) AS number
        """
    )
    await world.sql(
        """
        INSERT INTO outbox_message (id, tenant_id, event_type, occurred_at, user_id, seq,
                                    published_at)
        SELECT gen_random_uuid(), gen_random_uuid(), :type, now(), gen_random_uuid(), 1,
               CASE WHEN number % 4 > 0 THEN now() END
          FROM generate_series(1, 20000) AS number
        """,
        type=OutboxType.BADGE_CREATED.value,
    )
    await world.sql("ANALYZE nft_mint_queue, mint_task_event, dead_letter, outbox_message")
    few = {"limit": 1_000}
    holds = [each.value for each in HoldReason]
    waiting = await plan(world, live_state.WAITING, **few)
    held = await plan(world, live_state.HELD, **few, holds=holds)
    failed = await plan(world, live_state.FAILED_BURNS, **few)
    sent = await plan(world, live_state.SENT)
    newest = await plan(world, live_state.NEWEST_TOKENS)
    last = await plan(world, live_state.LAST_CONFIRMED, **few)
    letters = await plan(world, live_state.DEAD_LETTERS, **few)
    outbox = await plan(world, live_state.OUTBOX, **few)
    large = {"nft_mint_queue", "mint_task_event", "dead_letter", "outbox_message"}
    for nodes in (waiting, held, failed, sent, newest, last, letters, outbox):
        assert scanned(nodes) & large == set()
    assert "nft_mint_queue_due_idx" in indexes(waiting)
    assert "nft_mint_queue_held_idx" in indexes(held)
    assert "nft_mint_queue_failed_burn_idx" in indexes(failed)
    assert "outbox_message_unpublished_idx" in indexes(outbox)
