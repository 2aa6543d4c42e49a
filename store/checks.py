"""What the database must be like: checks of `laurel doctor`."""

from sqlalchemy import text

from ops.checks import Check
from ops.errors import UsageError
from ops.settings import Settings
from store import clock, migrations, rights
from store.engine import Database

VERSION = text("SELECT current_setting('server_version')")


async def _database(settings: Settings) -> str:
    async with (
        Database(settings.need("database_url"), settings.database) as db,
        db.transaction() as conn,
    ):
        return f"PostgreSQL {(await conn.execute(VERSION)).scalar_one()} at {db.place}"


async def _schema(settings: Settings) -> str:
    async with (
        Database(settings.need("database_url"), settings.database) as db,
        db.transaction() as conn,
    ):
        await migrations.check(conn)
        return f"revision {await migrations.current(conn)}"


async def _rights(settings: Settings) -> str:
    async with (
        Database(settings.need("database_url"), settings.database) as db,
        db.transaction() as conn,
    ):
        await rights.check(conn, temporary=True)
        return "the role may do all that Laurel does"


async def _clock(settings: Settings) -> str:
    async with Database(settings.need("database_url"), settings.database) as db:
        reading = await clock.read(db)
    trouble = reading.trouble(settings.worker.future_tolerance)
    if trouble is not None:
        raise UsageError(trouble)
    ahead, within = reading.ahead.total_seconds(), reading.uncertainty.total_seconds()
    return f"the host's is {ahead:+.3f} s from PostgreSQL's, to {within:.3f} s"


CHECKS = (
    Check("database", ("database_url",), _database),
    Check("clock", ("database_url",), _clock),
    Check("rights", ("database_url",), _rights),
    Check("schema", ("database_url",), _schema),
)
