"""What identifies the bytes of a record, also where not all of them are kept. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

Headers = Sequence[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The identity of a record's bytes.

    Args:
        value_length: bytes of the value; 0 where it has none.
        value_sha256: of the value as it came, which its producer can compare.
        content_sha256: of key, value and headers: two records that differ in a byte differ here.
    """

    value_length: int
    value_sha256: bytes
    content_sha256: bytes


def fingerprint(key: bytes | None, value: bytes | None, headers: Headers) -> Fingerprint:
    """Return the identity of a record."""
    content = sha256()
    for part in (key, value):
        content.update(length_prefix(part))
        content.update(part or b"")
    for name, header in headers:
        encoded = name.encode("utf-8", "surrogatepass")
        content.update(length_prefix(encoded))
        content.update(encoded)
        content.update(length_prefix(header))
        content.update(header or b"")
    return Fingerprint(len(value or b""), sha256(value or b"").digest(), content.digest())


def length_prefix(part: bytes | None) -> bytes:
    """Return what keeps a part apart from the next one, and nothing from an empty one."""
    return b"-:" if part is None else b"%d:" % len(part)
