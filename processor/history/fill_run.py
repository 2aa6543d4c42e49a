"""The body of `laurel history fill`: take a counter's past of sources, and say what it would give.

Sources are read whole before anything of them is taken; what is taken, nobody sees before the fill
is closed.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ops.clock import SYSTEM_CLOCK, Clock
from ops.errors import UsageError
from ops.lifecycle import Stop
from ops.settings import Settings
from processor.catalog.plan import LevelPlan
from processor.history import fill as filling
from processor.history import scan
from processor.history.fill import TakenSource
from processor.history.fill_forecast import forecast
from processor.history.inputs.reading import Inputs, inputs_of
from processor.history.kept_records import RefusedPlace
from processor.history.loading import mint_nano
from processor.history.pieces import source_of
from processor.history.reading import ReadBy, Readers
from processor.history.scan import Scan
from store import catalogs, fills, migrations, retention, rights
from store.engine import Connection, Database
from store.fill_staging import Standing
from store.fills import FillableCounter
from store.values.names import TypeCode
from store.values.stream import Reason

# Of DuckDB: what a slice comes to lies in Python beside it.
_MEMORY_BYTES = 512 << 20
_SAY_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class FillReport:
    """What a fill has taken of sources, and what it would give by now.

    Args:
        counter: that is given its past.
        events: that the fill has taken, of all its sources.
        users: for whom it has something.
        levels: what closing would give.
        mint_nano: what one mint takes, in nanograms, at most.
        records: read of these sources; 0 where none was given.
        repeated: of those, events that say again what an earlier one says.
        refused: of those, by reason.
        examples: the first of them, with their places.
        taken: what became of the others; None where no source was given.
    """

    counter: FillableCounter
    events: int
    users: int
    levels: Mapping[tuple[TypeCode, int], LevelPlan]
    mint_nano: int
    records: int = 0
    repeated: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    examples: Sequence[str] = ()
    taken: TakenSource | None = None

    @property
    def mints(self) -> int:
        """Return how many tokens closing would ask for."""
        return sum(each.mints for each in self.levels.values())

    @property
    def finished(self) -> bool:
        """Return whether the sources are taken whole."""
        return self.taken is None or self.taken.finished


class FillLines:
    """Says now and then how far a fill is.

    Args:
        say: is given a line of text every two seconds at most.
        clock: the host's; tests bring their own.
    """

    def __init__(self, say: Callable[[str], None], clock: Clock = SYSTEM_CLOCK) -> None:
        self._say = say
        self._clock = clock
        self._said_at = clock.monotonic()

    def reached(self, records: int, read_bytes: int) -> None:
        """Say how far the reading is, if it is time."""
        self._line(f"{records} records read, {read_bytes / 1e6:.0f} MB")

    def took(self, taken: TakenSource) -> None:
        """Say how far the taking is, if it is time."""
        events = taken.numbers[Standing.TAKEN]
        self._line(f"{taken.done} of {taken.slices} slices, {events} events taken")

    def _line(self, text: str) -> None:
        now = self._clock.monotonic()
        if now - self._said_at >= _SAY_EVERY_S:
            self._said_at = now
            self._say(text)


@dataclass(frozen=True, slots=True)
class FillRun:
    """One call of the command.

    Args:
        settings: how records are read.
        database: with this Laurel's tables.
        stop: ends it after the slice under way.
        progress: says how far it is.
    """

    settings: Settings
    database: Database
    stop: Stop
    progress: FillLines

    async def standing(self, name: str) -> FillReport:
        """Say what was taken so far.

        Raises:
            UsageError: there is no such counter, or no fill of it.
        """
        async with self.database.transaction() as conn:
            await migrations.check(conn)
            counter = await filling.known(conn, name)
            fill = await fills.read(conn, counter.id)
            if fill is None:
                await filling.fillable(conn, name)
                raise UsageError(
                    f"No fill of {name} is open. Give it a source: `laurel history fill --counter "
                    f"{name} SOURCE`."
                )
            filling.refuse_unless_open(fill)
        return await self._report(counter)

    async def take(self, name: str, sources: Sequence[str], *, strict: bool) -> FillReport:
        """Take what `sources` hold of a counter's past.

        Args:
            name: the counter's.
            sources: files, directories, patterns, `-`.
            strict: take nothing where the stream would refuse a record.

        Raises:
            UsageError: the counter cannot be given its past, or a source cannot be read; nothing
                is taken.
        """
        async with self.database.transaction() as conn:
            await migrations.check(conn)
            await rights.check(conn, temporary=True)
            counter = await filling.fillable(conn, name)
            by = await self._read_by(conn, counter)
        inputs = inputs_of(sources)
        with scan.opened(None, _MEMORY_BYTES, len(os.sched_getaffinity(0))) as read:
            readers = Readers.for_bytes(by, inputs.size)
            pieces = inputs.pieces(by.record_bytes_max, lambda: self.stop.requested)
            whole = await asyncio.to_thread(read.read, pieces, readers, self.stop, self.progress)
            if not whole:
                return await self._report(counter, records=read.records, taken=TakenSource(1))
            return await self._taken(counter, inputs, read, strict=strict)

    async def _taken(
        self, counter: FillableCounter, inputs: Inputs, read: Scan, *, strict: bool
    ) -> FillReport:
        refused = Counter(read.kept.reasons())
        first = list(islice(read.refused(), filling.EXAMPLES_MAX))
        if strict and first:
            listed = "\n".join(f"  {_example(inputs, each)}" for each in first)
            raise UsageError(f"Nothing of these sources was taken, for --strict:\n{listed}")
        taken = await filling.take(
            self.database, counter, read.table, self.stop, self.progress.took
        )
        contradictions = read.table.number_of_conflicts + taken.numbers[Standing.CONFLICTING]
        if contradictions:
            refused[Reason.EVENT_ID_CONFLICT.value] += contradictions
        return await self._report(
            counter,
            records=read.records,
            repeated=read.repetitions(),
            refused=dict(sorted(refused.items())),
            examples=[_example(inputs, each) for each in (*first, *taken.conflicts)],
            taken=taken,
        )

    async def _report(self, counter: FillableCounter, **of_sources: Any) -> FillReport:
        async with self.database.transaction() as conn:
            fill = await fills.read(conn, counter.id)
        users, levels = await forecast(self.database, counter)
        events = 0 if fill is None else fill.events
        mint = mint_nano(self.settings)
        return FillReport(counter, events, users, levels, mint, **of_sources)

    async def _read_by(self, conn: Connection, counter: FillableCounter) -> ReadBy:
        catalog = await catalogs.current(conn)
        if catalog is None:
            raise UsageError(catalogs.NO_CATALOG)
        worker = self.settings.worker
        return ReadBy(
            filling.only(catalog, counter),
            self.settings.tenant_id,
            worker.future_tolerance,
            await retention.floor(conn),
            worker.record_bytes_max,
        )


def _example(inputs: Inputs, refused: RefusedPlace) -> str:
    place = inputs.place_name(*source_of(refused.place))
    return f"{place}: {refused.rejected.reason.value}: {refused.rejected.detail}"
