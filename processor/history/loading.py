"""Count what was read of some sources into PostgreSQL, slice by slice.

Each slice is a transaction, and moves the job's row by one: a run that was killed goes on there,
and so does one beside it. What is no event comes last, by the pipeline that counts the stream.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol
from uuid import UUID

from ops.clock import SYSTEM_CLOCK, Clock
from ops.errors import UsageError
from ops.faults import Point, reach
from ops.lifecycle import Stop
from ops.quantities import nanograms
from ops.settings import Settings
from processor.batch.compiled_catalog import CompiledCatalog
from processor.batch.stats import observe_levels
from processor.history import other_records
from processor.history.kept_records import OtherRecord
from processor.history.load_report import LoadReport
from processor.history.other_records import OthersDone
from processor.history.slice_transaction import SliceDone, SliceTransaction, Speech, hold
from processor.history.user_slice import History
from store import history_jobs
from store.engine import Connection, Database
from store.history_jobs import JobStanding, NewHistoryJob
from store.values.history import HistoryJobKind, HistoryJobState
from store.values.minting import ACTION_FEE_NANO
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
        others: wallet changes and commands, in the order of their places.
    """

    history: History
    compiled: CompiledCatalog
    sources: Sequence[str]
    records: int
    repeated: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    others: Iterable[OtherRecord] = ()


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
    resumed_at, done = job.done, job.done
    transaction = SliceTransaction(read.history, read.compiled, job.id, speech)
    loader = _Loader(db, settings, read, transaction, clock)
    while done < job.slices and not stop.requested:
        await listener.loaded(done, job.slices)
        done = await loader.slice(done)
    others = OthersDone()
    if done == job.slices:
        await listener.loaded(done, job.slices)
        others = await other_records.carry_out(
            db, settings, read.history.digest, read.others, speech, stop, clock
        )
    job = await _left(db, job.id, finished=others.finished)
    report = _report(settings, read, job, others)
    report.resumed_at = resumed_at
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
        # What was read by a former catalog takes nobody's job over.
        await hold(conn, read.compiled)
        return await history_jobs.opened(conn, wanted)

    return await db.retried("history_job", body)


async def _left(db: Database, job_id: UUID, *, finished: bool) -> JobStanding:
    """Return a job as this run leaves it; close it where all is done."""

    async def body(conn: Connection) -> JobStanding:
        if finished:
            await history_jobs.close(conn, job_id)
        return await history_jobs.lock(conn, job_id)

    return await db.retried("history_job", body)


def _report(
    settings: Settings, read: ReadHistory, job: JobStanding, others: OthersDone
) -> LoadReport:
    """Return what the job has come to."""
    refused = Counter(read.refused)
    if job.conflicts:
        refused[Reason.EVENT_ID_CONFLICT.value] += len(job.conflicts)
    refused.update(reason for _, reason, _ in others.rejected)
    levels: Counter[tuple[str, int]] = Counter()
    for code, by_level in job.levels.items():
        for level, badges in by_level.items():
            levels[code, int(level)] = badges
    return LoadReport(
        read=read.records,
        counted=job.counted,
        repeated=read.repeated,
        known=job.duplicates - read.repeated,
        refused=refused,
        conflicts=list(job.conflicts),
        rejected=others.rejected,
        others=others.taken,
        levels=levels,
        mints=job.mints,
        mint_nano=mint_nano(settings),
        slices=job.slices,
        finished=others.finished,
    )


def mint_nano(settings: Settings) -> int:
    """Return what a mint takes at most: what is attached to it, and what its action costs."""
    return nanograms(settings.minter.item_value) + ACTION_FEE_NANO
