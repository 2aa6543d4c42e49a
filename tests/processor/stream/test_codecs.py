"""A worker that could not read a codec says so before it reads anything."""

import pytest
from aiokafka import codec

from ops.errors import UsageError
from processor.stream import codecs


def test_every_codec_of_kafka_is_there() -> None:
    codecs.check()


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
