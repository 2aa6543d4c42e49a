"""Read a batch of records that is too large to be expanded at once, record by record.

Of a record that is too large itself nothing is held but how it begins: what follows is hashed as
it comes by (processor/events/records.py).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256

from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBase

from processor.events.records import HEAD_BYTES, Headers, LargeRecord, heads
from processor.stream import expansion
from store.fingerprints import Fingerprint

_VARINT_BYTES_MAX = 10


@dataclass(frozen=True, slots=True)
class StreamedRecord:
    """A record as aiokafka's fetcher takes it.

    `checksum` is no checksum, which these records do not have: aiokafka hands it on unread, and
    with it what is known of a record that is too large.
    """

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    checksum: LargeRecord | None = None


def records(batch: memoryview, record_bytes_max: int) -> Iterator[StreamedRecord]:
    """Return the records of a compressed batch.

    Args:
        batch: as it was fetched.
        record_bytes_max: of key, value and headers. A record of more than twice that comes as a
            LargeRecord; whether one in between is too large, whoever takes it sees for himself.

    Raises:
        CorruptRecordException: it is no batch of records.
    """
    header = DefaultRecordBase.HEADER_STRUCT.unpack_from(batch)
    offset, attributes, first_time, last_time, count = (header[n] for n in (0, 5, 7, 8, 12))
    by_broker = bool(attributes & DefaultRecordBase.TIMESTAMP_TYPE_MASK)
    source = _Source(expansion.pieces(batch))
    for _ in range(count):
        length = source.varint()
        end = source.position + length
        source.read(1)  # attributes, which have no meaning yet
        time = first_time + source.varint()
        place = offset + source.varint(), last_time if by_broker else time, int(by_broker)
        if length > 2 * record_bytes_max:
            large = _large(source, place[0], place[1], record_bytes_max)
            yield StreamedRecord(*place, large.key, large.value, large.headers, large)
        else:
            key, value = source.part(), source.part()
            names = range(source.varint())
            headers = [(_name(source.part()), source.part()) for _ in names]
            yield StreamedRecord(*place, key, value, headers)
        if source.position != end:
            raise CorruptRecordException(f"a record does not end where it says, at {end}")
    source.expect_end()


def _large(source: "_Source", offset: int, timestamp: int, size_max: int) -> LargeRecord:
    content, of_value = sha256(), sha256()
    size = 0

    def part(*others: Callable[[bytes], None]) -> tuple[bytes | None, int]:
        length = source.varint()
        content.update(b"-:" if length < 0 else b"%d:" % length)
        if length < 0:
            return None, 0
        return source.head(length, (content.update, *others)), length

    key, key_length = part()
    value, value_length = part(of_value.update)
    size = key_length + value_length
    headers: list[tuple[str, bytes | None]] = []
    held = 0
    for _ in range(source.varint()):
        name, name_length = part()
        header, header_length = part()
        size += name_length + header_length
        if held < HEAD_BYTES:
            headers.append((_name(name), header))
            held += name_length + header_length
    whole = Fingerprint(value_length, of_value.digest(), content.digest())
    return LargeRecord(offset, timestamp, key, value, heads(headers), size, size_max, whole)


def _name(part: bytes | None) -> str:
    if part is None:
        raise CorruptRecordException("a header has no name")
    return part.decode("utf-8", "surrogateescape")


class _Source:
    """Pieces of bytes, read as one."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._held = b""
        self._at = 0
        self.position = 0

    def varint(self) -> int:
        """Read a number as Kafka writes it: zigzag, seven bits a byte."""
        number = 0
        for shift in range(0, 7 * _VARINT_BYTES_MAX, 7):
            (byte,) = self.read(1)
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return (number >> 1) ^ -(number & 1)
        raise CorruptRecordException("a number is too long")

    def part(self) -> bytes | None:
        """Read bytes with their length before them."""
        length = self.varint()
        return None if length < 0 else self.read(length)

    def read(self, length: int) -> bytes:
        """Read so many bytes."""
        found = bytearray()
        self._pass_on(length, (found.extend,))
        return bytes(found)

    def head(self, length: int, sinks: Iterable[Callable[[bytes], None]]) -> bytes:
        """Read so many bytes, hand all of them on, and return the first of them."""
        found = bytearray()

        def keep(piece: bytes) -> None:
            if len(found) < HEAD_BYTES:
                found.extend(piece[: HEAD_BYTES - len(found)])

        self._pass_on(length, (keep, *sinks))
        return bytes(found)

    def expect_end(self) -> None:
        """Raise CorruptRecordException where anything is left."""
        if self._at < len(self._held) or any(self._pieces):
            raise CorruptRecordException("there is more after the last record")

    def _pass_on(self, length: int, sinks: Iterable[Callable[[bytes], object]]) -> None:
        self.position += length
        while length > 0:
            if self._at == len(self._held):
                self._held, self._at = next(self._pieces, b""), 0
                if not self._held:
                    raise CorruptRecordException("the records end before the last of them")
            piece = self._held[self._at : self._at + length]
            self._at += len(piece)
            length -= len(piece)
            for sink in sinks:
                sink(piece)
