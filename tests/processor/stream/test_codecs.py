"""A worker that could not read a codec says so before it reads anything."""

import pytest
from aiokafka import codec

from ops.errors import UsageError
from processor.stream import codecs, expansion
from processor.stream.lenient_headers import LenientRecords
from processor.stream.room import Unfinished
from tests.processor.stream.test_large_batches import a_batch, read
from tests.processor.stream.test_lenient_headers import CODECS


@pytest.mark.parametrize("name", CODECS)
def test_what_any_codec_of_kafka_compressed_is_read_where_the_check_passes(name: str) -> None:
    """Under the bound of what is expanded at once, and over it."""
    codecs.check()
    small, large = b"value" * 50, bytes(expansion.WHOLE_BYTES_MAX + 1)
    for value in (small, large):
        (record,) = read(a_batch([(b"key", value, [])], CODECS[name]), 1 << 30)
        assert (record.key, record.value) == (b"key", value)
        batch = LenientRecords(a_batch([(b"key", value, [])], CODECS[name])).next_batch()
        (same,) = (each for each in batch if not isinstance(each, Unfinished))
        assert (same.key, same.value) == (b"key", value)


def test_the_check_knows_all_of_them() -> None:
    """A codec that is not checked is found missing by the first batch that needs it."""
    assert {"none", *codecs._LIBRARIES} == set(CODECS)


@pytest.mark.parametrize(
    ("name", "library"),
    [("gzip", "zlib"), ("snappy", "cramjam"), ("lz4", "cramjam"), ("zstd", "cramjam")],
)
def test_a_missing_library_is_named(
    name: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec, f"has_{name}", lambda: False)
    with pytest.raises(UsageError, match=rf"by {name} cannot be read: Python has no {library}\."):
        codecs.check()
