"""Messages as a `History`: read by the stream's reader, added up by the engine of the files."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Any

from ops.settings import DEFAULT_TENANT
from processor.history import event_table
from processor.history.event_table import EventTable
from processor.history.pieces import Piece
from processor.history.reading import PieceReader, ReadBy
from store.exact_json import dumped
from store.values.catalog import Catalog
from tests.builders.clock import FakeClock
from tests.builders.messages import NOW


@contextmanager
def a_history_of(
    catalog: Catalog, messages: Sequence[Mapping[str, Any]], slice_events: int = 7
) -> Iterator[EventTable]:
    """Yield what a file of `messages` holds, by the catalog that is in force."""
    by = ReadBy(catalog, DEFAULT_TENANT, timedelta(minutes=10), date(2000, 1, 1), 1 << 20)
    lines = b"".join(dumped(message).encode() + b"\n" for message in messages)
    with event_table.opened(None, 200 << 20, 1) as table:
        if lines:
            for rows in PieceReader(by, FakeClock(NOW)).read(Piece(0, 0, lines)).rows:
                table.add(rows)
        table.seal(b"a test", slice_events)
        yield table
