"""The rules that the database itself holds, each broken once: docs/data-model.md, Constraints."""

import json
from uuid import UUID

import pytest

from store import models
from store.engine import Database, StatementRefused, TransactionConflict

TOKEN = "0:" + "ab" * 32
# A row of everything that a constraint needs: a type with two levels, two badges, a wallet, a
# collection, a message.
WORLD = f"""
    INSERT INTO nft_type (id, code, title, description, category, base_image_url,
                          is_onchain_capable, default_onchain_policy, metadata_schema)
    VALUES ('{UUID(int=1)}', 'explorer', '', '', 'traveler', '', true, 'always', '{{}}');
    INSERT INTO nft_level_rule (type_id, level, title, description, rarity, conditions,
                                auto_mint_onchain, "order")
    VALUES ('{UUID(int=1)}', 1, '', '', 'common', '{{}}', false, 10),
           ('{UUID(int=1)}', 2, '', '', 'rare', '{{}}', false, 20);
    INSERT INTO nft_instance (id, type_id, user_id, current_level, source_service, tenant_id,
                              onchain_token_id, external_id)
    VALUES ('{UUID(int=2)}', '{UUID(int=1)}', '{UUID(int=3)}', 1, 'test', '{UUID(int=9)}',
            '{TOKEN}', 'wish-1'),
           ('{UUID(int=4)}', '{UUID(int=1)}', '{UUID(int=5)}', 1, 'test', '{UUID(int=9)}',
            NULL, NULL);
    INSERT INTO chain_wallet (id, address, public_key, subwallet_id, timeout_s, zero_state_hash)
    VALUES ('{UUID(int=6)}', '0:00', repeat('x', 32)::bytea, 1, 300, repeat('y', 32)::bytea);
    INSERT INTO chain_collection (id, type_id, chain_wallet_id, address, content_uri, item_prefix)
    VALUES ('{UUID(int=7)}', '{UUID(int=1)}', '{UUID(int=6)}', '0:01', '', '');
    INSERT INTO chain_message (id, chain_wallet_id, chain_collection_id, kind, query_seq,
                               signed_at, valid_until, boc, message_hash)
    VALUES ('{UUID(int=8)}', '{UUID(int=6)}', '{UUID(int=7)}', 'mint', 0, now(), now(), '', '');
    INSERT INTO nft_mint_queue (nft_instance_id, status, operation, chain_collection_id,
                                token_index, chain_message_id, recipient)
    VALUES ('{UUID(int=2)}', 'sent', 'mint', '{UUID(int=7)}', 0, '{UUID(int=8)}', '0:02');
    INSERT INTO outbox_message (tenant_id, event_type, occurred_at, user_id, seq)
    VALUES ('{UUID(int=9)}', 'badge.created', now(), '{UUID(int=3)}', 1);
    INSERT INTO counter_definition (id, name, kind, event_type, first_version)
    VALUES (1, 'steps', 'count', 'step.made', 1);
    INSERT INTO counter_fill (counter_id) VALUES (1);
    INSERT INTO achievement_category (id, tenant_id, slug)
    VALUES ('{UUID(int=10)}', '{UUID(int=9)}', 'travel');
    INSERT INTO achievement (id, tenant_id, description, category_id, status, created_by)
    VALUES ('{UUID(int=11)}', '{UUID(int=9)}', '', '{UUID(int=10)}', 'active', '{UUID(int=12)}');
    INSERT INTO achievement_grant (tenant_id, achievement_id, recipient_id, issuer_id, reason,
                                   visibility)
    VALUES ('{UUID(int=9)}', '{UUID(int=11)}', '{UUID(int=3)}', '{UUID(int=12)}', '', 'public');
"""

FRESH = {"id": None, "onchain_token_id": None, "external_id": None, "user_id": str(UUID(int=99))}


def copied(table: str, **changes: object) -> str:
    """Return the statement that copies one row of `table`, with a new id and `changes`."""
    changed = f"'{json.dumps(changes)}' || jsonb_build_object('id', gen_random_uuid())"
    return (
        f"INSERT INTO {table} SELECT (jsonb_populate_record(old, {changed})).*"
        f"  FROM {table} AS old LIMIT 1"
    )


def a_badge(**changes: object) -> str:
    return copied("nft_instance", **(FRESH | changes))


def a_task(**changes: object) -> str:
    plain = {
        "nft_instance_id": str(UUID(int=4)),
        "status": "pending",
        "chain_collection_id": None,
        "token_index": None,
    }
    return copied(
        "nft_mint_queue", **(plain | {"chain_message_id": None, "recipient": None} | changes)
    )


STANDING_GRANT = copied("achievement_grant", revoked_at=None, revoked_by=None)


@pytest.fixture
async def world(database: Database) -> Database:
    async with database.transaction() as conn:
        for statement in WORLD.rstrip().rstrip(";").split(";\n"):
            await conn.exec_driver_sql(statement)
    return database


async def run(database: Database, statement: str) -> None:
    async with database.transaction() as conn:
        await conn.exec_driver_sql(statement)


