import asyncio
from datetime import timedelta
from uuid import uuid4

import psycopg
import pytest
from prometheus_client import REGISTRY
from psycopg import sql
from pydantic import SecretStr
from sqlalchemy import make_url, text

from ops.errors import UsageError
from ops.settings import DatabaseSettings
from sandbox.ports import reserved
from sandbox.postgres import PostgresServer
from store.engine import (
    Connection,
    Database,
    DatabaseUnreachable,
    StatementRefused,
    StatementTimedOut,
    TransactionConflict,
    normalised_url,
)
from tests.builders.sql import column, rows, value

NEW_SEQUENCE = text("INSERT INTO outbox_sequence (user_id, last_seq) VALUES (gen_random_uuid(), 0)")
NEXT_SEQ = text("UPDATE outbox_sequence SET last_seq = last_seq + 1 WHERE user_id = :user")


@pytest.mark.parametrize(
    "url",
    ["postgresql://u:p@h:5432/d", "postgres://u:p@h:5432/d", "postgresql+asyncpg://u:p@h:5432/d"],
)
def test_every_spelling_of_a_postgresql_url_is_taken(url: str) -> None:
    assert normalised_url(url) == "postgresql+psycopg://u:p@h:5432/d"


@pytest.mark.parametrize(
    "url",
    [
        "hunter2",
        "mysql://u:hunter2@h/d",
        "",
        "postgresql://u:hunter2",
        "postgresql://u:hunter2:1/d",
        "postgresql://u:p@hunter2@h/d",
        "postgresql://u:p@hunter2/x@h/d",
        "postgresql://u:p?@hunter2@h/d",
        "postgresql://u/v:hunter2@h/d",
    ],
)
def test_a_wrong_url_is_refused_without_repeating_its_password(url: str) -> None:
    with pytest.raises(UsageError, match="LAUREL_DATABASE_URL") as refused:
        normalised_url(url)
    assert "hunter2" not in refused.value.message


def test_an_escaped_password_is_taken_and_hidden() -> None:
    url = "postgresql://u:p%40hunter2%2F@h:5432/d"
    assert normalised_url(url) == "postgresql+psycopg://u:p%40hunter2%2F@h:5432/d"
    assert Database(url).place == "postgresql+psycopg://u:***@h:5432/d"


async def test_where_a_database_is_has_no_password_however_it_was_given() -> None:
    with reserved() as port:
        url = f"postgresql://u@/d?host=127.0.0.1&port={port}&password=hunter2"
        async with Database(url) as away:
            with pytest.raises(DatabaseUnreachable, match=r"u@/d \(127.0.0.1\)") as caught:
                await away.ping()
    assert "hunter2" not in caught.value.message + repr(caught.value.details)


async def test_a_connection_speaks_utc_and_does_not_wait_for_ever(database: Database) -> None:
    async with database.transaction() as conn:
        names = ("timezone", "lock_timeout", "statement_timeout", "application_name")
        shown = [(await conn.execute(text(f"SHOW {name}"))).scalar_one() for name in names]
    assert shown == ["UTC", "15s", "1min", "laurel"]


async def test_what_laurel_depends_on_is_set_whatever_the_database_says(
    database: Database, database_url: str
) -> None:
    name = make_url(database_url).database
    for setting in (
        "synchronous_commit = off",
        "default_transaction_isolation = 'repeatable read'",
        "client_encoding = 'LATIN1'",
    ):
        await rows(database, f'ALTER DATABASE "{name}" SET {setting}')
    async with Database(database_url) as another:
        shown = [
            await value(another, f"SHOW {each}")
            for each in ("synchronous_commit", "transaction_isolation", "client_encoding")
        ]
    assert shown == ["on", "read committed", "UTF8"]


async def test_options_of_the_url_work_beside_ours(database: Database, database_url: str) -> None:
    await rows(database, "CREATE SCHEMA app")
    url = make_url(database_url).update_query_dict(
        {"options": "-c search_path=app -c timezone=CET"}
    )
    async with Database(url.render_as_string(hide_password=False)) as another:
        assert await value(another, "SHOW search_path") == "app"
        assert await value(another, "SHOW timezone") == "UTC"


