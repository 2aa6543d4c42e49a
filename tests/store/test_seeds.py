"""The owner's two documents, field by field, against the live database.

The tables below are transcriptions: name, type and nullability of each field, defaults and indexes,
as the documents give them. What the database has beside them is named in OURS, so that a column
cannot appear without somebody deciding it.
"""

import pytest
from sqlalchemy import text

from store.engine import Database

UUID, TEXT, JSONB, INT, BOOL, TIME = (
    "uuid",
    "text",
    "jsonb",
    "integer",
    "boolean",
    "timestamp with time zone",
)
DATES = {"created_at": (TIME, "not null"), "updated_at": (TIME, "not null")}

# table -> column -> (type, nullability). "string" without a length in the documents is text or
# varchar here: see same_type().
FIELDS: dict[str, dict[str, tuple[str, str]]] = {
    "nft_type": {
        "id": (UUID, "not null"),
        "code": ("string", "not null"),
        "title": ("string", "not null"),
        "description": (TEXT, "not null"),
        "category": ("string", "not null"),
        "base_image_url": ("string", "not null"),
        "is_onchain_capable": (BOOL, "not null"),
        "default_onchain_policy": ("string", "not null"),
        "metadata_schema": (JSONB, "not null"),
        **DATES,
    },
    "nft_level_rule": {
        "id": (UUID, "not null"),
        "type_id": (UUID, "not null"),
        "level": (INT, "not null"),
        "title": ("string", "not null"),
        "description": (TEXT, "not null"),
        "rarity": ("string", "not null"),
        "image_url": ("string", "null"),
        "conditions": (JSONB, "not null"),
        "auto_mint_onchain": (BOOL, "not null"),
        "order": (INT, "not null"),
        **DATES,
    },
    "nft_instance": {
        "id": (UUID, "not null"),
        "type_id": (UUID, "not null"),
        "user_id": (UUID, "not null"),
        "current_level": (INT, "not null"),
        "status": ("string", "not null"),
        "onchain_token_id": ("string", "null"),
        "onchain_status": ("string", "not null"),
        "metadata": (JSONB, "not null"),
        "external_id": ("string", "null"),
        "source_service": ("string", "not null"),
        "source_event_id": ("string", "null"),
        **DATES,
    },
    "nft_progress": {
        "id": (UUID, "not null"),
        "type_id": (UUID, "not null"),
        "user_id": (UUID, "not null"),
        "counters": (JSONB, "not null"),
        "last_event_at": (TIME, "not null"),
        **DATES,
    },
    "nft_mint_queue": {
        "id": (UUID, "not null"),
        "nft_instance_id": (UUID, "not null"),
        "status": ("string", "not null"),
        "retry_count": (INT, "not null"),
        "last_error": (TEXT, "null"),
        **DATES,
    },
    "nft_audit_log": {
        "id": (UUID, "not null"),
        "nft_instance_id": (UUID, "null"),
        "action": ("string", "not null"),
        "actor_service": ("string", "not null"),
        "details": (JSONB, "not null"),
        "created_at": (TIME, "not null"),
    },
    "achievement_category": {
        "id": (UUID, "not null"),
        "tenant_id": (UUID, "not null"),
        "slug": ("varchar(64)", "not null"),
        "name_i18n": (JSONB, "not null"),
        "order": (INT, "not null"),
        "is_active": (BOOL, "not null"),
        **DATES,
    },
    "achievement": {
        "id": (UUID, "not null"),
        "tenant_id": (UUID, "not null"),
        "name_i18n": (JSONB, "not null"),
        "description": (TEXT, "not null"),
        "category_id": (UUID, "not null"),
        "status": ("varchar(16)", "not null"),
        "images": (JSONB, "not null"),
        "created_by": (UUID, "not null"),
        **DATES,
    },
    "achievement_grant": {
        "id": (UUID, "not null"),
        "tenant_id": (UUID, "not null"),
        "achievement_id": (UUID, "not null"),
        "recipient_id": (UUID, "not null"),
        "issuer_id": (UUID, "not null"),
        "reason": (TEXT, "not null"),
        "visibility": ("varchar(16)", "not null"),
        "created_at": (TIME, "not null"),
        "revoked_at": (TIME, "null"),
        "revoked_by": (UUID, "null"),
    },
    "outbox_message": {
        "id": (UUID, "not null"),
        "tenant_id": (UUID, "not null"),
        "event_type": ("varchar(128)", "not null"),
        "payload": (JSONB, "not null"),
        "occurred_at": (TIME, "not null"),
        "published_at": (TIME, "null"),
    },
}

# Columns that the documents do not have (docs/data-model.md says what each is for).
OURS = {
    "nft_type": {"onchain_min_rarity", "i18n"},
    "nft_level_rule": {"onchain_policy", "i18n"},
    "nft_instance": {"tenant_id", "ordinal"},
    "nft_mint_queue": {
        "type_id",
        "operation",
        "recipient",
        "chain_collection_id",
        "token_index",
        "chain_message_id",
        "run_after",
        "hold_reason",
        "priority",
        "lease_token",
        "lease_expires_at",
    },
    "outbox_message": {"user_id", "seq"},
}

