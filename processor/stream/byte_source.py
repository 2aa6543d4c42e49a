"""Read bytes that come in pieces as one: numbers, and parts with their length before them."""

from collections.abc import Callable, Generator, Iterable

from aiokafka.errors import CorruptRecordException

from processor.events.records import HEAD_BYTES
from processor.stream.room import STEP_BYTES, Unfinished

_VARINT_BYTES_MAX = 10


class ByteSource:
    """Pieces of bytes, read as one."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._held = b""
        self._at = 0
        self._stepped = 0
        self.position = 0

    def varint(self) -> int:
        """Read a number as Kafka writes it: zigzag, seven bits a byte."""
        if self._at < len(self._held) and (byte := self._held[self._at]) < 0x80:
            # By far the most: one byte that is here.
            self._at += 1
            self.position += 1
            return (byte >> 1) ^ -(byte & 1)
        number = 0
        for shift in range(0, 7 * _VARINT_BYTES_MAX, 7):
            (byte,) = self.read(1)
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return (number >> 1) ^ -(number & 1)
        raise CorruptRecordException("a number is too long")

    def length(self) -> int:
        """Read how many bytes follow; negative for none."""
        return self.varint()

    def header_count(self) -> int:
        """Read how many headers follow."""
        return self.varint()

    def part(self, end: int) -> bytes | None:
        """Read bytes with their length before them, of a record that ends at `end`.

        Held as a whole: what says that it is longer than its record is not read.
        """
        length = self.length()
        if self.position + length > end:
            raise CorruptRecordException(f"a part of a record is longer than it, at {end}")
        return None if length < 0 else self.read(length)

    def read(self, length: int) -> bytes:
        """Read so many bytes."""
        if length <= len(self._held) - self._at:
            found_here = self._held[self._at : self._at + length]
            self._at += length
            self.position += length
            return found_here
        found = bytearray()
        self._pass_on(length, (found.extend,))
        return bytes(found)

    def passed_over(self, length: int) -> Generator[Unfinished, None, None]:
        """Read so many bytes, step by step, for nobody."""
        yield from self._in_steps(length, ())

    def head(
        self, told: Callable[[int], None], sink: Callable[[bytes], None]
    ) -> Generator[Unfinished, None, tuple[bytes | None, int]]:
        """Read bytes with their length before them, of any length, step by step.

        Args:
            told: given the length; negative for no bytes.
            sink: given all of the bytes.

        Return how they begin, and how many there are.
        """
        length = self.length()
        told(length)
        if length < 0:
            return None, 0
        found = bytearray()

        def keep(piece: bytes) -> None:
            if len(found) < HEAD_BYTES:
                found.extend(piece[: HEAD_BYTES - len(found)])

        yield from self._in_steps(length, (keep, sink))
        return bytes(found), length

    def short(
        self, told: Callable[[int], None], sink: Callable[[bytes], None]
    ) -> tuple[bytes | None, int] | None:
        """Read as `head` does what is short and here; None, and nothing read, where it is not.

        A record may have millions of headers, nearly all of them so.
        """
        begin = self._at + 1
        if begin > len(self._held) or (byte := self._held[self._at]) >= 0x80:
            return None
        length = (byte >> 1) ^ -(byte & 1)
        end = begin + max(0, length)
        if end > len(self._held):
            return None
        self._at, self.position = end, self.position + end - begin + 1
        told(length)
        if length < 0:
            return None, 0
        found = self._held[begin:end]
        sink(found)
        return found, length

    def step(self, size: int) -> Unfinished | None:
        """Note that so much was read; return it where it is a step, with what was before."""
        self._stepped += size
        if self._stepped < STEP_BYTES:
            return None
        size, self._stepped = self._stepped, 0
        return Unfinished(size)

    def is_at_end(self) -> bool:
        """Return whether nothing is left."""
        while self._at == len(self._held):
            piece = next(self._pieces, None)
            if piece is None:
                return True
            self._held, self._at = piece, 0
        return False

    def _in_steps(
        self, length: int, sinks: Iterable[Callable[[bytes], object]]
    ) -> Generator[Unfinished, None, None]:
        for start in range(0, length, STEP_BYTES):
            size = min(STEP_BYTES, length - start)
            self._pass_on(size, sinks)
            if unfinished := self.step(size):
                yield unfinished

    def _pass_on(self, length: int, sinks: Iterable[Callable[[bytes], object]]) -> None:
        self.position += length
        while length > 0:
            if self.is_at_end():
                raise CorruptRecordException("the records end before the last of them")
            piece = self._held[self._at : self._at + length]
            self._at += len(piece)
            length -= len(piece)
            for sink in sinks:
                sink(piece)
