"""Read parts of files into Parquet: what one task of a cluster does.

A task may run more than once, and be ended anywhere. Each run writes files of its own names, and
only those count that the one run which is taken names in the end.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
from pyarrow import parquet

from ops.clock import SystemClock
from ops.errors import UsageError
from processor.history.event_rows import CONTRIBUTIONS, EVENTS
from processor.history.inputs import file_parts
from processor.history.inputs.file_parts import FilePart
from processor.history.inputs.reading import Inputs
from processor.history.kept_records import kept_rows
from processor.history.reading import PieceReader, ReadBy

# Of a row group.
_ROWS = 100_000
_SIXTEEN = pa.binary(16)


@dataclass(frozen=True, slots=True)
class Began(SystemClock):
    """The instant at which a run began: every machine reads by this one, however often."""

    instant: datetime

    def now(self) -> datetime:
        """Return it."""
        return self.instant


@dataclass(frozen=True, slots=True)
class PartTask:
    """What a task needs.

    Args:
        inputs: all that is read.
        by: what records are read by.
        instant: when the run began.
        directory: which every machine shares.
    """

    inputs: Inputs
    by: ReadBy
    instant: datetime
    directory: Path

    def count(self, part: FilePart) -> "PartLines":
        """Return how many lines end in a part."""
        try:
            return PartLines(file_parts.lines_in(self.inputs, part))
        except UsageError as error:
            return PartLines(0, error.message)

    def read(self, numbered: tuple[FilePart, int]) -> "PartRead":
        """Read a part, before which its file has so many lines."""
        part, first = numbered
        reader = PieceReader(self.by, Began(self.instant))
        records = events = 0
        with _Written(self.directory) as written:
            try:
                pieces = file_parts.pieces_of(self.inputs, part, first, self.by.record_bytes_max)
                for piece in pieces:
                    read = reader.read(piece)
                    records += read.records
                    for rows in read.rows:
                        events += len(rows.events)
                        written.add("event", rows.events)
                        written.add("contribution", rows.contributions)
                    written.add("kept", kept_rows(read))
            except UsageError as error:
                return PartRead(error=error.message)
            return PartRead(records, events, written.finished())


@dataclass(frozen=True, slots=True)
class PartLines:
    """How many lines end in a part; `error` is what a person is told instead."""

    lines: int
    error: str | None = None


@dataclass(frozen=True, slots=True)
class PartRead:
    """What came of a part; `error` is what a person is told instead."""

    records: int = 0
    events: int = 0
    files: Mapping[str, Path] = field(default_factory=dict)
    error: str | None = None


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """Return a schema in types that every engine has: no bytes of a fixed number, no unsigned."""
    plain = {_SIXTEEN: pa.binary(), pa.uint32(): pa.int64()}
    return pa.schema([(each.name, plain.get(each.type, each.type)) for each in schema])


_PLAIN = {"event": plain_schema(EVENTS), "contribution": plain_schema(CONTRIBUTIONS)}


class _Written:
    """Parquet files, one a kind of row; none where there are no rows."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._run = uuid4().hex
        self._waiting: dict[str, list[pa.RecordBatch]] = {}
        self._writers: dict[str, parquet.ParquetWriter] = {}
        self._files: dict[str, Path] = {}
        self._open = ExitStack()

    def __enter__(self) -> "_Written":
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def add(self, kind: str, rows: pa.RecordBatch) -> None:
        if len(rows):
            waiting = self._waiting.setdefault(kind, [])
            waiting.append(rows)
            if sum(map(len, waiting)) >= _ROWS:
                self._write(kind)

    def finished(self) -> Mapping[str, Path]:
        """Write what waits; return the files by kind."""
        for kind in list(self._waiting):
            self._write(kind)
        self._open.close()
        return self._files

    def _write(self, kind: str) -> None:
        waiting = self._waiting.pop(kind)
        table = pa.Table.from_batches(waiting)
        if kind in _PLAIN:
            table = table.cast(_PLAIN[kind])
        if kind not in self._writers:
            self._files[kind] = self._directory / f"{kind}-{self._run}.parquet"
            writer = parquet.ParquetWriter(self._files[kind], table.schema)
            self._writers[kind] = self._open.enter_context(writer)
        self._writers[kind].write_table(table)


def kept_in(files: Iterator[Path]) -> Iterator[pa.RecordBatch]:
    """Give the rows of what is no event."""
    for each in files:
        with parquet.ParquetFile(each) as file:
            yield from file.iter_batches()
