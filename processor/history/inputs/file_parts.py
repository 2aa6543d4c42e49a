"""Files cut into parts that are read apart from each other, on other machines too.

Lines that lie in a file as they are can be read from any of them on. What is packed, and Parquet,
is a part as a whole.
"""

import codecs
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from ops.errors import UsageError
from processor.history.inputs import files, line_pieces, unpacking
from processor.history.inputs.files import InputFile
from processor.history.inputs.reading import Inputs
from processor.history.pieces import Piece

# Of a part: some seconds of reading, beside which it is nothing to hand one out.
PART_BYTES = 64 * 1024 * 1024
_BLOCK_BYTES = 1024 * 1024
_HEAD_BYTES = 8


@dataclass(frozen=True, slots=True)
class FilePart:
    """What one reader reads: whole lines from `begin` up to `end`; a file where `end` is None.

    `modified_ns` is when the file was changed last, by its file system.
    """

    source: int
    modified_ns: int
    begin: int = 0
    end: int | None = None


def parts_of(inputs: Inputs, part_bytes: int = PART_BYTES) -> list[FilePart]:
    """Return the parts of all files, in their order.

    Raises:
        UsageError: a file cannot be read, or can be read only once.
    """
    found: list[FilePart] = []
    for source, file in enumerate(inputs.files):
        if file.size is None:
            raise UsageError(
                f"{file.name}: it can be read only once, and only here. Give a file that lies "
                "where every machine finds it.",
                path=file.name,
            )
        try:
            with file.path.open("rb") as opened:
                modified_ns = os.fstat(opened.fileno()).st_mtime_ns
                if file.is_parquet or not unpacking.is_plain(opened.read(_HEAD_BYTES)):
                    found.append(FilePart(source, modified_ns))
                    continue
                begin = 0
                while begin < file.size:
                    end = min(_line_begin(opened, begin + part_bytes), file.size)
                    found.append(FilePart(source, modified_ns, begin, end))
                    begin = end
        except OSError as error:
            raise files.unreadable(file.name, error) from error
    return found


def lines_in(inputs: Inputs, part: FilePart) -> int:
    """Return how many lines end in a part.

    Raises:
        UsageError: the file cannot be read, or is another one by now.
    """
    if part.end is None:
        return 0
    file = inputs.files[part.source]
    try:
        with file.path.open("rb") as opened:
            return sum(block.count(b"\n") for block in _blocks(opened, part.begin, part.end))
    except OSError as error:
        raise files.unreadable(file.name, error) from error


def pieces_of(inputs: Inputs, part: FilePart, first: int, record_bytes_max: int) -> Iterator[Piece]:
    """Yield the pieces of a part, before which the file has `first` lines.

    Raises:
        UsageError: the file is broken, cannot be read, or is another one by now.
    """
    file = inputs.files[part.source]
    _check_unchanged(file, part)
    if part.end is None:
        yield from inputs.pieces_of(part.source, record_bytes_max)
    else:
        try:
            with file.path.open("rb") as opened:
                blocks = _blocks(opened, part.begin, part.end)
                yield from line_pieces.cut(blocks, part.source, record_bytes_max, first)
        except OSError as error:
            raise files.unreadable(file.name, error) from error
    _check_unchanged(file, part)


def _blocks(file: BinaryIO, begin: int, end: int) -> Iterator[bytes]:
    file.seek(begin)
    left = end - begin
    while left and (block := file.read(min(left, _BLOCK_BYTES))):
        is_head = left == end and begin == 0
        left -= len(block)
        yield block.removeprefix(codecs.BOM_UTF8) if is_head else block


def _line_begin(file: BinaryIO, position: int) -> int:
    """Return where the first line begins that does so at `position` or later."""
    file.seek(position - 1)
    while block := file.read(_BLOCK_BYTES):
        end = block.find(b"\n")
        if end >= 0:
            return position + end
        position += len(block)
    return position


def _check_unchanged(file: InputFile, part: FilePart) -> None:
    # Lines are numbered before they are read: a file that grows meanwhile would be cut in a line.
    try:
        status = file.path.stat()
    except OSError as error:
        raise files.unreadable(file.name, error) from error
    if (status.st_size, status.st_mtime_ns) != (file.size, part.modified_ns):
        raise UsageError(
            f"{file.name}: it was written to while it is read, or is another one where it was "
            "read. Give a file that stays as it is, the same for every machine.",
            path=file.name,
        )
