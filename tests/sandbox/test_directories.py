"""Data of the sandbox is named, kept or thrown away, as asked, and never somebody else's."""

from pathlib import Path

import pytest

from ops.errors import UsageError
from sandbox.directories import data_directory


@pytest.fixture(autouse=True)
def _own_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """These tests look at whole directories; the session's own parts lie elsewhere."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def test_a_nameless_directory_is_thrown_away_with_what_is_in_it() -> None:
    with data_directory("part", None, keep=False) as path:
        (path / "data").mkdir()
        (path / "data" / "rows").write_text("1")
    assert not path.exists()
    assert [left.name for left in path.parent.iterdir()] == ["sweep.lock"]


def test_a_nameless_directory_is_thrown_away_after_a_failure_too() -> None:
    with pytest.raises(ZeroDivisionError), data_directory("part", None, keep=False) as path:
        raise ZeroDivisionError
    assert not path.exists()


def test_a_kept_directory_stays_when_others_are_swept() -> None:
    with data_directory("part", None, keep=True) as kept:
        (kept / "rows").write_text("1")
    with data_directory("part", None, keep=False):
        assert (kept / "rows").read_text() == "1"


def test_a_directory_in_use_is_not_swept_by_another_start() -> None:
    with (
        data_directory("part", None, keep=False) as first,
        data_directory("part", None, keep=False) as second,
    ):
        assert first.is_dir()
        assert second.is_dir()
        assert first != second


def test_a_named_directory_is_made_and_thrown_away(tmp_path: Path) -> None:
    with data_directory("part", tmp_path / "deep" / "named", keep=False) as path:
        assert path == tmp_path / "deep" / "named"
        (path / "rows").write_text("1")
    assert not path.exists()


def test_a_named_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UsageError, match="file/part cannot be made: Not a directory"),
        data_directory("part", tmp_path / "file" / "part", keep=True),
    ):
        pass
