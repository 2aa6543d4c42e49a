"""`laurel catalog` and `laurel explain` as a person and a script meet them."""

import json
from pathlib import Path
from shutil import copytree

import psycopg
import pytest
from click.testing import CliRunner, Result

from cli import main
from processor.catalog.load import SHIPPED
from sandbox.broker import Broker

USER = "7f3a1c9e-0000-4000-8000-000000000001"


def laurel(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


@pytest.fixture
def laurel_database(database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("LAUREL_DATABASE_URL", database_url)
    return database_url


def test_lint_needs_no_database_and_counts_what_it_found() -> None:
    result = laurel("catalog", "lint", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout) == {
        "directory": str(SHIPPED),
        "types": 6,
        "levels": 18,
        "counters": 6,
        "event_types": 7,
    }
    assert laurel("catalog", "lint").stdout.endswith(
        "6 types, 18 levels, 6 counters, 7 event types. Sound.\n"
    )


def test_the_catalog_of_the_settings_is_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.yaml").write_text("counters:\n  x: {kind: count, event: y.z}\n")
    monkeypatch.setenv("LAUREL_CATALOG_DIR", str(tmp_path))
    result = laurel("catalog", "lint")
    assert result.exit_code == 2
    first, second = result.stderr.splitlines()
    assert first.startswith(f"{tmp_path}/mine.yaml:2: counters.x: no type uses this counter")
    assert (
        second
        == f"{tmp_path}/mine.yaml:2: counters.x.event: there is no event type y.z: define one first."
    )
    assert laurel("catalog", "lint", str(SHIPPED)).exit_code == 0


def test_apply_then_apply_again(laurel_database: str) -> None:
    del laurel_database
    first = laurel("catalog", "apply", "--json")
    assert first.exit_code == 0
    assert json.loads(first.stdout)["types_created"] == [
        "ambassador", "city_explorer", "explorer", "premium_voucher_user", "quest_author", "rf_reviewer",
    ]  # fmt: skip
    again = laurel("catalog", "apply")
    assert (again.exit_code, again.stdout) == (
        0,
        "Nothing changed: version 1 of the catalog is in force already.\n",
    )


def with_hikes(place: Path) -> Path:
    """Write the shipped catalog with another event type, on another topic."""
    directory = place / "hikes"
    copytree(SHIPPED, directory)
    (directory / "hikes.yaml").write_text(
        "events:\n  hike.done: {topic: hikes, fields: {hike_id: {kind: id, required: true}}}\n"
    )
    return directory


def test_another_topic_is_asked_for_where_no_brokers_are_set(
    laurel_database: str, tmp_path: Path
) -> None:
    assert laurel("catalog", "apply").exit_code == 0
    directory = with_hikes(tmp_path)
    refused = laurel("catalog", "apply", str(directory))
    assert refused.exit_code == 2
    assert "laurel.hikes" in refused.stderr
    assert "laurel topics create DIRECTORY" in refused.stderr
    with psycopg.connect(laurel_database) as connection:
        assert connection.execute("SELECT count(*) FROM catalog_version").fetchone() == (1,)
    looked = laurel("catalog", "apply", str(directory), "--dry-run", "--json")
    assert json.loads(looked.stdout)["topics_missing"] == ["laurel.hikes"]
    assert laurel("catalog", "apply", str(directory), "--no-topics").exit_code == 0


def test_topics_are_made_before_the_catalog_is_in_force(
    laurel_database: str,
    broker: Broker,
    topic_prefix: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("LAUREL_KAFKA_BROKERS", broker.address)
    monkeypatch.setenv("LAUREL_KAFKA__TOPIC_PREFIX", topic_prefix)
    made = json.loads(laurel("catalog", "apply", "--json").stdout)["topics_made"]
    assert sorted(made) == [
        f"{topic_prefix}.{name}"
        for name in ("cities", "commands", "partners", "quests", "reviews", "wallets")
    ]
    directory = with_hikes(tmp_path)
    counters = directory / "counters.yaml"
    text = counters.read_text()
    counters.write_text(text.replace("event: quest.published", "event: quest.completed"))
    refused = laurel("catalog", "apply", str(directory))
    assert refused.exit_code == 2
    assert "what it counts cannot change" in refused.stderr
    looked = laurel("topics", "create", str(directory), "--dry-run", "--json")
    assert f"{topic_prefix}.hikes" in json.loads(looked.stdout)["missing"]
    counters.write_text(text)
    assert (
        f"  topic made: {topic_prefix}.hikes\n" in laurel("catalog", "apply", str(directory)).stdout
    )


def test_a_broken_catalog_is_not_applied(laurel_database: str, tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("types: {x: {}}\n")
    assert laurel("catalog", "apply", str(tmp_path)).exit_code == 2
    with psycopg.connect(laurel_database) as connection:
        assert connection.execute("SELECT count(*) FROM catalog_version").fetchone() == (0,)


def test_a_database_without_tables_is_told_what_to_run(laurel_database: str) -> None:
    with psycopg.connect(laurel_database) as connection:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    result = laurel("catalog", "apply")
    assert result.exit_code == 2
    assert "Run `laurel db upgrade`" in result.stderr


def test_without_a_database_the_setting_is_named() -> None:
    result = laurel("explain", USER)
    assert result.exit_code == 2
    assert "LAUREL_DATABASE_URL is not set" in result.stderr
    assert "laurel dev" in result.stderr


class TestExplain:
    @pytest.fixture
    def counted(self, laurel_database: str) -> str:
        assert laurel("catalog", "apply").exit_code == 0
        with psycopg.connect(laurel_database) as connection:
            connection.execute(
                "INSERT INTO nft_progress (type_id, user_id, counters, last_event_at)"
                ' SELECT id, %s, \'{"quest_completed_count": 12, "unique_cities_visited": 4}\', now()'
                " FROM nft_type WHERE code = 'explorer'",
                [USER],
            )
            connection.execute(
                "INSERT INTO nft_instance (type_id, user_id, current_level, source_service, tenant_id)"
                " SELECT id, %s, 1, 'quest_service', gen_random_uuid() FROM nft_type WHERE code = 'explorer'",
                [USER],
            )
        return laurel_database

    def test_each_counter_beside_each_condition(self, counted: str) -> None:
        del counted
        result = laurel("explain", USER, "explorer")
        assert result.exit_code == 0
        assert result.stdout.splitlines()[:7] == [
            "explorer: level 1 of 3, active, not_minted",
            "  [x] level 1  Explorer I (common)",
            "        quest_completed_count >= 5                     has 12    ok",
            "        unique_cities_visited >= 3                     has 4     ok",
            "  [ ] level 2  Explorer II (rare)",
            "        quest_completed_count >= 10                    has 12    ok",
            "        unique_cities_visited >= 5                     has 4     --",
        ]
        assert result.stdout.splitlines()[7] == "        missing: 1 more unique_cities_visited"

    def test_the_same_for_a_script(self, counted: str) -> None:
        del counted
        document = json.loads(laurel("explain", USER, "explorer", "--json").stdout)
        assert document["user_id"] == USER
        [badge] = document["badges"]
        assert badge["counters"] == {"quest_completed_count": 12, "unique_cities_visited": 4}
        assert [level["missing"] for level in badge["levels"]] == [
            [],
            ["1 more unique_cities_visited"],
            ["8 more quest_completed_count", "4 more unique_cities_visited"],
        ]

    def test_without_a_badge_every_type_is_told(self, counted: str) -> None:
        del counted
        codes = [
            badge["type_code"]
            for badge in json.loads(laurel("explain", USER, "--json").stdout)["badges"]
        ]
        assert codes == [
            "ambassador",
            "city_explorer",
            "explorer",
            "premium_voucher_user",
            "quest_author",
            "rf_reviewer",
        ]

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (
                ("explain", USER, "explorr"),
                "There is no badge type explorr: take one of ambassador",
            ),
            (("explain", "somebody"), "'somebody' is not a valid UUID"),
        ],
    )
    def test_a_wrong_argument_is_told(
        self, counted: str, arguments: tuple[str, ...], words: str
    ) -> None:
        del counted
        result = laurel(*arguments)
        assert result.exit_code == 2
        assert words in result.stderr

    def test_before_a_catalog_is_applied(self, laurel_database: str) -> None:
        del laurel_database
        result = laurel("explain", USER)
        assert result.exit_code == 2
        assert "Run `laurel catalog apply`" in result.stderr
