"""The body of `laurel rebuild`: from sources to what differs, and on from there."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from enum import StrEnum
from typing import assert_never

from ops.clock import SYSTEM_CLOCK, Clock
from ops.lifecycle import Stop
from ops.progress import went_on
from ops.settings import Settings
from ops.watchdog import Watchdog
from processor.history import scan
from processor.history.drift import drift
from processor.history.inputs.reading import Inputs, inputs_of
from processor.history.pieces import source_of
from processor.history.reading import ReadBy, Readers
from processor.history.rebuild import ExchangeOptions, Rebuilding
from processor.history.rebuild_report import RebuildReport, SourceReport
from processor.history.shadow_fill import EXAMPLES_MAX, ShadowFillReport, in_force
from store import migrations, retention, rights
from store.engine import Database
from store.values.names import TypeCode
from store.values.shadows import RebuildState

_PROGRESS_EVERY_S = 2.0
_MEMORY_BYTES = 1 << 30
_THREADS = 2


class Deed(StrEnum):
    """What a person asks for beside filling in sources."""

    OPEN = "open"
    SWAP = "swap"
    UNDO = "undo"
    FINISH = "finish"
    STATUS = "status"


class RebuildLines:
    """Says now and then how far a rebuild is.

    Args:
        say: is given a line of text every two seconds at most.
        clock: the host's; tests bring their own.
    """

    def __init__(self, say: Callable[[str], None], clock: Clock = SYSTEM_CLOCK) -> None:
        self._say = say
        self._clock = clock
        self._said_at = clock.monotonic()
        self._size: int | None = None

    def begin(self, size: int | None) -> None:
        """Take in how many bytes the sources have; None: nobody knows."""
        self._size = size

    def reached(self, records: int, read_bytes: int) -> None:
        """Say how much is read, if it is time."""
        of = f", {read_bytes / self._size:.0%}" if self._size else ""
        self.tell(f"{records} records read{of}")

    def filled(self, report: ShadowFillReport) -> None:
        """Say how much is filled in, if it is time."""
        self.tell(f"{report.events} events looked up, {report.filled} filled in")

    def compared(self, rows: int) -> None:
        """Say how much differs by now, if it is time."""
        self.tell(f"compared; {rows} rows differ by now")

    def tell(self, line: str) -> None:
        """Say something, if it is time."""
        went_on()
        now = self._clock.monotonic()
        if now - self._said_at >= _PROGRESS_EVERY_S:
            self._said_at = now
            self._say(line)


@asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[Database]:
    async with AsyncExitStack() as stack:
        database = Database(settings.need("database_url"), settings.database)
        await stack.enter_async_context(database)
        async with database.transaction() as conn:
            await migrations.check(conn)
            await rights.check(conn, temporary=True)
        dog = stack.enter_context(Watchdog(settings.lifecycle.stall_after))
        stack.enter_context(dog.work("the rebuild"))
        yield database


async def fill_and_compare(
    settings: Settings,
    sources: Sequence[str],
    type_code: TypeCode | None,
    stop: Stop,
    lines: RebuildLines,
) -> RebuildReport:
    """Open a rebuild unless one is, fill in what `sources` hold, and compare.

    Without sources: compare the one that is open.

    Raises:
        UsageError: a source cannot be read, or the open rebuild is about other counters.
    """
    inputs = inputs_of(sources) if sources else None
    async with _database(settings) as database:
        made = Rebuilding.of(database, settings.tenant_id)
        rebuild = await made.current() if inputs is None else await made.open(type_code)
        if rebuild is None:
            return RebuildReport(None)
        filled = None
        if inputs is not None:
            filled = await _fill(settings, database, made, inputs, stop, lines)
        await made.settle()
        if filled is not None and not filled.filled.finished:
            return RebuildReport(rebuild, filled)
        missing = await made.missing() if rebuild.state is RebuildState.OPEN else None
        found = await drift(database, lines.compared) if missing is not None else None
        return RebuildReport(await made.current(), filled, missing, found)


async def do(
    settings: Settings,
    deed: Deed,
    type_code: TypeCode | None,
    options: ExchangeOptions,
) -> RebuildReport:
    """Do what a person asks for, and say where the rebuild stands afterwards.

    Raises:
        UsageError: this is not its turn.
    """
    async with _database(settings) as database:
        made = Rebuilding.of(database, settings.tenant_id)
        version: int | None = None
        match deed:
            case Deed.OPEN:
                await made.open(type_code)
            case Deed.SWAP:
                version = await made.swap(options)
            case Deed.UNDO:
                version = await made.undo(options)
            case Deed.FINISH:
                await made.finish()
            case Deed.STATUS:
                pass
            case unreachable:
                assert_never(unreachable)
        return RebuildReport(await made.current(), version=version)


async def _fill(
    settings: Settings,
    database: Database,
    made: Rebuilding,
    inputs: Inputs,
    stop: Stop,
    lines: RebuildLines,
) -> SourceReport:
    async with database.transaction() as conn:
        by = ReadBy(
            await in_force(conn),
            settings.tenant_id,
            settings.worker.future_tolerance,
            await retention.floor(conn),
            settings.worker.record_bytes_max,
        )
    lines.begin(inputs.size)
    with scan.opened(None, _MEMORY_BYTES, _THREADS) as found:
        readers = Readers.for_bytes(by, inputs.size)
        pieces = inputs.pieces(by.record_bytes_max, lambda: stop.requested)
        if not await asyncio.to_thread(found.read, pieces, readers, stop, lines):
            return SourceReport(found.records)
        refused, examples = 0, list[str]()
        for each in found.refused():
            refused += 1
            if refused <= EXAMPLES_MAX:
                place = inputs.place_name(*source_of(each.place))
                examples.append(f"{place}: {each.rejected.reason}: {each.rejected.detail}")
        filled = await made.fill(found.table, lines.filled, lambda: stop.requested)
        return SourceReport(found.records, found.repetitions(), refused, tuple(examples), filled)
