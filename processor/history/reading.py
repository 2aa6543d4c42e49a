"""Read pieces of history in as many processes as there are cores, by the stream's own reader.

What comes out are columns for an engine, and values for what is no event: a line that is refused
keeps the reason that the stream would give, and a wallet change or a command its record. Results
come in the order of the pieces. A reader ends with the process that it reads for, however that
ends.
"""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from multiprocessing import connection, get_context, parent_process
from typing import Self
from uuid import UUID

from ops.clock import SYSTEM_CLOCK, Clock
from ops.errors import Permanent
from processor.events.event import Event
from processor.events.reader import EventReader, Parsed
from processor.events.records import Record
from processor.events.rejection import Rejected
from processor.history.bulk_reader import BulkReader
from processor.history.event_rows import EventRows, rows_of
from processor.history.inputs.line_pieces import records_of
from processor.history.pieces import Piece
from store.values.catalog import Catalog

# So many lines are read one by one where one of them is no event: of a file in which one in
# a hundred is broken half are still read at once.
_BLOCK_LINES = 64
# Pieces that wait for each reader: it never waits for the next, and few are held.
_AHEAD = 3


class ReaderDied(Permanent):
    """A process that read for this one is gone: killed, or without memory."""

    code = "reader_died"


@dataclass(frozen=True, slots=True)
class ReadBy:
    """What records are read by: see processor/events/reader.py, EventReader."""

    catalog: Catalog
    tenant_id: UUID
    future_tolerance: timedelta
    floor: date | None
    record_bytes_max: int


@dataclass(frozen=True, slots=True)
class RefusedRecord:
    """A record that the stream would refuse, by its number in the source."""

    source: int
    record: Record
    rejected: Rejected


@dataclass(frozen=True, slots=True)
class ReadPiece:
    """What a piece holds.

    `rows` are its events; `others` are the records of wallet changes and commands.
    """

    piece: Piece
    records: int
    rows: tuple[EventRows, ...]
    refused: tuple[RefusedRecord, ...]
    others: tuple[Record, ...]


class PieceReader:
    """Reads pieces, one after the other.

    Args:
        by: what records are read by.
        clock: the host's; tests bring their own.
    """

    def __init__(self, by: ReadBy, clock: Clock = SYSTEM_CLOCK) -> None:
        self._reader = EventReader(by.catalog, by.tenant_id, by.future_tolerance, by.floor)
        self._bulk = BulkReader.of(by.catalog, by.tenant_id)
        self._by = by
        self._clock = clock

    def read(self, piece: Piece) -> ReadPiece:
        """Read every record of a piece."""
        now = self._clock.now()
        reading = _Reading(piece, self._reader.at(now, piece.topic), self._by.record_bytes_max)
        if piece.lines is None or piece.topic is not None or self._bulk is None:
            reading.one_by_one(piece)
        else:
            earliest = datetime.combine(self._by.floor or date.min, time(), UTC)
            reading.in_bulk(self._bulk, piece.lines, (earliest, now + self._by.future_tolerance))
        return reading.done()


