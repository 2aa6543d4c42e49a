"""Lines cut in pieces and split by their readers are the records that lines.py reads."""

import pickle
from collections.abc import Iterator
from io import BytesIO
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.events.records import LargeRecord, Record
from processor.history import lines
from processor.history.inputs import line_pieces
from processor.history.inputs.line_pieces import cut, records_of
from processor.history.pieces import Piece

PARTS = st.sampled_from([b"a", b"{}", b"\r", b" ", b"\n", b"\r\n", b"xyz" * 9, b"\xff", b"\x00"])
CONTENTS = st.lists(PARTS, max_size=60).map(b"".join)


def blocks(content: bytes, size: int) -> Iterator[bytes]:
    return (content[at : at + size] for at in range(0, len(content), size))


def shown(record: Record) -> tuple[object, ...]:
    """All of a record but its timestamp."""
    whole = record.whole if isinstance(record, LargeRecord) else None
    size = record.size if isinstance(record, LargeRecord) else None
    return record.offset, record.value, record.key, tuple(record.headers), whole, size


def pieces(content: bytes, block_bytes: int, held: int, record_bytes_max: int) -> list[Piece]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(line_pieces, "PIECE_BYTES", held)
        found = list(cut(blocks(content, block_bytes), 7, record_bytes_max))
    travelled: list[Piece] = pickle.loads(pickle.dumps(found))
    return travelled


@given(CONTENTS, st.integers(1, 50), st.integers(1, 60), st.integers(1, 40))
def test_the_records_are_those_of_a_file_read_line_by_line(
    content: bytes, block_bytes: int, held: int, record_bytes_max: int
) -> None:
    travelled = pickle.loads(pickle.dumps(list(records_of(Piece(0, 0, content), 9))))
    assert travelled == list(records_of(Piece(0, 0, content), 9))
    expected = list(lines.records(BytesIO(content), record_bytes_max))
    found = [
        record
        for piece in pieces(content, block_bytes, held, record_bytes_max)
        for record in records_of(piece, record_bytes_max)
    ]
    assert [shown(each) for each in found] == [shown(each) for each in expected]
    numbered = content.split(b"\n")
    assert [each.timestamp for each in found] == [
        crc32(numbered[each.offset].rstrip(b"\r")) for each in found
    ]


@given(CONTENTS, st.integers(1, 50), st.integers(1, 60))
def test_a_piece_has_whole_lines_and_its_number(
    content: bytes, block_bytes: int, held: int
) -> None:
    found = pieces(content, block_bytes, held, 1 << 20)
    ended = content if not content or content.endswith(b"\n") else content + b"\n"
    assert b"".join(each.lines or b"" for each in found) == ended
    assert all(each.lines and each.lines.endswith(b"\n") for each in found)
    before = b""
    for each in found:
        assert (each.source, each.first) == (7, before.count(b"\n"))
        before += each.lines or b""


@pytest.mark.parametrize("line", [b"x" * (9 << 20), b" " * (9 << 20), b"\r" * (9 << 20)])
def test_no_more_of_a_line_is_held_than_is_read(line: bytes) -> None:
    found = list(cut(blocks(line + b"\n{}\n", 1 << 16), 0, 1 << 20))
    records = [record for piece in found for record in records_of(piece, 1 << 20)]
    assert [each.offset for each in records] == ([0, 1] if line.strip() else [1])
    assert all(len(each.lines or b"") < 1 << 17 for each in found)
