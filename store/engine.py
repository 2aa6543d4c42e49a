"""Connections, transactions and errors of PostgreSQL.

One async engine a process, transactions, and the drivers' errors in Laurel's words.

Every connection speaks UTC and has a lock and a statement timeout: a blocking statement must not
freeze the agents that share the loop. Its json and jsonb values have exact numbers, however they
are read: by a text, by a model's column or by the driver itself.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Self, TypeVar

import psycopg
from pydantic import SecretStr
from sqlalchemy import ExceptionContext, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from ops import metrics
from ops.errors import Permanent, Transient, UsageError
from ops.progress import went_on
from ops.setting_parts import DatabaseSettings
from store import exact_json, login
from store.database_url import address_of, conninfos_of, place_of
from store.session import REFUSED_OPTIONS, WAY_OUT, Session

Connection = AsyncConnection
Result = TypeVar("Result")
ATTEMPTS_MAX = 8

PING = text("SELECT 1")
READ_ONLY = text("SET TRANSACTION READ ONLY")


class DatabaseUnreachable(Transient):
    """No connection: refused, lost, or the server is going down."""

    code = "database_unreachable"


class ConnectionLost(DatabaseUnreachable):
    """The connection ended, or PostgreSQL ran out of memory, in the middle of a transaction.

    An outage, or the transaction's own doing: a statement that is too large for a backend or for
    the driver. Nothing is known to be written.
    """

    code = "connection_lost"


class TransactionConflict(Transient):
    """Deadlock, serialisation failure, lock timeout, or what another transaction made meanwhile.

    A badge, or the row of an event that both count.

    Nothing was written, the transaction may be run again.
    """

    code = "transaction_conflict"


class StatementTimedOut(Transient):
    """A statement took longer than `database.statement_timeout`, or was cancelled.

    Nothing was written. The same again would take as long: less may fit.
    """

    code = "statement_timed_out"


class StatementRefused(Permanent):
    """PostgreSQL refused a statement: a constraint, a type, a missing table."""

    code = "statement_refused"

    def __init__(self, message: str, *, sqlstate: str | None, constraint: str | None) -> None:
        super().__init__(message, sqlstate=sqlstate, constraint=constraint)
        self.sqlstate = sqlstate
        self.constraint = constraint


class DataRefused(StatementRefused):
    """PostgreSQL refused a statement for a value in it: too large, no such date, too complex."""

    code = "data_refused"


class ConstraintRefused(StatementRefused):
    """PostgreSQL refused a statement because of a constraint: what was decided is wrong.

    Because of what one record says, or because what Laurel takes for certain is not so.
    """


# PostgreSQL, appendix A: class 22 is data exception, 54 program limit exceeded.
_OF_THE_DATA = ("22", "54")
# Class 23 is integrity constraint violation.
_OF_A_CONSTRAINT = "23"
# PostgreSQL, appendix A: class 40 is transaction rollback; 55P03 lock_not_available.
_CONFLICTS = frozenset({"40001", "40P01", "55P03"})
# 23505 unique_violation: two batches counted the same event at once (store/processed_events.py), or
# made the same badge, one by events and one by an award. Run again, the second one finds it.
_UNIQUE = "23505"
_RACES = frozenset(
    {
        "nft_instance_pkey",
        "nft_instance_one_active_key",
        "nft_instance_user_id_type_id_ordinal_key",
        "processed_event_pkey",
    }
)
# libpq, before it connects.
_BAD_VALUE = re.compile(r'invalid (\w+) value: "')
# query_canceled: the statement timeout, or somebody's pg_cancel_backend.
_TIMED_OUT = "57014"
# read_only_sql_transaction: after a failover the address may lead to a standby for a while.
_READ_ONLY = "25006"
_GONE = ("08", "57P", "53", _READ_ONLY)

# Of those, what a statement may bring about itself: 53200 is out_of_memory. A backend that a person
# ended, or that ended for another one's crash (57P), says so.
_BY_ITSELF = ("08", "53200")

# psycopg, where the URL names several hosts, or a name leads to several.
_OF_EACH_HOST = "All failures were:"

# A peer that is gone without a word is noticed in under a minute (libpq, connection parameters).
_KEEPALIVES = {
    "keepalives": 1,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 40_000,
}

# No statement is prepared. PostgreSQL would keep a plan of a prepared one, and a plan made for
# twenty events is a disaster for twenty thousand. `plan_cache_mode = force_custom_plan` forbids
# that too, but for the statements of foreign keys as well: planned anew for each row, they took 8
# of the 40 us that a new row of progress costs (2026-11-25). And behind a pooler that gives each
# transaction another server connection, a prepared statement would be on the wrong one.
_PLANNED_ANEW = {"prepare_threshold": None}


class Database:
    """A pool of connections to one database; use it as `async with Database(...) as db`."""

    def __init__(self, url: SecretStr | str, settings: DatabaseSettings | None = None) -> None:
        chosen = settings or DatabaseSettings()
        clear = url.get_secret_value() if isinstance(url, SecretStr) else url
        address = address_of(clear)
        session = Session.of(chosen)
        self.engine = create_async_engine(
            address,
            pool_size=chosen.pool_size,
            max_overflow=0,
            pool_pre_ping=True,
            # Rows hold ids of people; they do not belong into error texts.
            hide_parameters=True,
            # SQLAlchemy hands both to psycopg's adapters and converts nothing itself.
            json_serializer=exact_json.dumped,
            json_deserializer=exact_json.loaded,
            connect_args={
                # What the URL asks for first; what Laurel depends on is set after it.
                "options": f"{_text(address.query.get('options', ''))} {session.options}",
                "connect_timeout": max(1, round(chosen.connect_timeout.total_seconds())),
                "client_encoding": "utf8",
                **_KEEPALIVES,
                **_PLANNED_ANEW,
            },
        )
        # Before SQLAlchemy's own first statement, which a database of another encoding answers with
        # bytes.
        event.listen(self.engine.sync_engine, "connect", session.examine, insert=True)
        event.listen(self.engine.sync_engine, "connect", self._take_note)
        event.listen(self.engine.sync_engine, "handle_error", _drop_read_only)
        event.listen(self.engine.sync_engine, "after_cursor_execute", _went_on)
        self.place = place_of(address)
        self._conninfos = conninfos_of(address)
        self._was_let_in = False

    def _take_note(self, *_connection: object) -> None:
        self._was_let_in = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.engine.dispose()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Run the block in one READ COMMITTED transaction.

        Commit at its end, roll back on any exception.

        Raises:
            DatabaseUnreachable, TransactionConflict, StatementRefused: in place of the driver's
            errors.
            LoginRefused: the server has never let this process in, and says that it will not. One
            that has is waited for: its password may be in the middle of a change.
        """
        connected = False
        try:
            async with self.engine.begin() as conn:
                connected = True
                yield conn
        except (DBAPIError, PoolTimeoutError, psycopg.Error, OSError) as error:
            reason = _reason(error.orig if isinstance(error, DBAPIError) else error)
            known = connected or self._was_let_in or isinstance(error, PoolTimeoutError)
            if not known and await login.is_refused(reason, self._conninfos):
                raise login.refused(self.place, reason) from error
            raise translated(error, self.place, connected=connected) from error
        finally:
            went_on()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        """Run the block in a transaction in which PostgreSQL refuses to change anything.

        Raises:
            DatabaseUnreachable, TransactionConflict, StatementRefused, LoginRefused: as
            `transaction`.
        """
        async with self.transaction() as conn:
            await conn.execute(READ_ONLY)
            yield conn

    async def retried(
        self,
        operation: str,
        body: Callable[[Connection], Awaitable[Result]],
        *,
        attempts_max: int = ATTEMPTS_MAX,
    ) -> Result:
        """Run `body` in a transaction, the whole of it again after a conflict.

        Conflicts are deadlocks, serialisation failures and lock timeouts.

        Args:
            operation: label of laurel_retries_total.
            body: must have no effect outside the transaction.
            attempts_max: the first one included.

        Raises:
            TransactionConflict: also the last of the attempts met one.
        """

        def count(_state: RetryCallState) -> None:
            metrics.RETRIES.labels(operation, TransactionConflict.code).inc()

        attempts = AsyncRetrying(
            retry=retry_if_exception_type(TransactionConflict),
            stop=stop_after_attempt(attempts_max),
            wait=wait_random_exponential(multiplier=0.02, max=1),
            before_sleep=count,
            reraise=True,
        )

        async def attempt() -> Result:
            async with self.transaction() as conn:
                return await body(conn)

        return await attempts(attempt)

    async def ping(self) -> None:
        """Return when the database answers.

        Raises:
            DatabaseUnreachable: it does not.
        """
        async with self.transaction() as conn:
            await conn.execute(PING)


