"""What `laurel doctor` says of a database."""

from pydantic import SecretStr

from ops.checks import CheckState, examine
from ops.settings import Settings
from sandbox.postgres import PostgresServer
from store import migrations
from store.checks import CHECKS
from tests.builders.databases import empty_database


async def test_a_database_as_it_should_be(database_url: str) -> None:
    database, rights, schema = await examine(CHECKS, Settings(database_url=SecretStr(database_url)))
    assert {database.state, rights.state, schema.state} == {CheckState.OK}
    assert database.detail.startswith("PostgreSQL 1")
    assert schema.detail == f"revision {migrations.head()}"


async def test_a_database_without_tables_names_the_way_out(
    database_server: PostgresServer,
) -> None:
    async with empty_database(database_server) as url:
        database, _rights, schema = await examine(CHECKS, Settings(database_url=SecretStr(url)))
    assert (database.state, schema.state) == (CheckState.OK, CheckState.FAILED)
    assert "laurel db upgrade" in schema.detail


async def test_a_database_that_is_away_keeps_its_password() -> None:
    url = SecretStr("postgresql://laurel:hunter2@127.0.0.1:9/laurel")
    for result in await examine(CHECKS, Settings(database_url=url)):
        assert result.state is CheckState.FAILED
        assert "127.0.0.1:9" in result.detail
        assert "hunter2" not in result.detail
