"""A compressed batch is expanded at once where that is little, and in pieces where it is not."""

import struct

import pytest
from aiokafka.errors import CorruptRecordException, UnsupportedCodecError
from aiokafka.record.default_records import DefaultRecordBatch, _DefaultRecordBatchBuilderPy

from processor.stream import expansion
from processor.stream.expansion import BatchTooLarge, expanded, pieces
from tests.processor.stream.test_lenient_headers import CODECS

MEGABYTE = b"0123456789abcdef" * 65_536


def a_batch(codec: int, *values: bytes) -> memoryview:
    builder = _DefaultRecordBatchBuilderPy(2, codec, 0, -1, -1, -1, 1 << 40)
    for offset, value in enumerate(values):
        builder.append(
            offset, 1_780_000_000_000 + offset, b"key", value, [("h", b"x"), ("n", None)]
        )
    return memoryview(bytes(builder.build()))


PACKED = {name: codec for name, codec in CODECS.items() if name != "none"}
compressed = pytest.mark.parametrize("codec", PACKED.values(), ids=PACKED)


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_a_small_batch_is_the_same_without_its_compression(codec: int) -> None:
    batch = a_batch(codec, b"one" * 100, b"two" * 100)
    found = expanded(batch)
    assert found is not None
    read = [
        (each.offset, each.timestamp, each.key, each.value, each.headers)
        for each in DefaultRecordBatch(found)
    ]
    assert read == [
        (each.offset, each.timestamp, each.key, each.value, each.headers)
        for each in DefaultRecordBatch(batch)
    ]


@compressed
def test_a_large_batch_comes_in_pieces(codec: int) -> None:
    batch = a_batch(codec, *[MEGABYTE] * 17)
    assert expanded(batch) is None
    found = list(pieces(batch))
    assert sum(map(len, found)) > 17 * len(MEGABYTE)
    assert max(map(len, found)) <= 4 * 1024 * 1024
    assert b"".join(found).count(MEGABYTE) == 17


@compressed
def test_what_is_corrupt_is_said_to_be(codec: int) -> None:
    whole = bytes(a_batch(codec, MEGABYTE))
    for broken in (whole[:-20], whole[:61] + b"\xff" * 40 + whole[101:]):
        assert expanded(memoryview(broken)) is None
        with pytest.raises(CorruptRecordException):
            list(_records(memoryview(broken)))


def _records(batch: memoryview) -> list[object]:
    from processor.stream import large_batches

    return list(large_batches.records(batch, 1 << 20))


@compressed
def test_a_batch_without_end_is_given_up(codec: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expansion, "BATCH_BYTES_MAX", 3 * len(MEGABYTE))
    with pytest.raises(BatchTooLarge):
        list(pieces(a_batch(codec, *[MEGABYTE] * 4)))


def test_a_batch_of_several_members_of_gzip_is_read() -> None:
    import gzip

    batch = bytes(a_batch(1, b"value" * 50))
    records = gzip.decompress(batch[61:])
    members = gzip.compress(records[:30]) + gzip.compress(records[30:])
    packed = memoryview(batch[:61] + members)
    assert expanded(packed) is None
    assert b"".join(pieces(packed)) == records
    assert struct.unpack_from(">h", packed, 21) == (1,)


def test_members_of_gzip_without_end_are_given_up_and_read_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each was cut off the rest of the batch, by a copy of that: a megabyte took seconds."""
    import gzip

    header = bytes(a_batch(1, b"value" * 50))[:61]
    with pytest.raises(CorruptRecordException, match="members of nothing"):
        list(pieces(memoryview(header + gzip.compress(b"") * 50_000)))
    monkeypatch.setattr(expansion, "_EMPTY_MAX", 3)
    several = gzip.compress(b"") * 3 + gzip.compress(b"records") + gzip.compress(b"") * 3
    assert b"".join(pieces(memoryview(header + several))) == b"records"


def test_a_batch_of_a_codec_that_kafka_does_not_have_is_said_to_be() -> None:
    batch = bytearray(a_batch(0, MEGABYTE * 17))
    batch[22] |= 7
    with pytest.raises(UnsupportedCodecError):
        list(pieces(memoryview(batch)))
