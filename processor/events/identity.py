"""Who an event is: the key that it is counted once by, and the fingerprint that tells an impostor.

The identity is tenant, source and id (docs/data-model.md, Identity), never the event's `time`: a
repeated event may carry another one. The fingerprint covers type and subject: the same identity
with another fingerprint is another event under a used id, which is no repetition.

Pure.
"""

import re
from hashlib import sha256
from uuid import UUID

_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
# Crockford's alphabet, which leaves out I, L, O and U. 26 characters carry 130 bits: the first of
# them has three.
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ULID = re.compile(f"[0-7][{_CROCKFORD}]{{25}}")
_CROCKFORD_VALUES = {character: value for value, character in enumerate(_CROCKFORD)}


def event_key(tenant_id: UUID, source: str, event_id: str) -> str:
    """Return the 128 bits that an event is counted once by, as 32 hex digits.

    They are SHA-256 over the length-prefixed identity. Where the id is a UUIDv7 or a ULID in its
    canonical form, the first 32 bits give way to the top of the id's own time (65.5 seconds a
    step): keys of a day lie together, and so do the pages of the index that they are written to.
    """
    name, number = source.encode(), event_id.encode()
    # The lengths keep ("ab", "c") and ("a", "bc") apart; a UUID's is always the same.
    whole = b"16:%b%d:%b%d:%b" % (tenant_id.bytes, len(name), name, len(number), number)
    digest = sha256(whole).hexdigest()
    prefix = _time_prefix(event_id)
    return digest[:32] if prefix is None else prefix + digest[:24]


def fingerprint(event_type: str, subject: UUID) -> int:
    """Return 32 bits of SHA-256 over type and subject, signed as PostgreSQL's integer; never 0."""
    kind = event_type.encode()
    digest = sha256(b"%d:%b16:%b" % (len(kind), kind, subject.bytes)).digest()
    # 0 stands for "unknown" in the database, and conflicts with nothing.
    return int.from_bytes(digest[:4], signed=True) or 1


def _time_prefix(event_id: str) -> str | None:
    """Return the top 32 of the id's 48 bits of milliseconds in hex; None where it has none."""
    if len(event_id) == 36 and event_id[14] == "7" and _UUID7.fullmatch(event_id):
        return event_id[:8]
    if len(event_id) == 26 and _ULID.fullmatch(event_id):
        milliseconds = 0
        for character in event_id[:10]:
            milliseconds = milliseconds << 5 | _CROCKFORD_VALUES[character]
        return f"{milliseconds >> 16:08x}"
    return None
