"""A batch that cannot be decoded ends its partition's records, and says where and why."""

from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import READ_COMMITTED
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.record.legacy_records import _LegacyRecordBatchBuilderPy
from aiokafka.record.util import calc_crc32c

from processor.stream import expansion
from processor.stream.guarded_records import GuardedRecords, WholeRecords, install
from processor.stream.room import Unfinished
from store.values.stream import PausedPartition, PauseReason

QUESTS = TopicPartition("laurel.quests", 3)
ATTRIBUTES, CRC, VALUE = 22, 17, 80


def a_batch(first: int, number: int, codec: int = 0) -> bytearray:
    builder = _DefaultRecordBatchBuilderPy(2, codec, 0, -1, -1, -1, 100_000)
    for offset in range(number):
        builder.append(offset, 1_780_000_000_000, b"key", b"value" * 40, [])
    found = bytearray(builder.build())
    found[:8] = first.to_bytes(8, "big")
    return found


def read(data: bytes, offset: int, *, check_crcs: bool = True) -> list[Any]:
    records = WholeRecords(data)
    assert records.has_next()
    found = GuardedRecords(QUESTS, records, [], offset, None, None, check_crcs, READ_COMMITTED)
    return [each for each in found if not isinstance(each, Unfinished)]


def test_good_batches_are_read_as_ever() -> None:
    found = read(bytes(a_batch(4, 2) + a_batch(6, 3)), 5)
    assert [record.offset for record in found] == [5, 6, 7, 8]


@pytest.mark.parametrize(
    ("place", "check_crcs", "words"),
    [
        pytest.param(CRC, True, "CRC", id="checksum"),
        pytest.param(VALUE, True, "CRC", id="a flipped bit in a value"),
        pytest.param(ATTRIBUTES, False, "codec", id="a codec that nobody knows"),
    ],
)
def test_a_batch_that_cannot_be_decoded_is_named_and_what_was_before_it_is_read(
    place: int, check_crcs: bool, words: str
) -> None:
    broken = a_batch(6, 3)
    broken[place] ^= 0x07
    *before, pause = read(bytes(a_batch(4, 2) + broken + a_batch(9, 1)), 4, check_crcs=check_crcs)
    assert [record.offset for record in before] == [4, 5]
    assert isinstance(pause, PausedPartition)
    assert (pause.key, pause.offset, pause.skip_to) == (tuple(QUESTS), 6, 9)
    assert pause.reason is PauseReason.UNDECODABLE_BATCH
    assert words in pause.detail
    assert "laurel partitions skip laurel.quests 3 --to 9" in pause.way_out


@pytest.mark.parametrize("codec", [1, 3, 4])
def test_a_batch_that_does_not_end_is_its_partitions_trouble(
    codec: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expansion, "BATCH_BYTES_MAX", expansion.WHOLE_BYTES_MAX)
    builder = _DefaultRecordBatchBuilderPy(2, codec, 0, -1, -1, -1, 1 << 30)
    for offset in range(3):
        builder.append(offset, 1_780_000_000_000, None, bytes(expansion.WHOLE_BYTES_MAX // 2), [])
    *before, pause = read(bytes(builder.build()), 0)
    assert [record.offset for record in before] == [0]
    assert isinstance(pause, PausedPartition)
    assert (pause.reason, pause.offset, pause.skip_to) == (PauseReason.UNDECODABLE_BATCH, 1, 3)
    assert "BatchTooLarge" in pause.detail


def test_a_batch_that_comes_cut_off_is_not_passed_over() -> None:
    (pause,) = read(bytes(a_batch(4, 2)[:-1]), 4)
    assert isinstance(pause, PausedPartition)
    assert (pause.offset, pause.skip_to) == (4, None)


def test_it_is_what_a_consumer_reads_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetcher, "MemoryRecords", None)
    monkeypatch.setattr(fetcher, "PartitionRecords", None)
    install()
    assert (fetcher.MemoryRecords, fetcher.PartitionRecords) == (WholeRecords, GuardedRecords)


def a_control_batch(offset: int, *, markers: int, abort: bool = False) -> bytes:
    """What ends a transaction of producer 7; of no records where a log's cleaner took them out."""
    builder = _DefaultRecordBatchBuilderPy(2, 0, 1, 7, 0, -1, 100_000)
    if markers:
        # Version, and what became of the transaction (KIP-98).
        builder.append(0, 1_780_000_000_000, b"\0\0\0\0" if abort else b"\0\0\0\1", b"\0" * 6, [])
    found = bytearray(builder.build())
    found[:8] = offset.to_bytes(8, "big")
    found[ATTRIBUTES] |= 0x20
    found[CRC : CRC + 4] = calc_crc32c(bytes(found[CRC + 4 :])).to_bytes(4, "big")
    return bytes(found)


def of_transaction(offset: int) -> bytes:
    builder = _DefaultRecordBatchBuilderPy(2, 0, 1, 7, 0, 0, 100_000)
    builder.append(0, 1_780_000_000_000, b"key", b"value", [])
    found = bytearray(builder.build())
    found[:8] = offset.to_bytes(8, "big")
    return bytes(found)


def test_a_marker_that_a_logs_cleaner_took_out_stops_nobody() -> None:
    """aiokafka takes a control batch of no records for an error; the Java client does not."""
    data = of_transaction(0) + a_control_batch(1, markers=0) + bytes(a_batch(2, 1))
    found = read(data, 0)
    assert [getattr(each, "offset", each) for each in found] == [0, 2]
    assert not any(isinstance(each, PausedPartition) for each in found)


@pytest.mark.parametrize("aborted", [None, [(7, 0)]], ids=["committed", "aborted"])
def test_what_a_transaction_aborted_is_not_seen(aborted: list[tuple[int, int]] | None) -> None:
    data = (
        of_transaction(0)
        + a_control_batch(1, markers=1, abort=aborted is not None)
        + of_transaction(2)
        + a_control_batch(3, markers=1)
    )
    records = GuardedRecords(
        QUESTS, WholeRecords(data), aborted, 0, None, None, True, READ_COMMITTED
    )
    assert [each.offset for each in records] == ([2] if aborted else [0, 2])
    assert records.next_fetch_offset == 4


@pytest.mark.parametrize("magic", [0, 1])
def test_a_message_of_an_old_broker_is_read_and_has_a_time(magic: int) -> None:
    """Before Kafka 0.10 it had none, and everything behind the fetch reckons with one."""
    builder = _LegacyRecordBatchBuilderPy(magic, 0, 100_000)
    builder.append(0, 1_500_000_000_000, b"key", b"value")
    (found,) = read(bytes(builder.build()), 0)
    assert (found.offset, found.value) == (0, b"value")
    assert found.timestamp == (-1 if magic == 0 else 1_500_000_000_000)
