"""A line of any length is the record that it would be if somebody held it."""

from collections.abc import Sequence
from io import BytesIO
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.events.chunks import PlainRecord
from processor.events.records import Record, bounded
from processor.history import lines

PIECES = st.sampled_from([b"a", b"{}", b"\r", b" ", b"xyz" * 9, b"\xff"])
LINES = st.lists(st.lists(PIECES, max_size=12).map(b"".join), max_size=6)


def held(content: bytes, record_bytes_max: int) -> list[Record]:
    """The same by holding all of it."""
    found: list[Record] = []
    checksum = 0
    for offset, line in enumerate(content.split(b"\n")):
        value = line.rstrip(b"\r\n")
        if value.strip():
            checksum = crc32(value + b"\n", checksum)
            record = PlainRecord(offset, value, timestamp=checksum)
            found.append(bounded(record, record_bytes_max))
    return found


@pytest.mark.parametrize("part_bytes", [1, 3, 1 << 20])
@given(content=LINES.map(b"\n".join), record_bytes_max=st.integers(1, 40))
def test_every_line_is_the_record_that_it_would_be(
    part_bytes: int, content: bytes, record_bytes_max: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_PART_BYTES", part_bytes)
        found = list(lines.records(BytesIO(content), record_bytes_max))
    assert found == held(content, record_bytes_max)


class Reads(BytesIO):
    """A file that knows how much of it was asked for at once."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.sizes: list[int] = []

    def readline(self, size: int | None = -1, /) -> bytes:
        found = super().readline(size)
        self.sizes.append(len(found))
        return found


@pytest.mark.parametrize("line", [b"x" * (9 << 20), b" " * (9 << 20), b"\r" * (9 << 20)])
def test_no_more_of_a_line_is_held_than_a_part(line: bytes) -> None:
    file = Reads(line + b"\n{}\n")
    found: Sequence[Record] = list(lines.records(file, 1 << 20))
    assert [each.offset for each in found] == ([0, 1] if line.strip() else [1])
    assert max(file.sizes) <= (1 << 20) + 2
