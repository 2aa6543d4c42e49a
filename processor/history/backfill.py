"""The body of `laurel backfill`: sources are read whole, then counted, slice by slice.

The stream's reader says what each record is, so that what it would refuse is refused here, for the
same reason and by its place. History is silent unless the caller asks otherwise.
"""

import asyncio
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Protocol

from ops.clock import SYSTEM_CLOCK, Clock
from ops.errors import Permanent, UsageError
from ops.lifecycle import Stop
from ops.progress import went_on
from ops.quantities import shown_age
from ops.settings import Settings
from ops.watchdog import Watchdog
from processor.batch.bisection import PartitionRefused
from processor.batch.compiled_catalog import CompiledCatalog
from processor.batch.pipeline import CatalogChanged
from processor.batch.staging import id_conflict
from processor.history import scan
from processor.history.forecast import forecast
from processor.history.inputs.reading import Inputs
from processor.history.kept_records import RefusedPlace
from processor.history.load_report import LoadReport
from processor.history.loading import ReadHistory, load
from processor.history.pieces import Piece, source_of
from processor.history.reading import ReadBy, Readers
from processor.history.scan import Found
from processor.history.slice_transaction import Speech
from store import catalogs, migrations, retention, rights, shadows
from store.engine import Database
from store.values.catalog import Catalog
from store.values.shadows import with_shadows
from store.values.stream import Reason

# Of refused records in the report.
EXAMPLES_MAX = 20
_SAY_EVERY_S = 2.0
# What Python, its libraries and a slice take in this process, and what a reader takes in its own
# (measured 2026-11-27); DuckDB has the rest, and needs so much at least.
_OWN_BYTES, _READER_BYTES, _ENGINE_BYTES_MIN = 224 << 20, 96 << 20, 128 << 20


class RecordsRefused(Permanent):
    """PostgreSQL refuses so many records that they are not the reason: it has to be mended."""

    code = "records_refused"


