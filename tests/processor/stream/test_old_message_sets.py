"""A message set from before Kafka 0.11 is read as aiokafka reads it, and never held as a whole."""

import struct
from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode
from aiokafka.errors import CorruptRecordException, UnsupportedCodecError
from aiokafka.record.legacy_records import LegacyRecordBatch, _LegacyRecordBatchBuilderPy
from hypothesis import given
from hypothesis import strategies as st

from processor.events.chunks import PlainRecord
from processor.events.records import bounded
from processor.stream import expansion, old_message_sets
from processor.stream.expansion import BatchTooLarge
from processor.stream.lenient_headers import LenientRecords
from processor.stream.room import STEP_BYTES, Unfinished

Given = Sequence[tuple[bytes | None, bytes | None]]

PACK = {"gzip": (1, gzip_encode), "snappy": (2, snappy_encode), "lz4": (3, lz4_encode)}
KINDS = [(0, "gzip"), (0, "snappy"), (1, "gzip"), (1, "snappy"), (1, "lz4")]
kinds = pytest.mark.parametrize(
    ("magic", "codec"), KINDS, ids=[f"v{magic} {codec}" for magic, codec in KINDS]
)
TIME = 1_500_000_000_000
ATTRIBUTES = 17
LOG_APPEND_TIME = 0x08


def a_set(
    magic: int, codec: str, records: Given, *, offset: int | None = None, attributes: int = 0
) -> bytearray:
    """A set as a producer sends it, and as its broker writes its offset and time into it."""
    inner = bytearray()
    for place, (key, value) in enumerate(records):
        builder = _LegacyRecordBatchBuilderPy(magic, 0, 1 << 40)
        builder.append(place, TIME + place, key, value)
        inner += builder.build()
    number, pack = PACK[codec]
    builder = _LegacyRecordBatchBuilderPy(magic, 0, 1 << 40)
    builder.append(
        len(records) - 1 if offset is None else offset, TIME + 99, None, pack(bytes(inner))
    )
    found = bytearray(builder.build())
    found[ATTRIBUTES] |= number | attributes
    return found


def read(message: bytes | bytearray, record_bytes_max: int = 1 << 20) -> list[Any]:
    found = old_message_sets.records(memoryview(bytes(message)), record_bytes_max)
    return [each for each in found if not isinstance(each, Unfinished)]


def as_rows(records: Sequence[Any]) -> list[tuple[Any, ...]]:
    return [(each.offset, each.key, each.value) for each in records]


@kinds
@given(
    records=st.lists(st.tuples(*[st.none() | st.binary(max_size=300)] * 2), min_size=1, max_size=5),
    # A set whose own offset was not written yet has those of its messages.
    last=st.just(0) | st.integers(0, 2**40),
)
def test_they_are_the_ones_that_aiokafka_reads(
    magic: int, codec: str, records: Given, last: int
) -> None:
    message = a_set(magic, codec, records, offset=last)
    found, theirs = read(message), list(LegacyRecordBatch(bytes(message), magic))
    assert as_rows(found) == as_rows(theirs)
    assert [each.timestamp for each in found] == [
        -1 if magic == 0 else each.timestamp for each in theirs
    ]


def test_where_the_broker_gives_the_time_it_is_the_sets() -> None:
    found = read(a_set(1, "gzip", [(None, b"a"), (None, b"b")], attributes=LOG_APPEND_TIME))
    assert [(each.timestamp, each.timestamp_type) for each in found] == [(TIME + 99, 1)] * 2


@kinds
def test_a_consumer_reads_a_compressed_set_so(magic: int, codec: str) -> None:
    batch = LenientRecords(bytes(a_set(magic, codec, [(b"k", b"v" * 50)] * 3))).next_batch()
    found = iter(batch)
    assert found.gi_code is old_message_sets.records.__code__  # and not as a whole
    assert [each.value for each in found if not isinstance(each, Unfinished)] == [b"v" * 50] * 3


