"""The demo's file: every message survives it, and a broken line is named."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.records import Record, from_line, read, to_line, write
from ops.errors import UsageError

records = st.builds(
    Record,
    phase=st.integers(1, 9),
    topic=st.sampled_from(["quests", "commands"]),
    key=st.none() | st.binary(max_size=20),
    headers=st.lists(st.tuples(st.text(max_size=10), st.binary(max_size=20)), max_size=3).map(
        tuple
    ),
    value=st.none() | st.binary(max_size=60) | st.text(max_size=40).map(str.encode),
)


@given(records)
def test_any_message_survives_a_line(record: Record) -> None:
    line = to_line(record)
    assert "\n" not in line
    assert from_line(line, "here") == record


def test_text_stays_readable() -> None:
    record = Record(1, "cities", b"user", (("ce_id", b"1"),), '{"name":"Zürich"}'.encode())
    assert '"value":"{\\"name\\":\\"Zürich\\"}"' in to_line(record)


@pytest.mark.integration
def test_a_file_gives_back_what_was_written(tmp_path: Path, small: list[Record]) -> None:
    path = tmp_path / "events.jsonl"
    write(path, small)
    assert list(read(path)) == small


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"phase": 1}', '{"phase":1,"topic":"a","key":7,"headers":[],"value":null}']
)
def test_a_broken_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(to_line(Record(1, "quests", None, (), None)) + "\n" + line + "\n")
    with pytest.raises(UsageError, match=r"events\.jsonl:2: no record"):
        list(read(path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent\.jsonl: No such file"):
        list(read(tmp_path / "absent.jsonl"))
