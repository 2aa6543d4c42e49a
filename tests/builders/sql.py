"""SQL of the tests' own: one statement in a transaction of its own."""

import asyncio
from typing import Any

from sqlalchemy import text

from store.engine import Database

Record = tuple[Any, ...]


async def rows(database: Database, statement: str, **parameters: Any) -> list[Record]:
    """Run `statement`; return its rows, if it has any, as plain tuples."""
    async with database.transaction() as conn:
        result = await conn.execute(text(statement), parameters)
        return [tuple(row) for row in result] if result.returns_rows else []


async def column(database: Database, statement: str, **parameters: Any) -> list[Any]:
    """Run `statement`; return the one column of its rows."""
    return [found for (found,) in await rows(database, statement, **parameters)]


async def value(database: Database, statement: str, **parameters: Any) -> Any:
    """Run `statement`; return the one value of its one row."""
    (found,) = await column(database, statement, **parameters)
    return found


async def somebody_waits(database: Database, number: int = 1) -> None:
    """Return once so many connections of this database wait for a lock."""
    statement = """
        SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Lock'
    """
    while await value(database, statement) != number:  # noqa: ASYNC110 - only asking tells
        await asyncio.sleep(0.01)
