"""What comes in pieces is read as if it had come as one."""

import pytest
from aiokafka.errors import CorruptRecordException
from aiokafka.record.util import encode_varint
from hypothesis import given
from hypothesis import strategies as st

from processor.events.records import HEAD_BYTES
from processor.stream.byte_source import ByteSource

PARTS = st.lists(st.none() | st.binary(max_size=200), max_size=8)


def written(parts: list[bytes | None]) -> bytes:
    """Parts with their length before each, as Kafka writes them."""
    found = bytearray()
    for part in parts:
        encode_varint(-1 if part is None else len(part), found.append)
        found += part or b""
    return bytes(found)


def in_pieces(content: bytes, sizes: list[int]) -> ByteSource:
    pieces, at = [], 0
    for size in sizes:
        pieces.append(content[at : at + size])
        at += size
    return ByteSource([*pieces, content[at:]])


@given(parts=PARTS, sizes=st.lists(st.integers(0, 40), max_size=20))
def test_parts_are_read_however_the_pieces_are_cut(
    parts: list[bytes | None], sizes: list[int]
) -> None:
    content = written(parts)
    source = in_pieces(content, sizes)
    assert [source.part(len(content)) for _ in parts] == parts
    assert (source.position, source.is_at_end()) == (len(content), True)


@given(part=st.binary(max_size=3 * HEAD_BYTES), sizes=st.lists(st.integers(0, 5_000), max_size=5))
def test_of_a_long_part_only_how_it_begins_is_held(part: bytes, sizes: list[int]) -> None:
    source, seen, told = in_pieces(written([part]), sizes), bytearray(), list[int]()
    head = source.head(told.append, seen.extend)
    with pytest.raises(StopIteration) as ended:
        next(head)
    assert ended.value.value == (part[:HEAD_BYTES], len(part))
    assert (bytes(seen), told) == (part, [len(part)])


def test_a_part_ends_with_its_record() -> None:
    content = written([b"four"])
    assert ByteSource([content]).part(5) == b"four"
    with pytest.raises(CorruptRecordException, match="longer than"):
        ByteSource([content]).part(4)


def test_what_ends_too_early_is_corrupt() -> None:
    with pytest.raises(CorruptRecordException, match="end before"):
        ByteSource([b"abc", b""]).read(4)
    with pytest.raises(CorruptRecordException, match="too long"):
        ByteSource([b"\xff" * 11]).varint()