class _Reading:
    """What of a piece is read by now."""

    def __init__(
        self, piece: Piece, read: Callable[[Record], Parsed], record_bytes_max: int
    ) -> None:
        self._piece = piece
        self._read = read
        self._record_bytes_max = record_bytes_max
        self._events: list[Event] = []
        self._rows: list[EventRows] = []
        self._refused: list[RefusedRecord] = []
        self._others: list[Record] = []
        self._records = 0

    def in_bulk(self, bulk: BulkReader, lines: bytes, bounds: tuple[datetime, datetime]) -> None:
        """Read lines at once, else in blocks, else one by one."""
        if self._at_once(bulk, self._piece.first, lines, bounds):
            return
        first = self._piece.first
        every = _lines(lines)
        for start in range(0, len(every), _BLOCK_LINES):
            block = every[start : start + _BLOCK_LINES]
            joined = b"".join(block)
            if not self._at_once(bulk, first + start, joined, bounds):
                self.one_by_one(self._part(first + start, joined))

    def one_by_one(self, piece: Piece) -> None:
        """Read each record of a piece, which may be a part of the whole one."""
        for record in records_of(piece, self._record_bytes_max):
            self._records += 1
            self._take(record)

    def done(self) -> ReadPiece:
        """Return what was found."""
        if self._events:
            self._rows.append(rows_of(self._piece.source, self._events))
        piece = self._piece
        return ReadPiece(
            Piece(piece.source, piece.first, None, (), piece.topic, piece.read_bytes),
            self._records,
            tuple(self._rows),
            tuple(self._refused),
            tuple(self._others),
        )

    def _at_once(
        self, bulk: BulkReader, first: int, lines: bytes, bounds: tuple[datetime, datetime]
    ) -> bool:
        if len(lines) > self._record_bytes_max and _longest(lines) > self._record_bytes_max:
            return False
        found = bulk.read(self._piece.source, first, lines, bounds)
        if found is None:
            return False
        if len(found.rows.events):
            self._rows.append(found.rows)
        self._records += len(found.rows.events)
        if found.left:
            every = _lines(lines)
            for number in found.left:
                self.one_by_one(self._part(first + number, every[number]))
        return True

    def _take(self, record: Record) -> None:
        parsed = self._read(record)
        if type(parsed) is Event:
            self._events.append(parsed)
        elif isinstance(parsed, Rejected):
            self._refused.append(RefusedRecord(self._piece.source, record, parsed))
        else:
            self._others.append(record)

    def _part(self, first: int, lines: bytes) -> Piece:
        return Piece(self._piece.source, first, lines)


def _longest(lines: bytes) -> int:
    """Return the length of the longest line, or a little more."""
    return max(map(len, lines.split(b"\n")))


def _lines(lines: bytes) -> list[bytes]:
    """Return lines with their ends; bytes.splitlines ends one at a carriage return, too."""
    return [line + b"\n" for line in lines.removesuffix(b"\n").split(b"\n")]


class Readers:
    """Reader processes, or none where one would take longer to start than to read.

    Args:
        by: what records are read by.
        processes: how many; 0 reads in this process.
    """

    def __init__(self, by: ReadBy, processes: int) -> None:
        self._by = by
        self.processes = processes

    @property
    def basis(self) -> object:
        """Return what decides how records are read, as a text tells it."""
        by = self._by
        return by.catalog.version, by.tenant_id, by.floor, by.record_bytes_max

    @classmethod
    def for_bytes(cls, by: ReadBy, size: int | None, processes: int | None = None) -> Self:
        """Return as many readers as `size` bytes are worth; None: nobody knows how many."""
        if size is not None and size < _WORTH_A_PROCESS:
            return cls(by, 0)
        return cls(by, processes or len(os.sched_getaffinity(0)))

    def read(self, pieces: Iterable[Piece]) -> Iterator[ReadPiece]:
        """Read pieces; give what is in each, in their order.

        Raises:
            ReaderDied: a reader was killed.
        """
        if not self.processes:
            reader = PieceReader(self._by)
            yield from map(reader.read, pieces)
            return
        with self._pool() as submit:
            waiting = deque[Future[ReadPiece]]()
            try:
                for piece in pieces:
                    waiting.append(submit(piece))
                    if len(waiting) > self.processes * _AHEAD:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            except BrokenProcessPool as error:
                raise ReaderDied(
                    "A process that reads for this one was killed, perhaps for lack of memory. "
                    "Run the same command again; --memory says how much it may take."
                ) from error

    @contextmanager
    def _pool(self) -> Iterator[Callable[[Piece], Future[ReadPiece]]]:
        # Spawned: a fork would take over locks of this process's threads.
        pool = ProcessPoolExecutor(
            self.processes, get_context("spawn"), initializer=_begin, initargs=(self._by,)
        )
        try:
            yield lambda piece: pool.submit(_read, piece)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


# So much is read in the time that a process takes to begin (0.4 s, 2026-11-27).
_WORTH_A_PROCESS = 32 * 1024 * 1024

_reader: PieceReader | None = None


def _begin(by: ReadBy) -> None:
    """Make this process a reader."""
    global _reader  # noqa: PLW0603 - a process of a pool has no other place
    _reader = PieceReader(by)
    # Whoever reads for a terminal's command ends with it, and not by the terminal's signal.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()


def _read(piece: Piece) -> ReadPiece:
    if _reader is None:
        raise RuntimeError("this process is no reader")
    return _reader.read(piece)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
