"""A record that is too large is known by how it begins, its length and its hash."""

import tracemalloc
from dataclasses import replace
from hashlib import sha256

import pytest

from processor.events.chunks import ChunkBounds, PlainRecord, cut
from processor.events.records import (
    HEAD_BYTES,
    HEADER_BYTES,
    LargeRecord,
    bounded,
    memory_of,
    size_of,
)
from store.fingerprints import fingerprint

RECORD = PlainRecord(7, b"v" * 9_000, b"k" * 5_000, (("h", b"x" * 6_000), ("i", b"y")), 1_000)
SIZE = 9_000 + 5_000 + 6_001 + 2 + 2 * HEADER_BYTES


def test_a_record_within_the_bound_stays_as_it_is() -> None:
    assert size_of(RECORD) == SIZE
    assert bounded(RECORD, SIZE) is RECORD


def test_of_a_larger_one_the_beginning_is_kept_and_the_whole_is_known() -> None:
    found = bounded(RECORD, SIZE - 1)
    assert found == LargeRecord(
        offset=7,
        timestamp=1_000,
        key=b"k" * HEAD_BYTES,
        value=b"v" * HEAD_BYTES,
        headers=[("h", b"x" * (HEAD_BYTES - HEADER_BYTES - 1))],
        size=SIZE,
        size_max=SIZE - 1,
        whole=fingerprint(RECORD.key, RECORD.value, RECORD.headers),
    )
    assert isinstance(found, LargeRecord)
    assert found.whole.value_sha256 == sha256(b"v" * 9_000).digest()
    assert bounded(found, 1) is found


def test_what_it_has_not_stays_nothing() -> None:
    found = bounded(PlainRecord(0, None, b"k" * 20, (("h", None),)), 5)
    assert isinstance(found, LargeRecord)
    assert (found.value, found.key, found.headers) == (None, b"k" * 20, [("h", None)])


def test_one_of_very_many_headers_is_large_and_few_of_them_are_kept() -> None:
    """Half a million took a second, and a row of megabytes, though they are empty."""
    found = bounded(PlainRecord(0, b"{}", None, [("", None)] * 40_000), 1024 * 1024)
    assert isinstance(found, LargeRecord)
    assert 0 < len(found.headers) <= HEAD_BYTES // HEADER_BYTES


@pytest.mark.parametrize(
    ("records_max", "bytes_max", "expected"),
    [
        (3, 10**9, [[0, 1, 2], [3, 4, 5], [6]]),
        (9, 2 * memory_of(PlainRecord(0, b"v" * 1_000)), [[0, 1], [2, 3], [4, 5], [6]]),
        (9, 1, [[0], [1], [2], [3], [4], [5], [6]]),
    ],
)
def test_records_are_cut_by_number_and_by_bytes(
    records_max: int, bytes_max: int, expected: list[list[int]]
) -> None:
    records = [PlainRecord(offset, b"v" * 1_000) for offset in range(7)]
    found = list(cut(records, ChunkBounds(records_max, bytes_max, 10**9)))
    assert [[record.offset for record in part] for part, _ in found] == expected
    assert [memory for _, memory in found] == [
        sum(memory_of(record) for record in part) for part, _ in found
    ]


def test_a_chunk_holds_no_bytes_of_a_record_that_is_too_large() -> None:
    records = [replace(RECORD, offset=offset, value=b"v" * 100_000) for offset in range(50)]
    ((part, memory),) = cut(records, ChunkBounds(100, 10**6, 50_000))
    assert len(part) == 50
    assert memory < 50 * 4 * HEAD_BYTES


def test_headers_of_nothing_are_something() -> None:
    """A megabyte on the wire may hold half a million of them: thirty megabytes in memory."""
    record = PlainRecord(0, None, headers=[("", None)] * 100_000)
    assert size_of(record) == 100_000 * HEADER_BYTES
    assert isinstance(bounded(record, 100_000), LargeRecord)
    tracemalloc.start()
    try:
        held = [("", bytes(1)) for _ in range(10_000)]
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert memory_of(PlainRecord(0, None, headers=held)) >= taken
