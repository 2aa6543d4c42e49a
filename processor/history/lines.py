"""Lines of a file as records, however long a line is.

Of one that is too long for a record no more is held than how it begins: the rest is hashed as it is
read, and what is known of it is what would be known of a Kafka record of those bytes
(processor/events/records.py).
"""

from collections.abc import Iterator
from hashlib import sha256
from io import BufferedIOBase
from zlib import crc32

from ops.progress import went_on
from processor.events.chunks import PlainRecord
from processor.events.records import HEAD_BYTES, LargeRecord, Record
from store.fingerprints import of_value

_PART_BYTES = 1024 * 1024
_END = b"\r\n"


def records(file: BufferedIOBase, record_bytes_max: int) -> Iterator[Record]:
    """Yield the lines that hold anything.

    A record's offset is the number of lines before it. Where a Kafka record has its timestamp, what
    tells one record at an offset from another, stands the checksum of all lines up to it: who knows
    that of the last line that was counted knows all that were. A blank line is no event and no
    fault: a file may end with one.
    """
    offset = checksum = 0
    while line := file.readline(record_bytes_max + len(_END)):
        value = line.rstrip(_END)
        record: Record | None = None
        if len(value) > record_bytes_max or not _is_over(line, record_bytes_max):
            record = _Long(line, checksum).read(file, offset, record_bytes_max)
        elif value.strip():
            record = PlainRecord(offset, value, timestamp=_ended(crc32(value, checksum)))
        if record is not None:
            checksum = record.timestamp
            yield record
        offset += 1


def _ended(checksum: int) -> int:
    """Return the checksum of a line with its end, however that is written in the file."""
    return crc32(b"\n", checksum)


def _is_over(line: bytes, record_bytes_max: int) -> bool:
    """Return whether `line` was read to its end, which may be the file's."""
    return line.endswith(b"\n") or len(line) < record_bytes_max + len(_END)


class _Long:
    """A line that goes on after its beginning, part by part."""

    def __init__(self, begun: bytes, checksum: int) -> None:
        self._begun = begun
        self._head = b""
        self._digest = sha256()
        self._crc = checksum
        self._size = 0
        self._is_blank = True
        # Carriage returns at the end of what was read: the line's own, unless more follows.
        self._withheld = 0

    def read(self, file: BufferedIOBase, offset: int, record_bytes_max: int) -> Record | None:
        """Return the record; None where it is blank."""
        part = self._begun
        while part:
            self._add(part)
            went_on()
            part = b"" if part.endswith(b"\n") else file.readline(_PART_BYTES)
        if self._is_blank:
            return None
        if self._size <= record_bytes_max:
            return PlainRecord(offset, self._begun[: self._size], timestamp=_ended(self._crc))
        return LargeRecord(
            offset,
            _ended(self._crc),
            None,
            self._head,
            [],
            self._size,
            record_bytes_max,
            of_value(self._size, self._digest.digest()),
        )

    def _add(self, part: bytes) -> None:
        body = part.rstrip(_END)
        if body:
            while self._withheld:
                returns = b"\r" * min(self._withheld, _PART_BYTES)
                self._withheld -= len(returns)
                self._take(returns)
            self._take(body)
        self._withheld += len(part) - len(body)

    def _take(self, content: bytes) -> None:
        self._head += content[: HEAD_BYTES - len(self._head)]
        self._digest.update(content)
        self._crc = crc32(content, self._crc)
        self._size += len(content)
        self._is_blank = self._is_blank and not content.strip()