@kinds
def test_of_a_large_message_only_what_identifies_it_is_kept(magic: int, codec: str) -> None:
    records = [(None, b"small"), (b"key", b"0123456789" * 1_000_000), (None, b"small")]
    found = read(a_set(magic, codec, records))
    time = -1 if magic == 0 else TIME + 1
    assert found[1] == bounded(PlainRecord(1, records[1][1], b"key", (), time), 1 << 20)
    assert [found[0].value, found[2].value] == [b"small", b"small"]


@kinds
def test_a_set_without_end_is_given_up(
    magic: int, codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expansion, "BATCH_BYTES_MAX", 3_000_000)
    with pytest.raises(BatchTooLarge):
        read(a_set(magic, codec, [(None, bytes(1_000_000))] * 4))


def test_between_two_steps_of_a_set_whoever_reads_may_stop() -> None:
    """Once to find where its offsets begin, and once for the records."""
    message = bytes(a_set(1, "gzip", [(None, bytes(5 * STEP_BYTES))]))
    found = list(old_message_sets.records(memoryview(message), 1 << 20))
    steps = [each.size for each in found if isinstance(each, Unfinished)]
    assert len(steps) >= 8
    assert max(steps) <= 2 * STEP_BYTES
    many = bytes(a_set(1, "gzip", [(None, None)] * 5_000))
    before = next(iter(old_message_sets.records(memoryview(many), 1 << 20)))
    assert isinstance(before, Unfinished)


def changed(message: bytearray, at: int, content: bytes) -> bytearray:
    """A set with other bytes in what was compressed (gzip, magic 1)."""
    head = 26 + 4 + 4
    (length,) = struct.unpack_from(">i", message, 30)
    inner = bytearray(expanded(bytes(message[head : head + length])))
    inner[at : at + len(content)] = content
    packed = gzip_encode(bytes(inner))
    found = bytearray(message[:head] + packed)
    struct.pack_into(">i", found, 30, len(packed))
    return found


def expanded(packed: bytes) -> bytes:
    return b"".join(expansion.pieces_of(1, memoryview(packed)))


@pytest.mark.parametrize(
    ("at", "content", "words"),
    [
        pytest.param(8, struct.pack(">i", 2**31 - 1), "end", id="a length beyond the end"),
        pytest.param(
            8, struct.pack(">i", 3), "longer|no message", id="a length of less than a head"
        ),
        pytest.param(8, struct.pack(">i", -1), "longer|no message", id="a negative length"),
        pytest.param(16, b"\0", "no message", id="another format"),
        pytest.param(17, b"\1", "within a message set", id="compressed twice"),
        pytest.param(26, struct.pack(">i", 2**31 - 1), "longer", id="a key beyond its message"),
        pytest.param(30, struct.pack(">i", 1), "end where", id="a value that is shorter"),
    ],
)
def test_what_does_not_hold_what_it_says_is_corrupt(at: int, content: bytes, words: str) -> None:
    message = a_set(1, "gzip", [(None, b"value" * 10)])
    with pytest.raises(CorruptRecordException, match=words):
        read(changed(message, at, content))


@kinds
def test_what_is_cut_off_is_corrupt(magic: int, codec: str) -> None:
    message = a_set(magic, codec, [(None, b"value" * 10)])
    for size in range(18, len(message)):
        with pytest.raises((CorruptRecordException, struct.error)):
            read(message[:size])


@kinds
def test_a_set_of_nothing_is_not_passed_over(magic: int, codec: str) -> None:
    with pytest.raises(CorruptRecordException, match="without a message"):
        read(a_set(magic, codec, [], offset=7))


def test_lz4_of_before_kafka_0_10_is_said_to_be_unreadable() -> None:
    with pytest.raises(UnsupportedCodecError, match=r"0\.10"):
        read(a_set(0, "lz4", [(None, b"v")]))
