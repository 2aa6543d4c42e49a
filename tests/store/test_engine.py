import asyncio
import os
import re
import socket
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from pydantic import SecretStr
from sqlalchemy import make_url, text

from ops.setting_parts import DatabaseSettings
from sandbox.ports import reserved
from store.engine import (
    Connection,
    Database,
    DatabaseUnreachable,
    StatementRefused,
    StatementTimedOut,
    TransactionConflict,
)
from tests.builders.sql import column, rows, value

NEW_SEQUENCE = text("INSERT INTO outbox_sequence (user_id, last_seq) VALUES (gen_random_uuid(), 0)")
NEXT_SEQ = text("UPDATE outbox_sequence SET last_seq = last_seq + 1 WHERE user_id = :user")


async def test_a_peer_that_is_gone_without_a_word_is_noticed_in_under_a_minute(
    database: Database,
) -> None:
    """The driver's socket; worker, minter, commands and migrations connect by this class alone."""
    async with database.engine.connect() as conn:
        driver = (await conn.get_raw_connection()).driver_connection
        assert driver is not None
        with socket.socket(fileno=os.dup(driver.fileno())) as peer:
            assert peer.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            idle, interval, count, unanswered_ms = (
                peer.getsockopt(socket.IPPROTO_TCP, option)
                for option in (
                    socket.TCP_KEEPIDLE,
                    socket.TCP_KEEPINTVL,
                    socket.TCP_KEEPCNT,
                    socket.TCP_USER_TIMEOUT,
                )
            )
    assert idle + interval * count < 60
    assert 0 < unanswered_ms < 60_000


def test_nothing_else_connects_to_postgresql() -> None:
    root = Path(__file__).parents[2]
    places = [
        (path.relative_to(root).as_posix(), call)
        for package in ("store", "processor", "minter", "ops", "demo", "sandbox")
        for path in (root / package).rglob("*.py")
        for call in re.findall(
            r"create_(?:async_)?engine\(|\bpsycopg\S*connect\(", path.read_text()
        )
    ]
    assert places == [("store/engine.py", "create_async_engine(")]


async def test_a_read_only_server_is_one_that_is_away(database_url: str) -> None:
    url = make_url(database_url).update_query_dict(
        {"options": "-c default_transaction_read_only=on"}
    )
    async with Database(url.render_as_string(hide_password=False)) as standby:
        with pytest.raises(DatabaseUnreachable, match="read-only"):
            await rows(standby, "DELETE FROM outbox_sequence")


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


async def test_no_statement_keeps_a_plan_of_an_earlier_one(database: Database) -> None:
    """A plan for twenty rows would be kept for twenty thousand (store/engine.py)."""
    async with database.engine.begin() as conn:
        for _ in range(20):
            await conn.execute(text("SELECT CAST(:number AS int)"), {"number": 1})
        kept = await conn.execute(text("SELECT count(*) FROM pg_prepared_statements"))
        assert kept.scalar_one() == 0
