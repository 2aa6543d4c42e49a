"""Records that are no events, kept beside the events until they are needed: on disk, in order.

What is refused may be a fifth of a file of millions, and each of it is named in the end; wallet
changes and commands are carried out after the events. Neither may cost memory.
"""

import pickle
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from processor.events.records import Record
from processor.events.rejection import Rejected
from processor.history.pieces import place_of
from processor.history.reading import ReadPiece
from store.values.stream import Reason

_FETCH = 1_000
_ROWS = pa.schema(
    [
        ("place", pa.int64()),
        ("topic", pa.string()),  # the contract's; null: any
        ("record", pa.binary()),  # pickled
        ("reason", pa.string()),  # null: it is not refused
        ("detail", pa.string()),
        ("type", pa.string()),
    ]
)
_REFUSED = """
    SELECT place, topic, record, reason, detail, type
      FROM kept WHERE reason IS NOT NULL ORDER BY place
"""
_OTHERS = """
    SELECT place, topic, record, reason, detail, type
      FROM kept WHERE reason IS NULL ORDER BY place
"""


@dataclass(frozen=True, slots=True)
class KeptRecord:
    """A record by its place; `rejected` is None where it is a wallet change or a command."""

    place: int
    topic: str | None
    record: Record
    rejected: Rejected | None


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
        rows = [
            _row(read, each.record, each.rejected.reason, each.rejected.detail, each.rejected.type)
            for each in read.refused
        ]
        rows += [_row(read, record) for record in read.others]
        if rows:
            columns = zip(*rows, strict=True)
            arrays = [pa.array(c, f.type) for c, f in zip(columns, _ROWS, strict=True)]
            self._db.register("kept_rows", pa.Table.from_arrays(arrays, schema=_ROWS))
            self._db.execute("INSERT INTO kept FROM kept_rows")

    def reasons(self) -> dict[str, int]:
        """Return how many records are refused, by reason."""
        found = self._db.execute(
            "SELECT reason, count(*) FROM kept WHERE reason IS NOT NULL GROUP BY reason ORDER BY 1"
        )
        return dict(found.fetchall())

    def refused(self) -> Iterator[KeptRecord]:
        """Give what is refused, in the order of the input."""
        return self._listed(_REFUSED)

    def others(self) -> Iterator[KeptRecord]:
        """Give wallet changes and commands, in the order of the input."""
        return self._listed(_OTHERS)

    def _listed(self, statement: str) -> Iterator[KeptRecord]:
        # A cursor of its own: others are asked meanwhile.
        cursor = self._db.cursor().execute(statement)
        while rows := cursor.fetchmany(_FETCH):
            yield from map(_kept, rows)


def _row(
    read: ReadPiece,
    record: Record,
    reason: Reason | None = None,
    detail: str | None = None,
    declared: str | None = None,
) -> Iterable[object]:
    place = place_of(read.piece.source, record.offset)
    # A text that holds half a character is no column.
    said = None if detail is None else detail.encode("utf-8", "backslashreplace").decode()
    return place, read.piece.topic, pickle.dumps(record), reason, said, declared


def _kept(row: tuple[Any, ...]) -> KeptRecord:
    place, topic, record, reason, detail, declared = row
    rejected = None if reason is None else Rejected(Reason(reason), detail, declared)
    # Written by this process a moment ago, into a file of its own.
    return KeptRecord(place, topic, pickle.loads(record), rejected)  # noqa: S301
