"""Who an event is: the key that it is counted once by, and the fingerprint that tells an impostor.

The identity is tenant, source and id (docs/data-model.md, Identity), never the event's `time`: a
repeated event may carry another one. The fingerprint covers type and subject: the same identity
with another fingerprint is another event under a used id, which is no repetition. It tells
mistakes, and needs no cryptography: whoever wants two events with the same 32 bits finds them,
whatever the hash, and gains a repetition that counts nothing.

Pure.
"""

import re
from binascii import crc32
from functools import lru_cache
from hashlib import sha256
from uuid import UUID

_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
# Crockford's alphabet, which leaves out I, L, O and U. 26 characters carry 130 bits: the first of
# them has three.
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ULID = re.compile(f"[0-7][{_CROCKFORD}]{{25}}")
_CROCKFORD_VALUES = {character: value for value, character in enumerate(_CROCKFORD)}


# How long what follows is, for something that is hashed. Formatting it takes three times as long.
_length = lru_cache(maxsize=1024)(b"%d:".__mod__)
_HALF = 2**31


def event_key(tenant_id: UUID, source: str, event_id: str) -> str:
    """Return the 128 bits that an event is counted once by, as 32 hex digits.

    They are SHA-256 over the length-prefixed identity. Where the id is a UUIDv7 or a ULID in its
    canonical form, the first 32 bits give way to the top of the id's own time (65.5 seconds a
    step): keys of a day lie together, and so do the pages of the index that they are written to.
    """
    return key_of(key_head(tenant_id, source), event_id)


def key_head(tenant_id: UUID, source: str) -> bytes:
    """Return what is hashed alike for all events of a source; `key_of` adds the id."""
    name = source.encode()
    # The lengths keep ("ab", "c") and ("a", "bc") apart; a UUID's is always the same.
    return b"16:" + tenant_id.bytes + _length(len(name)) + name


def key_of(head: bytes, event_id: str) -> str:
    """Return the key of an event of the source that `head` is of."""
    number = event_id.encode()
    digest = sha256(head + _length(len(number)) + number).hexdigest()
    if may_lead_with_time(event_id):
        prefix = _time_prefix(event_id)
        if prefix is not None:
            return prefix + digest[:24]
    return digest[:32]


def may_lead_with_time(event_id: str) -> bool:
    """Return whether an id may be a UUIDv7 or a ULID: no other one has the length and the mark."""
    length = len(event_id)
    return (length == 36 and event_id[14] == "7") or length == 26


def fingerprint(event_type: str, subject: UUID) -> int:
    """Return CRC-32 over type and subject, signed as PostgreSQL's integer; never 0."""
    return fingerprint_of(fingerprint_head(event_type), subject)


def fingerprint_head(event_type: str) -> int:
    """Return what is the same for all events of a type; `fingerprint_of` adds the subject."""
    kind = event_type.encode()
    return crc32(_length(len(kind)) + kind + b"16:")


def fingerprint_of(head: int, subject: UUID) -> int:
    """Return the fingerprint of an event of the type that `head` is of."""
    # 0 stands for "unknown" in the database, and conflicts with nothing.
    return crc32(subject.bytes, head) - _HALF or 1


def _time_prefix(event_id: str) -> str | None:
    """Return the top 32 of the id's 48 bits of milliseconds in hex; None where it has none."""
    if _UUID7.fullmatch(event_id):
        return event_id[:8]
    if _ULID.fullmatch(event_id):
        milliseconds = 0
        for character in event_id[:10]:
            milliseconds = milliseconds << 5 | _CROCKFORD_VALUES[character]
        return f"{milliseconds >> 16:08x}"
    return None
