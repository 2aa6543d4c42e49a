"""Count what was read of some sources into PostgreSQL, slice by slice.

Each slice is a transaction, and moves the job's row by one: a run that was killed goes on there,
and so does one beside it. What is no event comes last, by the pipeline that counts the stream.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol
from uuid import UUID

from ops.clock import SYSTEM_CLOCK, Clock
from ops.errors import UsageError
from ops.faults import Point, reach
from ops.lifecycle import Stop
from ops.settings import Settings
from processor.batch.compiled_catalog import CompiledCatalog
from processor.batch.stats import observe_levels
from processor.history.load_report import LoadReport
from processor.history.slice_transaction import SliceDone, SliceTransaction, Speech
from processor.history.user_slice import History
from store import history_jobs
from store.engine import Connection, Database
from store.history_jobs import JobStanding, NewHistoryJob
from store.values.history import HistoryJobKind, HistoryJobState
from store.values.stream import Reason

# As processor/batch/pipeline.py: then a slice waits for others, and meets no such conflict more.
_RACES_MAX = 3


class LoadListener(Protocol):
    """Is told how far a load is."""

    async def loaded(self, slices: int, total: int) -> None:
        """Take in how many of the slices are done."""
        ...


@dataclass(frozen=True, slots=True)
class ReadHistory:
    """What was read of some sources.

    Args:
        history: the events, each once.
        compiled: the catalog that they were read by, with the floor of ids.
        sources: their names, for a person.
        records: how many there were.
        repeated: how many events repeat an earlier one of the sources.
        refused: records that the stream would refuse, by reason.
    """

    history: History
    compiled: CompiledCatalog
    sources: Sequence[str]
    records: int
    repeated: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)


async def load(
    db: Database,
    settings: Settings,
    read: ReadHistory,
    speech: Speech,
    stop: Stop,
    listener: LoadListener,
    clock: Clock = SYSTEM_CLOCK,
) -> LoadReport:
    """Count what was `read`; return early, resumable, once `stop` is requested.

    Raises:
        CatalogChanged: it was read by a catalog or a floor that is no longer in force: read it
            again.
        UsageError: another run of the same input does it otherwise, and has taken the job over.
    """
    started = clock.monotonic()
    job = await _opened(db, read, speech)
    report = LoadReport(read=read.records, repeated=read.repeated, resumed_at=job.done)
    loader = _Loader(
        db, settings, read, SliceTransaction(read.history, read.compiled, job.id, speech), clock
    )
    done = job.done
    while done < job.slices and not stop.requested:
        await listener.loaded(done, job.slices)
        done = await loader.slice(done)
    report.finished = done == job.slices
    if report.finished:
        job = await _closed(db, job.id)
    else:
        job = await _standing(db, job.id)
    _fill(report, read, job)
    report.seconds = clock.monotonic() - started
    return report


class _Loader:
    def __init__(
        self,
        db: Database,
        settings: Settings,
        read: ReadHistory,
        transaction: SliceTransaction,
        clock: Clock,
    ) -> None:
        self._db = db
        self._attempts_max = settings.worker.retries_max
        self._history = read.history
        self._transaction = transaction
        self._clock = clock

    async def slice(self, number: int) -> int:
        """Count a slice; return how many are done then."""
        part = await asyncio.to_thread(self._history.slice, number)
        attempts = count(1)

        async def body(conn: Connection) -> SliceDone:
            waits = next(attempts) > _RACES_MAX
            return await self._transaction.run(conn, part, self._clock.now(), waits=waits)

        done = await self._db.retried("history", body, attempts_max=self._attempts_max)
        reach(Point.HISTORY_COMMITTED)
        observe_levels(done.levels)
        if not done.skipped:
            return number + 1
        if done.job.state is HistoryJobState.SUPERSEDED:
            raise UsageError(
                "Another run of the same sources, with other options, has taken over. Nothing is "
                "counted twice; let that one finish."
            )
        return done.job.done


async def _opened(db: Database, read: ReadHistory, speech: Speech) -> JobStanding:
    wanted = NewHistoryJob(
        kind=HistoryJobKind.BACKFILL,
        digest=read.history.digest,
        sources=read.sources,
        options={
            "publish": speech.publish,
            "mint": speech.mint,
            "mints_per_second": speech.mints_per_second,
        },
        catalog_version=read.compiled.version,
        slices=read.history.slices,
        read=read.records,
        duplicates=read.repeated,
        refused=sum(read.refused.values()),
    )

    async def body(conn: Connection) -> JobStanding:
        return await history_jobs.opened(conn, wanted)

    return await db.retried("history_job", body)


async def _closed(db: Database, job_id: UUID) -> JobStanding:
    async with db.transaction() as conn:
        await history_jobs.close(conn, job_id)
        return await history_jobs.lock(conn, job_id)


async def _standing(db: Database, job_id: UUID) -> JobStanding:
    async with db.transaction() as conn:
        return await history_jobs.lock(conn, job_id)


def _fill(report: LoadReport, read: ReadHistory, job: JobStanding) -> None:
    """Write into the report what the job has come to."""
    report.slices = job.slices
    report.counted = job.counted
    report.known = job.duplicates - read.repeated
    report.conflicts = list(job.conflicts)
    report.refused = Counter(read.refused)
    if job.conflicts:
        report.refused[Reason.EVENT_ID_CONFLICT.value] += len(job.conflicts)
    for code, levels in job.levels.items():
        for level, badges in levels.items():
            report.levels[code, int(level)] = badges
    report.mints = job.mints
