"""What is read of a record, how large it may be, and what is kept of a larger one.

A record beyond the bound is never parsed: it is known by how it begins, its length and its hash.
Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from store.fingerprints import Fingerprint, fingerprint

Headers = Sequence[tuple[str, bytes | None]]

# Bytes that are kept of a record that is too large: of its key, its value, and all its headers.
HEAD_BYTES = 4096

# What a header counts for beside its name and content. A record may be nothing but headers that are
# empty, half a million in a megabyte, and whoever looks at a record looks at each of them.
HEADER_BYTES = 32

# About what Python keeps for a record beside its bytes: the object, its numbers, the headers of its
# bytes objects. An estimate: the bounds that it enters are far from the limits of a machine.
_OBJECT_BYTES = 512
# And for each header: a pair of a text and bytes.
_PAIR_BYTES = 160


class Record(Protocol):
    """What is read of a record; aiokafka's ConsumerRecord is one.

    `timestamp` is Kafka's, in milliseconds.
    """

    @property
    def offset(self) -> int: ...  # noqa: D102
    @property
    def timestamp(self) -> int: ...  # noqa: D102
    @property
    def key(self) -> bytes | None: ...  # noqa: D102
    @property
    def value(self) -> bytes | None: ...  # noqa: D102
    @property
    def headers(self) -> Headers: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class LargeRecord:
    """A record that is too large to be read.

    Args:
        offset: its place.
        timestamp: Kafka's, in milliseconds.
        key: how it begins, at most HEAD_BYTES; likewise the value, and the headers together.
        value: as above.
        headers: as above.
        size: bytes of the whole record.
        size_max: what would have been read.
        whole: identifies the record.
    """

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    size: int
    size_max: int
    whole: Fingerprint


def size_of(record: Record) -> int:
    """Return the bytes of its key, value and headers, and HEADER_BYTES for each of these."""
    size = len(record.key or b"") + len(record.value or b"")
    if record.headers:
        size += HEADER_BYTES * len(record.headers)
        size += sum(len(name) + len(content or b"") for name, content in record.headers)
    return size


def memory_of(record: Record) -> int:
    """Return about how much memory a record takes; never less than a fifth of it."""
    return _OBJECT_BYTES + _PAIR_BYTES * len(record.headers) + size_of(record)


def bounded(record: Record, size_max: int) -> Record:
    """Return `record`, or what is kept of it where it is larger than `size_max`."""
    size = size_of(record)
    if size <= size_max or isinstance(record, LargeRecord):
        return record
    return LargeRecord(
        record.offset,
        record.timestamp,
        _head(record.key),
        _head(record.value),
        heads(record.headers),
        size,
        size_max,
        fingerprint(record.key, record.value, record.headers),
    )


def heads(headers: Headers) -> Headers:
    """Return the headers that fit into HEAD_BYTES together; the last of them may be cut."""
    kept: list[tuple[str, bytes | None]] = []
    left = HEAD_BYTES
    for name, content in headers:
        if left <= 0:
            break
        shown = name[:left]
        left -= HEADER_BYTES + len(shown)
        kept.append((shown, None if content is None else content[: max(0, left)]))
        left -= len(content or b"")
    return kept


def _head(part: bytes | None) -> bytes | None:
    return None if part is None else part[:HEAD_BYTES]
