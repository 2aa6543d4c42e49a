"""What `laurel doctor` says of a database."""

from datetime import timedelta
from functools import partial

import pytest
from pydantic import SecretStr

from ops.checks import CheckState, examine
from ops.settings import Settings
from sandbox.postgres import PostgresServer
from store import clock, migrations
from store.checks import CHECKS
from tests.builders.clock import ShiftedClock
from tests.builders.databases import empty_database


async def test_a_database_as_it_should_be(database_url: str) -> None:
    found = await examine(CHECKS, Settings(database_url=SecretStr(database_url)))
    database, clocks, _rights, schema = found
    assert {each.state for each in found} == {CheckState.OK}
    assert clocks.detail.endswith(" s")
    assert database.detail.startswith("PostgreSQL 1")
    assert schema.detail == f"revision {migrations.head()}"


async def test_a_host_whose_clock_is_wrong_is_told_to_set_it(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = ShiftedClock(timedelta(minutes=-11))
    monkeypatch.setattr(clock, "read", partial(clock.read, clock=late))
    _database, found, *_ = await examine(CHECKS, Settings(database_url=SecretStr(database_url)))
    assert found.state is CheckState.FAILED
    assert "behind PostgreSQL's" in found.detail
    assert "NTP" in found.detail


async def test_a_database_without_tables_names_the_way_out(
    database_server: PostgresServer,
) -> None:
    async with empty_database(database_server) as url:
        database, _clock, _rights, schema = await examine(
            CHECKS, Settings(database_url=SecretStr(url))
        )
    assert (database.state, schema.state) == (CheckState.OK, CheckState.FAILED)
    assert "laurel db upgrade" in schema.detail


async def test_a_database_that_is_away_keeps_its_password() -> None:
    url = SecretStr("postgresql://laurel:hunter2@127.0.0.1:9/laurel")
    for result in await examine(CHECKS, Settings(database_url=url)):
        assert result.state is CheckState.FAILED
        assert "127.0.0.1:9" in result.detail
        assert "hunter2" not in result.detail
