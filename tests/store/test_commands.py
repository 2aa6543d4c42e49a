import json

import psycopg
import pytest
from click.testing import CliRunner, Result

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


def pruned(*options: str) -> Result:
    return CliRunner().invoke(main, ["db", "prune-events", *options])


def test_old_ids_are_forgotten_by_command(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAUREL_DATABASE_URL", database_url)
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO processed_event VALUES (gen_random_uuid(), 1, 1, '2020-01-01', false)"
        )
    dry = pruned("--older-than", "400d", "--dry-run", "--json")
    assert (dry.exit_code, json.loads(dry.stdout)["events"]) == (0, 1)
    monkeypatch.setenv("LAUREL_WORKER__EVENT_RETENTION", "400d")
    result = pruned()
    floor = json.loads(dry.stdout)["floor"]
    assert (result.exit_code, result.stdout) == (
        0,
        f"1 events before {floor} are forgotten; older ones become dead letters (too_old).\n",
    )
    again = pruned("--dry-run")
    assert again.stdout == f"This would forget 0 events before {floor}.\n"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "Ids are kept for ever. Say which to forget: --older-than 400d"),
        (("--older-than", "400"), "--older-than 400 has no unit"),
        (("--older-than", "23h"), "23h is no duration of a day or more"),
        (("--older-than", "soon"), "--older-than is no duration"),
    ],
)
def test_ids_are_forgotten_only_by_a_clear_word(options: tuple[str, ...], said: str) -> None:
    result = pruned(*options)
    assert result.exit_code == 2
    assert said in result.stderr
