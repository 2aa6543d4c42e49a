"""From what a person names to the files that are read: paths, directories, patterns, pipes.

Each file is read once, however often it is named: by its path, through a link, in a directory or by
a pattern. They are looked at before anything is read, so that a run ends before it begins where one
of them is missing.
"""

import glob
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ops.errors import UsageError
from processor.history.inputs import pipes, unpacking
from processor.history.inputs.pipes import STDIN, name_of

# What is taken of a directory.
_ENDINGS = (".jsonl", ".ndjson", ".json", ".parquet")
_PACKED_ENDINGS = (".gz", ".zst")
# Of what a file holds, before it is read.
_LOOKED_AT_BYTES = 4096
# Of a path's last part, where it names no ending.
_ANY_NAME = ("*", "**")
# A directory of Delta Lake keeps rows that are deleted, too; its log says which ones.
_DELTA_LOG = "_delta_log"


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file to be read.

    Args:
        path: where it is; `-` for standard input.
        name: the same for a person.
        size: bytes, as it lies on disk; None where that cannot be known before.
        is_parquet: whether it has rows, not lines.
    """

    path: Path
    name: str
    size: int | None
    is_parquet: bool = False

    @property
    def is_read_once(self) -> bool:
        """Return whether it cannot be read again."""
        return self.size is None


@dataclass(frozen=True, slots=True)
class FoundFiles:
    """The files in the order they were named, and the names of what was left out of directories."""

    files: Sequence[InputFile]
    left_out: Sequence[str]


def find(named: Sequence[str]) -> FoundFiles:
    """Return the files that `named` are.

    Raises:
        UsageError: one of them is not there, cannot be read, or holds nothing that is read.
    """
    files: dict[tuple[int, int], InputFile] = {}
    left_out: dict[str, None] = {}
    for each in named:
        for path, status in _paths(each, left_out):
            if (status.st_dev, status.st_ino) not in files:
                files[status.st_dev, status.st_ino] = _file(path, status)
    return FoundFiles(tuple(files.values()), tuple(left_out))


def _paths(named: str, left_out: dict[str, None]) -> Iterator[tuple[Path, os.stat_result]]:
    path = Path(named)
    if path == STDIN:
        yield path, os.fstat(0)
        return
    try:
        status = path.stat()
    except OSError as error:
        if isinstance(error, FileNotFoundError) and glob.has_magic(named):
            yield from _matching(named, left_out)
            return
        raise unreadable(name_of(path), error) from error
    if stat.S_ISDIR(status.st_mode):
        yield from _of_directory(path, left_out)
    else:
        yield path, status


def _matching(pattern: str, left_out: dict[str, None]) -> Iterator[tuple[Path, os.stat_result]]:
    names_endings = Path(pattern).name not in _ANY_NAME
    count = 0
    # Not pathlib's: that takes no absolute pattern, and none of names alone.
    for each in sorted(map(Path, glob.iglob(pattern, recursive=True))):  # noqa: PTH207
        try:
            status = each.stat()
        except OSError as error:
            raise unreadable(name_of(each), error) from error
        if stat.S_ISDIR(status.st_mode):
            found: Iterable[tuple[Path, os.stat_result]] = _in(each, left_out, set())
        elif names_endings or _is_known(each.name):
            found = [(each, status)]
        else:
            left_out[name_of(each)] = None
            continue
        for pair in found:
            count += 1
            yield pair
    if not count:
        raise UsageError(
            f"{name_of(Path(pattern))}: no file matches this pattern. ** stands for directories of "
            f"any depth; {_what_is_read()}",
            path=pattern,
        )


def _of_directory(
    directory: Path, left_out: dict[str, None]
) -> Iterator[tuple[Path, os.stat_result]]:
    count = 0
    for each in _in(directory, left_out, set()):
        count += 1
        yield each
    if not count:
        raise UsageError(
            f"{name_of(directory)}: nothing in this directory is read; {_what_is_read()}",
            path=name_of(directory),
        )


def _in(
    directory: Path, left_out: dict[str, None], within: set[tuple[int, int]]
) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield the files in `directory`, by name; `within`: the directories that it lies in."""
    try:
        status = directory.stat()
        if (status.st_dev, status.st_ino) in within:
            return  # a link to a directory around it
        below = within | {(status.st_dev, status.st_ino)}
        for each in sorted(directory.iterdir()):
            if each.name == _DELTA_LOG:
                raise UsageError(
                    f"{name_of(directory)}: this is a table of Delta Lake, which keeps deleted "
                    "rows too. Write the table's rows to Parquet, and give that.",
                    path=name_of(directory),
                )
            status = each.stat()
            is_directory = stat.S_ISDIR(status.st_mode)
            # What begins with _ is a writer's own, as Spark's _SUCCESS.
            if each.name.startswith((".", "_")) or not (is_directory or _is_known(each.name)):
                left_out[name_of(each)] = None
            elif is_directory:
                yield from _in(each, left_out, below)
            else:
                yield each, status
    except OSError as error:
        name = os.fsdecode(error.filename) if error.filename else directory
        raise unreadable(name_of(Path(name)), error) from error


def _file(path: Path, status: os.stat_result) -> InputFile:
    """Return the file, whose beginning makes sense.

    Raises:
        UsageError: it does not, or cannot be read.
    """
    name = name_of(path)
    if not stat.S_ISREG(status.st_mode) or pipes.is_read_once(path):
        if path != STDIN and not os.access(path, os.R_OK):
            raise UsageError(f"{name}: permission denied", path=name)
        return InputFile(path, name, None)
    try:
        with path.open("rb") as file:
            counted = unpacking.CountedFile(file)
            is_parquet = counted.head.startswith(unpacking.PARQUET)
            if is_parquet:
                from processor.history.inputs import parquet_pieces  # of some weight

                parquet_pieces.check(path, name)
            else:
                _check_ending(path, counted.head, name)
                next(unpacking.blocks(counted, name, _LOOKED_AT_BYTES), None)
    except OSError as error:
        raise unreadable(name, error) from error
    return InputFile(path, name, status.st_size, is_parquet)


def _check_ending(path: Path, head: bytes, name: str) -> None:
    """Refuse what its name promises and its bytes do not.

    Raises:
        UsageError: it has to be given whole.
    """
    if path.suffix == ".parquet":
        raise UsageError(
            f"{name}: it is named as Parquet, and does not begin as Parquet does. Give a whole "
            "copy of it.",
            path=name,
        )
    if path.suffix in _PACKED_ENDINGS and not head:
        raise UsageError(
            f"{name}: it is empty, which nothing that is packed is. Give a whole copy of it.",
            path=name,
        )


def unreadable(name: str, error: OSError) -> UsageError:
    """Return what a person is told of a file that cannot be read."""
    return UsageError(f"{name}: {error.strerror or error}", path=name)


def _is_known(name: str) -> bool:
    for ending in _PACKED_ENDINGS:
        name = name.removesuffix(ending)
    return name.endswith(_ENDINGS)


def _what_is_read() -> str:
    return f"files are taken that end in {', '.join(_ENDINGS)}, perhaps packed by gzip or zstd."
