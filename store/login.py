"""Tell a server that does not let this client in from one that is away.

Both end a connection before it is made, and psycopg has no SQLSTATE of either: PostgreSQL's words,
PgBouncer's and libpq's have to do. Those of a server that speaks another language (lc_messages) are
not known; it is waited for, and its words are the reason that is shown.
"""

import re

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


class LoginRefused(UsageError):
    """PostgreSQL is there, and does not take the user, the password or the database."""

    code = "login_refused"


def is_refused(reason: str) -> bool:
    """Return whether a connection that was not made failed for the login, by the server's words."""
    return _REFUSALS.search(reason) is not None


def refused(place: str, reason: str) -> LoginRefused:
    """Return the error for a person; `place` names the database without its password."""
    return LoginRefused(
        f"PostgreSQL does not let Laurel in at {place}: {reason}. Compare user, password and "
        "database of LAUREL_DATABASE_URL with the server's, and its pg_hba.conf with this host.",
        place=place,
    )