def _drop_read_only(context: ExceptionContext) -> None:
    """Keep no connection to a server that became a standby: the next one may lead elsewhere."""
    if getattr(context.original_exception, "sqlstate", None) == _READ_ONLY:
        context.is_disconnect = True


def _went_on(*_statement: object) -> None:
    went_on()


def _text(value: str | tuple[str, ...]) -> str:
    return value if isinstance(value, str) else " ".join(value)


def translated(
    error: Exception, place: str, *, connected: bool = False
) -> Transient | Permanent | UsageError:
    """Return the driver's `error` in Laurel's words.

    `place` names the database without its password; `connected`: the transaction had begun.
    """
    cause = error.orig if isinstance(error, DBAPIError) else error
    state = getattr(cause, "sqlstate", None)
    if not connected and REFUSED_OPTIONS in str(cause):
        return UsageError(f"{place}: a pooler refuses `options` of a session. {WAY_OUT}")
    if option := _BAD_VALUE.search(str(cause)) if not connected and state is None else None:
        return UsageError(
            f"LAUREL_DATABASE_URL: PostgreSQL's clients know no such value of {option[1]}."
        )
    constraint = getattr(getattr(cause, "diag", None), "constraint_name", None)
    if state in _CONFLICTS or (state == _UNIQUE and constraint in _RACES):
        return TransactionConflict(
            f"PostgreSQL gave up on a transaction ({state}): {_reason(cause)}",
            sqlstate=state,
            constraint=constraint,
        )
    if state == _TIMED_OUT:
        return StatementTimedOut(
            f"PostgreSQL cancelled a statement: {_reason(cause)}", sqlstate=state
        )
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    if (
        lost
        or isinstance(error, (PoolTimeoutError, OSError))
        or (state or "").startswith(_GONE)
        or _without_state(cause, state)
    ):
        by_itself = state is None or state.startswith(_BY_ITSELF)
        kind = ConnectionLost if connected and by_itself else DatabaseUnreachable
        return kind(f"PostgreSQL does not answer at {place}: {_reason(cause)}", place=place)
    refusal: type[StatementRefused] = StatementRefused
    if (state or "").startswith(_OF_THE_DATA):
        refusal = DataRefused
    elif (state or "").startswith(_OF_A_CONSTRAINT):
        refusal = ConstraintRefused
    return refusal(
        f"PostgreSQL refused a statement: {_reason(cause)}",
        sqlstate=state,
        constraint=constraint,
    )


def _without_state(cause: BaseException | None, state: str | None) -> bool:
    # psycopg raises OperationalError without an SQLSTATE when there is no server to give one.
    return state is None and isinstance(cause, psycopg.OperationalError)


def _reason(cause: BaseException | None) -> str:
    """Return the driver's words on one line; of several hosts, what each of them said."""
    words = str(cause).strip()
    hosts = words.partition(_OF_EACH_HOST)[2]
    said = [line[2:] for line in hosts.splitlines() if line.startswith("- ")]
    return "; ".join(said) or words.partition("\n")[0]
