"""Databases beside the one that a test is given."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
from psycopg import sql

from sandbox.postgres import PostgresServer


@asynccontextmanager
async def empty_database(server: PostgresServer) -> AsyncIterator[str]:
    """Yield the URL of a database without a table."""
    name = f"empty_{uuid.uuid4().hex}"
    async with await psycopg.AsyncConnection.connect(server.url, autocommit=True) as connection:
        await connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield server.url_of(name)
        await connection.execute(
            sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
        )


@asynccontextmanager
async def copied_database(server: PostgresServer, template: str) -> AsyncIterator[str]:
    """Yield the URL of a copy of the database `template`, to which nobody is connected."""
    name = f"copy_{uuid.uuid4().hex}"
    copy = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
        sql.Identifier(name), sql.Identifier(template)
    )
    async with await psycopg.AsyncConnection.connect(server.url, autocommit=True) as connection:
        await connection.execute(copy)
        yield server.url_of(name)
        await connection.execute(
            sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
        )
