"""Ids of rows are UUIDs of version 7, in the order of time, and every statement gives them."""

import re
import time
from uuid import RFC_4122, UUID

import pytest
from sqlalchemy import text

from store.engine import Database
from store.ids import id_prefix, ordered_id
from store.models import Base
from tests.store.test_conventions import MODULES, texts_of

NUMBERED = text("""
    SELECT CAST(:id_prefix || lpad(to_hex(number), 8, '0') AS uuid)
      FROM generate_series(1, 300) AS number
""")
SURROGATES = {
    table.name
    for table in Base.metadata.sorted_tables
    if "id" in table.columns
    and table.columns.id.server_default is not None
    and "gen_random_uuid" in str(getattr(table.columns.id.server_default, "arg", ""))
}


def test_an_id_is_a_uuid_of_version_7_of_this_millisecond() -> None:
    before = time.time_ns() // 1_000_000
    ids = [ordered_id() for _ in range(1_000)]
    after = time.time_ns() // 1_000_000
    assert {(each.version, each.variant) for each in ids} == {(7, RFC_4122)}
    assert all(before <= each.int >> 80 <= after for each in ids)
    assert len(set(ids)) == len(ids)


def test_prefixes_of_one_millisecond_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 1_795_000_000_000_000_000)
    prefixes = {id_prefix() for _ in range(1_000)}
    assert len(prefixes) == 1_000
    assert len({prefix[:12] for prefix in prefixes}) == 1


async def test_a_statement_numbers_its_rows_in_their_order(database: Database) -> None:
    async with database.transaction() as conn:
        rows = await conn.execute(NUMBERED, {"id_prefix": id_prefix()})
        ids: list[UUID] = list(rows.scalars())
    assert ids == sorted(set(ids))
    assert {each.version for each in ids} == {7}


@pytest.mark.parametrize("name", MODULES)
def test_no_statement_leaves_an_id_to_the_database(name: str) -> None:
    written = [
        (table, columns)
        for _, statement in texts_of(name)
        for table, columns in re.findall(
            r"INSERT\s+INTO\s+(\w+)(?:\s+AS\s+\w+)?\s*\(([^)]*)\)", statement
        )
        if table in SURROGATES
    ]
    assert [table for table, columns in written if columns.split(",")[0].strip() != "id"] == []


def test_there_are_ids_to_look_at() -> None:
    assert {"nft_progress", "nft_audit_log", "outbox_message", "nft_mint_queue"} <= SURROGATES
