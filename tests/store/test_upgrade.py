"""A database that a released version left is upgraded, loses nothing, and counts on.

tests/builders/dumps.py says how the dumps were made: by the code of their tag, in a demo.
"""

import re
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from sandbox.postgres import PostgresServer
from store import migrations
from store.engine import Database
from store.models import Base
from tests.builders.databases import empty_database
from tests.builders.dumps import dump_of, events_of, released, restore, rows_in
from tests.builders.messages import Log, a_pipeline, a_quest, count, open_ledger
from tests.builders.sql import column, rows
from tests.store.shape import shape

_CASTS = re.compile(r"::(character varying|text)|\[\]|[()]")


@pytest.fixture(params=released())
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def upgraded(database_server: PostgresServer, version: str) -> AsyncIterator[Database]:
    """A database of the dump, as `laurel db upgrade` leaves it."""
    async with empty_database(database_server) as url:
        await restore(url, dump_of(version))
        await migrations.upgrade(url)
        async with Database(url) as database:
            yield database


async def test_nothing_is_lost(upgraded: Database, version: str) -> None:
    kept = Counter[str]()
    for table in Base.metadata.tables:
        (kept[table],) = await column(upgraded, f"SELECT count(*) FROM {table}")
    had = rows_in(dump_of(version))
    del had["alembic_version"]
    assert had.keys() >= {"nft_instance", "nft_audit_log", "nft_mint_queue", "dead_letter"}
    assert {table: number for table, number in kept.items() if table in had} == had


async def test_it_has_the_shape_of_a_new_one(upgraded: Database, database: Database) -> None:
    async with upgraded.transaction() as conn, database.transaction() as fresh:
        assert without_casts(await shape(conn, "public")) == without_casts(
            await shape(fresh, "public")
        )
        await migrations.check(conn)


def without_casts(shown: set[tuple[Any, ...]]) -> set[tuple[Any, ...]]:
    """PostgreSQL writes the casts of a list elsewhere once it has read its own dump."""
    return {(*names, _CASTS.sub("", definition or "")) for *names, definition in shown}


async def test_it_counts_on(upgraded: Database) -> None:
    before = await quests(upgraded)
    who = next(iter(before))
    log = Log()
    log.append(a_quest(who), a_quest(who))
    await count(upgraded, log, await a_pipeline(upgraded))
    assert await quests(upgraded) == before | {who: before[who] + 2}


async def quests(database: Database) -> dict[UUID, int]:
    """Completed quests by user."""
    statement = """
        SELECT user_id, (counters ->> 'quest_completed_count')::int AS quests
          FROM nft_progress JOIN nft_type AS type ON type.id = type_id
         WHERE code = 'explorer' AND counters ? 'quest_completed_count'
    """
    return dict(await rows(database, statement))


async def test_what_was_counted_is_known_again(upgraded: Database, version: str) -> None:
    """An event's key is made as it was then: else all of them would count a second time."""
    before = await quests(upgraded)
    chunks = events_of(version)
    await open_ledger(upgraded, chunks)
    outcome = await (await a_pipeline(upgraded)).run(chunks)
    assert outcome.duplicates > 20
    assert (outcome.counted, outcome.levels) == (0, 0)
    assert await quests(upgraded) == before