@pytest.mark.parametrize(
    ("constraint", "statement"),
    [
        ("nft_instance_one_active_key", a_badge(user_id=str(UUID(int=3)), ordinal=2)),
        (
            "nft_instance_user_id_type_id_ordinal_key",
            a_badge(user_id=str(UUID(int=3)), status="revoked"),
        ),
        ("nft_instance_ordinal_check", a_badge(ordinal=0)),
        ("nft_instance_type_id_current_level_fkey", a_badge(current_level=3)),
        ("nft_instance_type_id_current_level_fkey", "DELETE FROM nft_level_rule WHERE level = 1"),
        ("nft_instance_onchain_token_id_key", a_badge(onchain_token_id=TOKEN)),
        ("nft_instance_onchain_token_id_check", a_badge(onchain_token_id="EQtoken")),
        ("nft_instance_external_id_key", a_badge(external_id="wish-1")),
        ("nft_level_rule_type_id_level_key", "UPDATE nft_level_rule SET level = 1 WHERE level = 2"),
        ("nft_level_rule_type_id_order_key", 'UPDATE nft_level_rule SET "order" = 10'),
        ("nft_mint_queue_one_open_key", a_task(nft_instance_id=str(UUID(int=2)))),
        ("nft_mint_queue_sent_message_check", a_task(status="sent", operation="burn")),
        ("nft_mint_queue_assigned_check", a_task(status="confirmed")),
        ("nft_mint_queue_held_pending_check", a_task(status="failed", hold_reason="operator")),
        ("nft_mint_queue_lease_check", a_task(lease_token=str(UUID(int=1)))),
        (
            "nft_mint_queue_token_index_key",
            a_task(status="failed", chain_collection_id=str(UUID(int=7)), token_index=0),
        ),
        ("chain_wallet_single_key", copied("chain_wallet", address="0:99")),
        ("chain_message_one_unresolved_key", copied("chain_message", query_seq=1)),
        ("counter_fill_pkey", "INSERT INTO counter_fill (counter_id) VALUES (1)"),
        ("counter_fill_counter_id_fkey", "INSERT INTO counter_fill (counter_id) VALUES (2)"),
        ("counter_fill_counter_id_fkey", "DELETE FROM counter_definition"),
        ("counter_fill_slices_check", "UPDATE counter_fill SET slices = 2, slices_done = 3"),
        ("dedupe_floor_is_only_check", "INSERT INTO dedupe_floor VALUES (false, '2026-01-01')"),
        ("dedupe_floor_pkey", "INSERT INTO dedupe_floor VALUES (true, '2026-01-01')"),
        (
            "silenced_badge_message_check",
            f"INSERT INTO silenced_badge VALUES ('{UUID(int=4)}', 'badge.minted', true)",
        ),
        (
            "silenced_badge_left_out_check",
            f"INSERT INTO silenced_badge VALUES ('{UUID(int=4)}', NULL, false)",
        ),
        (
            "silenced_badge_nft_instance_id_fkey",
            f"INSERT INTO silenced_badge VALUES ('{UUID(int=99)}', NULL, true)",
        ),
        ("outbox_message_user_id_seq_key", copied("outbox_message")),
        ("achievement_category_tenant_id_slug_key", copied("achievement_category")),
        ("achievement_category_id_fkey", "DELETE FROM achievement_category"),
        ("achievement_grant_one_standing_key", copied("achievement_grant")),
        ("achievement_grant_revoked_check", "UPDATE achievement_grant SET revoked_at = now()"),
        (
            "user_wallet_seen_check",
            f"INSERT INTO user_wallet (user_id, address) VALUES ('{UUID(int=3)}', '0:02')",
        ),
    ],
)  # fmt: skip
async def test_the_database_refuses(world: Database, constraint: str, statement: str) -> None:
    # Two that make the same badge at once are a conflict, which is run again.
    with pytest.raises((StatementRefused, TransactionConflict)) as refused:
        await run(world, statement)
    assert refused.value.details["constraint"] == constraint


@pytest.mark.parametrize(
    "statements",
    [
        # a revoked badge beside the active one
        (a_badge(user_id=str(UUID(int=3)), status="revoked", ordinal=2),),
        # several badges without a token or an external id
        (a_badge(), a_badge(user_id=str(UUID(int=98)))),
        # a burn beside the open mint
        (a_task(nft_instance_id=str(UUID(int=2)), operation="burn"),),
        # after a closed one
        (
            "UPDATE nft_mint_queue SET status = 'confirmed'",
            a_task(nft_instance_id=str(UUID(int=2))),
        ),
        # a burn of the same token
        (a_task(operation="burn", chain_collection_id=str(UUID(int=7)), token_index=0),),
        # a grant after a revoked one
        ("UPDATE achievement_grant SET revoked_at = now(), revoked_by = issuer_id", STANDING_GRANT),
        ("DELETE FROM achievement",),  # takes its grants along
    ],
)  # fmt: skip
async def test_the_database_allows(world: Database, statements: tuple[str, ...]) -> None:
    for statement in statements:
        await run(world, statement)


def test_every_table_says_what_it_is_for() -> None:
    silent = [
        mapper.class_.__name__
        for mapper in models.Base.registry.mappers
        if not (mapper.class_.__doc__ or "").strip()
    ]
    assert silent == []
