"""Who is not let in at the start hears it at once; who was let in before is let wait."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import URL, make_url

from sandbox.ports import reserved
from sandbox.postgres import postgres
from store.engine import Database, DatabaseUnreachable
from store.login import LoginRefused
from tests.builders.cli import laurel_beside
from tests.builders.clusters import tell
from tests.builders.sql import rows
from tests.fixtures.parts import missing
from tests.fixtures.pooler import Pooler
from tests.fixtures.postgres import DEBIAN_15


def shown(url: URL) -> str:
    return url.render_as_string(hide_password=False)


@pytest.fixture
async def role(database: Database, database_url: str) -> AsyncIterator[URL]:
    """The URL of a role of the test's own."""
    name = f"role_{uuid4().hex}"
    await rows(database, f"CREATE ROLE {name} LOGIN PASSWORD 'p'")
    yield make_url(database_url).set(username=name, password="p")
    await rows(database, f"DROP ROLE {name}")


async def refused(url: URL) -> str:
    async with Database(shown(url)) as another:
        with pytest.raises(LoginRefused, match="LAUREL_DATABASE_URL") as error:
            await another.ping()
    return error.value.message


async def test_a_login_that_the_server_refuses_is_no_absence(role: URL) -> None:
    assert "password authentication failed" in await refused(role.set(password="hunter2"))
    assert "hunter2" not in await refused(role.set(password="hunter2"))
    assert "nobody_of_ours" in await refused(role.set(username="nobody_of_ours"))
    assert '"no_such_database" does not exist' in await refused(
        role.set(database="no_such_database")
    )


async def test_a_role_that_may_not_connect_is_refused(database: Database, role: URL) -> None:
    await rows(database, f'REVOKE CONNECT ON DATABASE "{role.database}" FROM PUBLIC')
    assert "permission denied" in await refused(role)


async def test_what_passes_by_itself_is_an_absence(database: Database, role: URL) -> None:
    await rows(database, f"ALTER ROLE {role.username} CONNECTION LIMIT 0")
    async with Database(shown(role)) as full:
        with pytest.raises(DatabaseUnreachable, match="too many connections"):
            await full.ping()


MESSAGES = Path("/usr/share/locale/de/LC_MESSAGES/postgres-15.mo")


@pytest.fixture(scope="module")
def german() -> Iterator[URL]:
    """The URL of a server that speaks German."""
    if not (DEBIAN_15 / "postgres").is_file() or not MESSAGES.is_file():
        missing(f"PostgreSQL 15 is not installed in {DEBIAN_15}, or {MESSAGES} is missing")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("LANGUAGE", "de")
        with postgres(binaries=DEBIAN_15) as server:
            # LANGUAGE counts in every locale but C.
            tell(server, "ALTER SYSTEM SET lc_messages = 'C.UTF-8'")
            tell(server, "SELECT pg_reload_conf()")
            tell(server, "CREATE ROLE full_up LOGIN PASSWORD 'p' CONNECTION LIMIT 0")
            tell(server, "REVOKE CONNECT ON DATABASE postgres FROM PUBLIC")
            tell(server, "CREATE ROLE outsider LOGIN PASSWORD 'p'")
            yield make_url(server.url)


@pytest.mark.postgres15
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"password": "hunter2"}, "Passwort-Authentifizierung"),
        ({"username": "nobody_of_ours"}, "nobody_of_ours"),
        ({"database": "no_such_database"}, "existiert nicht"),
        ({"username": "outsider", "password": "p"}, "Datenbank"),
    ],
)
async def test_a_refusal_in_another_language_is_one(
    german: URL, wrong: dict[str, Any], words: str
) -> None:
    message = await refused(german.set(**wrong))
    assert words in message
    assert "hunter2" not in message


@pytest.mark.postgres15
async def test_what_passes_is_an_absence_in_another_language_too(german: URL) -> None:
    async with Database(shown(german.set(username="full_up", password="p"))) as full:
        with pytest.raises(DatabaseUnreachable, match="zu viele Verbindungen"):
            await full.ping()
    async with Database(shown(german)) as running:
        await running.ping()


@pytest.mark.postgres15
async def test_of_several_hosts_one_that_refuses_in_another_language_is_heard(german: URL) -> None:
    with reserved() as nobody_listens:
        url = german.set(host=None, port=None, password="wrong").update_query_dict(
            {"host": f"{german.host},{german.host}", "port": f"{nobody_listens},{german.port}"}
        )
        message = await refused(url)
    assert "Connection refused" in message
    assert "Passwort-Authentifizierung" in message


async def test_a_password_that_changes_under_a_process_is_waited_for(
    database: Database, role: URL
) -> None:
    async with Database(shown(role)) as running:
        await running.ping()
        await rows(database, f"ALTER ROLE {role.username} PASSWORD 'q'")
        await rows(
            database,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = :name",
            name=role.username,
        )
        with pytest.raises(DatabaseUnreachable, match="password authentication failed"):
            await running.ping()
        await rows(database, f"ALTER ROLE {role.username} PASSWORD 'p'")
        await running.ping()


async def test_of_several_hosts_each_ones_word_is_told(role: URL) -> None:
    with reserved() as nobody_listens:
        url = role.set(host=None, port=None).update_query_dict(
            {"host": f"{role.host},{role.host}", "port": f"{role.port},{nobody_listens}"}
        )
        message = await refused(url.set(password="wrong"))
        async with Database(
            shown(url.update_query_dict({"port": f"{nobody_listens},{nobody_listens}"}))
        ) as away:
            with pytest.raises(DatabaseUnreachable) as absent:
                await away.ping()
    assert "password authentication failed" in message
    assert "Connection refused" in message
    assert absent.value.message.count("Connection refused") == 2


async def test_a_pooler_that_knows_no_such_user_is_told_apart(role: URL, pgbouncer: Pooler) -> None:
    settings = {"auth_file": "/dev/null", "ignore_startup_parameters": "options"}
    with pgbouncer(shown(role), auth_type="plain", **settings) as url:
        message = await refused(make_url(url).set(password="p"))
    assert "authentication failed" in message


@pytest.mark.integration
@pytest.mark.parametrize("command", ["worker", "db upgrade", "catalog apply --no-topics"])
async def test_a_wrong_password_ends_a_start_with_2(role: URL, command: str) -> None:
    result = await laurel_beside(
        *command.split(),
        LAUREL_DATABASE_URL=shown(role.set(password="hunter2")),
        LAUREL_KAFKA_BROKERS="127.0.0.1:9",
        LAUREL_HTTP__ENABLED="false",
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert "does not let Laurel in" in result.stderr
    assert "hunter2" not in result.stderr
