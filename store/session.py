"""What every connection's session must be like, asked of the server that is really there.

Laurel asks for its settings when it connects (`options`). A pooler in between may drop them or
refuse them: then they must be the role's own, or Laurel does not start.
"""

from dataclasses import dataclass
from typing import Self

from sqlalchemy.engine.interfaces import DBAPIConnection

from ops.errors import UsageError
from ops.setting_parts import DatabaseSettings

# PgBouncer's words; an error that ends a connection before it is made has no SQLSTATE in psycopg.
REFUSED_OPTIONS = "unsupported startup parameter"
WAY_OUT = (
    "Connect to PostgreSQL itself; or let the pooler ignore them (PgBouncer: "
    "ignore_startup_parameters = options), and Laurel names what to set for the role instead."
)

_ASKED = """
    SELECT name, setting, quote_ident(current_user)
      FROM pg_settings WHERE name = ANY(%s) ORDER BY name
"""


# So many statements' time may a transaction stand idle.
_IDLE_STATEMENTS = 2


@dataclass(frozen=True, slots=True)
class Session:
    """The settings of a session, by name, in the units of pg_settings."""

    settings: dict[str, str]

    @classmethod
    def of(cls, settings: DatabaseSettings) -> Self:
        """Return what counting and minting depend on, and how long a statement may take.

        Whatever database or role say.
        """
        lock_ms, statement_ms = (
            round(each.total_seconds() * 1000)
            for each in (settings.lock_timeout, settings.statement_timeout)
        )
        return cls(
            {
                # Each statement sees what is committed before it, and a commit that was answered is
                # on disk, or a token could be minted twice.
                "default_transaction_isolation": "read committed",
                "synchronous_commit": "on",
                # What text means, both ways.
                "array_nulls": "on",
                "DateStyle": "ISO, MDY",
                "IntervalStyle": "postgres",
                # Without it psycopg doubles the backslashes of bytes within a list.
                "standard_conforming_strings": "on",
                "TimeZone": "UTC",
                # Short statements: compiling them costs more than it saves.
                "jit": "off",
                "lock_timeout": str(lock_ms),
                "statement_timeout": str(statement_ms),
                # Who is frozen in a transaction keeps its locks from everybody else; and no less: a
                # batch thinks between its statements.
                "idle_in_transaction_session_timeout": str(_IDLE_STATEMENTS * statement_ms),
            }
        )

    @property
    def options(self) -> str:
        """Return them as libpq's `options`."""
        named = [*self.settings.items(), ("application_name", "laurel")]
        return " ".join(f"-c {name}={_escaped(value)}" for name, value in named)

    def examine(self, connection: DBAPIConnection, _record: object) -> None:
        """Look at a new connection.

        Raises:
            UsageError: the database has an encoding in which not every id and text can be stored,
                or something in between dropped the settings.
        """
        # SQLAlchemy's wrapper of an asynchronous connection is also an AdaptedConnection.
        driver = connection.driver_connection
        encoding = driver.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise UsageError(
                f"LAUREL_DATABASE_URL: the database's encoding is {encoding}. Create it with "
                "ENCODING 'UTF8' TEMPLATE template0."
            )
        cursor = connection.cursor()
        cursor.execute(_ASKED, (list(self.settings),))
        found = cursor.fetchall()
        cursor.close()
        connection.rollback()
        dropped = [
            f"ALTER ROLE {role} SET {name} = '{self.settings[name]}'"
            for name, value, role in found
            if value != self.settings[name]
        ]
        if dropped:
            raise UsageError(
                "LAUREL_DATABASE_URL leads to a pooler that drops the settings of a session. "
                "Connect to PostgreSQL itself; or run, and let the pooler connect anew "
                f"(PgBouncer: RECONNECT): {'; '.join(dropped)};"
            )


def _escaped(value: str) -> str:
    # libpq, connection parameter `options`: a space within an argument has a backslash before it.
    return value.replace(" ", "\\ ")
