"""`laurel events`: by which catalog, in which words, and with which exit code."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from ops.lifecycle import EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE
from processor.catalog.load import SHIPPED
from store.engine import Database
from tests.builders.cli import ROOT, laurel, laurel_beside
from tests.builders.messages import ALICE, a_partner, a_quest, an_event, encoded, with_catalog
from tests.builders.patience import PATIENCE_S

pytestmark = pytest.mark.integration
WALKS = "events: {walk.finished: {topic: walks, fields: {steps: {kind: integer, required: true}}}}"


@pytest.fixture
def walks(tmp_path: Path) -> Path:
    directory = tmp_path / "catalog"
    directory.mkdir()
    (directory / "walks.yaml").write_text(WALKS)
    return directory


def a_file(path: Path, *messages: dict[str, object] | bytes) -> Path:
    path.write_bytes(b"".join((encoded(message) or b"") + b"\n" for message in messages))
    return path


def test_a_rejected_message_is_named_with_its_line_and_the_reason(tmp_path: Path) -> None:
    path = a_file(tmp_path / "mine.jsonl", a_partner(ALICE), an_event("partner.joined"))
    said = laurel("events", "validate", str(path))
    assert said.returncode == EXIT_FAILURE
    assert said.stdout.splitlines() == [
        f"{path}:2: missing_field: Object missing required field `partner_id`",
        f"{path}: 2 messages, 1 taken, 1 rejected",
        "  partner.joined       1 by laurel.partners",
        "  missing_field        1 rejected",
    ]


def test_a_sound_file_ends_with_0(tmp_path: Path, walks: Path) -> None:
    walk = an_event("walk.finished", ALICE, {"steps": 7})
    path = a_file(tmp_path / "mine.jsonl", walk)
    said = laurel("events", "validate", "--json", "--catalog", str(walks), str(path))
    assert said.returncode == EXIT_OK
    assert [json.loads(line) for line in said.stdout.splitlines()] == [
        {"line": 1, "type": "walk.finished", "heard": False, "reason": None, "detail": None}
    ]
    assert "1 by laurel.walks, which no counter listens to" in said.stderr


@pytest.mark.parametrize("topic", ["partners", "laurel.partners"])
def test_what_comes_by_another_topic_than_its_own_is_rejected(topic: str, tmp_path: Path) -> None:
    path = a_file(tmp_path / "mine.jsonl", a_partner(ALICE), a_quest(ALICE))
    said = laurel("events", "validate", "--topic", topic, str(path))
    assert said.returncode == EXIT_FAILURE
    assert said.stdout.splitlines() == [
        f"{path}:2: wrong_topic: quest.completed belongs on the topic quests",
        f"{path}: 2 messages, 1 taken, 1 rejected",
        "  partner.joined       1 by laurel.partners",
        "  wrong_topic          1 rejected",
    ]


async def test_the_catalog_in_force_says_which_types_there_are(
    database: Database, database_url: str, walks: Path, tmp_path: Path
) -> None:
    await with_catalog(database)
    path = a_file(tmp_path / "mine.jsonl", an_event("walk.finished", ALICE, {"steps": 7}))
    where = {"LAUREL_DATABASE_URL": database_url, "LAUREL_CATALOG_DIR": str(walks)}
    said = await laurel_beside("events", "validate", str(path), **where)
    assert f"{path}:1: unknown_type: " in said.stdout
    schema = await laurel_beside("events", "schema", "walk.finished", **where)
    assert schema.returncode == EXIT_USAGE
    assert "There is no event type walk.finished." in schema.stderr


def test_standard_input_is_answered_line_by_line() -> None:
    """Nobody has to close the pipe first; Ctrl-C and SIGTERM end the wait for the next line."""
    for number, code in [
        (signal.SIGINT, EXIT_INTERRUPTED),
        (signal.SIGTERM, -signal.SIGTERM),
    ]:
        with subprocess.Popen(
            [sys.executable, "-m", "cli", "events", "validate", "-"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(b"{\n")
            process.stdin.flush()
            assert process.stdout.readline() == b"<stdin>:1: not_json: Input data was truncated\n"
            process.send_signal(number)
            assert process.wait(PATIENCE_S) == code


def test_the_schemas_of_a_directory_are_printed(walks: Path) -> None:
    said = laurel("events", "schema", "walk.finished", "--catalog", str(walks))
    schema = json.loads(said.stdout)
    assert Draft202012Validator(schema).is_valid(an_event("walk.finished", ALICE, {"steps": 7}))
    every = json.loads(laurel("events", "schema", "--catalog", str(walks)).stdout)
    assert every["walk.finished"] == schema
    assert "badge.revoke" in every


def test_the_printed_schema_is_the_one_in_the_docs() -> None:
    said = laurel("events", "schema", "quest.completed", "--catalog", str(SHIPPED))
    assert said.stdout == (ROOT / "docs" / "events" / "quest.completed.json").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["schema", "quest.complete"], "There is no event type quest.complete. Did you mean quest"),
        (["validate", "/nowhere.jsonl"], "/nowhere.jsonl: No such file or directory"),
        (["validate", "--catalog", "/nowhere", "x"], "/nowhere"),
        (
            ["validate", "--topic", "partner", "/nowhere.jsonl"],
            "No worker reads the topic partner. Did you mean laurel.partners? Workers read: laurel.",
        ),
    ],
)
def test_what_is_not_there_is_named(words: list[str], message: str) -> None:
    said = laurel("events", *words)
    assert said.returncode == EXIT_USAGE
    assert message in said.stderr
    assert "Traceback" not in said.stderr
