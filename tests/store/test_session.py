"""A session is what Laurel asked for, or Laurel does not start: also behind a pooler."""

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url, text

from ops.errors import UsageError
from ops.setting_parts import DatabaseSettings
from sandbox.postgres import PostgresServer
from store import migrations
from store.engine import Connection, Database, DatabaseUnreachable
from store.session import Session
from tests.builders.databases import empty_database
from tests.builders.history import a_history, drive, facts
from tests.builders.messages import ALICE, Log, a_partner, a_pipeline, count, with_catalog
from tests.builders.sql import column, rows, value
from tests.builders.startup_proxy import dropping_options
from tests.fixtures.pooler import Pooler

SHOWN = ("TimeZone", "lock_timeout", "statement_timeout", "synchronous_commit", "jit")


async def test_a_connection_speaks_utc_and_does_not_wait_for_ever(database: Database) -> None:
    names = ("timezone", "lock_timeout", "statement_timeout", "application_name")
    shown = [await value(database, f"SHOW {name}") for name in names]
    assert shown == ["UTC", "15s", "1min", "laurel"]


async def test_what_laurel_depends_on_is_set_whatever_the_database_says(
    database: Database, database_url: str, database_server: PostgresServer
) -> None:
    """A history comes to the same as on a database that says nothing."""
    name = make_url(database_url).database
    for setting in (
        "synchronous_commit = off",
        "default_transaction_isolation = 'repeatable read'",
        "client_encoding = 'LATIN1'",
        "idle_in_transaction_session_timeout = '1ms'",
        "statement_timeout = '1ms'",
        "DateStyle = 'SQL, DMY'",
        "IntervalStyle = 'sql_standard'",
        "array_nulls = off",
        "bytea_output = 'escape'",
        "TimeZone = 'Asia/Kathmandu'",
        "standard_conforming_strings = off",
        "transform_null_equals = on",
        "extra_float_digits = -15",
    ):
        await rows(database, f'ALTER DATABASE "{name}" SET {setting}')
    async with Database(database_url) as another:
        shown = [
            await value(another, f"SHOW {each}")
            for each in ("synchronous_commit", "transaction_isolation", "client_encoding")
        ]
        await with_catalog(another)
    assert shown == ["on", "read committed", "UTF8"]
    async with empty_database(database_server) as plain:
        await migrations.upgrade(plain)
        async with Database(plain) as another:
            await with_catalog(another)
        for url in (database_url, plain):
            await drive(url, a_history())
        assert await facts(database_url) == await facts(plain)


async def test_who_stands_still_in_a_transaction_loses_its_locks(
    database: Database, database_url: str
) -> None:
    """A frozen process would keep a new catalog, and whoever counts for its users, waiting."""
    hurried = DatabaseSettings(
        lock_timeout=timedelta(milliseconds=20), statement_timeout=timedelta(milliseconds=40)
    )

    async def frozen(conn: Connection) -> None:
        await conn.execute(text("LOCK TABLE user_wallet IN ACCESS EXCLUSIVE MODE"))
        await value(database, "SELECT count(*) FROM user_wallet")
        await conn.execute(text("SELECT 1"))

    async with Database(database_url, hurried) as another:
        with pytest.raises(DatabaseUnreachable):
            await another.retried("test", frozen)


async def test_options_of_the_url_work_beside_ours(database: Database, database_url: str) -> None:
    await rows(database, "CREATE SCHEMA app")
    url = make_url(database_url).update_query_dict(
        {"options": "-c search_path=app -c timezone=CET"}
    )
    async with Database(url.render_as_string(hide_password=False)) as another:
        assert await value(another, "SHOW search_path") == "app"
        assert await value(another, "SHOW timezone") == "UTC"


