"""The way a database gets its tables: Alembic's revisions, run forward only, under a lock.

The revisions lie beside this module, so that an installed wheel finds them. There is no downgrade:
a badge that exists cannot be taken back by a schema (docs/data-model.md, Migrations).
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from pydantic import SecretStr
from sqlalchemy import Connection as SyncConnection
from sqlalchemy import text

from ops.errors import UsageError
from store import rights
from store.engine import Connection, Database

# Any number that nobody else locks; two `db upgrade` at once run one after the other.
_LOCK = text("SELECT pg_advisory_xact_lock(7011001)")
# Rewriting a large table may take its time, and so may the wait for another upgrade.
_PATIENCE = (
    text("SET LOCAL statement_timeout = '24h'"),
    text("SET LOCAL lock_timeout = '1h'"),
)


def config() -> Config:
    """Return Alembic's configuration: where the revisions are, and how a new one is called."""
    chosen = Config()
    chosen.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    chosen.set_main_option("file_template", "r%%(rev)s_%%(slug)s")
    chosen.set_main_option("path_separator", "os")
    return chosen


def head() -> str:
    """Return the revision that this program expects."""
    found = ScriptDirectory.from_config(config()).get_current_head()
    if found is None:
        raise UsageError("This installation holds no migrations: install Laurel again.")
    return found


async def upgrade(url: SecretStr | str) -> str:
    """Bring the database at `url` to the newest revision, in one transaction; return that revision.

    Running it again changes nothing; several at once run one after the other.

    Raises:
        UsageError: `url` is no PostgreSQL URL, or the database is newer than this program.
        RightsMissing: the role may make no tables; or it lacks a right that counting or minting
            needs, and the tables are there.
        DatabaseUnreachable, StatementRefused: from the database; nothing is half applied.
    """
    async with Database(url) as db, db.transaction() as conn:
        for statement in _PATIENCE:
            await conn.execute(statement)
        await conn.execute(_LOCK)
        await _refuse_newer(conn)
        await rights.check_search_path(conn)
        if await current(conn) is None:
            await rights.check_creation(conn)
        await conn.run_sync(_upgrade)
    async with Database(url) as db, db.transaction() as conn:
        await rights.check(conn, temporary=True)
    return head()


async def current(conn: Connection) -> str | None:
    """Return the database's revision; None where there are no tables of ours."""
    return await conn.run_sync(_current)


async def check(conn: Connection) -> None:
    """Return when the database has the revision that this program expects.

    Raises:
        UsageError: it has none, an older one or a newer one; the message says what to run. Or not
            all tables are found in one schema.
    """
    await _refuse_newer(conn)
    await rights.check_search_path(conn)
    found, expected = await current(conn), head()
    if found is None:
        raise UsageError(
            "The database has no tables yet. Run `laurel db upgrade`.", expected=expected
        )
    if found != expected:
        raise UsageError(
            f"The database is at revision {found}, Laurel needs {expected}. "
            "Run `laurel db upgrade`."
        )


async def _refuse_newer(conn: Connection) -> None:
    found = await current(conn)
    known = {script.revision for script in ScriptDirectory.from_config(config()).walk_revisions()}
    if found is not None and found not in known:
        raise UsageError(
            f"The database is at revision {found}, which this Laurel does not know. "
            "Install a newer Laurel."
        )


def _upgrade(connection: SyncConnection) -> None:
    chosen = config()
    chosen.attributes["connection"] = connection
    command.upgrade(chosen, "head")


def _current(connection: SyncConnection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()
