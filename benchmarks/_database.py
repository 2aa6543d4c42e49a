"""A database to count into, and silence for the benchmark.

PostgreSQL with durable settings, the tables, and the shipped catalog in force.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import structlog

from benchmarks import _fair_peer, _peers
from ops.setting_parts import DatabaseSettings
from ops.settings import DEFAULT_TENANT
from processor.catalog import load
from processor.catalog.apply import apply_catalog
from sandbox.postgres import PostgresServer
from store import migrations
from store.engine import Database
from store.values.catalog import Catalog


def hush() -> None:
    """Log errors only, so that the output is the benchmark's."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    logging.basicConfig(
        level=logging.CRITICAL
    )  # a group that is not there yet is an error to aiokafka


@asynccontextmanager
async def database(
    server: PostgresServer, name: str, catalog: Catalog | None = None
) -> AsyncIterator[Database]:
    """Make a database called `name`, ready to count into by `catalog`, or by the shipped one.

    The tables of the hand-written peers are there too.
    """
    async with await psycopg.AsyncConnection.connect(server.url, autocommit=True) as conn:
        await conn.execute(f'CREATE DATABASE "{name}"'.encode())
    url = server.url_of(name)
    await migrations.upgrade(url)
    async with await psycopg.AsyncConnection.connect(url) as conn:
        await conn.execute(_peers.SCHEMA.encode())
        await conn.execute(_fair_peer.SCHEMA.encode())
    async with Database(url) as db:
        await apply_catalog(db, catalog or load.load(load.SHIPPED), tenant_id=DEFAULT_TENANT)
    # One connection: all work is that backend's.
    async with Database(url, DatabaseSettings(pool_size=1)) as db:
        yield db
