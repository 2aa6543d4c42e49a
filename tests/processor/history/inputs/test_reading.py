"""Files and pipes, plain and packed, come as pieces whose bytes add up."""

import codecs
import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from ops.errors import UsageError
from processor.history.inputs.line_pieces import PIECE_BYTES
from processor.history.inputs.reading import inputs_of
from tests.builders.history_files import LINES, MANY, READ, a_fifo, read, zstd


def skipped(content: bytes) -> bytes:
    """A frame of zstd that readers pass over."""
    return b"\x50\x2a\x4d\x18" + len(content).to_bytes(4, "little") + content


@pytest.mark.parametrize("piped", [False, True], ids=["file", "pipe"])
@pytest.mark.parametrize("content", [LINES, codecs.BOM_UTF8 + LINES], ids=["", "byte order mark"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd], ids=["plain", "gzip", "zstd"])
def test_lines_are_read(
    tmp_path: Path, pack: Callable[[bytes], bytes], content: bytes, *, piped: bool
) -> None:
    path = tmp_path / "history"
    if piped:
        a_fifo(path, pack(content))
    else:
        path.write_bytes(pack(content))
    inputs = inputs_of([str(path)])
    assert inputs.size == (None if piped else len(pack(content)))
    assert read(inputs) == READ


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd], ids=["plain", "gzip", "zstd"])
@pytest.mark.parametrize(
    "content",
    [MANY, LINES, b"", b"\n", b"x" * (5 << 20), b" " * (5 << 20) + b"\n"],
    ids=["many", "few", "none", "blank", "a long line", "a long blank line"],
)
def test_the_bytes_of_the_pieces_add_up(
    tmp_path: Path, pack: Callable[[bytes], bytes], content: bytes
) -> None:
    names = [tmp_path / "a", tmp_path / "b"]
    for each in names:
        each.write_bytes(pack(content))
    inputs = inputs_of([str(each) for each in names])
    found = list(inputs.pieces(1 << 20))
    assert sum(each.read_bytes for each in found) == inputs.size == 2 * len(pack(content))
    assert [each.source for each in found] == sorted(each.source for each in found)
    if content.count(b"\n") > 1:
        assert all(len(each.lines or b"") < PIECE_BYTES * 5 // 4 for each in found)


def test_places_have_names(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINES)
    inputs = inputs_of([str(tmp_path / "a.jsonl")])
    assert inputs.names[0] == f"{tmp_path}/a.jsonl"
    assert inputs.place_name(0, 41) == f"{tmp_path}/a.jsonl:42"


def test_parquet_does_not_come_by_a_pipe(tmp_path: Path) -> None:
    fifo = a_fifo(tmp_path / "fifo", b"PAR1....")
    with pytest.raises(UsageError, match="fifo: this is Parquet, whose end is read first"):
        read(inputs_of([str(fifo)]))


def test_the_work_can_be_ended_between_pieces(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(MANY)
    inputs = inputs_of([str(tmp_path / "a")])
    assert len(list(inputs.pieces(1 << 20, lambda: True))) == 1
