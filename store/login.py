"""Tell a server that does not let this client in from one that is away.

Both end a connection before it is made, and psycopg has no SQLSTATE of either. PostgreSQL's words,
PgBouncer's and libpq's mostly do; but a server speaks the language of its lc_messages. So where the
words tell nothing, the server is asked once more, with libpq's trace, in which the SQLSTATE is.
"""

import asyncio
import os
import re
import selectors
import time
from collections.abc import Sequence

import psycopg
from psycopg.pq import PGconn, PollingStatus, abc

from ops.errors import UsageError

# Not that there are too many connections, nor that the server starts or stops: those pass.
_REFUSALS = re.compile(
    r"authentication failed"
    r"|no password supplied"
    r"|no pg_hba\.conf entry|pg_hba\.conf rejects"
    r"|role .* (?:does not exist|is not permitted to log in)|no such user"
    r"|database .* does not exist|no such database"
    r"|permission denied for database"
)
# PostgreSQL, appendix A: class 28 is invalid authorization, 3D000 that there is no such database,
# 42501 a right that is missing.
_STATES = ("28", "3D000", "42501")
# libpq from 18 on traces what it hears before a connection is made.
_ERROR = re.compile(rb'\tErrorResponse\t S "[^"]*" V "\w+" C "(\w{5})"')
# Of one host. It has answered just now, or never will.
_PATIENCE_S = 2.0


class LoginRefused(UsageError):
    """PostgreSQL is there, and does not take the user, the password or the database."""

    code = "login_refused"


async def is_refused(reason: str, conninfos: Sequence[str]) -> bool:
    """Return whether a connection that was not made failed for the login.

    Args:
        reason: what the driver said.
        conninfos: how to connect, host by host.
    """
    if _REFUSALS.search(reason) is not None:
        return True
    states = [await asyncio.to_thread(_state, conninfo) for conninfo in conninfos]
    return any(state.startswith(_STATES) for state in states)


def refused(place: str, reason: str) -> LoginRefused:
    """Return the error for a person; `place` names the database without its password."""
    return LoginRefused(
        f"PostgreSQL does not let Laurel in at {place}: {reason}. Compare user, password and "
        "database of LAUREL_DATABASE_URL with the server's, and its pg_hba.conf with this host.",
        place=place,
    )


def _state(conninfo: str) -> str:
    """Connect, and return the SQLSTATE with which a server refuses that; "" where none does."""
    # In memory: an old method of authentication has the password in it.
    with os.fdopen(os.memfd_create("trace"), "rb") as heard:
        connection = PGconn.connect_start(conninfo.encode())
        try:
            connection.trace(heard.fileno())
            _finish(connection)
        except psycopg.NotSupportedError:  # a libpq from before 14
            return ""
        finally:
            connection.untrace()  # which writes down what it still holds
            connection.finish()
        heard.seek(0)
        found = _ERROR.search(heard.read())
    return "" if found is None else found[1].decode()


def _finish(connection: abc.PGconn) -> None:
    """Return once a connection is made or has failed, or it takes too long."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        match connection.connect_poll():
            case PollingStatus.READING:
                wanted = selectors.EVENT_READ
            case PollingStatus.WRITING:
                wanted = selectors.EVENT_WRITE
            case _:
                return
        # Anew each time: libpq may go on with another socket.
        with selectors.DefaultSelector() as selector:
            selector.register(connection.socket, wanted)
            selector.select(deadline - time.monotonic())
