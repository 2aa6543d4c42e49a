"""Two records are the same where every byte of them is."""

from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from store.fingerprints import Fingerprint, fingerprint, of_value

PARTS = st.none() | st.binary(max_size=3)
RECORDS = st.tuples(PARTS, PARTS, st.lists(st.tuples(st.text(max_size=2), PARTS), max_size=2))


def test_the_value_is_known_by_its_length_and_hash() -> None:
    found = fingerprint(b"key", b"value", ())
    assert (found.value_length, found.value_sha256) == (5, sha256(b"value").digest())
    nothing = fingerprint(None, None, ())
    assert (nothing.value_length, nothing.value_sha256) == (0, sha256().digest())


@given(one=RECORDS, other=RECORDS)
def test_records_that_differ_anywhere_differ_in_content(one: tuple, other: tuple) -> None:  # type: ignore[type-arg]
    same = fingerprint(*one).content_sha256 == fingerprint(*other).content_sha256
    assert same is (one == other)


def test_a_name_of_any_bytes_has_a_fingerprint() -> None:
    assert isinstance(fingerprint(None, None, [("\udcff", None)]), Fingerprint)


def test_a_value_alone_is_known_without_being_held() -> None:
    assert of_value(5, sha256(b"value").digest()) == fingerprint(None, b"value", ())
