"""What `laurel doctor` says of a database."""

from datetime import timedelta
from functools import partial

import pytest
from pydantic import SecretStr
from sqlalchemy import make_url

from ops.checks import CheckResult, CheckState, examine
from ops.setting_parts import DatabaseSettings
from ops.settings import Settings
from sandbox.postgres import PostgresServer
from store import checks, clock, migrations
from store.checks import CHECKS
from store.engine import Database
from tests.builders.clock import ShiftedClock
from tests.builders.databases import empty_database
from tests.builders.roles import a_role
from tests.builders.sql import rows


async def said_of(url: str, **database: int) -> dict[str, CheckResult]:
    settings = Settings(database_url=SecretStr(url), database=DatabaseSettings(**database))
    return {each.name: each for each in await examine(CHECKS, settings)}


async def test_a_database_as_it_should_be(database_url: str) -> None:
    found = await said_of(database_url)
    assert [(each.name, each.state) for each in found.values()] == [
        (name, CheckState.OK)
        for name in ("database", "durability", "connections", "clock", "schema", "rights")
    ]
    assert found["clock"].detail.endswith(" s")
    assert found["database"].detail.startswith("PostgreSQL 1")
    assert ", UTF8, at postgresql://" in found["database"].detail
    assert found["durability"].detail.startswith("synchronous_commit on, fsync on")
    assert found["schema"].detail == f"revision {migrations.head()}"


async def test_a_host_whose_clock_is_wrong_is_told_to_set_it(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = ShiftedClock(timedelta(minutes=-11))
    monkeypatch.setattr(clock, "read", partial(clock.read, clock=late))
    found = (await said_of(database_url))["clock"]
    assert found.state is CheckState.FAIL
    assert "behind PostgreSQL's" in found.detail
    assert "NTP" in found.detail


async def test_a_database_without_tables_names_the_way_out(
    database_server: PostgresServer,
) -> None:
    async with empty_database(database_server) as url:
        found = await said_of(url)
    assert (found["database"].state, found["schema"].state) == (CheckState.OK, CheckState.FAIL)
    assert "laurel db upgrade" in found["schema"].detail


async def test_a_database_that_is_away_keeps_its_password() -> None:
    found = await said_of("postgresql://laurel:hunter2@127.0.0.1:9/laurel")
    database, *others = found.values()
    assert database.state is CheckState.FAIL
    assert "127.0.0.1:9" in database.detail
    assert "hunter2" not in database.detail
    assert {each.state for each in others} == {CheckState.SKIP}


async def test_a_database_that_takes_no_writes_is_no_place_to_count(
    database: Database, database_url: str
) -> None:
    """And nothing else is found: what is looked at is looked at in transactions that only read."""
    before = await said_of(database_url)
    name = make_url(database_url).database
    await rows(database, f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    found = await said_of(database_url)
    assert found["database"].state is CheckState.FAIL
    assert "it is read-only (default_transaction_read_only)" in found["database"].detail
    for line in ("durability", "schema", "rights"):
        assert found[line] == before[line]


async def test_a_role_with_few_connections_left_is_told_what_to_raise(
    database: Database, database_url: str
) -> None:
    async with a_role(database, database_url) as role:
        await rows(database, f'ALTER ROLE "{role.name}" CONNECTION LIMIT 4')
        found = (await said_of(role.url, pool_size=2))["connections"]
        assert (found.state, found.detail.partition(",")[0]) == (CheckState.WARN, "3 left")
        found = (await said_of(role.url, pool_size=1))["connections"]
        assert found.state is CheckState.OK


async def test_a_role_without_rights_fails_in_its_lines_alone(
    database: Database, database_url: str
) -> None:
    async with a_role(database, database_url) as role:
        found = await said_of(role.url)
        assert found["database"].state is CheckState.OK
        assert found["rights"].state is CheckState.FAIL
        assert "GRANT" in found["rights"].detail
        assert found["clock"].state is CheckState.OK


@pytest.mark.parametrize(
    ("supported", "state", "words"),
    [
        (range(10, 12), CheckState.WARN, "newer than 11"),
        (range(90, 92), CheckState.FAIL, "older than 90"),
    ],
)
async def test_a_version_that_laurel_was_not_tried_on_is_named(
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    supported: range,
    state: CheckState,
    words: str,
) -> None:
    monkeypatch.setattr(checks, "_VERSIONS", supported)
    found = (await said_of(database_url))["database"]
    assert found.state is state
    assert words in found.detail
