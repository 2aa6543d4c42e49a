"""Read a batch of records that is too large to be held expanded, record by record.

Of a record that is too large itself nothing is held but how it begins: what follows is hashed as
it comes by (processor/events/records.py). That may take longer than a consumer may be silent, so
between two steps there is an `Unfinished` in the place of the next record.
"""

from collections.abc import Generator
from dataclasses import dataclass
from hashlib import sha256

from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBase
from aiokafka.record.util import calc_crc32c, decode_varint

from processor.events.records import HEAD_BYTES, HEADER_BYTES, Headers, LargeRecord, heads
from processor.stream import expansion
from processor.stream.byte_source import ByteSource
from processor.stream.room import STEP_BYTES, Unfinished
from store.fingerprints import Fingerprint, value_mark

_VARINT_BYTES_MAX = 10
# Reading a header takes as long as hashing some kilobytes.
_HEADER_STEP_BYTES = 1024

_CRC = DefaultRecordBase.CRC_OFFSET
_CHECKED = DefaultRecordBase.ATTRIBUTES_OFFSET


@dataclass(frozen=True, slots=True)
class StreamedRecord:
    """A record as aiokafka's fetcher takes it; these have no checksum of their own."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    checksum: None = None


def records(
    batch: memoryview, record_bytes_max: int
) -> Generator[StreamedRecord | LargeRecord | Unfinished, None, None]:
    """Return the records of a batch.

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
    source = ByteSource(expansion.pieces(batch))
    for _ in range(count):
        length = source.varint()
        end = source.position + length
        source.read(1)  # attributes, which have no meaning yet
        time = _int64(first_time + source.varint())
        place, time = offset + source.varint(), last_time if by_broker else time
        if length > 2 * record_bytes_max:
            yield from large_record(source, place, time, record_bytes_max)
        else:
            yield from _whole(source, end, place, time, int(by_broker))
        if source.position != end:
            raise CorruptRecordException(f"a record does not end where it says, at {end}")
    if not source.is_at_end():
        raise CorruptRecordException("there is more after the last record")


def has_large(batch: memoryview | bytes, record_bytes_max: int) -> bool:
    """Return whether a batch that is not compressed holds a record that comes as a LargeRecord.

    What does not hold what it says is left to whoever reads the records.
    """
    if len(batch) <= 2 * record_bytes_max:
        return False
    (count,) = DefaultRecordBase.HEADER_STRUCT.unpack_from(batch)[12:]
    at = DefaultRecordBase.HEADER_STRUCT.size
    for _ in range(count):
        # What begins so near to the end is not large; and aiokafka would read beyond it.
        if at > len(batch) - _VARINT_BYTES_MAX:
            return False
        length, at = decode_varint(batch, at)
        if length > 2 * record_bytes_max:
            return True
        if length < 0:
            return False
        at += length
    return False


def checked(batch: memoryview) -> Generator[Unfinished, None, None]:
    """Compare a batch with its checksum, step by step.

    Raises:
        CorruptRecordException: it is another one.
    """
    crc, left = 0, batch[_CHECKED:]
    while left:
        # The rest is never smaller than a checksum, which is folded into its beginning.
        size = len(left) if len(left) < 2 * STEP_BYTES else STEP_BYTES
        step = bytearray(left[:size])
        step[:4] = (int.from_bytes(step[:4], "little") ^ crc).to_bytes(4, "little")
        crc, left = calc_crc32c(step), left[size:]
        if left:
            yield Unfinished(size)
    if crc != int.from_bytes(batch[_CRC : _CRC + 4], "big"):
        raise CorruptRecordException("Invalid CRC")


def _whole(
    source: ByteSource, end: int, offset: int, timestamp: int, timestamp_type: int
) -> Generator[StreamedRecord | Unfinished, None, None]:
    key, value = source.part(end), source.part(end)
    headers: list[tuple[str, bytes | None]] = []
    for _ in range(source.header_count()):
        headers.append((_name(source.part(end)), source.part(end)))
        if unfinished := source.step(_HEADER_STEP_BYTES):
            yield unfinished
    yield StreamedRecord(offset, timestamp, timestamp_type, key, value, headers)


def large_record(
    source: ByteSource, offset: int, timestamp: int, size_max: int
) -> Generator[LargeRecord | Unfinished, None, None]:
    """Return what is kept of a record that is too large, from its key on."""
    content, of_value = sha256(), sha256()

    def key_is(length: int) -> None:
        content.update(b"-:" if length < 0 else b"%d:" % length)

    key, size = yield from source.head(key_is, content.update)
    value, value_length = yield from source.head(lambda _: None, of_value.update)
    content.update(value_mark(None if value is None else value_length, of_value.digest()))
    size += value_length
    headers: list[tuple[str, bytes | None]] = []
    held = 0
    for _ in range(source.header_count()):
        name, name_length = source.short(key_is, content.update) or (
            yield from source.head(key_is, content.update)
        )
        header, header_length = source.short(key_is, content.update) or (
            yield from source.head(key_is, content.update)
        )
        size += HEADER_BYTES + name_length + header_length
        if held < HEAD_BYTES:
            headers.append((_name(name), header))
            held += HEADER_BYTES + name_length + header_length
        elif name is None:
            raise CorruptRecordException("a header has no name")
        if unfinished := source.step(_HEADER_STEP_BYTES):
            yield unfinished
    whole = Fingerprint(value_length, of_value.digest(), content.digest())
    yield LargeRecord(offset, timestamp, key, value, heads(headers), size, size_max, whole)


def _name(part: bytes | None) -> str:
    if part is None:
        raise CorruptRecordException("a header has no name")
    return part.decode("utf-8", "surrogateescape")


def _int64(number: int) -> int:
    """Return the number as Kafka's other clients have it, which add without looking."""
    return (number + 2**63) % 2**64 - 2**63
