"""Counting a file of events, as if they had come by Kafka.

The same reading, the same pipeline, the same ledger.

One line is one CloudEvent in JSON. The ledger keeps how many lines of a file are counted (cluster
`file`, the topic is its path, or the hash of what a pipe brought), and the checksum of all of them:
a run that was interrupted goes on where it stopped, and a file that changed meanwhile is refused.
What is skipped is what was counted.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import takewhile
from pathlib import Path
from typing import TypeVar

from ops.clock import SYSTEM_CLOCK, Clock
from ops.errors import Permanent, UsageError
from ops.lifecycle import Stop
from ops.progress import went_on
from ops.quantities import shown_age
from ops.settings import Settings
from ops.watchdog import Watchdog
from processor.batch import bisection
from processor.batch.bisection import PartitionRefused
from processor.batch.options import PipelineOptions
from processor.batch.pacing import Pace
from processor.batch.pipeline import Pipeline
from processor.batch.staging import RejectedRecord
from processor.events.chunks import Chunk, ChunkBounds, cut
from processor.events.records import Record
from processor.history import sources
from processor.history.inputs import pipes
from processor.history.repeats import Repeat, compared
from processor.history.sources import LineSource
from store import ledger, migrations, rights
from store.engine import Database
from store.values.stream import FILES, LedgerEntry, Reason

Item = TypeVar("Item")

# Of broken lines in the report.
_EXAMPLES_MAX = 10
_PROGRESS_EVERY = timedelta(seconds=2)


class LinesRefused(Permanent):
    """PostgreSQL refuses so many lines that they are not the reason: it has to be mended first."""

    code = "lines_refused"


@dataclass(frozen=True, slots=True)
class BackfillOptions:
    """What the caller asks for beyond counting.

    `publish`: messages about new badges go to the outbox; `mint`: badges are minted by themselves
    where their policy says so; `dead_letter`: broken lines become dead letters, and the others
    count; `dry_run`: nothing is written.
    """

    publish: bool = False
    mint: bool = False
    dead_letter: bool = False
    dry_run: bool = False


@dataclass(slots=True)
class BackfillReport:
    """What became of the lines.

    `resumed_at` is the number of lines that an earlier run had counted.
    """

    path: str
    resumed_at: int = 0
    lines: int = 0
    counted: int = 0
    duplicates: int = 0
    levels: int = 0
    broken: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    finished: bool = False
    seconds: float = 0.0


class ProgressLines:
    """Says now and then how far a run is.

    Args:
        say: is given a line of text every two seconds at most.
        clock: the host's; tests bring their own.
    """

    def __init__(self, say: Callable[[str], None], clock: Clock = SYSTEM_CLOCK) -> None:
        self._say = say
        self._clock = clock
        self._said_at = self._started_at = clock.monotonic()
        # What is done at present, and from which line and moment on.
        self._since = ("", 0, self._started_at)

    @property
    def seconds(self) -> float:
        """Return how long the run takes by now."""
        return self._clock.monotonic() - self._started_at

    async def reached(self, lines: int, done: str, total: int | None = None) -> None:
        """Say that so many lines are read or counted, if it is time; let the event loop run.

        Of `total`, where that is known: then it says how long the rest may take, too.
        """
        went_on()
        now = self._clock.monotonic()
        if self._since[0] != done:
            self._since = (done, lines, now)
        if now - self._said_at >= _PROGRESS_EVERY.total_seconds():
            self._said_at = now
            self._say(f"{lines} lines {done}, {self.seconds:.0f} s{self._left(lines, total, now)}")
        await self._clock.sleep(timedelta(0))

    def _left(self, lines: int, total: int | None, now: float) -> str:
        _, first, since = self._since
        if not total or lines <= first:
            return ""
        left_s = (total - lines) * (now - since) / (lines - first)
        return f"; {lines / total:.0%} of {total}, about {shown_age(left_s)} left"


async def backfill(
    settings: Settings, path: Path, options: BackfillOptions, stop: Stop, progress: ProgressLines
) -> BackfillReport:
    """Count the lines of `path`; return early, resumable, once `stop` is requested.

    Args:
        settings: the database, the tenant, bounds on batches and times.
        path: JSON lines, perhaps packed by gzip; absolute, since the ledger knows the file by it;
            `-` for standard input.
        options: what is done beside counting; by default nothing: history is silent.
        stop: ends the run after the batch in flight.
        progress: says how far the run is.

    Raises:
        UsageError: the file cannot be read, changed since an earlier run, or has broken lines that
            are not to become dead letters; or the database has another revision.
        LinesRefused: what came before is counted.
        RightsMissing: the role may not count. A dry run needs to read only.
    """
    async with Database(settings.need("database_url"), settings.database) as db:
        pipeline_options = PipelineOptions.of(
            settings, FILES, has_contract_topics=False, publish=options.publish, mint=options.mint
        )
        async with db.transaction() as conn:
            await migrations.check(conn)
            if not options.dry_run:
                await rights.check(conn, temporary=True)
        pipeline = Pipeline(db, pipeline_options)
        await pipeline.load()
        name = pipes.name_of(path)
        try:
            async with sources.opened(path, stop) as source:
                if source is None:
                    return BackfillReport(name)
                run = _Backfill(settings, db, pipeline, source, progress)
                with Watchdog(settings.lifecycle.stall_after) as dog, dog.work("the backfill"):
                    return await run.checked(options, stop)
        except OSError as error:
            raise UsageError(f"{name}: {error.strerror or error}", path=name) from error


class _Backfill:
    def __init__(
        self,
        settings: Settings,
        db: Database,
        pipeline: Pipeline,
        source: LineSource,
        progress: ProgressLines,
    ) -> None:
        self._batch_max = settings.worker.batch_records_max
        self._batch_bytes_max = settings.worker.batch_bytes_max
        self._bounds = ChunkBounds(
            min(settings.worker.chunk_records_max, self._batch_max),
            min(settings.worker.chunk_bytes_max, self._batch_bytes_max),
            settings.worker.record_bytes_max,
        )
        self._db = db
        self._pipeline = pipeline
        self._source = source
        self._name = source.name
        self._progress = progress

    async def checked(self, options: BackfillOptions, stop: Stop) -> BackfillReport:
        """Read the whole file first, so that nothing is half applied; then count it."""
        report = BackfillReport(self._name)
        # Who writes the file at this moment does so behind what was looked at.
        looked: int | None = None
        if options.dry_run or not options.dead_letter:
            looked = await self._look(report, stop)
            if report.broken and not options.dry_run:
                listed = "\n".join(f"  {example}" for example in report.examples)
                more = (
                    f"\n  and {report.broken - len(report.examples)} more"
                    if report.broken > len(report.examples)
                    else ""
                )
                raise UsageError(
                    f"{self._name} has {report.broken} broken lines; nothing was counted:\n"
                    f"{listed}{more}\n"
                    "Correct them, or count the others and keep these as dead letters: "
                    "--dead-letter."
                )
        if not options.dry_run and not stop.requested:
            report = BackfillReport(self._name)
            await self._count(report, stop, looked)
        report.seconds = self._progress.seconds
        return report

    async def _look(self, report: BackfillReport, stop: Stop) -> int:
        """Read without counting; return how many lines it looked at."""
        looked = 0
        with self._source.records(self._bounds.record_bytes_max) as records, compared() as repeats:
            chunks = self._chunks(records, 0)
            while (found := await _beside_the_loop(chunks)) is not None:
                if stop.requested:
                    return looked
                chunk, _ = found
                read = self._pipeline.read(chunk)
                events = [*read.events, *read.repeated]
                repeats.take(events)
                report.lines += len(chunk.records)
                report.counted += sum(event.heard for event in events)
                self._note_broken(report, _placed(read.rejected))
                looked = chunk.reached.next_offset
                await self._progress.reached(report.lines, "read")
            parts = repeats.found()
            while (part := await _beside_the_loop(parts)) is not None:
                report.counted -= sum(each.heard for each in part)
                report.duplicates += sum(not each.conflicts for each in part)
                self._note_broken(report, _conflicts(part))
                await self._progress.reached(report.lines, "compared")
        report.finished = True
        return looked

    async def _count(self, report: BackfillReport, stop: Stop, looked: int | None) -> None:
        """Count the first `looked` lines, None for all, but for those that are counted."""
        entry = await self._opened()
        report.resumed_at = entry.next_offset
        with self._source.records(self._bounds.record_bytes_max) as records:
            await asyncio.to_thread(self._skip, records, entry)
            pace = Pace()
            known = (
                records
                if looked is None
                else takewhile(lambda record: record.offset < looked, records)
            )
            batches = self._batches(self._chunks(known, entry.next_offset))
            while (batch := await _beside_the_loop(batches)) is not None:
                if stop.requested:
                    return
                read = [self._pipeline.read(chunk) for chunk in batch]
                try:
                    outcome = await bisection.commit(self._pipeline, read, pace)
                except PartitionRefused as refused:
                    raise await self._refused(refused) from refused
                if outcome.fenced:
                    raise UsageError(
                        f"{self._name} is being counted by another backfill at this moment. "
                        "Let it finish."
                    )
                report.lines += outcome.records
                report.counted += outcome.counted
                report.duplicates += outcome.duplicates
                report.levels += outcome.levels
                self._note_broken(report, _placed(outcome.rejected))
                await self._progress.reached(report.resumed_at + report.lines, "counted", looked)
        report.finished = True

    async def _opened(self) -> LedgerEntry:
        key = (self._source.key, 0)
        async with self._db.transaction() as conn:
            await ledger.open_partitions(conn, FILES, {key: 0})
            return (await ledger.read(conn, FILES, [key]))[key]

    async def _refused(self, refused: PartitionRefused) -> LinesRefused:
        entry = await self._opened()
        return LinesRefused(
            f"{self._name}:{entry.next_offset + 1}: PostgreSQL refuses this line, and not for what "
            f"it says: {refused.message}. Mend that in the database (a constraint, a trigger, a "
            "limit), and run the same command again: it goes on with this line. Lines that were "
            f"refused before it are dead letters ({Reason.REFUSED_BY_DATABASE}); give those again "
            "in a file of their own."
        )

    def _skip(self, records: Iterator[Record], entry: LedgerEntry) -> None:
        """Pass over the lines that are counted, which must be those that were."""
        if entry.last_offset is None:
            return
        last = next((each for each in records if each.offset >= entry.last_offset), None)
        if last is None or (last.offset, last.timestamp) != (
            entry.last_offset,
            entry.last_timestamp_ms,
        ):
            raise UsageError(
                f"{self._name}:{entry.next_offset}: an earlier run counted {entry.next_offset} "
                "lines, and the file has changed since. Give new lines in a file of their own; an "
                "event that was counted before is not counted again."
            )

    def _chunks(self, records: Iterator[Record], first: int) -> Iterator[tuple[Chunk, int]]:
        position = first
        for part, memory in cut(records, self._bounds):
            chunk = Chunk(self._source.key, 0, position, part)
            position = chunk.reached.next_offset
            yield chunk, memory

    def _batches(self, chunks: Iterable[tuple[Chunk, int]]) -> Iterator[list[Chunk]]:
        batch: list[Chunk] = []
        records = memory = 0
        for chunk, size in chunks:
            if batch and (
                records + len(chunk.records) > self._batch_max
                or memory + size > self._batch_bytes_max
            ):
                yield batch
                batch, records, memory = [], 0, 0
            batch.append(chunk)
            records += len(chunk.records)
            memory += size
        if batch:
            yield batch

    def _note_broken(
        self, report: BackfillReport, rejected: Iterable[tuple[int, Reason, str]]
    ) -> None:
        """Take in lines by their offset, with the reason and a detail for a person."""
        for offset, reason, detail in rejected:
            report.broken += 1
            report.reasons[reason.value] += 1
            if len(report.examples) < _EXAMPLES_MAX:
                report.examples.append(f"{self._name}:{offset + 1}: {reason.value}: {detail}")


def _placed(rejected: Iterable[RejectedRecord]) -> Iterator[tuple[int, Reason, str]]:
    for each in rejected:
        yield each.position.offset, each.rejected.reason, each.rejected.detail


def _conflicts(repeats: Iterable[Repeat]) -> Iterator[tuple[int, Reason, str]]:
    for each in repeats:
        if each.conflicts:
            yield (
                each.offset,
                Reason.EVENT_ID_CONFLICT,
                f"its id is that of the event of another type or subject in line {each.first + 1}",
            )


async def _beside_the_loop(items: Iterator[Item]) -> Item | None:
    """Return the next of `items`; None after the last.

    A line may be of any length: reading it must keep neither a signal nor the database waiting.
    """
    return await asyncio.to_thread(next, items, None)
