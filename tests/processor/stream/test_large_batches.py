"""Records of a batch that is not expanded at once are the ones that aiokafka would read."""

import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch, _DefaultRecordBatchBuilderPy
from aiokafka.record.util import calc_crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from processor.events.chunks import PlainRecord
from processor.events.records import LargeRecord, bounded
from processor.stream import large_batches
from processor.stream.room import STEP_BYTES, Unfinished
from tests.builders.raw_names import RAW_NAME, RawName

PARTS = st.none() | st.binary(max_size=300)


def records_of(names: st.SearchStrategy[str]) -> "st.SearchStrategy[Given]":
    headers = st.lists(st.tuples(names, PARTS), max_size=3)
    return st.lists(st.tuples(PARTS, PARTS, headers), min_size=1, max_size=6)


Given = list[tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]]


def a_batch(records: Given, codec: int = 1) -> bytes:
    """A batch that is compressed also where that makes it no smaller."""
    builder = _DefaultRecordBatchBuilderPy(2, 0, 0, -1, -1, -1, 1 << 40)
    for offset, (key, value, headers) in enumerate(records):
        builder.append(offset, 1_780_000_000_000 - offset, key, value, headers)
    batch = bytearray(builder.build())
    pack = {0: bytes, 1: gzip_encode, 2: snappy_encode, 3: lz4_encode, 4: zstd_encode}[codec]
    packed: bytes = pack(bytes(batch[61:]))
    batch[61:] = packed
    batch[8:12] = (len(batch) - 12).to_bytes(4, "big")
    batch[22] = codec
    batch[17:21] = calc_crc32c(bytes(batch[21:])).to_bytes(4, "big")
    return bytes(batch)


def read(batch: bytes, record_bytes_max: int = 1 << 20) -> Iterator[Any]:
    found = large_batches.records(memoryview(batch), record_bytes_max)
    return (each for each in found if not isinstance(each, Unfinished))


@given(records=records_of(st.text(max_size=3)), codec=st.sampled_from([0, 1, 2, 3, 4]))
def test_they_are_the_ones_that_aiokafka_reads(records: Given, codec: int) -> None:
    batch = a_batch(records, codec)
    assert [
        (each.offset, each.timestamp, each.timestamp_type, each.key, each.value, each.headers)
        for each in read(batch)
    ] == [
        (each.offset, each.timestamp, each.timestamp_type, each.key, each.value, each.headers)
        for each in DefaultRecordBatch(batch)
    ]


@given(records=records_of(st.text("ab", max_size=3)), size_max=st.integers(60, 200))
def test_of_one_that_is_too_large_the_same_is_kept_as_of_any(records: Given, size_max: int) -> None:
    found = [bounded(each, size_max) for each in read(a_batch(records), size_max)]
    expected = [
        bounded(PlainRecord(offset, value, key, headers, 1_780_000_000_000 - offset), size_max)
        for offset, (key, value, headers) in enumerate(records)
    ]
    for one, other in zip(found, expected, strict=True):
        assert isinstance(one, LargeRecord) is isinstance(other, LargeRecord)
        assert (one.offset, one.timestamp, one.key, one.value) == (
            other.offset,
            other.timestamp,
            other.key,
            other.value,
        )
        assert list(one.headers) == list(other.headers)
        assert getattr(one, "whole", None) == getattr(other, "whole", None)
        assert getattr(one, "size", None) == getattr(other, "size", None)


def test_a_record_of_many_megabytes_is_known_by_its_hash() -> None:
    value = b"0123456789abcdef" * (1 << 20)
    (found,) = read(a_batch([(b"k", value, [("h", None)])]), 1 << 20)
    assert found == bounded(PlainRecord(0, value, b"k", [("h", None)], 1_780_000_000_000), 1 << 20)


