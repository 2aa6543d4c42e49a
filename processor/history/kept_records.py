"""Records that are no events, kept beside the events until they are needed: on disk, in order.

What is refused may be a fifth of a file of millions, and each of it is named in the end; wallet
changes and commands are carried out after the events. Neither may cost memory.
"""

import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from processor.events.records import Record
from processor.events.rejection import Rejected
from processor.history.pieces import place_of
from processor.history.reading import ReadPiece, RefusedRecord
from store.values.stream import Reason

_FETCH = 1_000
_ROWS = pa.schema(
    [
        ("place", pa.int64()),
        ("topic", pa.string()),  # the contract's; null: any
        ("record", pa.binary()),  # pickled; null: it is refused, and lies where it came from
        ("reason", pa.string()),  # null: it is not refused
        ("detail", pa.string()),
        ("type", pa.string()),
    ]
)
_REFUSED = "SELECT place, reason, detail, type FROM kept WHERE reason IS NOT NULL ORDER BY place"
_OTHERS = "SELECT place, topic, record FROM kept WHERE record IS NOT NULL ORDER BY place"
_REASONS = """
    SELECT reason, count(*) FROM kept WHERE reason IS NOT NULL GROUP BY reason ORDER BY reason
"""
_DIGEST = "SELECT count(*), sum(hash(place, record)::HUGEINT) FROM kept WHERE record IS NOT NULL"


@dataclass(frozen=True, slots=True)
class RefusedPlace:
    """Where a record lies that the stream would refuse, and why it would."""

    place: int
    rejected: Rejected


@dataclass(frozen=True, slots=True)
class OtherRecord:
    """A wallet change or a command; `topic` is the contract's name, None where any may come."""

    place: int
    topic: str | None
    record: Record


class KeptRecords:
    """What was read and is no event.

    Args:
        connection: to DuckDB; the table is made in it.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._db = connection
        self._db.register("kept_rows", _ROWS.empty_table())
        self._db.execute("CREATE TABLE kept AS FROM kept_rows")

    def add(self, read: ReadPiece) -> None:
        """Take in what of a piece is no event."""
        source, topic = read.piece.source, read.piece.topic
        rows = [_refused_row(source, topic, each) for each in read.refused]
        rows += [
            (place_of(source, record.offset), topic, pickle.dumps(record), None, None, None)
            for record in read.others
        ]
        if rows:
            columns = zip(*rows, strict=True)
            arrays = [pa.array(c, f.type) for c, f in zip(columns, _ROWS, strict=True)]
            self._db.register("kept_rows", pa.Table.from_arrays(arrays, schema=_ROWS))
            self._db.execute("INSERT INTO kept FROM kept_rows")

    def reasons(self) -> dict[str, int]:
        """Return how many records are refused, by reason."""
        return dict(self._db.execute(_REASONS).fetchall())

    def digest(self) -> object:
        """Return what tells these wallet changes and commands from others."""
        # To its end: DuckDB does nothing else beside an answer that is not read whole.
        return self._db.execute(_DIGEST).fetchall()

    def refused(self) -> Iterator[RefusedPlace]:
        """Give what is refused, in the order of the sources."""
        for place, reason, detail, declared in self._listed(_REFUSED):
            yield RefusedPlace(place, Rejected(Reason(reason), detail, declared))

    def others(self) -> Iterator[OtherRecord]:
        """Give wallet changes and commands, in the order of the sources."""
        for place, topic, record in self._listed(_OTHERS):
            # Written by this process a moment ago, into a file of its own.
            yield OtherRecord(place, topic, pickle.loads(record))  # noqa: S301

    def _listed(self, statement: str) -> Iterator[tuple[Any, ...]]:
        # A cursor of its own: others are asked meanwhile.
        cursor = self._db.cursor().execute(statement)
        while rows := cursor.fetchmany(_FETCH):
            yield from rows


def _refused_row(source: int, topic: str | None, each: RefusedRecord) -> tuple[object, ...]:
    said = each.rejected
    # A text that holds half a character is no column.
    detail = said.detail.encode("utf-8", "backslashreplace").decode()
    place = place_of(source, each.record.offset)
    return place, topic, None, said.reason.value, detail, said.type
