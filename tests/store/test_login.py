"""Who is not let in at the start hears it at once; who was let in before is let wait."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from sqlalchemy import URL, make_url

from sandbox.ports import reserved
from store.engine import Database, DatabaseUnreachable
from store.login import LoginRefused
from tests.builders.cli import laurel_beside
from tests.builders.sql import rows
from tests.fixtures.pooler import Pooler


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
