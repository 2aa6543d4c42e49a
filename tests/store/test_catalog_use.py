"""What a catalog takes away: batches wait for no look at everybody, and for no count of them."""

from uuid import UUID

import pytest
from sqlalchemy import text

from ops.errors import UsageError
from store import catalog_use, catalogs
from store.catalog_changes import Changes
from store.engine import Connection, Database
from tests.builders.catalogs import a_catalog, a_level, a_type
from tests.builders.sql import rows
from tests.store.test_catalogs import RUNNER, applied, some_progress

CROWD = 5_000


async def test_what_a_catalog_reads_while_batches_wait_does_not_grow_with_the_users(
    database: Database,
) -> None:
    """It takes away a type, a level and counters, one of a type that the whole crowd has."""
    walker = a_type(counters=("points", "leaps"))
    runner = a_type(code="runner", counters=("jumps",), levels=(a_level(1, {"jumps": {"gte": 1}}),))
    await applied(database, a_catalog(walker, runner))
    await rows(
        database,
        """
        WITH crowd AS (
             SELECT gen_random_uuid() AS user_id FROM generate_series(1, :crowd)),
             counted AS (
             INSERT INTO nft_progress (type_id, user_id, counters, last_event_at)
             SELECT type.id, user_id, '{"points": 1}', now()
               FROM nft_type AS type, crowd WHERE code = 'walker')
        INSERT INTO nft_instance (type_id, user_id, current_level, source_service, tenant_id)
        SELECT type.id, user_id, 1, 'test', gen_random_uuid()
          FROM nft_type AS type, crowd WHERE code = 'walker'
        """,
        crowd=CROWD,
    )
    await rows(database, "ANALYZE nft_progress, nft_instance")
    fewer = a_catalog(a_type(a_level(1), a_level(2)))
    async with database.transaction() as conn:
        outcome = await catalogs.apply(conn, fewer, "admin")
        found = await conn.execute(
            text("""
                SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))
                  FROM pg_stat_xact_user_tables
                 WHERE relname IN ('nft_progress', 'nft_instance', 'progress_member')
            """)
        )
        read = int(found.scalar_one())
    assert (outcome.removed, outcome.changed) == (("runner",), ("walker",))
    assert read < CROWD / 100


async def test_batches_go_on_while_the_reasons_of_a_refusal_are_counted(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await applied(database, a_catalog(a_type(), a_type(code="runner")))
    await some_progress(database, UUID(int=1), '{"points": 1}', RUNNER)
    count_reasons = catalog_use.refuse

    async def with_a_batch_beside(conn: Connection, changes: Changes) -> None:
        async with database.transaction() as batch:
            await batch.execute(text("SET LOCAL lock_timeout = '1ms'"))
            await catalogs.current_for_share(batch)
        await count_reasons(conn, changes)

    monkeypatch.setattr(catalog_use, "refuse", with_a_batch_beside)
    with pytest.raises(UsageError, match="runner: in use"):
        await applied(database, a_catalog())
