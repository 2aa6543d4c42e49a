"""Read LAUREL_DATABASE_URL: what psql takes, and what SQLAlchemy takes.

Several hosts work as in libpq: `postgresql://a,b:5433/laurel`, or `?host=a&host=b`. Whatever is
wrong is refused here, in words that never repeat the URL: it may hold a password.
"""

import re
from difflib import get_close_matches

import psycopg
from psycopg.conninfo import make_conninfo
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from ops.errors import UsageError
from ops.setting_types import can_be_host, can_be_port

_NAME = "LAUREL_DATABASE_URL"
_DRIVER = "postgresql+psycopg"
# user:password@, then hosts with a comma between them, up to the database's name.
_SEVERAL = re.compile(
    r"^(?P<before>\w[\w+]*://(?:[^@/?]*@)?)(?P<hosts>[^@/?]*,[^@/?]*)(?P<after>.*)$"
)
_HOST = re.compile(r"^(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[^:\[\]]*))(?::(?P<port>\d*))?$")
_OPTIONS = frozenset(each.keyword.decode() for each in psycopg.pq.Conninfo.get_defaults())
# What may be given several times: hosts, and options of the session.
_REPEATED = frozenset({"host", "port", "options"})
# psycopg tries the hosts in turn; without this it would be content with a standby.
_SEVERAL_DEFAULTS = {"target_session_attrs": "read-write"}


def address_of(url: str) -> URL:
    """Return `url` for SQLAlchemy's psycopg 3 dialect.

    Of several hosts the first that can be written to is taken, unless the URL says otherwise
    (`target_session_attrs`).

    Raises:
        UsageError: it is no URL of a PostgreSQL database, or has an option that libpq does not
            know. The message does not repeat the URL.
    """
    try:
        parsed = make_url(_with_hosts_as_options(url.strip()))
    except (ArgumentError, ValueError):
        raise UsageError(
            f"{_NAME} is no URL: it should read "
            "postgresql://user:password@host:port/database, several hosts with a comma between "
            "them."
        ) from None
    # Of an unescaped password the rest would be taken for the host, and be in every message.
    if url.count("@") > 1 or "@" in f"{parsed.host}{parsed.database}":
        raise UsageError(
            f"{_NAME} has an @ or a / too many. In a user's name and a password they are written "
            "%40 and %2F; a password may also stand in PGPASSFILE."
        )
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise UsageError(f"{_NAME} should begin with postgresql://")
    _refuse_options(parsed)
    address = parsed.set(drivername=_DRIVER)
    hosts, _ = _places(address)
    if len(hosts) > 1:
        address = address.set(query={**_SEVERAL_DEFAULTS, **address.query})
    return address


def place_of(address: URL) -> str:
    """Return where `address` leads, for a person: without password and options."""
    hosts, ports = _places(address)
    netloc = ",".join(
        (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
        for host, port in zip(hosts, ports, strict=False)
    )
    user = f"{address.username}@" if address.username else ""
    return f"postgresql://{user}{netloc}/{address.database or ''}"


def conninfos_of(address: URL) -> list[str]:
    """Return how libpq connects to each host of `address` alone, with no settings of a session."""
    arguments = dict(address.get_dialect()().create_connect_args(address)[1])
    for name in ("context", "options", "target_session_attrs"):
        arguments.pop(name, None)
    hosts, ports = _places(address)
    return [
        make_conninfo(**arguments | {"host": host or None, "port": port or None})
        for host, port in zip(hosts, ports, strict=False)
    ]


def _with_hosts_as_options(url: str) -> str:
    """Return `url` with several hosts as libpq's own options, which SQLAlchemy passes on."""
    found = _SEVERAL.match(url)
    if found is None:
        return url
    hosts = [_HOST.match(each) for each in found["hosts"].split(",")]
    if None in hosts:
        raise ValueError("no list of hosts")
    names = ",".join(each["v6"] or each["name"] for each in hosts if each)
    ports = ",".join(each["port"] or "" for each in hosts if each)
    path, _, query = found["after"].partition("?")
    own = f"host={names}&port={ports}"
    return f"{found['before']}{path or '/'}?{own}" + (f"&{query}" if query else "")


def _refuse_options(parsed: URL) -> None:
    for option, given in parsed.query.items():
        if option not in _OPTIONS:
            # Not by its name: it may be what follows an unescaped & of a password.
            close = get_close_matches(option, _OPTIONS, n=1, cutoff=0.8)
            guess = f" Did you mean {close[0]}?" if close else ""
            raise UsageError(f"{_NAME} has an option that PostgreSQL's clients do not know.{guess}")
        if not isinstance(given, str) and option not in _REPEATED:
            raise UsageError(f"{_NAME} says {option} twice.")


def _places(address: URL) -> tuple[list[str], list[str]]:
    """Return the hosts and their ports as psycopg will be given them; "" is its own default.

    Raises:
        UsageError: they do not fit together, or are none.
    """
    dialect = address.get_dialect()()
    try:
        arguments = dict(dialect.create_connect_args(address)[1])
    except (ArgumentError, ValueError):
        raise UsageError(
            f"{_NAME}: hosts and ports do not fit together. "
            "Write them as postgresql://user@first:5432,second:5433/database."
        ) from None
    hosts = str(arguments.get("host") or "").split(",")
    ports = str(arguments.get("port") or "").split(",")
    # SQLAlchemy passes no port 0 on, and PostgreSQL's own would be taken.
    if address.port == 0 or not all(port == "" or can_be_port(port) for port in ports):
        raise UsageError(f"{_NAME}: a port is from 1 to 65535.")
    # What begins so is a directory, or an abstract socket.
    if not all(host == "" or host[0] in "/@" or can_be_host(host) for host in hosts):
        raise UsageError(
            f"{_NAME} has a host that cannot be looked up: a name is of 253 characters at most, "
            "with 1 to 63 between its dots."
        )
    return hosts, ports + ports[-1:] * (len(hosts) - len(ports))
