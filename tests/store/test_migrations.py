import asyncio
from importlib import import_module
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection as SyncConnection
from sqlalchemy import text

from ops.errors import UsageError
from sandbox.postgres import PostgresServer
from store import migrations
from store.engine import Database, StatementRefused
from store.models import Base
from tests.builders.databases import empty_database
from tests.builders.late_counters import FIRST, NAMES, SECOND, put_in_force
from tests.builders.sql import column, rows
from tests.store.shape import shape


async def test_the_migrated_database_is_what_the_models_say(database: Database) -> None:
    def differences(connection: SyncConnection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        return list(compare_metadata(context, Base.metadata))

    async with database.transaction() as conn:
        assert await conn.run_sync(differences) == []


async def test_constraints_indexes_and_options_are_what_the_models_say(database: Database) -> None:
    # Alembic's comparison looks at no CHECK and no storage option; PostgreSQL's own words about
    # both do.
    async with database.transaction() as conn:
        migrated = await shape(conn, "public")
        await conn.execute(text("CREATE SCHEMA modelled"))
        await conn.execute(text("SET LOCAL search_path = modelled"))
        await conn.run_sync(Base.metadata.create_all)
        assert {row[0] for row in migrated} == set(Base.metadata.tables)
        assert await shape(conn, "modelled") == migrated


async def test_upgrading_again_and_at_the_same_time_changes_nothing(
    database_server: PostgresServer,
) -> None:
    async with empty_database(database_server) as url:
        assert (
            await asyncio.gather(*(migrations.upgrade(url) for _ in range(3)))
            == [migrations.head()] * 3
        )
        assert await migrations.upgrade(url) == migrations.head()
        async with Database(url) as database, database.transaction() as conn:
            await migrations.check(conn)


async def test_a_database_without_tables_says_what_to_run(database_server: PostgresServer) -> None:
    async with (
        empty_database(database_server) as url,
        Database(url) as database,
        database.transaction() as conn,
    ):
        assert await migrations.current(conn) is None
        with pytest.raises(UsageError, match="Run `laurel db upgrade`"):
            await migrations.check(conn)


async def test_a_database_of_a_newer_laurel_is_left_alone(
    database_url: str, database: Database
) -> None:
    async with database.transaction() as conn:
        await conn.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(UsageError, match="Install a newer Laurel"):
        await migrations.upgrade(database_url)
    async with database.transaction() as conn:
        with pytest.raises(UsageError, match="9999"):
            await migrations.check(conn)


async def test_a_migration_that_fails_leaves_nothing_behind(
    database_server: PostgresServer,
) -> None:
    async with empty_database(database_server) as url, Database(url) as database:
        async with database.transaction() as conn:
            # In the way of the sixteenth statement.
            await conn.execute(text("CREATE TABLE user_wallet ()"))
        with pytest.raises(StatementRefused, match="user_wallet"):
            await migrations.upgrade(url)
        statement = """
            SELECT relname FROM pg_class
             WHERE relkind = 'r' AND relnamespace = CAST('public' AS regnamespace)
        """
        assert await column(database, statement) == ["user_wallet"]


async def test_since_when_counters_count_is_read_from_the_versions_before(
    database: Database,
) -> None:
    """One that went before it counted, and came back, counts since it came back."""
    for catalog in (FIRST, SECOND, FIRST, SECOND):
        await put_in_force(database, catalog)
    since = "SELECT name, first_version FROM counter_definition ORDER BY id"
    written = await rows(database, since)
    before = import_module("store.migrations.versions.r0004_counter_fills").down_revision
    async with database.transaction() as conn:
        await conn.execute(text("ALTER TABLE counter_definition DROP COLUMN first_version"))
        tables = "counter_fill, fill_event, fill_progress, fill_member, rebuild, rebuild_event"
        await conn.execute(text(f"DROP TABLE {tables}"))
        await conn.execute(text("UPDATE alembic_version SET version_num = :it"), {"it": before})
    await migrations.upgrade(database.engine.url.render_as_string(hide_password=False))
    assert await rows(database, since) == written
    assert dict(written) == {"points": 1, "undone": 1, **dict.fromkeys(NAMES, 4)}
