"""Messages as a source of history, read as the product reads it."""

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
def a_history(
    messages: Sequence[Mapping[str, Any]], catalog: Catalog, slice_events: int = 10
) -> Iterator[EventTable]:
    """Give what the messages are to the catalog, in slices of about so many events."""
    by = ReadBy(catalog, DEFAULT_TENANT, timedelta(minutes=10), date(2000, 1, 1), 1 << 20)
    lines = b"".join(dumped(message).encode() + b"\n" for message in messages)
    read = PieceReader(by, FakeClock(NOW)).read(Piece(0, 0, lines))
    with event_table.opened(None, 200 << 20, 1) as table:
        for rows in read.rows:
            table.add(rows)
        table.seal(b"tests", slice_events)
        yield table