async def test_a_database_of_another_encoding_is_refused_with_a_word(
    database_server: PostgresServer,
) -> None:
    name = f"ascii_{uuid4().hex}"
    statement = sql.SQL("CREATE DATABASE {} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    async with await psycopg.AsyncConnection.connect(database_server.url, autocommit=True) as conn:
        await conn.execute(statement.format(sql.Identifier(name)))
    async with Database(database_server.url_of(name)) as database:
        with pytest.raises(UsageError, match="SQL_ASCII"):
            await database.ping()


def alterations(error: UsageError) -> list[str]:
    return error.message.partition("RECONNECT): ")[2].rstrip(";").split("; ")


@pytest.fixture
async def role(database: Database, database_url: str) -> AsyncIterator[str]:
    """The URL of a superuser of the test's own, whose settings no other test sees."""
    name = f"Role {uuid4().hex}"
    await rows(database, f"CREATE ROLE \"{name}\" SUPERUSER LOGIN PASSWORD 'p'")
    yield make_url(database_url).set(username=name, password="p").render_as_string(False)
    await rows(database, f'DROP OWNED BY "{name}"')
    await rows(database, f'DROP ROLE "{name}"')


async def test_a_pooler_that_drops_settings_is_refused_until_the_role_has_them(
    database: Database, role: str
) -> None:
    async with dropping_options(role) as url, Database(url) as pooled:
        with pytest.raises(UsageError, match="pooler that drops") as refused:
            await pooled.ping()
        statements = alterations(refused.value)
        # The server's own defaults are right about what is not named.
        assert [statement.split(" SET ")[1].split(" ")[0] for statement in statements] == [
            "TimeZone", "idle_in_transaction_session_timeout", "jit", "lock_timeout",
            "statement_timeout",
        ]  # fmt: skip
        for statement in statements:
            await rows(database, statement)
        shown = [await value(pooled, f"SHOW {name}") for name in SHOWN]
    assert shown == ["UTC", "15s", "1min", "on", "off"]


async def test_another_timeout_than_the_roles_is_refused(database: Database, role: str) -> None:
    async with dropping_options(role) as url:
        async with Database(url) as pooled:
            with pytest.raises(UsageError) as refused:
                await pooled.ping()
        for statement in alterations(refused.value):
            await rows(database, statement)
        async with Database(url, DatabaseSettings(lock_timeout=timedelta(seconds=2))) as pooled:
            with pytest.raises(UsageError, match=r"SET lock_timeout = '2000';$"):
                await pooled.ping()


def test_every_setting_that_is_asked_for_is_looked_at() -> None:
    session = Session.of(DatabaseSettings())
    asked = [each.partition("=")[0] for each in session.options.split("-c ") if each]
    assert asked == [*session.settings, "application_name"]


async def test_pgbouncer_that_refuses_options_ends_the_start_with_the_way_out(
    database_url: str, pgbouncer: Pooler
) -> None:
    with pgbouncer(database_url) as url:
        async with Database(url) as pooled:
            with pytest.raises(UsageError, match="ignore_startup_parameters = options"):
                await pooled.ping()


async def test_batches_count_through_pgbouncers_transactions(
    database: Database, database_url: str, pgbouncer: Pooler
) -> None:
    await with_catalog(database)
    name = make_url(database_url).database
    with pgbouncer(database_url, ignore_startup_parameters="options") as url:
        async with Database(url) as pooled:
            with pytest.raises(UsageError) as refused:
                await pooled.ping()
        # For this test's database alone: the role is that of all tests.
        for statement in alterations(refused.value):
            await rows(database, statement.replace(" SET ", f' IN DATABASE "{name}" SET '))
    backends = set[object]()

    async def look(conn: Connection) -> None:
        backends.add((await conn.execute(text("SELECT pg_backend_pid()"))).scalar_one())

    with pgbouncer(database_url, ignore_startup_parameters="options") as url:
        async with Database(url) as pooled:
            log, pipeline = Log(), await a_pipeline(pooled)
            async with pooled.transaction() as one, pooled.transaction() as other:
                await look(one)
                await look(other)
            assert len(backends) == 2
            # psycopg would prepare what it has seen five times, and each of these transactions
            # has another server connection than the one before.
            for number in range(12):
                log.append(a_partner(ALICE))
                await count(pooled, log, pipeline)
                for _ in range(1 + number % 2):  # the next round begins on the other one
                    await pooled.retried("test", look)
    counted = "SELECT counters->>'partners_invited' FROM nft_progress"
    assert await column(database, counted) == ["12"]
