"""Waiting until another transaction waits for a lock of this one."""

from sqlalchemy import text

from store.engine import Connection

WAITING = text("SELECT count(*) FROM pg_locks WHERE NOT granted")


async def until_somebody_waits(conn: Connection, transactions: int = 1) -> None:
    """Return once PostgreSQL says that so many transactions wait for a lock."""
    while (await conn.execute(WAITING)).scalar_one() < transactions:
        pass