class Sources(Protocol):
    """What is read: files, or a range of a topic."""

    @property
    def names(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def size(self) -> int | None:
        """Return what the `read_bytes` of all pieces add up to; None where nobody knows."""
        ...

    @property
    def is_read_once(self) -> bool:
        """Return whether it cannot be read a second time."""
        ...

    def pieces(self, record_bytes_max: int, stopped: Callable[[], bool]) -> Iterator[Piece]:
        """Yield what there is; end early once `stopped` returns True."""
        ...

    def place_name(self, source: int, number: int) -> str:
        """Return what a person finds a record by."""
        ...


@dataclass(frozen=True, slots=True)
class BackfillOptions:
    """What the caller asks for beyond counting.

    Args:
        announce: messages about badges go to the outbox.
        mint: badges are minted by themselves where their policy says so, behind all others.
        rate: at most so many mints a second; None: as they come.
        strict: count nothing where a record is refused.
        dry_run: write nothing.
        memory: bytes that all processes may take together.
        engine: what reads: duckdb or spark.
        master: where Spark runs.
        shared: the directory that all machines of Spark's share.
        refused: where each refused record is named, a line of JSON each.
    """

    announce: bool = False
    mint: bool = False
    rate: float | None = None
    strict: bool = False
    dry_run: bool = False
    memory: int = 1 << 30
    engine: str = "duckdb"
    master: str | None = None
    shared: Path | None = None
    refused: Path | None = None

    @property
    def speech(self) -> Speech:
        """Return what is said of badges."""
        return Speech(publish=self.announce, mint=self.mint, mints_per_second=self.rate)


@dataclass(slots=True)
class BackfillReport:
    """What became of the sources, and the first of the records that were refused."""

    load: LoadReport
    sources: Sequence[str]
    examples: Sequence[str] = ()

    @property
    def document(self) -> dict[str, object]:
        """Return it for a script."""
        return {
            "sources": list(self.sources),
            **self.load.document,
            "refused_examples": list(self.examples),
        }

    @property
    def text(self) -> str:
        """Return it for a person."""
        lines = [self.load.text]
        if self.examples:
            more = self.load.refused.total() - len(self.examples)
            lines.append("Refused:")
            lines += [f"  {each}" for each in self.examples]
            lines += [f"  and {more:,} more: --refused FILE names each"] if more > 0 else []
        return "\n".join(lines)


@dataclass(slots=True)
class ProgressLines:
    """Says now and then how far a run is.

    Args:
        say: is given a line of text every two seconds at most.
        clock: the host's; tests bring their own.
    """

    say: Callable[[str], None]
    clock: Clock = SYSTEM_CLOCK
    size: int | None = None
    _said_at: float = field(init=False)
    _since: tuple[str, int, float] = field(init=False)

    def __post_init__(self) -> None:
        self._said_at = self.clock.monotonic()
        self._since = ("", 0, self._said_at)

    def reached(self, records: int, read_bytes: int) -> None:
        """Say how far the reading is, if it is time."""
        rate = self._begun("read", 0)
        each = f", {records / rate:,.0f} a second" if rate > 0 else ""
        left = self._left(read_bytes, self.size)
        self._line(f"{records:,} records read{each}; {read_bytes / 1e6:,.0f} MB{left}")

    async def loaded(self, slices: int, total: int) -> None:
        """Say how far the counting is, if it is time."""
        went_on()
        self._begun("counted", slices)
        self._line(f"{slices} of {total} slices counted{self._left(slices, total)}")

    def _begun(self, done: str, first: int) -> float:
        """Return how many seconds this part takes by now."""
        now = self.clock.monotonic()
        if self._since[0] != done:
            self._since = (done, first, now)
        return now - self._since[2]

    def _left(self, done: int, total: int | None) -> str:
        _, first, since = self._since
        if not total or done <= first:
            return ""
        left_s = (total - done) * (self.clock.monotonic() - since) / (done - first)
        return f", {done / total:.0%}, about {shown_age(left_s)} left"

    def _line(self, text: str) -> None:
        now = self.clock.monotonic()
        if now - self._said_at >= _SAY_EVERY_S:
            self._said_at = now
            self.say(text)


async def backfill(
    settings: Settings,
    sources: Sources,
    options: BackfillOptions,
    stop: Stop,
    progress: ProgressLines,
) -> BackfillReport:
    """Count what `sources` hold; return early, resumable, once `stop` is requested.

    Raises:
        UsageError: a source cannot be read, or has refused records and `strict` is asked for;
            nothing of it is counted. Or the database has another revision.
        RecordsRefused: what came before is counted.
        RightsMissing: the role may not count. A dry run needs to read only.
    """
    async with Database(settings.need("database_url"), settings.database) as db:
        async with db.reading() if options.dry_run else db.transaction() as conn:
            await migrations.check(conn)
            if not options.dry_run:
                await rights.check(conn, temporary=True)
        run = _Backfill(settings, db, sources, options, progress)
        with Watchdog(settings.lifecycle.stall_after) as dog, dog.work("the backfill"):
            while True:
                try:
                    return await run.once(stop)
                except CatalogChanged as changed:
                    if sources.is_read_once:
                        raise UsageError(
                            "The catalog has changed meanwhile, and what a pipe brought cannot be "
                            "read again. Give it once more; nothing is counted twice."
                        ) from changed
                    progress.say("The catalog has changed meanwhile: read again by the new one.")
                except PartitionRefused as refused:
                    raise RecordsRefused(
                        f"PostgreSQL refuses record after record, and not for what they say: "
                        f"{refused.message}. Mend that in the database (a constraint, a trigger, "
                        "a limit), and run the same command again: it goes on from there."
                    ) from refused


class _Backfill:
    def __init__(
        self,
        settings: Settings,
        db: Database,
        sources: Sources,
        options: BackfillOptions,
        progress: ProgressLines,
    ) -> None:
        self._settings = settings
        self._db = db
        self._sources = sources
        self._options = options
        self._progress = progress

    async def once(self, stop: Stop) -> BackfillReport:
        """Read all by the catalog in force, and count it by that one."""
        by, compiled = await self._basis()
        options, sources = self._options, self._sources
        self._progress.size = sources.size
        with self._opened(by, stop) as (found, read):
            if not await asyncio.to_thread(read):
                return BackfillReport(LoadReport(read=found.records), sources.names)
            history = self._history(found, compiled)
            first = [self._named(each) for each in islice(found.refused(), EXAMPLES_MAX)]
            if options.strict and first and not options.dry_run:
                self._refuse(found, history, first)
            db, settings = self._db, self._settings
            if options.dry_run:
                report = await forecast(db, settings, history, options.speech, stop, self._progress)
            else:
                report = await load(db, settings, history, options.speech, stop, self._progress)
            return self._reported(found, report, first)

    @contextmanager
    def _opened(self, by: ReadBy, stop: Stop) -> Iterator[tuple[Found, Callable[[], bool]]]:
        """Give what the engine finds, and what it reads by: that returns False if it is ended."""
        sources, memory = self._sources, self._options.memory - _OWN_BYTES
        cores = len(os.sched_getaffinity(0))
        if self._options.engine == "spark":
            from processor.history import spark_history  # an extra

            if not isinstance(sources, Inputs):
                raise UsageError("Spark reads files. Read a topic without --engine spark.")
            cluster = spark_history.SparkCluster(self._options.master, self._options.shared)
            with (
                spark_history.session(cluster) as spark,
                spark_history.opened(
                    spark, cluster, max(memory, _ENGINE_BYTES_MIN), cores
                ) as on_cluster,
            ):
                yield on_cluster, partial(on_cluster.read_inputs, sources, by, stop, self._progress)
            return
        readers = Readers.for_bytes(by, sources.size)
        memory -= readers.processes * _READER_BYTES
        with scan.opened(None, max(memory, _ENGINE_BYTES_MIN), cores) as here:
            pieces = sources.pieces(by.record_bytes_max, lambda: stop.requested)
            yield here, partial(here.read, pieces, readers, stop, self._progress)

    async def _basis(self) -> tuple[ReadBy, CompiledCatalog]:
        async with self._db.reading() as conn:
            catalog: Catalog | None = await catalogs.current(conn)
            floor = await retention.floor(conn)
            beside = await shadows.counted(conn)
        if catalog is None:
            raise UsageError(catalogs.NO_CATALOG)
        tenant_id, worker = self._settings.tenant_id, self._settings.worker
        tolerance = worker.future_tolerance
        counted = with_shadows(catalog, beside)
        by = ReadBy(counted, tenant_id, tolerance, floor, worker.record_bytes_max)
        return by, CompiledCatalog.of(catalog, tenant_id, tolerance, floor, beside)

    def _history(self, found: Found, compiled: CompiledCatalog) -> ReadHistory:
        refused = dict(found.kept.reasons())
        if found.table.number_of_conflicts:
            refused[Reason.EVENT_ID_CONFLICT.value] = found.table.number_of_conflicts
        return ReadHistory(
            found.table,
            compiled,
            self._sources.names,
            found.records,
            found.repetitions(),
            refused,
            found.kept.others(),
        )

    def _refuse(self, found: Found, history: ReadHistory, first: Sequence[str]) -> None:
        self._name_all(found, LoadReport())
        number = sum(history.refused.values())
        more = f"\n  and {number - len(first):,} more" if number > len(first) else ""
        listed = "\n".join(f"  {each}" for each in first)
        raise UsageError(
            f"{number:,} of {found.records:,} records would be refused; nothing was counted:\n"
            f"{listed}{more}\nCorrect them, or count the others: without --strict."
        )

    def _reported(self, found: Found, report: LoadReport, first: Sequence[str]) -> BackfillReport:
        of_load = [self._text(*each) for each in self._refused_late(found, report)]
        self._name_all(found, report)
        return BackfillReport(report, self._sources.names, [*first, *of_load][:EXAMPLES_MAX])

    def _refused_late(self, found: Found, report: LoadReport) -> Iterator[tuple[int, str, str]]:
        """Give the places of what the database has refused, with reason and detail."""
        for event in found.table.at(report.conflicts):
            rejected = id_conflict(event.id, event.source, event.type)
            yield event.offset, rejected.reason.value, rejected.detail
        yield from report.rejected

    def _name_all(self, found: Found, report: LoadReport) -> None:
        """Name each refused record in the file that is asked for."""
        if self._options.refused is None:
            return
        with self._options.refused.open("w", encoding="utf-8") as file:
            for each in found.refused():
                _write(file, self._place(each.place), each.rejected.reason, each.rejected.detail)
            for place, reason, detail in self._refused_late(found, report):
                _write(file, self._place(place), reason, detail)

    def _named(self, each: RefusedPlace) -> str:
        return self._text(each.place, each.rejected.reason.value, each.rejected.detail)

    def _text(self, place: int, reason: str, detail: str) -> str:
        return f"{self._place(place)}: {reason}: {detail}"

    def _place(self, place: int) -> str:
        return self._sources.place_name(*source_of(place))


def _write(file: IO[str], place: str, reason: str, detail: str) -> None:
    file.write(json.dumps({"place": place, "reason": str(reason), "detail": detail}) + "\n")
