"""The pieces of all files that a person has named, and what a place in them is called."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import BinaryIO

from processor.history.inputs import files, line_pieces, pipes, unpacking
from processor.history.inputs.files import InputFile
from processor.history.pieces import Piece


@dataclass(frozen=True, slots=True)
class Inputs:
    """Files to be read; a file's place in `files` is its number as a source.

    `left_out` names what was found beside them in directories, and is not read.
    """

    files: Sequence[InputFile]
    left_out: Sequence[str] = ()

    @property
    def size(self) -> int | None:
        """Return the bytes of all; None where a pipe is among them."""
        sizes = [each.size for each in self.files]
        return None if None in sizes else sum(size or 0 for size in sizes)

    @property
    def names(self) -> Sequence[str]:
        """Return what the sources are called."""
        return [each.name for each in self.files]

    @property
    def is_read_once(self) -> bool:
        """Return whether a pipe is among them."""
        return any(each.is_read_once for each in self.files)

    def place_name(self, source: int, number: int) -> str:
        """Return what a person finds a record by: its line, or its row; the first one is 1."""
        file = self.files[source]
        return f"{file.name}, row {number + 1}" if file.is_parquet else f"{file.name}:{number + 1}"

    def pieces(
        self, record_bytes_max: int, stopped: Callable[[], bool] = lambda: False
    ) -> Iterator[Piece]:
        """Yield the pieces of all files, one after another; as `pieces_of`."""
        for source in range(len(self.files)):
            yield from self.pieces_of(source, record_bytes_max, stopped)

    def pieces_of(
        self, source: int, record_bytes_max: int, stopped: Callable[[], bool] = lambda: False
    ) -> Iterator[Piece]:
        """Yield the pieces of one file; end early once `stopped` returns True.

        Their `read_bytes` add up to the file's size.

        Raises:
            UsageError: the file is broken, as far as could not be seen at its beginning.
        """
        file = self.files[source]
        if file.is_parquet:
            for piece in _rows(file, source, record_bytes_max):
                yield piece
                if stopped():
                    return
            return
        try:
            with _opened(file, stopped) as opened:
                counted = unpacking.CountedFile(opened)
                blocks = unpacking.blocks(counted, file.name)
                reported = 0
                for piece in line_pieces.cut(blocks, source, record_bytes_max):
                    yield replace(piece, read_bytes=counted.bytes_read - reported)
                    reported = counted.bytes_read
                    if stopped():
                        return
                if counted.bytes_read > reported:  # blank lines, or the end of what was packed
                    yield Piece(source, 0, b"", read_bytes=counted.bytes_read - reported)
        except pipes.Stopped:
            return
        except OSError as error:
            raise files.unreadable(file.name, error) from error


def inputs_of(named: Sequence[str]) -> Inputs:
    """Return what `named` are: paths, directories, patterns, `-`.

    Raises:
        UsageError: one of them cannot be read. Nothing of the others was, beyond its beginning.
    """
    found = files.find(named)
    return Inputs(found.files, found.left_out)


def _opened(file: InputFile, stopped: Callable[[], bool]) -> AbstractContextManager[BinaryIO]:
    return pipes.opened(file.path, stopped) if file.is_read_once else file.path.open("rb")


def _rows(file: InputFile, source: int, record_bytes_max: int) -> Iterator[Piece]:
    from processor.history.inputs import parquet_pieces  # of some weight, for who needs it

    try:
        yield from parquet_pieces.pieces_of(
            file.path, file.name, file.size or 0, source, record_bytes_max
        )
    except OSError as error:
        raise files.unreadable(file.name, error) from error
