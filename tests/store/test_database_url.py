"""LAUREL_DATABASE_URL: what is taken, what is refused, and several hosts on two real servers."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

from ops.errors import UsageError
from sandbox.ports import reserved
from sandbox.postgres import PostgresServer, postgres
from store.database_url import address_of, place_of
from store.engine import Database, DatabaseUnreachable
from tests.builders.certificates import a_ca, openssl, signed
from tests.builders.sql import rows, value
from tests.fixtures.parts import missing
from tests.fixtures.postgres import DEBIAN_15

# A write that changes nothing.
WRITE = "COMMENT ON DATABASE postgres IS NULL"


@pytest.mark.parametrize(
    "url",
    ["postgresql://u:p@h:5432/d", "postgres://u:p@h:5432/d", "postgresql+asyncpg://u:p@h:5432/d"],
)
def test_every_spelling_of_a_postgresql_url_is_taken(url: str) -> None:
    address = address_of(url)
    assert address.render_as_string(hide_password=False) == "postgresql+psycopg://u:p@h:5432/d"
    assert place_of(address) == "postgresql://u@h:5432/d"


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("postgresql://u:p@a,b:5433/d", "a,b", ",5433"),
        ("postgresql://u:p@a:1,b:2/d", "a,b", "1,2"),
        ("postgresql://u:p@[::1]:1,b/d", "::1,b", "1,"),
        ("postgresql://u:p@/d?host=a&host=b", "a,b", ","),
        ("postgresql://u:p@/d?host=a:1&host=b:2", "a,b", "1,2"),
        ("postgresql://u:p@/d?host=a,b&port=1,2", "a,b", "1,2"),
    ],
)
def test_several_hosts_keep_each_its_port(url: str, host: str, port: str) -> None:
    address = address_of(url)
    arguments = address.get_dialect()().create_connect_args(address)[1]
    assert (arguments["host"], arguments["port"]) == (host, port)
    assert (arguments["user"], arguments["password"], arguments["dbname"]) == ("u", "p", "d")
    assert arguments["target_session_attrs"] == "read-write"


def test_what_the_url_says_of_the_session_wanted_is_kept() -> None:
    assert (
        address_of("postgresql://a,b/d?target_session_attrs=any").query["target_session_attrs"]
        == "any"
    )


def test_one_host_may_be_a_standby() -> None:
    assert "target_session_attrs" not in address_of("postgresql://a/d").query


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("hunter2", "should read"),
        ("mysql://u:hunter2@h/d", "should begin with postgresql://"),
        ("hunter2://u@h/d", "should begin with postgresql://"),
        ("postgresql://u:hunter2@h:0/d", "from 1 to 65535"),
        ("postgresql://u:hunter2@h:70000/d", "from 1 to 65535"),
        ("postgresql://u:hunter2@h:-1/d", "from 1 to 65535"),
        ("postgresql://u:hunter2@a:1,b:70000/d", "from 1 to 65535"),
        ("postgresql://u:hunter2@a..b/d", "cannot be looked up"),
        (f"postgresql://u:hunter2@{'x' * 64}/d", "cannot be looked up"),
        ("postgresql://h/d?password=a&hunter2=b", "clients do not know"),
        ("postgresql://h/d?sslmod=require", "Did you mean sslmode"),
        ("", "should read"),
        ("postgresql://u:hunter2@a,b:x/d", "should read"),
        ("postgresql://u:hunter2@a:x/d", "should read"),
        ("postgresql://u:hunter2", "should read"),
        ("postgresql://u:p@hunter2@h/d", "an @ or a / too many.*%40"),
        ("postgresql://u:p@hunter2/x@h/d", "an @ or a / too many"),
        ("postgresql://u:p?@hunter2@h/d", "an @ or a / too many"),
        ("postgresql://u:p@hunter2@a,b/d", "an @ or a / too many"),
        ("postgresql://u/v:hunter2@h/d", "an @ or a / too many"),
        ("postgresql://u:hunter2@a/d?ssl=hunter2", "clients do not know"),
        ("postgresql://u@a/d?password=hunter2&password=hunter2", "password twice"),
        ("postgresql://u:hunter2@a/d?host=a,b&port=1,2,3", "do not fit together"),
        ("postgresql://u:hunter2@a,b/d?host=c", "do not fit together"),
    ],
)
def test_a_wrong_url_is_refused_without_repeating_its_password(url: str, named: str) -> None:
    with pytest.raises(UsageError, match=named) as refused:
        address_of(url)
    assert refused.value.message.startswith("LAUREL_DATABASE_URL")
    assert "hunter2" not in refused.value.message


def test_an_escaped_password_is_taken() -> None:
    assert address_of("postgresql://u:p%40hunter2%2F@h:5432/d").password == "p@hunter2/"


def test_a_place_shows_no_password_wherever_the_url_has_it() -> None:
    place = place_of(address_of("postgresql://u:hunter2@a,[::1]:5433/d?sslpassword=hunter2"))
    assert place == "postgresql://u@a,[::1]:5433/d"


@pytest.fixture
def another_server(postgres_server: PostgresServer) -> Iterator[PostgresServer]:
    """A server with the same superuser and password."""
    password = make_url(postgres_server.url).password
    with postgres() as server:
        with psycopg.connect(server.url, autocommit=True) as conn:
            conn.execute(sql.SQL("ALTER ROLE laurel PASSWORD {}").format(password))
        url = make_url(server.url).set(password=password)
        yield replace(server, url=url.render_as_string(hide_password=False))


async def set_read_only(server: PostgresServer, value: str) -> None:
    async with Database(server.url) as database:
        async with database.engine.connect() as conn:
            outside = await conn.execution_options(isolation_level="AUTOCOMMIT")
            await outside.exec_driver_sql(
                f"ALTER SYSTEM SET default_transaction_read_only = {value}"
            )
        await rows(database, "SELECT pg_reload_conf()")


def both(first: PostgresServer, second: PostgresServer) -> tuple[str, int | None, int | None]:
    """Return the URL of both, and their ports."""
    one, other = make_url(first.url), make_url(second.url)
    hosts = f"{one.host}:{one.port},{other.host}:{other.port}"
    return f"postgresql://laurel:{one.password}@{hosts}/postgres", one.port, other.port


async def write_for_ever(database: Database) -> None:
    while True:  # until the server has read its configuration again
        await rows(database, WRITE)


async def test_the_host_that_can_be_written_to_is_taken(
    another_server: PostgresServer, postgres_server: PostgresServer
) -> None:
    url, standby, primary = both(another_server, postgres_server)
    await set_read_only(another_server, "on")
    async with Database(url) as database:
        assert await value(database, "SELECT inet_server_port()") == primary
        await rows(database, WRITE)
    async with Database(f"{url}?target_session_attrs=any") as database:
        assert await value(database, "SELECT inet_server_port()") == standby


async def test_after_a_failover_the_other_host_is_taken(
    another_server: PostgresServer, postgres_server: PostgresServer
) -> None:
    url, first, second = both(another_server, postgres_server)
    async with Database(url) as database:
        assert await value(database, "SELECT inet_server_port()") == first
        await set_read_only(another_server, "on")
        # The pool's connection was good until now; it is not kept.
        with pytest.raises(DatabaseUnreachable, match="read-only"):
            await write_for_ever(database)
        await rows(database, WRITE)
        assert await value(database, "SELECT inet_server_port()") == second


async def test_a_host_that_is_down_is_passed_over(postgres_server: PostgresServer) -> None:
    up = make_url(postgres_server.url)
    with reserved() as down:
        hosts = f"127.0.0.1:{down},{up.host}:{up.port}"
        async with Database(f"postgresql://laurel:{up.password}@{hosts}/postgres") as database:
            assert await value(database, "SELECT inet_server_port()") == up.port


async def test_hosts_that_are_all_down_are_named() -> None:
    with reserved() as one, reserved() as other:
        url = f"postgresql://laurel:hunter2@127.0.0.1:{one},127.0.0.1:{other}/postgres"
        async with Database(url) as database:
            with pytest.raises(DatabaseUnreachable, match=f"{one},127.0.0.1:{other}") as lost:
                await database.ping()
    assert "hunter2" not in str(lost.value)


async def test_a_value_that_no_client_knows_is_refused_without_it() -> None:
    async with Database("postgresql://u@127.0.0.1:1/d?sslmode=hunter2") as database:
        with pytest.raises(UsageError, match="no such value of sslmode") as caught:
            await value(database, "SELECT 1")
    assert "hunter2" not in caught.value.message


@pytest.fixture
def server_with_tls(tmp_path: Path) -> Iterator[tuple[PostgresServer, Path, Path]]:
    """A server that takes encrypted connections alone, its CA, and another one's."""
    if not openssl() or not DEBIAN_15.is_dir():
        missing(
            f"there is no openssl, or no PostgreSQL 15 in {DEBIAN_15}"
        )  # the wheel's has no TLS
    ca = a_ca(tmp_path)
    pair = signed(ca, "server", "DNS:localhost")
    with postgres(binaries=DEBIAN_15) as server:
        data = server.directory / "data"
        for source, name in ((pair.cert, "server.crt"), (pair.key, "server.key")):
            place = Path(shutil.copy(source, data / name))
            os.chown(place, data.stat().st_uid, data.stat().st_gid)
            place.chmod(0o600)
        hba = server.directory / "pg_hba.conf"
        with psycopg.connect(server.url, autocommit=True) as conn:
            conn.execute("CREATE ROLE badges LOGIN PASSWORD 'run?t#i@me/%41 ö'")
            conn.execute("ALTER SYSTEM SET ssl = on")
            hba.write_text(hba.read_text().replace("host ", "hostssl "))
            conn.execute("SELECT pg_reload_conf()")
        yield server, ca.cert, a_ca(tmp_path, "stranger").cert


@pytest.mark.postgres15
async def test_a_servers_certificate_is_checked_as_the_url_asks(
    server_with_tls: tuple[PostgresServer, Path, Path],
) -> None:
    server, ca, stranger = server_with_tls
    port = make_url(server.url).port
    user = f"postgresql://badges:{quote('run?t#i@me/%41 ö', safe='')}"
    encrypted = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"

    def url(host: str, by: Path) -> str:
        return f"{user}@{host}:{port}/postgres?sslmode=verify-full&sslrootcert={by}"

    async with Database(url("localhost", ca)) as database:
        assert await value(database, encrypted) is True
    for host, by, reason in (
        ("localhost", stranger, "certificate verify failed"),
        ("127.0.0.1", ca, "does not match host name"),
        ("localhost", ca.with_name("absent.pem"), "does not exist"),
    ):
        async with Database(url(host, by)) as database:
            with pytest.raises(DatabaseUnreachable, match=reason) as refused:
                await value(database, encrypted)
        assert "run" not in refused.value.message.replace("running", "")
