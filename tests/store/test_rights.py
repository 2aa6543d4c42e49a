"""What a role that may not do everything is told, on a real server."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from click.testing import CliRunner
from pydantic import SecretStr
from sqlalchemy import make_url, text

from cli import main
from ops.checks import CheckState, examine
from ops.errors import UsageError
from ops.lifecycle import Readiness, Stop
from ops.settings import Settings
from processor.stream.worker import Worker
from sandbox.postgres import PostgresServer
from store import rights
from store.checks import CHECKS
from store.engine import Database
from store.migrations import check as check_revision
from store.migrations import upgrade
from store.rights import RightsMissing
from tests.builders.databases import empty_database
from tests.builders.roles import Role, a_role
from tests.builders.sql import rows, value

ALL_TABLES = "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public"


@pytest.fixture
async def role(database: Database, database_url: str) -> AsyncIterator[Role]:
    async with a_role(database, database_url) as made:
        yield made


async def test_the_owner_lacks_nothing(database: Database) -> None:
    async with database.transaction() as conn:
        await rights.check(conn, temporary=True)


async def test_what_is_said_to_be_run_is_all_that_is_needed(role: Role) -> None:
    statements = await role.lacks()
    assert len(statements.split("; ")) == 5
    for statement in statements.split("; "):
        await rows(role.owner, statement)
    assert await role.lacks() == ""
    async with Database(role.url) as db, db.transaction() as conn:
        await check_revision(conn)


async def test_a_role_without_temporary_tables_may_mint_and_not_count(role: Role) -> None:
    await role.grant("USAGE ON SCHEMA public")
    await role.grant(ALL_TABLES)
    base = await value(role.owner, "SELECT current_database()")
    assert await role.lacks() == f'GRANT TEMPORARY ON DATABASE {base} TO "{role.name}";'
    assert await role.lacks(temporary=False) == ""


async def test_one_right_on_one_table_is_named(role: Role) -> None:
    await role.grant("USAGE ON SCHEMA public")
    await role.grant(ALL_TABLES)
    await rows(role.owner, f'REVOKE INSERT ON dead_letter FROM "{role.name}"')
    assert (
        await role.lacks(temporary=False) == f'GRANT INSERT ON public.dead_letter TO "{role.name}";'
    )


async def test_the_audit_log_needs_no_right_to_change_it(role: Role) -> None:
    await role.grant("USAGE ON SCHEMA public")
    await role.grant(ALL_TABLES)
    await rows(role.owner, f'REVOKE UPDATE, DELETE ON nft_audit_log FROM "{role.name}"')
    await rows(role.owner, f'REVOKE INSERT, UPDATE, DELETE ON alembic_version FROM "{role.name}"')
    assert await role.lacks(temporary=False) == ""


async def test_a_worker_ends_at_its_start_and_says_what_to_run(role: Role) -> None:
    await role.grant("USAGE ON SCHEMA public")
    await role.grant(ALL_TABLES)
    settings = Settings(database_url=SecretStr(role.url), kafka_brokers="127.0.0.1:9")
    async with Database(role.url) as db:
        with pytest.raises(RightsMissing, match="GRANT TEMPORARY"):
            await Worker(settings, db, Readiness()).run(Stop())


async def test_the_doctor_names_the_missing_right(role: Role) -> None:
    await role.grant("USAGE ON SCHEMA public")
    await role.grant(ALL_TABLES)
    found = await examine(CHECKS, Settings(database_url=SecretStr(role.url)))
    states = {result.name: (result.state, result.detail) for result in found}
    assert states["rights"][0] is CheckState.FAIL
    assert "GRANT TEMPORARY" in states["rights"][1]
    assert states["schema"][0] is CheckState.OK


async def test_an_upgrade_by_a_role_that_may_not_count_exits_2(
    role: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    await role.grant("USAGE ON SCHEMA public")
    await role.grant(ALL_TABLES)
    monkeypatch.setenv("LAUREL_DATABASE_URL", role.url)
    # In a thread: the command runs a loop of its own.
    result = await asyncio.to_thread(CliRunner().invoke, main, ["db", "upgrade"])
    assert result.exit_code == 2
    assert "GRANT TEMPORARY" in result.stderr


async def test_an_upgrade_by_a_role_that_may_make_no_tables_names_the_grant(
    database_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        empty_database(database_server) as url,
        Database(url) as owner,
        a_role(owner, url) as role,
    ):
        monkeypatch.setenv("LAUREL_DATABASE_URL", role.url)
        refused = await asyncio.to_thread(CliRunner().invoke, main, ["db", "upgrade"])
        assert refused.exit_code == 2
        statement = f'GRANT USAGE, CREATE ON SCHEMA public TO "{role.name}";'
        assert statement in refused.stderr
        await rows(owner, statement)
        # What it makes it owns: of all other rights only that to temporary tables is not its own.
        made = await asyncio.to_thread(CliRunner().invoke, main, ["db", "upgrade"])
        await rows(owner, made.stderr.partition("tables: ")[2])
        again = await asyncio.to_thread(CliRunner().invoke, main, ["db", "upgrade"])
        assert again.exit_code == 0


async def test_a_schema_of_ones_own_needs_no_grant(
    database_server: PostgresServer,
) -> None:
    async with (
        empty_database(database_server) as url,
        Database(url) as owner,
        a_role(owner, url) as role,
    ):
        await rows(owner, f'CREATE SCHEMA "{role.name}" AUTHORIZATION "{role.name}"')
        async with Database(role.url) as db, db.transaction() as conn:
            await rights.check_creation(conn)


async def test_tables_of_the_same_names_in_another_schema_are_not_taken_for_ours(
    database: Database, database_url: str
) -> None:
    """A part of a copy, say, in the schema that bears the role's name."""
    await rows(database, "CREATE SCHEMA copy")
    await rows(database, "CREATE TABLE copy.nft_progress (LIKE nft_progress)")
    before = make_url(database_url).update_query_dict({"options": "-csearch_path=copy,public"})
    async with (
        Database(before.render_as_string(hide_password=False)) as strayed,
        strayed.transaction() as conn,
    ):
        with pytest.raises(UsageError, match="in copy nft_progress") as refused:
            await check_revision(conn)
    assert "search_path=public" in refused.value.message
    with pytest.raises(UsageError, match="in copy nft_progress"):
        await upgrade(before.render_as_string(hide_password=False))
    after = make_url(database_url).update_query_dict({"options": "-csearch_path=public,copy"})
    async with (
        Database(after.render_as_string(hide_password=False)) as right,
        right.transaction() as conn,
    ):
        await check_revision(conn)
        found = await conn.execute(text("SELECT current_schema()"))
        assert found.scalar_one() == "public"


async def test_a_search_path_that_leads_nowhere_is_told(database_server: PostgresServer) -> None:
    async with empty_database(database_server) as url:
        for path in ("no_such_schema", ""):
            lost = make_url(url).update_query_dict({"options": f"-csearch_path={path}"})
            with pytest.raises(UsageError, match="names no schema"):
                await upgrade(lost.render_as_string(hide_password=False))
