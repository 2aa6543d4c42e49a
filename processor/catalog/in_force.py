"""The catalog that counts: the one in force, or where there is none yet, that of the files.

A worker reads messages by the one in the database; whoever sends, checks or prepares for it asks
here for the same one.
"""

from collections.abc import Awaitable, Callable
from datetime import date
from typing import TypeVar

from ops.settings import Settings
from processor.catalog import load
from store import catalogs, migrations, retention
from store.engine import Connection, Database
from store.values.catalog import Catalog

Answer = TypeVar("Answer")


async def in_force(settings: Settings) -> Catalog:
    """Return the catalog in force in the database.

    Where no database is named, or before the first `catalog apply`, return that of
    LAUREL_CATALOG_DIR, else the shipped one.

    Raises:
        UsageError: the database has another revision, or the files do not hold a sound catalog.
        Transient: the database does not answer.
    """
    found = await applied(settings)
    return load.load(settings.catalog_dir or load.SHIPPED) if found is None else found


async def applied(settings: Settings) -> Catalog | None:
    """Return the catalog that was applied last; None without a database, and before the first.

    Raises:
        UsageError: the database has another revision.
        Transient: it does not answer.
    """
    return await _asked(settings, catalogs.current)


async def floor_in_force(settings: Settings) -> date | None:
    """Return the day before which a worker calls an event too old; None without a database.

    Raises:
        UsageError: the database has another revision.
        Transient: it does not answer.
    """
    return await _asked(settings, retention.floor)


async def _asked(
    settings: Settings, question: Callable[[Connection], Awaitable[Answer]]
) -> Answer | None:
    if settings.database_url is None:
        return None
    async with Database(settings.database_url, settings.database) as db, db.transaction() as conn:
        await migrations.check(conn)
        return await question(conn)
