"""Where the lines of a file of events come from: a file, a pipe, standard input; plain or gzip.

A file is read as often as is needed, and is known by its path. What can be read only once (a pipe,
a FIFO, standard input) is copied to a file without a name first, and is known by its content: the
same bytes piped in again go on where an interrupted run stopped. The copying is a thread's: whoever
waits for a writer that never comes can still be asked to end.
"""

import codecs
import gzip
import os
import tempfile
import threading
import zlib
from asyncio import FIRST_COMPLETED, ensure_future, wait, wrap_future
from asyncio import Future as AnyFuture
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from io import BufferedRandom, BufferedReader
from pathlib import Path
from typing import Any

from ops.errors import UsageError
from ops.lifecycle import Stop
from processor.events.records import Record
from processor.history import lines
from processor.history.inputs.pipes import STDIN, is_read_once, name_of
from processor.history.inputs.unpacking import OTHERWISE

_PART_BYTES = 1024 * 1024
_GZIP = b"\x1f\x8b"
# First bytes of what is packed or written otherwise -> how to read it.
_OTHERWISE = {b"\x28\xb5\x2f\xfd": "zstd: zstdcat"} | OTHERWISE


@dataclass(frozen=True, slots=True)
class LineSource:
    """Lines of events: `name` for a person, `key` for the ledger."""

    name: str
    key: str
    _path: Path
    _spool: BufferedRandom | None = None

    @contextmanager
    def records(self, record_bytes_max: int) -> Iterator[Iterator[Record]]:
        """Give the lines from the first on, as processor/history/lines.py reads them.

        Raises:
            UsageError: what is packed is broken or packed otherwise.
            OSError: it cannot be read.
        """
        if self._spool is not None:
            self._spool.seek(0)
            yield _records(self._spool, self.name, record_bytes_max)
        else:
            with self._path.open("rb") as file:
                yield _records(file, self.name, record_bytes_max)


@asynccontextmanager
async def opened(path: Path, stop: Stop) -> AsyncIterator[LineSource | None]:
    """Open `path`, `-` for standard input; give None where the end is asked for meanwhile.

    Raises:
        OSError: it cannot be read, or there is no room for a copy.
    """
    name = name_of(path)
    if not is_read_once(path):
        yield LineSource(name, name, path)
        return
    spool = tempfile.TemporaryFile()  # noqa: SIM115 - left to its thread where that does not end
    copy = _started(path, spool)
    stopped = ensure_future(stop.wait())
    copied = wrap_future(copy)
    either: list[AnyFuture[Any]] = [copied, stopped]
    try:
        await wait(either, return_when=FIRST_COMPLETED)
        yield LineSource(name, f"sha256:{copied.result()}", path, spool) if copied.done() else None
    finally:
        stopped.cancel()
        copy.add_done_callback(lambda _done: spool.close())


@contextmanager
def streamed(path: Path, record_bytes_max: int) -> Iterator[Iterator[Record]]:
    """Give the lines of `path` as they come, once; `-` for standard input.

    Raises:
        UsageError, OSError: as `LineSource.records`.
    """
    with os.fdopen(os.dup(0), "rb") if path == STDIN else path.open("rb") as file:
        yield _records(file, name_of(path), record_bytes_max)


def _started(path: Path, spool: BufferedRandom) -> "Future[str]":
    """Copy `path` in a thread; the future has the SHA-256 of its bytes."""
    result: Future[str] = Future()

    def work() -> None:
        digest = sha256()
        try:
            # Unbuffered: the interpreter ends without a thread that holds no lock of a buffer.
            with open(
                0 if path == STDIN else path, "rb", buffering=0, closefd=path != STDIN
            ) as file:
                while part := file.read(_PART_BYTES):
                    digest.update(part)
                    spool.write(part)
        except OSError as error:
            result.set_exception(error)
        else:
            result.set_result(digest.hexdigest())

    # A daemon: opening a FIFO waits for its writer, which nothing can break off.
    threading.Thread(target=work, name="spool", daemon=True).start()
    return result


def _records(
    file: BufferedReader | BufferedRandom, name: str, record_bytes_max: int
) -> Iterator[Record]:
    if not file.peek(8).startswith(_GZIP):
        yield from _lines(file, name, record_bytes_max)
        return
    with gzip.GzipFile(fileobj=file) as unpacked:
        try:
            yield from _lines(unpacked, name, record_bytes_max)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise UsageError(f"{name}: its gzip data are broken: {error}") from error


def _lines(
    file: BufferedReader | BufferedRandom | gzip.GzipFile, name: str, record_bytes_max: int
) -> Iterator[Record]:
    head = file.peek(8)
    for magic, program in _OTHERWISE.items():
        if head.startswith(magic):
            raise UsageError(
                f"{name}: this is {program} it, and give the lines by a pipe:"
                f" {program.partition(': ')[2]} FILE | laurel ... -"
            )
    # Editors put it before the first line; RFC 8259 (section 8.1) lets a reader pass it over.
    if head.startswith(codecs.BOM_UTF8):
        file.read(len(codecs.BOM_UTF8))
    yield from lines.records(file, record_bytes_max)
