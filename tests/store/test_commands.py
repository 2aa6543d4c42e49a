import json

import psycopg
import pytest
from click.testing import CliRunner

from cli import main
from store import migrations


def test_upgrade_makes_the_tables_and_may_run_again(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAUREL_DATABASE_URL", database_url)
    with psycopg.connect(database_url) as connection:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    for _ in range(2):
        result = CliRunner().invoke(main, ["db", "upgrade", "--json"])
        assert (result.exit_code, json.loads(result.stdout)) == (0, {"revision": migrations.head()})
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT count(*) FROM nft_type").fetchone() == (0,)


def test_upgrade_without_a_database_names_the_setting() -> None:
    result = CliRunner().invoke(main, ["db", "upgrade"])
    assert result.exit_code == 2
    assert "LAUREL_DATABASE_URL is not set" in result.stderr
