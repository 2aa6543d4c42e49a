"""Waiting until another transaction waits for a lock of this one."""

from sqlalchemy import text

from store.engine import Connection

WAITING = text("SELECT count(*) FROM pg_locks WHERE NOT granted")


async def until_somebody_waits(conn: Connection) -> None:
    """Return once PostgreSQL says that some transaction waits for a lock."""
    while not (await conn.execute(WAITING)).scalar_one():
        pass
