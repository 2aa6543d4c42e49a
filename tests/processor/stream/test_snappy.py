"""Whatever snappy compressed comes out as it was, and what is broken is said to be."""

from collections.abc import Callable

import cramjam
import pytest
from aiokafka.codec import snappy_encode
from aiokafka.errors import CorruptRecordException
from hypothesis import given
from hypothesis import strategies as st

from processor.stream import snappy


def one_block(data: bytes) -> memoryview:
    """As librdkafka writes it."""
    return memoryview(bytes(cramjam.snappy.compress_raw(data)))


def many_blocks(data: bytes) -> memoryview:
    """As the Java client writes it."""
    return memoryview(bytes(snappy_encode(data)))


DATA = st.lists(
    st.binary(max_size=300)
    | st.builds(bytes.__mul__, st.binary(max_size=9), st.integers(0, 90_000)),
    max_size=9,
).map(b"".join)
FORMS = pytest.mark.parametrize("form", [one_block, many_blocks])


@FORMS
@pytest.mark.parametrize("block_bytes_max", [0, 1 << 20], ids=["here", "by cramjam"])
@given(data=DATA)
def test_what_was_compressed_comes_out(
    form: Callable[[bytes], memoryview], block_bytes_max: int, data: bytes
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snappy, "_BLOCK_BYTES_MAX", block_bytes_max)
        assert b"".join(snappy.pieces(form(data))) == data
    assert snappy.at_once(form(data), len(data)) == data
    if data:
        assert snappy.at_once(form(data), len(data) - 1) is None


def test_of_a_large_block_no_more_is_held_than_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snappy, "_BLOCK_BYTES_MAX", 0)
    data = bytes(range(256)) * 40_000
    found = list(snappy.pieces(one_block(data)))
    assert b"".join(found) == data
    assert max(map(len, found)) < 1 << 20
    assert len(found) > 10


@given(broken=st.binary(max_size=60), form=st.sampled_from([b"", b"\x82SNAPPY\x00" + bytes(8)]))
def test_whatever_is_no_snappy_is_corrupt_or_ends(broken: bytes, form: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snappy, "_BLOCK_BYTES_MAX", 0)
        try:
            found = b"".join(snappy.pieces(memoryview(form + broken)))
        except CorruptRecordException:
            found = None
    if not form:
        try:
            expected = bytes(cramjam.snappy.decompress_raw(broken))
        except cramjam.DecompressionError:
            expected = None
        assert found == expected


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(b"\x82SNAPPY\x00" + bytes(8) + b"\x00\x00", id="no length"),
        pytest.param(b"\x82SNAPPY\x00" + bytes(8) + b"\x00\x00\x00\x09abc", id="cut off"),
        pytest.param(b"\x82SNAPPY\x00" + bytes(8) + b"\xff\xff\xff\xffabc", id="a negative length"),
        pytest.param(b"\xff" * 9, id="a length without end"),
        pytest.param(b"\x05\x08abc", id="another length"),
        pytest.param(b"\xff\xff\xff\xff\x0f\x08abc", id="four gigabytes, it says"),
    ],
)
def test_what_is_broken_is_corrupt(broken: bytes) -> None:
    assert snappy.at_once(memoryview(broken), 1 << 20) is None
    with pytest.raises(CorruptRecordException):
        list(snappy.pieces(memoryview(broken)))