async def test_a_read_only_server_is_one_that_is_away(database_url: str) -> None:
    url = make_url(database_url).update_query_dict(
        {"options": "-c default_transaction_read_only=on"}
    )
    async with Database(url.render_as_string(hide_password=False)) as standby:
        with pytest.raises(DatabaseUnreachable, match="read-only"):
            await rows(standby, "DELETE FROM outbox_sequence")


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


async def test_a_server_that_is_not_there_is_named_without_its_password() -> None:
    # Bound, not listening: nobody else can start to.
    with reserved() as port:
        async with Database(
            SecretStr(f"postgresql://laurel:hunter2@127.0.0.1:{port}/laurel")
        ) as database:
            with pytest.raises(DatabaseUnreachable, match=str(port)) as lost:
                await database.ping()
    assert "hunter2" not in str(lost.value)


async def test_a_lost_connection_is_transient_and_the_next_one_works(database: Database) -> None:
    with pytest.raises(DatabaseUnreachable):
        await rows(database, "SELECT pg_terminate_backend(pg_backend_pid())")
    await database.ping()


async def test_a_statement_that_takes_too_long_is_not_run_again(database_url: str) -> None:
    hurried = DatabaseSettings(statement_timeout=timedelta(milliseconds=50))
    runs = 0
    async with Database(database_url, hurried) as database:

        async def slow(conn: Connection) -> None:
            nonlocal runs
            runs += 1
            await conn.execute(text("SELECT pg_sleep(60)"))

        with pytest.raises(StatementTimedOut, match="statement timeout"):
            await database.retried("test", slow)
    assert runs == 1


async def test_a_refused_statement_names_its_constraint_and_not_its_values(
    database: Database,
) -> None:
    statement = """
        INSERT INTO offset_ledger (cluster_id, topic, partition, next_offset)
        VALUES ('secret', 't', 0, -1)
    """
    with pytest.raises(StatementRefused) as caught:
        await rows(database, statement)
    assert caught.value.constraint == "offset_ledger_next_offset_check"
    assert caught.value.sqlstate == "23514"
    assert "secret" not in caught.value.message


async def test_a_lock_timeout_is_a_conflict_to_be_tried_again(database_url: str) -> None:
    impatient = DatabaseSettings(lock_timeout=timedelta(milliseconds=50))

    async def lock(conn: Connection) -> None:
        await conn.execute(text("LOCK TABLE user_wallet IN ACCESS EXCLUSIVE MODE"))

    before = counted_retries()
    async with Database(database_url, impatient) as database, database.transaction() as holder:
        await lock(holder)
        with pytest.raises(TransactionConflict, match="55P03"):
            await database.retried("test_lock", lock, attempts_max=2)
    assert counted_retries() == before + 1


def counted_retries() -> float:
    labels = {"operation": "test_lock", "code": "transaction_conflict"}
    return REGISTRY.get_sample_value("laurel_retries_total", labels) or 0


async def test_a_deadlock_is_tried_again_until_both_are_through(database: Database) -> None:
    async with database.transaction() as conn:
        await conn.execute(NEW_SEQUENCE)
        await conn.execute(NEW_SEQUENCE)
    users = await column(database, "SELECT user_id FROM outbox_sequence ORDER BY user_id")
    both_hold_one = asyncio.Barrier(2)
    attempts = {"forwards": 0, "backwards": 0}

    async def count(name: str, users: list[object]) -> None:
        async def body(conn: Connection) -> None:
            attempts[name] += 1
            for place, user in enumerate(users):
                await conn.execute(NEXT_SEQ, {"user": user})
                if place == 0 and attempts[name] == 1:
                    await both_hold_one.wait()

        await database.retried("test_deadlock", body)

    await asyncio.gather(count("forwards", users), count("backwards", users[::-1]))
    assert sorted(attempts.values()) == [1, 2]
    assert await column(database, "SELECT last_seq FROM outbox_sequence") == [2, 2]


async def test_an_exception_in_the_block_rolls_everything_back(database: Database) -> None:
    async def fail() -> None:
        async with database.transaction() as conn:
            await conn.execute(NEW_SEQUENCE)
            raise KeyError("ours")

    with pytest.raises(KeyError, match="ours"):
        await fail()
    assert await value(database, "SELECT count(*) FROM outbox_sequence") == 0
