"""The key and the fingerprint of an event."""

from binascii import crc32
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from processor.events import identity
from processor.events.identity import event_key, fingerprint

TENANT, OTHER = UUID(int=1), UUID(int=2)
UUID7 = "018f2f6e-1a2b-7c3d-8e4f-0123456789ab"
ULID = "01HWQPW6HB000000000000000Z"
BEGIN = datetime(1970, 1, 1, tzinfo=UTC)
# Every instant that 48 bits of milliseconds can say.
MOMENTS = st.integers(0, 2**48 - 1)
PARTS = st.tuples(
    st.uuids(), st.text(st.characters(exclude_categories=["Cs"])), st.text("0123:abc")
)


def a_uuid7(milliseconds: int, tail: int = 0) -> str:
    return str(UUID(int=milliseconds << 80 | 7 << 76 | 2 << 62 | tail))


def a_ulid(milliseconds: int, tail: int = 0) -> str:
    alphabet, number = "0123456789ABCDEFGHJKMNPQRSTVWXYZ", milliseconds << 80 | tail
    return "".join(alphabet[number >> 5 * place & 31] for place in reversed(range(26)))


@given(PARTS, PARTS)
@example((TENANT, "ab", "c"), (TENANT, "a", "bc"))
@example((TENANT, "", "1:a"), (TENANT, "1:", "a"))
@example((TENANT, "s", UUID7), (OTHER, "s", UUID7))
@example((TENANT, "s", UUID7), (TENANT, "t", UUID7))
@example((TENANT, "s", UUID7), (TENANT, "s", UUID7[:-1] + "c"))
@example((TENANT, "s", UUID7), (TENANT, "s", UUID7.upper()))
def test_two_events_share_a_key_only_where_tenant_source_and_id_are_the_same(
    one: tuple[UUID, str, str], other: tuple[UUID, str, str]
) -> None:
    assert (event_key(*one) == event_key(*other)) == (one == other)


def test_a_key_is_128_bits_of_sha256_over_the_length_prefixed_identity() -> None:
    """A key that changed would count every event of the past again."""
    whole = sha256(b"16:" + TENANT.bytes + b"2:/s" + b"2:e1").hexdigest()
    assert event_key(TENANT, "/s", "e1") == whole[:32]
    own = sha256(b"16:" + TENANT.bytes + b"2:/s" + b"36:" + UUID7.encode()).hexdigest()
    assert event_key(TENANT, "/s", UUID7) == "018f2f6e" + own[:24]


@given(MOMENTS, st.integers(0, 2**62 - 1))
@example(0, 0)
@example(2**48 - 1, 2**62 - 1)
def test_a_key_begins_with_the_time_of_a_uuid7_or_ulid(milliseconds: int, tail: int) -> None:
    begins = f"{milliseconds:012x}"[:8]
    assert event_key(TENANT, "/s", a_uuid7(milliseconds, tail)).startswith(begins)
    assert event_key(TENANT, "/s", a_ulid(milliseconds, tail)).startswith(begins)


def test_keys_of_a_day_lie_together() -> None:
    noon = int((datetime(2026, 6, 1, 12, tzinfo=UTC) - BEGIN) / timedelta(milliseconds=1))
    day = 86_400_000
    of_day = [event_key(TENANT, "/s", a_uuid7(noon + day * n // 100, n)) for n in range(100)]
    later = [event_key(TENANT, "/s", a_ulid(noon + day + day * n // 100, n)) for n in range(100)]
    assert max(of_day) < min(later)


@pytest.mark.parametrize(
    "id_",
    [
        pytest.param("00000000-0000-4000-8000-000000000000", id="another version"),
        pytest.param("018f2f6e-1a2b-7c3d-ce4f-0123456789ab", id="another variant"),
        pytest.param(UUID7.upper(), id="capital letters"),
        pytest.param(UUID7.replace("-", ""), id="no dashes"),
        pytest.param("{" + UUID7 + "}", id="braces"),
        pytest.param(UUID7 + "\n", id="a line's end"),
        pytest.param("٠" + UUID7[1:], id="a digit of another script"),
        pytest.param("8" + ULID[1:], id="more than 128 bits"),
        pytest.param(ULID.lower(), id="small letters"),
        pytest.param(ULID[:-1] + "U", id="a letter that Crockford left out"),
        pytest.param(ULID + "0", id="too long"),
        pytest.param("", id="nothing"),
    ],
)
def test_any_other_id_has_no_time_to_begin_with(id_: str) -> None:
    encoded = id_.encode()
    whole = sha256(b"16:" + TENANT.bytes + b"2:/s" + b"%d:" % len(encoded) + encoded).hexdigest()
    assert event_key(TENANT, "/s", id_) == whole[:32]


@given(st.text("abc.", max_size=9), st.uuids())
def test_a_fingerprint_is_an_integer_of_postgresql_and_never_unknown(
    kind: str, subject: UUID
) -> None:
    assert fingerprint(kind, subject) in range(-(2**31), 2**31)
    assert fingerprint(kind, subject) != 0
    whole = crc32(b"%d:%b16:%b" % (len(kind), kind.encode(), subject.bytes))
    assert fingerprint(kind, subject) == whole - 2**31 or 1


def test_a_fingerprint_tells_types_and_subjects_apart() -> None:
    found = {
        fingerprint("quest.completed", TENANT),
        fingerprint("quest.completed", OTHER),
        fingerprint("quest.published", TENANT),
    }
    assert len(found) == 3


@pytest.mark.parametrize(
    ("checksum", "expected"),
    [(0, -(2**31)), (2**31 - 1, -1), (2**31, 1), (2**31 + 1, 1), (2**32 - 1, 2**31 - 1)],
)
def test_a_fingerprint_at_the_ends_of_its_range(
    monkeypatch: pytest.MonkeyPatch, checksum: int, expected: int
) -> None:
    monkeypatch.setattr(identity, "crc32", lambda *_: checksum)
    assert fingerprint("any", TENANT) == expected
