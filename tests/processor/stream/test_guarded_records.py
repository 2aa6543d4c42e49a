"""A batch that cannot be decoded ends its partition's records, and says where and why."""

from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import READ_COMMITTED
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from processor.stream import expansion
from processor.stream.guarded_records import GuardedRecords, WholeRecords, install
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
    return list(GuardedRecords(QUESTS, records, [], offset, None, None, check_crcs, READ_COMMITTED))


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