def test_of_one_of_very_many_headers_few_are_kept() -> None:
    headers: list[tuple[str, bytes | None]] = [("", None)] * 300_000
    batch = a_batch([(None, b"v", headers)])
    tracemalloc.start()
    (found,) = read(batch, 100_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == bounded(PlainRecord(0, b"v", None, headers, 1_780_000_000_000), 100_000)
    assert peak < 5_000_000  # all of them: 19 MB


def test_a_part_that_is_longer_than_its_record_is_not_read() -> None:
    """It may say that it is as long as all that follows, which may be gigabytes."""
    batch = bytearray(a_batch([(None, b"v" * 300, []), (None, b"w" * 300, [])], 0))
    records = batch[61:]
    assert records[5] == 1  # no key
    records[5:6] = b"\xfe\x07"  # zigzag of 511: more than the record, less than the batch
    with pytest.raises(CorruptRecordException, match="longer than"):
        list(read(bytes(batch[:61] + records)))


def test_a_header_of_any_bytes_is_read() -> None:
    (found,) = read(a_batch([(None, b"v", [(RawName("x"), b"1")])]))
    assert found.headers == [(RAW_NAME.decode("utf-8", "surrogateescape"), b"1")]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_batch_that_does_not_hold_what_it_says_is_corrupt(count: int) -> None:
    batch = bytearray(a_batch([(None, b"v", []), (None, b"w", [])]))
    batch[57:61] = count.to_bytes(4, "big")
    with pytest.raises(CorruptRecordException):
        list(read(bytes(batch)))


def steps(batch: bytes, record_bytes_max: int = 1 << 20) -> list[Any]:
    """The sizes that were read between the records, and the records' types."""
    found = large_batches.records(memoryview(batch), record_bytes_max)
    return [each.size if isinstance(each, Unfinished) else type(each).__name__ for each in found]


@pytest.mark.parametrize("codec", [0, 1, 2, 3, 4])
def test_between_two_steps_of_a_large_record_whoever_reads_may_stop(codec: int) -> None:
    value = b"0123456789abcdef" * (5 * STEP_BYTES // 16)
    found = steps(a_batch([(b"k", value, [])], codec))
    assert found[-1] == "LargeRecord"
    assert len(found) >= 5
    assert max(found[:-1]) <= 2 * STEP_BYTES


@pytest.mark.parametrize("size_max", [1 << 20, 1 << 10], ids=["read", "too large"])
def test_a_record_of_very_many_headers_is_read_in_steps_too(size_max: int) -> None:
    found = steps(a_batch([(None, b"v", [("", None)] * 10_000)]), size_max)
    assert len(found) > 5
    assert found[-1] == ("StreamedRecord" if size_max == 1 << 20 else "LargeRecord")


def test_it_is_known_beforehand_whether_a_batch_holds_a_large_record() -> None:
    small: Given = [(None, b"v" * 100, [])]
    large: Given = [(None, b"v" * 3_000, [])]
    assert large_batches.has_large(a_batch([*small, *large, *small], 0), 1_000)
    assert not large_batches.has_large(a_batch(small * 300, 0), 1_000)
    assert not large_batches.has_large(a_batch([*small, *large], 0), 1 << 20)


@given(records=records_of(st.text(max_size=3)), cut=st.integers(1, 300))
def test_what_is_cut_off_is_left_to_whoever_reads_it(records: Given, cut: int) -> None:
    batch = a_batch(records, 0)
    assert large_batches.has_large(batch[: max(61, len(batch) - cut)], 20) in (False, True)


@given(size=st.integers(0, 5 * STEP_BYTES) | st.sampled_from([STEP_BYTES, 2 * STEP_BYTES]))
@settings(max_examples=10)
def test_a_checksum_is_compared_in_steps(size: int) -> None:
    batch = bytearray(a_batch([(None, b"v" * size, [])], 0))
    passed = list(large_batches.checked(memoryview(batch)))
    assert len(passed) == max(0, (len(batch) - 21) // STEP_BYTES - 1)
    assert {each.size for each in passed} <= {STEP_BYTES}
    batch[-1] ^= 1
    with pytest.raises(CorruptRecordException):
        list(large_batches.checked(memoryview(batch)))


def test_a_time_beyond_64_bits_is_what_other_clients_have() -> None:
    """They add the delta to the first time without looking: what is too large comes out negative."""
    batch = bytearray(a_batch([(None, b"v" * 300, [])], 0))
    batch[27:35] = (2**63 - 1).to_bytes(8, "big", signed=True)
    records = bytearray(batch[61:])
    length = 2  # bytes of the record's own length
    assert records[length + 1] == 0  # the delta of its time
    records[length + 1] = 20  # zigzag of 10
    (found,) = read(bytes(batch[:61] + records))
    assert found.timestamp == -(2**63) + 9
