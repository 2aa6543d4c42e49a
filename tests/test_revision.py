"""No command works on a database of another revision: each says what to run, and changes nothing."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner

from cli import main

USER = "0b9e2c1e-7a54-4f36-9a55-0d0c9b7a4a10"


@pytest.fixture
def former(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A database that says it is of the first revision."""
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    monkeypatch.setenv("LAUREL_DATABASE_URL", database_url)
    yield database_url
    with psycopg.connect(database_url) as connection:
        found = connection.execute(
            "SELECT (SELECT count(*) FROM offset_ledger) + (SELECT count(*) FROM dead_letter)"
            " + (SELECT count(*) FROM catalog_version)"
        ).fetchone()
    assert found == (0,)


@pytest.mark.parametrize(
    "command",
    [
        f"badge award {USER} explorer --level 1",
        f"badge mint {USER} explorer",
        f"badge burn {USER} explorer",
        f"badge revoke {USER} explorer --reason test",
        "badge announce",
        "backfill EVENTS",
        "backfill --dry-run EVENTS",
        "catalog apply --no-topics",
        "db prune-events --older-than 400d",
        f"explain {USER}",
        "partitions list",
        "queue list",
    ],
)
def test_a_command_says_what_to_run(command: str, former: str, tmp_path: Path) -> None:
    del former
    (tmp_path / "events").write_text("{}\n")
    arguments = command.replace("EVENTS", str(tmp_path / "events")).split()
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "The database is at revision 0001" in result.stderr
    assert "Run `laurel db upgrade`." in result.stderr


@pytest.mark.parametrize("command", ["doctor", "status"])
def test_where_there_are_no_tables_no_line_repeats_what_postgresql_said(
    command: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    monkeypatch.setenv("LAUREL_DATABASE_URL", database_url)
    monkeypatch.setenv("LAUREL_TON_CONFIG", "/nowhere/global.config.json")
    result = CliRunner().invoke(main, [command])
    assert result.exit_code == 2
    assert "The database has no tables yet. Run `laurel db upgrade`." in result.stdout
    assert "refused a statement" not in result.stdout
