"""Loads of history in tests: messages become a history, and it is counted."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from ops.lifecycle import Stop
from ops.settings import Settings
from processor.batch.compiled_catalog import CompiledCatalog
from processor.events.chunks import PlainRecord
from processor.events.event import Event
from processor.history import event_table
from processor.history.event_rows import rows_of
from processor.history.load_report import LoadReport
from processor.history.loading import ReadHistory, load
from processor.history.slice_transaction import Speech
from store import catalogs, retention
from store.engine import Database
from tests.builders.clock import FakeClock
from tests.builders.messages import NOW, encoded, terms
from tests.builders.plain_history import PlainHistory

SILENT, SAID = Speech(), Speech(publish=True, mint=True)


class Untold:
    """Is told how far a load is, and tells nobody."""

    async def loaded(self, slices: int, total: int) -> None:
        del slices, total


async def compiled_of(database: Database) -> CompiledCatalog:
    """Return the catalog in force, and the floor."""
    async with database.transaction() as conn:
        found = await catalogs.current(conn)
        floor = await retention.floor(conn)
    assert found is not None
    return CompiledCatalog.of(found, terms().tenant_id, terms().future_tolerance, floor)


def events_of(
    compiled: CompiledCatalog, messages: Iterable[Mapping[str, Any] | bytes]
) -> list[Event]:
    """Return messages, all of them events, as the reader reads them."""
    read = compiled.reader.at(NOW, None)
    found = [read(PlainRecord(place, encoded(each))) for place, each in enumerate(messages)]
    assert all(isinstance(each, Event) for each in found), found
    return found  # type: ignore[return-value]


async def read_of(
    database: Database, messages: Iterable[Mapping[str, Any] | bytes], slices: int = 3
) -> ReadHistory:
    """Return messages as what was read of a file."""
    compiled = await compiled_of(database)
    history = PlainHistory(events_of(compiled, messages), slices)
    refused = {"event_id_conflict": len(history.conflicts)} if history.conflicts else {}
    return ReadHistory(
        history, compiled, ("events.jsonl",), len(history.all), history.repeated, refused
    )


@contextmanager
def table_of(read: ReadHistory, slice_events: int) -> Iterator[ReadHistory]:
    """Give the same as DuckDB holds it."""
    assert isinstance(read.history, PlainHistory)
    with event_table.opened(None, 256 * 2**20, 1) as table:
        table.add(rows_of(0, read.history.all))
        table.seal(b"a test", slice_events)
        yield replace(read, history=table)


async def loaded(database: Database, read: ReadHistory, speech: Speech = SILENT) -> LoadReport:
    """Count what was read; return the report without how long it took."""
    report = await load(database, Settings(), read, speech, Stop(), Untold(), clock=FakeClock(NOW))
    return replace(report, seconds=0.0)
