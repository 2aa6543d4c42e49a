"""A PostgreSQL that hangs in the middle of a statement ends whoever waits for it, with the stacks.

Its backend is stopped as a process: it neither answers nor cancels the statement, and the kernel
goes on taking what is sent to it, so that no timeout of the database or the network comes about.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from minter.ton import mnemonic
from ops.lifecycle import EXIT_FAILURE
from processor.catalog.load import SHIPPED
from sandbox.ton.network import TonNetwork
from store.engine import Database
from tests.builders.messages import a_quest, with_catalog
from tests.builders.patience import PATIENCE_S
from tests.e2e.workers import ROOT

# What waits is tried again a few times: so long there is a backend to be stopped.
SHORT = {
    "LAUREL_DATABASE__LOCK_TIMEOUT": "10s",
    "LAUREL_DATABASE__STATEMENT_TIMEOUT": "11s",
    "LAUREL_LIFECYCLE__STALL_AFTER": "23s",
}


@asynccontextmanager
async def blocked(database: Database, table: str) -> AsyncIterator[None]:
    """Let nobody else read `table` for the block."""
    async with database.transaction() as conn:
        await conn.execute(text(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
        yield


async def waiting_backend(database: Database) -> int:
    """The backend that waits for a lock of this database."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            async with database.transaction() as conn:
                found = await conn.execute(
                    text("""
                        SELECT pid FROM pg_stat_activity
                         WHERE datname = current_database() AND wait_event_type = 'Lock'
                    """)
                )
                pids = found.scalars().all()
            if pids:
                return int(pids[0])
            await asyncio.sleep(0.05)


@pytest.fixture
def environment(database_url: str, ton: TonNetwork, tmp_path: Path) -> dict[str, str]:
    """What a process is told of database and chain."""
    words = tmp_path / "words"
    mnemonic.write_new(words)
    return (
        os.environ
        | SHORT
        | {
            "LAUREL_DATABASE_URL": database_url,
            "LAUREL_TON_CONFIG": str(ton.config_path),
            "LAUREL_WALLET_MNEMONIC_FILE": str(words),
            "LAUREL_KAFKA_BROKERS": "127.0.0.1:9",  # PostgreSQL comes first
            "LAUREL_HTTP__ENABLED": "false",
            "LAUREL_LOG__FORMAT": "json",
            "PYTHONPATH": str(ROOT),
        }
    )


@pytest.mark.parametrize(
    ("command", "table"),
    [
        (["backfill", "events.jsonl"], "history_job"),
        (["catalog", "apply", str(SHIPPED)], "nft_type"),
        (["db", "prune-events", "--older-than", "400d"], "dedupe_floor"),
        (["partitions", "list"], "paused_partition"),
        (["reconcile"], "chain_wallet"),
        (["worker"], "alembic_version"),
        (["minter"], "chain_wallet"),
    ],
    ids=lambda each: each if isinstance(each, str) else " ".join(each[:2]),
)
async def test_a_command_whose_statement_never_ends_is_ended(
    database: Database,
    environment: dict[str, str],
    tmp_path: Path,
    command: list[str],
    table: str,
) -> None:
    if command[0] == "backfill":
        await with_catalog(database)
    (tmp_path / "events.jsonl").write_text(json.dumps(a_quest()))
    async with blocked(database, table):
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "cli",
            *command,
            cwd=tmp_path,
            env=environment,
            stderr=asyncio.subprocess.PIPE,
        )
        pid = await waiting_backend(database)
        os.kill(pid, signal.SIGSTOP)
        try:
            async with asyncio.timeout(PATIENCE_S):
                _, log = await child.communicate()
        finally:
            os.kill(pid, signal.SIGCONT)
            if child.returncode is None:
                child.kill()
                await child.wait()
    assert child.returncode == EXIT_FAILURE
    lines = [json.loads(line) for line in log.decode().splitlines() if line.startswith("{")]
    (stalled,) = (line for line in lines if line["event"] == "stalled")
    names = {f"the {command[0]}", f"the {command[0]}'s start", f"laurel {' '.join(command[:2])}"}
    assert stalled["work"] in names
    stacks = [line["stack"] for line in lines if line["event"] == "task_stack"]
    # Of what a context manager awaits on its way in no task tells more than the manager.
    places = ("/store/", "/minter/commands.py", "/minter/startup.py")
    assert any(place in stack for stack in stacks for place in places), stacks
