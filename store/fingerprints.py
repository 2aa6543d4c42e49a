"""What identifies the bytes of a record, also where not all of them are kept. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

Headers = Sequence[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The identity of a record's bytes.

    Args:
        value_length: bytes of the value; 0 where it has none.
        value_sha256: of the value as it came, which its producer can compare.
        content_sha256: of key, the value's length and hash, and headers: two records that differ
            in a byte differ here. A value of any size is hashed once, as it comes by.
    """

    value_length: int
    value_sha256: bytes
    content_sha256: bytes


def fingerprint(key: bytes | None, value: bytes | None, headers: Headers) -> Fingerprint:
    """Return the identity of a record."""
    digest, length = sha256(value or b"").digest(), None if value is None else len(value)
    content = sha256(length_prefix(key) + (key or b"") + value_mark(length, digest))
    # At once: a record may have half a million headers of no bytes.
    content.update(b"".join(_marked(headers)))
    return Fingerprint(len(value or b""), digest, content.digest())


def _marked(headers: Headers) -> Iterator[bytes]:
    for name, header in headers:
        encoded = name.encode("utf-8", "surrogatepass")
        if header is None:
            yield b"%d:%b-:" % (len(encoded), encoded)
        else:
            yield b"%d:%b%d:%b" % (len(encoded), encoded, len(header), header)


def of_value(length: int, digest: bytes) -> Fingerprint:
    """Return the identity of a record that is nothing but a value, by its length and SHA-256."""
    return Fingerprint(
        length, digest, sha256(length_prefix(None) + value_mark(length, digest)).digest()
    )


def value_mark(length: int | None, digest: bytes) -> bytes:
    """Return what stands for a value of `length` bytes, None for no value, in the content."""
    return b"-:" if length is None else b"%d:%b" % (length, digest)


def length_prefix(part: bytes | None) -> bytes:
    """Return what keeps a part apart from the next one, and nothing from an empty one."""
    return b"-:" if part is None else b"%d:" % len(part)
