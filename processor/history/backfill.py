"""Counting a file of events, as if they had come by Kafka.

The same reading, the same pipeline, the same ledger.

One line is one CloudEvent in JSON. The ledger keeps how many lines of a file are counted (cluster
`file`, the topic is its path), and the checksum of the last of them: a run that was interrupted
goes on where it stopped, and a file that changed meanwhile is refused.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import BinaryIO
from zlib import crc32

from ops.errors import UsageError
from ops.lifecycle import Stop
from ops.settings import Settings
from processor.batch.pipeline import Pipeline, PipelineOptions
from processor.events.chunks import Chunk, PlainRecord
from store import ledger
from store.engine import Database
from store.ledger import LedgerEntry

CLUSTER = "file"
_EXAMPLES_MAX = 10  # of broken lines in the report
_PROGRESS_EVERY = timedelta(seconds=2)


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

    path: Path
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


async def backfill(
    settings: Settings,
    path: Path,
    options: BackfillOptions,
    stop: Stop,
    progress: Callable[[str], None],
) -> BackfillReport:
    """Count the lines of `path`; return early, resumable, once `stop` is requested.

    Args:
        settings: the database, the tenant, bounds on batches and times.
        path: JSON lines; absolute, since the ledger knows the file by it.
        options: what is done beside counting; by default nothing: history is silent.
        stop: ends the run after the batch in flight.
        progress: told a line of text now and then.

    Raises:
        UsageError: the file cannot be read, changed since an earlier run, or has broken lines that
            are not to become dead letters.
    """
    async with Database(settings.need("database_url"), settings.database) as db:
        judged_by = PipelineOptions.of(
            settings, CLUSTER, has_contract_topics=False, publish=options.publish, mint=options.mint
        )
        pipeline = Pipeline(db, judged_by)
        await pipeline.load()
        run = _Run(settings, db, pipeline, path, progress)
        try:
            return await run.checked(options, stop)
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror or error}", path=str(path)) from error


class _Run:
    def __init__(
        self,
        settings: Settings,
        db: Database,
        pipeline: Pipeline,
        path: Path,
        progress: Callable[[str], None],
    ) -> None:
        self._batch_max = settings.worker.batch_records_max
        self._chunk_max = min(settings.worker.chunk_records_max, self._batch_max)
        self._db = db
        self._pipeline = pipeline
        self._path = path
        self._progress = progress
        self._told_at = self._started_at = time.monotonic()

    async def checked(self, options: BackfillOptions, stop: Stop) -> BackfillReport:
        """Look at the whole file first, so that nothing is half applied; then count it."""
        report = BackfillReport(self._path)
        if options.dry_run or not options.dead_letter:
            await self._look(report, stop)
            if report.broken and not options.dry_run:
                listed = "\n".join(f"  {example}" for example in report.examples)
                more = (
                    f"\n  and {report.broken - len(report.examples)} more"
                    if report.broken > len(report.examples)
                    else ""
                )
                raise UsageError(
                    f"{self._path} has {report.broken} broken lines; nothing was counted:\n{listed}{more}\n"
                    "Mend them, or count the others and keep these as dead letters: --dead-letter."
                )
        if not options.dry_run and not stop.requested:
            report = BackfillReport(self._path)
            await self._count(report, stop)
        report.seconds = time.monotonic() - self._started_at
        return report

    async def _look(self, report: BackfillReport, stop: Stop) -> None:
        """Read without counting."""
        seen: set[str] = set()
        with self._path.open("rb") as file:
            for chunk in self._chunks(file, 0):
                if stop.requested:
                    return
                read = self._pipeline.read(chunk)
                fresh = read.keys - seen
                seen |= fresh
                report.lines += len(chunk.records)
                report.counted += len(fresh)
                report.duplicates += len(read.keys) - len(fresh) + read.repeated.total()
                self._note_broken(
                    report,
                    [
                        (letter.position.offset, letter.reason, letter.detail)
                        for letter in read.dead_letters
                    ],
                )
                self._tell(f"{report.lines} lines read")
                await asyncio.sleep(0)
        report.finished = True

    async def _count(self, report: BackfillReport, stop: Stop) -> None:
        entry = await self._opened()
        report.resumed_at = entry.next_offset
        with self._path.open("rb") as file:
            self._skip(file, entry)
            chunks = self._chunks(file, entry.next_offset)
            while batch := list(islice(chunks, max(1, self._batch_max // self._chunk_max))):
                if stop.requested:
                    return
                read = [self._pipeline.read(chunk) for chunk in batch]
                outcome = await self._pipeline.commit(read)
                if outcome.fenced:
                    raise UsageError(
                        f"{self._path} is being counted by another backfill at this moment. Let it finish."
                    )
                report.lines += outcome.records
                report.counted += outcome.counted
                report.duplicates += outcome.duplicates
                report.levels += outcome.levels
                self._note_broken(
                    report,
                    [(place, reason, detail) for place, reason, detail in outcome.dead_lettered],
                )
                self._tell(f"{report.resumed_at + report.lines} lines counted")
        report.finished = True

    async def _opened(self) -> LedgerEntry:
        key = (str(self._path), 0)
        async with self._db.transaction() as conn:
            await ledger.open_partitions(conn, CLUSTER, {key: 0})
            return (await ledger.read(conn, CLUSTER, [key]))[key]

    def _skip(self, file: BinaryIO, entry: LedgerEntry) -> None:
        """Go past the lines that are counted, and see that the last of them is the one that was
        counted.
        """
        last, skipped = b"", 0
        for line in islice(file, entry.next_offset):
            last, skipped = line, skipped + 1
        if skipped < entry.next_offset or (
            skipped and crc32(last.rstrip(b"\r\n")) != entry.last_timestamp_ms
        ):
            raise UsageError(
                f"{self._path}:{entry.next_offset}: an earlier run counted {entry.next_offset} lines, and the file has changed since. "
                "Give new lines in a file of their own; an event that was counted before is not counted again."
            )

    def _chunks(self, file: BinaryIO, first: int) -> Iterator[Chunk]:
        lines = enumerate(file, first)
        while part := list(islice(lines, self._chunk_max)):
            records = [_record(offset, line.rstrip(b"\r\n")) for offset, line in part]
            yield Chunk(str(self._path), 0, part[0][0], records)

    def _note_broken(self, report: BackfillReport, letters: list[tuple[int, str, str]]) -> None:
        for offset, reason, detail in letters:
            report.broken += 1
            report.reasons[reason] += 1
            if len(report.examples) < _EXAMPLES_MAX:
                report.examples.append(f"{self._path}:{offset + 1}: {reason}: {detail}")

    def _tell(self, word: str) -> None:
        now = time.monotonic()
        if now - self._told_at > _PROGRESS_EVERY.total_seconds():
            self._told_at = now
            self._progress(f"{word}, {now - self._started_at:.0f} s")


def _record(offset: int, line: bytes) -> PlainRecord:
    # The checksum stands where a Kafka record has its timestamp: what tells one record at an offset
    # from another.
    return PlainRecord(offset, line, timestamp=crc32(line))
