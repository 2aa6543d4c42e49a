"""What the database must be like: checks of `laurel doctor`."""

from sqlalchemy import text

from ops.checks import Check, CheckResult, Lines, Said, attempt, fail, warn
from ops.settings import Settings
from store import clock, migrations, rights
from store.engine import Database

# What the tests run on, the oldest and the newest (2026-11-27).
_VERSIONS = range(15, 19)
# Too few for a worker and a minter to start beside those that are there.
_PROCESSES_TO_COME = 2

SERVER = text("""
    SELECT current_setting('server_version') AS version,
           current_setting('server_version_num')::int / 10000 AS major,
           current_setting('server_encoding') AS encoding,
           pg_is_in_recovery() AS is_standby,
           current_setting('transaction_read_only')::boolean AS is_read_only
""")

# `synchronous_standby_names` is shown to everybody, as the other ones.
DURABILITY = text("""
    SELECT current_setting('synchronous_commit') AS synchronous_commit,
           current_setting('fsync')::boolean AS fsync,
           current_setting('full_page_writes')::boolean AS full_page_writes,
           current_setting('synchronous_standby_names') AS standbys
""")

# Of pg_stat_activity a role sees that a session is there, if not what it does. A limit of -1 is
# none.
CONNECTIONS = text("""
    SELECT least(
           current_setting('max_connections')::int
             - current_setting('superuser_reserved_connections')::int
             - coalesce(current_setting('reserved_connections', true)::int, 0)
             - (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
           (SELECT nullif(rolconnlimit, -1) FROM pg_roles WHERE rolname = current_user)
             - (SELECT count(*) FROM pg_stat_activity
                 WHERE usename = current_user AND backend_type = 'client backend'),
           (SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database())
             - (SELECT count(*) FROM pg_stat_activity
                 WHERE datname = current_database() AND backend_type = 'client backend')) AS free
""")


async def _database(settings: Settings) -> Lines:
    async with Database(settings.need("database_url"), settings.database) as db:
        yield CheckResult.of("database", await _server(db))
        yield await attempt("durability", _durability(db))
        yield await attempt("connections", _connections(db, settings))
        yield await attempt("clock", _clock(db, settings))
        yield await attempt("schema", _schema(db))
        yield await attempt("rights", _rights(db))


async def _server(db: Database) -> Said:
    async with db.transaction() as conn:
        found = (await conn.execute(SERVER)).one()
    told = f"PostgreSQL {found.version}, {found.encoding}, at {db.place}"
    if found.is_standby or found.is_read_only:
        what = "a standby" if found.is_standby else "read-only (default_transaction_read_only)"
        return fail(
            f"{told}: it is {what}, and nothing can be counted or minted there. "
            "LAUREL_DATABASE_URL should lead to the primary: name all hosts "
            "(postgresql://user@a,b/laurel), and the first that can be written to is taken."
        )
    if found.major < _VERSIONS.start:
        return fail(f"{told}: older than {_VERSIONS.start}, the oldest that Laurel runs on.")
    if found.major not in _VERSIONS:
        return warn(f"{told}: newer than {_VERSIONS[-1]}, the newest that Laurel was tried on.")
    return told


async def _durability(db: Database) -> Said:
    async with db.reading() as conn:
        found = (await conn.execute(DURABILITY)).one()
    off = [name for name in ("fsync", "full_page_writes") if not getattr(found, name)]
    if off:
        return warn(
            f"{' and '.join(off)} off: a crash of the server loses what it said was committed, "
            "or the whole database. Set it to on in postgresql.conf."
        )
    told = f"synchronous_commit {found.synchronous_commit}, fsync on"
    if not found.standbys:
        return f"{told}; no synchronous standby, so a failover may lose the last commits"
    return f"{told}; synchronous standbys: {found.standbys}"


async def _connections(db: Database, settings: Settings) -> Said:
    async with db.reading() as conn:
        free = (await conn.execute(CONNECTIONS)).scalar_one()
    pool = settings.database.pool_size
    told = f"{free} left, and a process keeps {pool} at most"
    if free < _PROCESSES_TO_COME * pool:
        return warn(
            f"{told}: too few for a worker and a minter more. Raise max_connections (or the "
            "limit of the role or the database), lower LAUREL_DATABASE__POOL_SIZE, or put a "
            "pooler in between."
        )
    return told


async def _clock(db: Database, settings: Settings) -> Said:
    reading = await clock.read(db)
    trouble = reading.trouble(settings.worker.future_tolerance)
    if trouble is not None:
        return fail(trouble)
    ahead, within = reading.ahead.total_seconds(), reading.uncertainty.total_seconds()
    return f"the host's is {ahead:+.3f} s from PostgreSQL's, to {within:.3f} s"


async def _schema(db: Database) -> Said:
    async with db.reading() as conn:
        await migrations.check(conn)
        return f"revision {await migrations.current(conn)}"


async def _rights(db: Database) -> Said:
    async with db.reading() as conn:
        await rights.check(conn, temporary=True)
        return "the role may do all that Laurel does"


CHECKS = (
    Check(
        ("database", "durability", "connections", "clock", "schema", "rights"),
        ("database_url",),
        _database,
    ),
)
