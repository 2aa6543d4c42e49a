"""Read a message set that was compressed as before Kafka 0.11, message by message.

Such a set is the value of one message (KIP-31). aiokafka expands it as a whole; here, as of a large
batch of today (large_batches.py), nothing is held but the message that is being read.
"""

import struct
from collections.abc import Generator, Iterator
from dataclasses import dataclass

from aiokafka.errors import CorruptRecordException, UnsupportedCodecError
from aiokafka.record.legacy_records import LegacyRecordBase

from processor.events.records import LargeRecord
from processor.stream import expansion
from processor.stream.byte_source import ByteSource
from processor.stream.large_batches import StreamedRecord, large_record
from processor.stream.room import Unfinished

_HEADS = (LegacyRecordBase.HEADER_STRUCT_V0, LegacyRecordBase.HEADER_STRUCT_V1)
_ATTRIBUTES = LegacyRecordBase.MAGIC_OFFSET + 1
_LENGTH = struct.Struct(">i")
# Passing over a message takes as long as hashing some kilobytes.
_MESSAGE_STEP_BYTES = 1024


class _OldSource(ByteSource):
    """The bytes of a set: lengths are of four bytes, and there are no headers."""

    def length(self) -> int:
        (length,) = _LENGTH.unpack(self.read(_LENGTH.size))
        return int(length)

    def header_count(self) -> int:
        return 0


@dataclass(frozen=True, slots=True)
class _Head:
    """What a message says before its key.

    Args:
        offset: its place; counted from the first one of its set where there are times.
        end: where it ends, as it says.
        attributes: its codec, and whose time it has.
        time: in milliseconds; -1, as later formats say it, where its format has none.
    """

    offset: int
    end: int
    attributes: int
    time: int = -1


def is_compressed(message: memoryview) -> bool:
    """Return whether a message of a format before 2 stands for a set."""
    return bool(message[_ATTRIBUTES] & LegacyRecordBase.CODEC_MASK)


def records(
    message: memoryview, record_bytes_max: int
) -> Generator[StreamedRecord | LargeRecord | Unfinished, None, None]:
    """Return the records of a compressed set.

    Args:
        message: as it was fetched; the set is its value.
        record_bytes_max: as of large_batches.records.

    Raises:
        CorruptRecordException, UnsupportedCodecError: it is no message set.
    """
    magic = message[LegacyRecordBase.MAGIC_OFFSET]
    whole = _head(_OldSource([message.tobytes()]), magic)
    by_broker = bool(magic and whole.attributes & LegacyRecordBase.TIMESTAMP_TYPE_MASK)
    first = yield from _first_offset(message, whole, magic)
    source = _OldSource(_pieces(message, magic))
    if source.is_at_end():
        raise CorruptRecordException("a message set without a message")
    while not source.is_at_end():
        head = _head(source, magic)
        if head.attributes & LegacyRecordBase.CODEC_MASK:
            raise CorruptRecordException(f"a message set within a message set, at {head.offset}")
        offset, time = first + head.offset, whole.time if by_broker else head.time
        if head.end - source.position > 2 * record_bytes_max:
            yield from large_record(source, offset, time, record_bytes_max)
        else:
            key, value = source.part(head.end), source.part(head.end)
            yield StreamedRecord(offset, time, int(by_broker), key, value, ())
        if source.position != head.end:
            raise CorruptRecordException(f"a message does not end where it says, at {head.end}")


def _first_offset(
    message: memoryview, whole: _Head, magic: int
) -> Generator[Unfinished, None, int]:
    """Return what the offsets in a set are counted from: its own is that of its last message.

    For that it is read once more. Before there were times, offsets were the partition's own.
    """
    if magic == 0:
        return 0
    source, last = _OldSource(_pieces(message, magic)), 0
    while not source.is_at_end():
        head = _head(source, magic)
        last = head.offset
        yield from source.passed_over(head.end - source.position)
        if unfinished := source.step(_MESSAGE_STEP_BYTES):
            yield unfinished
    return max(0, whole.offset - last)


def _pieces(message: memoryview, magic: int) -> Iterator[bytes]:
    codec, at = message[_ATTRIBUTES] & LegacyRecordBase.CODEC_MASK, _HEADS[magic].size
    if magic == 0 and codec == LegacyRecordBase.CODEC_LZ4:
        # Its checksums are of a kind of their own (KAFKA-3160).
        raise UnsupportedCodecError("lz4 as it was before Kafka 0.10")
    (key,) = _LENGTH.unpack_from(message, at)
    at += _LENGTH.size + max(0, key)
    (value,) = _LENGTH.unpack_from(message, at)
    return expansion.pieces_of(codec, message[at + _LENGTH.size :][: max(0, value)])


def _head(source: ByteSource, magic: int) -> _Head:
    head = _HEADS[magic]
    offset, length, _, found, attributes, *time = head.unpack(source.read(head.size))
    end = source.position + length - (head.size - LegacyRecordBase.LOG_OVERHEAD)
    if found != magic:
        raise CorruptRecordException(f"no message of its set's format, at {source.position}")
    return _Head(offset, end, attributes, *time)
