"""A header's name may be any bytes: its record is read, and so are those beside it."""

import inspect

import pytest
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.record.memory_records import MemoryRecords

from processor.stream.lenient_headers import LenientRecords, install
from tests.builders.raw_names import RAW_NAME, RawName

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


def a_batch(*names: str, codec: int = 0) -> bytes:
    """A batch of a record for each header name, as a producer would send it."""
    builder = _DefaultRecordBatchBuilderPy(2, codec, 0, -1, -1, -1, 100_000)
    for offset, name in enumerate(names):
        builder.append(offset, 1_780_000_000_000, b"key", b"value" * 40, [(name, b"v")])
    return bytes(builder.build())


def read(data: bytes) -> list[tuple[int, bytes, list[tuple[str, bytes | None]]]]:
    records, found = LenientRecords(data), []
    while records.has_next():
        batch = records.next_batch()
        assert batch.validate_crc()
        found += [(record.offset, record.value, record.headers) for record in batch]
    return found


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_a_name_that_is_not_utf8_is_kept_as_bytes(codec: int) -> None:
    names = ["good", RawName("bad"), "Grüße", RawName("bad"), "last"]
    found = read(a_batch(*names, codec=codec))
    escaped = RAW_NAME.decode("utf-8", "surrogateescape")
    assert [offset for offset, _, _ in found] == [0, 1, 2, 3, 4]
    assert {value for _, value, _ in found} == {b"value" * 40}
    assert [headers[0][0] for _, _, headers in found] == [
        "good",
        escaped,
        "Grüße",
        escaped,
        "last",
    ]


def test_aiokafka_by_itself_stops_there() -> None:
    """Else this module could go."""
    batch = MemoryRecords(a_batch("good", RawName("bad"))).next_batch()
    with pytest.raises((UnicodeDecodeError, CorruptRecordException)):
        list(batch)


def test_the_batches_around_it_are_read() -> None:
    data = a_batch("one") + a_batch(RawName("two")) + a_batch("three")
    assert [headers[0][0] for _, _, headers in read(data)][::2] == ["one", "three"]


def test_what_is_corrupt_stays_corrupt() -> None:
    broken = bytearray(a_batch("one", "two"))
    broken[70] ^= 0x7F
    records = LenientRecords(bytes(broken))
    with pytest.raises(CorruptRecordException):
        list(records.next_batch())


def test_tripwire_the_fetcher_takes_its_records_by_that_name() -> None:
    """aiokafka 0.14 has no seam; a release that changes this needs another one."""
    install()
    assert fetcher.MemoryRecords is LenientRecords
    assert "MemoryRecords(part_data[-1])" in inspect.getsource(fetcher.Fetcher)