# `default=` in the second document.
DEFAULTS = {
    ("achievement_category", "name_i18n"): "'{}'::jsonb",
    ("achievement_category", "order"): "0",
    ("achievement_category", "is_active"): "true",
    ("achievement", "name_i18n"): "'{}'::jsonb",
    ("achievement", "images"): "'{}'::jsonb",
    ("outbox_message", "payload"): "'{}'::jsonb",
}

# (table, columns, unique): the "Индексы" of the first document; `db_index=True` and SlugField of
# the second.
INDEXES = {
    ("nft_type", ("code",), True),
    ("nft_instance", ("user_id",), False),
    ("nft_instance", ("type_id",), False),
    ("nft_instance", ("user_id", "type_id"), False),
    ("nft_instance", ("external_id",), True),
    ("nft_instance", ("onchain_token_id",), True),
    (
        "nft_progress",
        ("user_id", "type_id"),
        True,
    ),  # the document asks for an index; one row a user and type is ours
    ("achievement_category", ("tenant_id",), False),
    ("achievement_category", ("slug",), False),
    ("achievement", ("tenant_id",), False),
    ("achievement_grant", ("tenant_id",), False),
    ("achievement_grant", ("recipient_id",), False),
    ("achievement_grant", ("issuer_id",), False),
    ("outbox_message", ("tenant_id",), False),
}

# column -> (the table it refers to, what happens to it when that row goes): PROTECT is RESTRICT or
# NO ACTION, CASCADE is CASCADE.
REFERENCES = {
    ("nft_level_rule", "type_id"): ("nft_type", "NO ACTION"),
    ("nft_instance", "type_id"): ("nft_type", "NO ACTION"),
    ("nft_progress", "type_id"): ("nft_type", "NO ACTION"),
    ("nft_mint_queue", "nft_instance_id"): ("nft_instance", "NO ACTION"),
    ("achievement", "category_id"): ("achievement_category", "RESTRICT"),
    ("achievement_grant", "achievement_id"): ("achievement", "CASCADE"),
}


def same_type(wanted: str, found: str) -> bool:
    if wanted == "string":
        return found == TEXT or found.startswith("varchar")
    return found == wanted


@pytest.mark.parametrize("table", FIELDS)
async def test_every_field_of_the_seed_is_there(database: Database, table: str) -> None:
    statement = text("""
        SELECT column_name, column_default, is_nullable,
               CASE WHEN character_maximum_length IS NULL THEN data_type
                    ELSE 'varchar(' || character_maximum_length || ')' END AS type
          FROM information_schema.columns WHERE table_schema = 'public' AND table_name = :table
    """)
    async with database.transaction() as conn:
        columns = {row.column_name: row for row in await conn.execute(statement, {"table": table})}
    for name, (kind, nullability) in FIELDS[table].items():
        found = columns.pop(name)
        assert same_type(kind, found.type), f"{table}.{name} is {found.type}, not {kind}"
        assert ("null" if found.is_nullable == "YES" else "not null") == nullability, (
            f"{table}.{name}"
        )
        if (table, name) in DEFAULTS:
            assert found.column_default == DEFAULTS[table, name]
    assert set(columns) == OURS.get(table, set())


async def test_every_index_of_the_seed_is_there(database: Database) -> None:
    statement = text("""
        SELECT class.relname AS table_name, indisunique AS is_unique,
               (SELECT array_agg(attname ORDER BY place)
                  FROM unnest(indkey) WITH ORDINALITY AS part (number, place)
                       JOIN pg_attribute ON attrelid = indrelid AND attnum = number) AS columns
          FROM pg_index JOIN pg_class AS class ON class.oid = indrelid
         WHERE class.relnamespace = 'public'::regnamespace AND indpred IS NULL AND indexprs IS NULL
    """)
    async with database.transaction() as conn:
        found = {
            (row.table_name, tuple(row.columns), row.is_unique)
            for row in await conn.execute(statement)
        }
    assert found >= INDEXES
    assert {(table, ("id",), True) for table in FIELDS} <= found


async def test_every_reference_of_the_seed_is_there(database: Database) -> None:
    statement = text("""
        SELECT source.table_name, source.column_name, target.table_name AS target, delete_rule
          FROM information_schema.referential_constraints
               JOIN information_schema.key_column_usage AS source
                    USING (constraint_schema, constraint_name)
               JOIN information_schema.constraint_column_usage AS target
                    USING (constraint_schema, constraint_name)
         WHERE constraint_schema = 'public'
    """)
    async with database.transaction() as conn:
        found = {
            (row.table_name, row.column_name): (row.target, row.delete_rule)
            for row in await conn.execute(statement)
            if (row.table_name, row.column_name) in REFERENCES
            and row.target == REFERENCES[row.table_name, row.column_name][0]
        }
    assert found == REFERENCES
