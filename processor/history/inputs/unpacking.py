"""The bytes of a file of lines, unpacked, in blocks: plain, gzip or zstd, told by how it begins.

gzip may have several members, zstd several frames, and both are read in little memory. What is cut
off or damaged is refused, with how far it was whole; what is packed or written otherwise with the
way out.
"""

import codecs
import io
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from ops.errors import UsageError

# What is handed on at a time, about: a piece (line_pieces.py).
BLOCK_BYTES = 1024 * 1024
# What is unpacked at a time, and of gzip what is read: each member copies what of it is left.
_PART_BYTES = 128 * 1024
PARQUET = b"PAR1"
_GZIP = b"\x1f\x8b"
_GZIP_FORMAT = 16 + zlib.MAX_WBITS
_ZSTD = b"\x28\xb5\x2f\xfd"
# RFC 8878, section 3.1.2: frames to be passed over, which pzstd begins with; sixteen of them.
_ZSTD_SKIPPED = b"\x2a\x4d\x18"
_HEAD_BYTES = 8
# First bytes of what is packed or written otherwise -> how to read it.
OTHERWISE = {
    b"\xfd7zXZ": "xz: xzcat",
    b"BZh": "bzip2: bzcat",
    b"PK\x03\x04": "zip: unzip -p",
    codecs.BOM_UTF16_LE: "UTF-16: iconv -f UTF-16 -t UTF-8",
    codecs.BOM_UTF16_BE: "UTF-16: iconv -f UTF-16 -t UTF-8",
}


class _BrokenZstd(Exception):
    """What is packed by zstd cannot be unpacked."""


class CountedFile(io.RawIOBase):
    """A file whose beginning can be looked at; it counts what was read of it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._head = file.read(_HEAD_BYTES)
        self.bytes_read = len(self._head)

    @property
    def head(self) -> bytes:
        """Return how it begins, before anything was read."""
        return self._head

    def readable(self) -> bool:
        """Return that it may be read: pyarrow asks."""
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next `size` bytes; fewer at its end alone."""
        head, self._head = self._head, b""
        if size is not None and len(head) > size:
            self._head, head = head[size:], head[:size]
        rest = self._file.read(-1 if size is None or size < 0 else size - len(head))
        self.bytes_read += len(rest)
        return head + rest


def blocks(file: CountedFile, name: str, block_bytes: int = BLOCK_BYTES) -> Iterator[bytes]:
    """Yield what `file` holds: blocks of about `block_bytes`, but for the last one.

    Raises:
        UsageError: what is packed is damaged or cut off, or packed otherwise; or it is no UTF-8.
        OSError: it cannot be read.
    """
    head = file.head
    _refuse_otherwise(head, name)
    if head.startswith(PARQUET):
        raise UsageError(f"{name}: this is Parquet, whose end is read first: give it as a file.")
    if head.startswith(_GZIP):
        unpacked = _Unpacked(file, name, "gzip", _gunzipped(file))
    elif head.startswith(_ZSTD) or head[1:4] == _ZSTD_SKIPPED:
        unpacked = _Unpacked(file, name, "zstd", _from_zstd(file))
    else:
        yield from _text(_plain(file, block_bytes))
        return
    yield from _text(_begun_well(_filled(iter(unpacked), block_bytes), name))


def is_plain(head: bytes) -> bool:
    """Return whether what begins so is read as it lies there, at any place."""
    packed = (PARQUET, _GZIP, _ZSTD, *OTHERWISE)
    return not head.startswith(packed) and head[1:4] != _ZSTD_SKIPPED


class _Unpacked:
    """Blocks that are unpacked; knows how far they came for the message of an error."""

    def __init__(
        self, file: CountedFile, name: str, packing: str, unpacked: Iterator[bytes]
    ) -> None:
        self._file = file
        self._name = name
        self._packing = packing
        self._unpacked = unpacked

    def __iter__(self) -> Iterator[bytes]:
        lines = size = 0
        try:
            for block in self._unpacked:
                lines += block.count(b"\n")
                size += len(block)
                yield block
        except (EOFError, zlib.error, _BrokenZstd) as error:
            raise UsageError(
                f"{self._name}: its {self._packing} data are broken or cut off after about "
                f"{self._file.bytes_read} bytes ({error}); {size} bytes came out of it, and "
                f"{lines} whole lines. Give a whole copy of it.",
                path=self._name,
            ) from error


def _plain(file: CountedFile, block_bytes: int) -> Iterator[bytes]:
    while block := file.read(block_bytes):
        yield block


def _gunzipped(file: CountedFile) -> Iterator[bytes]:
    member, packed = zlib.decompressobj(_GZIP_FORMAT), b""
    while packed or (packed := file.read(_PART_BYTES)):
        if member.eof:
            # Tapes and copies of blocks pad with zeros, as gzip itself takes them.
            packed = packed.lstrip(b"\0")
            if not packed:
                continue
            member = zlib.decompressobj(_GZIP_FORMAT)
        yield member.decompress(packed, _PART_BYTES)
        packed = member.unused_data if member.eof else member.unconsumed_tail
    # It may have taken all of its input, and hold some of its output.
    while not member.eof:
        block = member.decompress(b"", _PART_BYTES)
        if not block and not member.eof:
            raise EOFError("it ends within a member")
        yield block


def _from_zstd(file: CountedFile) -> Iterator[bytes]:
    import pyarrow as pa  # of some weight, for who needs it

    with pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd") as stream:
        while True:
            try:
                block = stream.read(_PART_BYTES)
            except (pa.ArrowException, OSError) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise  # the file's own
                raise _BrokenZstd(str(error)) from error
            if not block:
                return
            yield block


def _filled(parts: Iterator[bytes], block_bytes: int) -> Iterator[bytes]:
    """Yield the parts joined: a writer of many members or frames makes small ones."""
    held: list[bytes] = []
    size = 0
    for part in parts:
        held.append(part)
        size += len(part)
        if size >= block_bytes:
            yield b"".join(held)
            held, size = [], 0
    if size:
        yield b"".join(held)


def _begun_well(unpacked: Iterator[bytes], name: str) -> Iterator[bytes]:
    for number, block in enumerate(unpacked):
        if number == 0:
            _refuse_otherwise(block, name)
            if block.startswith((_GZIP, _ZSTD, PARQUET)):
                raise UsageError(
                    f"{name}: what it holds is packed once more, or Parquet. Unpack it once, and "
                    "give that."
                )
        yield block


def _text(found: Iterator[bytes]) -> Iterator[bytes]:
    for number, block in enumerate(found):
        # Editors put it before the first line; RFC 8259 (section 8.1) lets a reader pass it over.
        yield block.removeprefix(codecs.BOM_UTF8) if number == 0 else block


def _refuse_otherwise(head: bytes, name: str) -> None:
    for magic, program in OTHERWISE.items():
        if head.startswith(magic):
            raise UsageError(
                f"{name}: this is {program} it, and give the lines by a pipe:"
                f" {program.partition(': ')[2]} FILE | laurel ... -"
            )
