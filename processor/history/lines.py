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
            long = _read_on(file, LongLine(line, checksum))
            record = long.record(offset, _ended(long.checksum), record_bytes_max)
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


def _read_on(file: BufferedIOBase, long: "LongLine") -> "LongLine":
    while not long.is_over and (part := file.readline(_PART_BYTES)):
        long.add(part)
        went_on()
    return long


class LongLine:
    """A line that goes on after its beginning, part by part.

    Args:
        begun: how it begins: at least so much as a record may hold, and two bytes for its end.
        checksum: that of what came before it.
    """

    def __init__(self, begun: bytes, checksum: int = 0) -> None:
        self.checksum = checksum
        self.is_over = False
        self._begun = begun
        self._head = b""
        self._digest = sha256()
        self._size = 0
        self._is_blank = True
        # Carriage returns at the end of what was read: the line's own, unless more follows.
        self._withheld = 0
        self.add(begun)

    def record(self, offset: int, timestamp: int, record_bytes_max: int) -> Record | None:
        """Return the record; None where it is blank."""
        if self._is_blank:
            return None
        if self._size <= record_bytes_max:
            return PlainRecord(offset, self._begun[: self._size], timestamp=timestamp)
        return LargeRecord(
            offset,
            timestamp,
            None,
            self._head,
            [],
            self._size,
            record_bytes_max,
            of_value(self._size, self._digest.digest()),
        )

    def add(self, part: bytes) -> None:
        """Take in more of it, up to its end at most."""
        self.is_over = part.endswith(b"\n")
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
        self.checksum = crc32(content, self.checksum)
        self._size += len(content)
        self._is_blank = self._is_blank and not content.strip()
