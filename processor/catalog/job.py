"""Work off what follows from a catalog version for users and badges, in slices.

The version is in force from the first moment, and batches go on by it: they take over counters for
the users whom they touch, and evaluate those themselves. The job does it for everybody else, a few
hundred users a transaction, so that nobody waits for long. Each slice commits with its place in the
job's row: after a kill the next one goes on there, whoever makes it.

Three states after each other: counters that types take over or drop, levels, metadata.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import assert_never
from uuid import UUID

from ops import metrics
from ops.clock import SYSTEM_CLOCK, Clock
from ops.errors import LaurelError
from ops.faults import Point, reach
from ops.logs import logger
from processor.batch.decisions import Decisions
from processor.batch.stats import observe_levels
from processor.catalog import evaluation
from processor.rules.levels import Rulebook
from store import (
    adoption,
    audit,
    catalog_jobs,
    catalogs,
    instances,
    mint_queue,
    outbox,
    reevaluation,
    shadows,
    silenced_badges,
)
from store.catalog_jobs import Job
from store.engine import Connection, Database, DatabaseUnreachable, StatementTimedOut
from store.instances import Provenance
from store.reevaluation import ActiveBadge
from store.values.badges import Actor, AuditAction, AuditEntry
from store.values.catalog import Catalog, JobState
from store.values.shadows import ShadowStep, filled, replaced

# Of users or badges. A batch that meets a slice's users waits for its commit: so a slice that takes
# long is followed by a smaller one.
SLICE_MAX = 2_000
_SLICE_FIRST = 500
_TOO_LONG_S, _SHORT_S = 0.3, 0.1

# So long without a slice, and a job's owner is taken for gone.
IDLE_FOR = timedelta(seconds=30)
_LOOK_INTERVAL = timedelta(seconds=10)

log = logger("catalog")

_NEXT = {
    JobState.COUNTERS: JobState.LEVELS,
    JobState.LEVELS: JobState.METADATA,
    JobState.METADATA: JobState.DONE,
}


@dataclass(slots=True)
class SliceSize:
    """How many users the next slice takes."""

    users: int = _SLICE_FIRST

    def took(self, seconds: float) -> None:
        """Take in how long a slice took."""
        if seconds > _TOO_LONG_S:
            self.users = max(1, self.users // 2)
        elif seconds < _SHORT_S:
            self.users = min(SLICE_MAX, self.users * 2)

    def halve(self) -> bool:
        """Take half as many; return False where one alone was too many."""
        if self.users == 1:
            return False
        self.users //= 2
        return True


@dataclass(frozen=True, slots=True)
class _Slice:
    """The job after a slice, and the levels that it gave, by type."""

    job: Job
    levels: Counter[tuple[str, int]] = field(default_factory=Counter)


class JobRunner:
    """Works off open jobs.

    Args:
        database: with a catalog in force.
        tenant_id: of badges that are given now: no event names one.
        clock: for the messages, and to measure slices.
        size: of the first slice; it follows what slices take.
    """

    def __init__(
        self,
        database: Database,
        tenant_id: UUID,
        clock: Clock = SYSTEM_CLOCK,
        size: SliceSize | None = None,
    ) -> None:
        self._db = database
        self._tenant_id = tenant_id
        self._clock = clock
        self._size = size or SliceSize()
        self._rulebook: Rulebook | None = None

    async def work_off(
        self,
        report: Callable[[Job], None] = lambda _: None,
        *,
        only_counters: bool = False,
        idle_for: timedelta | None = None,
    ) -> Job | None:
        """Go on until no job is open; return the last one as it was left, None if there was none.

        Args:
            report: told after each slice.
            only_counters: end when counters are taken over, before anybody is evaluated.
            idle_for: take up only what nobody has moved for so long.

        Raises:
            StatementTimedOut: a slice of one user takes too long.
        """
        last: Job | None = None
        while True:
            job = await self._next(only_counters=only_counters, idle_for=idle_for)
            if job is None:
                return last
            report(job)
            last, idle_for = job, None
            if job.state is JobState.DONE:
                return last

    async def _next(self, *, only_counters: bool, idle_for: timedelta | None) -> Job | None:
        async def body(conn: Connection) -> _Slice | None:
            if await catalog_jobs.current(conn) is None:
                return None
            await catalogs.current_for_share(conn)
            job = await catalog_jobs.take(conn, idle_for)
            if job is None or (only_counters and job.state is not JobState.COUNTERS):
                return None
            reach(Point.SLICE_TAKEN)
            done = await self._slice(conn, job)
            await catalog_jobs.save(conn, done.job)
            reach(Point.SLICE_SAVED)
            return done

        while True:
            started = self._clock.monotonic()
            try:
                done = await self._db.retried("catalog_slice", body)
            except StatementTimedOut:
                if not self._size.halve():
                    raise
            else:
                reach(Point.SLICE_COMMITTED)
                self._size.took(self._clock.monotonic() - started)
                if done is None:
                    return None
                observe_levels(done.levels)
                return done.job

    async def _slice(self, conn: Connection, job: Job) -> _Slice:
        """Do one slice."""
        size = self._size.users
        match job.state:
            case JobState.COUNTERS:
                users = await reevaluation.users(conn, job.work.sources, job.done_to, size)
                if users:
                    await adoption.adopt(conn, job.work.adoptions, job.work.dropped, users)
                    await shadows.change(conn, job.work.shadows, users)
                    reach(Point.SLICE_ADOPTED)
                return _Slice(_moved(job, users))
            case JobState.LEVELS:
                users = await reevaluation.users(conn, job.work.rules, job.done_to, size)
                given = await self._give(conn, job, users)
                after = replace(
                    _moved(job, users),
                    users=job.users + len(users),
                    awarded=job.awarded + len(given.created),
                    raised=job.raised + len(given.raised),
                )
                return _Slice(after, given.levels)
            case JobState.METADATA:
                badges, changed = await self._rewrite(conn, job, size)
                return _Slice(replace(_moved(job, badges), rewritten=job.rewritten + changed))
            case JobState.DONE | JobState.SUPERSEDED:
                return _Slice(job)
            case unreachable:
                assert_never(unreachable)

    async def _give(self, conn: Connection, job: Job, users: Sequence[UUID]) -> Decisions:
        """Give badges and levels to those of `users` whose counters reach them."""
        decisions = Decisions(self._clock.now(), publish=not job.silent, mint=not job.no_mint)
        if not users:
            return decisions
        rulebook = await self._rules(conn, job)
        found = await reevaluation.counters(conn, job.work.rules, users)
        holders = {
            (change.progress.user_id, change.progress.type_id)
            for change in await evaluation.changes(conn, rulebook, found)
        }
        if not holders:
            return decisions
        # Once more under the locks, as a batch: what was read before may have changed.
        progress = await reevaluation.lock_counters(conn, holders)
        badges = instances.by_holder(await instances.lock(conn, holders))
        for each in progress:
            badge = badges.get((each.user_id, each.type_id))
            tenant_id = self._tenant_id if badge is None else badge.tenant_id
            provenance = Provenance(Actor.SYSTEM, None, tenant_id)
            decisions.take_level(rulebook.by_id[each.type_id], each, badge, provenance)
        reach(Point.SLICE_LOCKED)
        await instances.create(conn, decisions.created)
        reach(Point.SLICE_CREATED)
        await instances.raise_levels(conn, decisions.raised)
        reach(Point.SLICE_RAISED)
        await silenced_badges.keep(conn, decisions.silenced)
        reach(Point.SLICE_SILENCED)
        await audit.append(conn, decisions.audit)
        reach(Point.SLICE_AUDITED)
        await mint_queue.enqueue_mints(conn, decisions.mints)
        reach(Point.SLICE_MINTING)
        await outbox.append(conn, decisions.outbox)
        reach(Point.SLICE_PUBLISHED)
        return decisions

    async def _rewrite(self, conn: Connection, job: Job, size: int) -> tuple[list[UUID], int]:
        """Rewrite active badges whose types map other fields now.

        Return the badges looked at, and how many changed.
        """
        if not job.work.metadata:
            return [], 0
        rulebook = await self._rules(conn, job)
        found = await reevaluation.lock_badges(conn, job.work.metadata, job.done_to, size)
        stale = [
            (badge.id, fresh)
            for badge in found
            if _is_concerned(job, badge)
            and (fresh := evaluation.rewritten(rulebook, badge)) is not None
        ]
        await reevaluation.rewrite(conn, stale)
        reach(Point.SLICE_REWRITTEN)
        details = {"catalog_version": job.version}
        await audit.append(
            conn,
            [
                AuditEntry(badge, AuditAction.METADATA_UPDATED, Actor.ADMIN, details)
                for badge, _ in stale
            ],
        )
        return [badge.id for badge in found], len(stale)

    async def _rules(self, conn: Connection, job: Job) -> Rulebook:
        """Return the rules of the job's version, which the transaction holds."""
        if self._rulebook is None or self._rulebook.version != job.version:
            found: Catalog | None = await catalogs.current(conn)
            if found is None:
                raise ValueError("a job without a catalog")
            self._rulebook = Rulebook.compile(found)
        return self._rulebook


async def take_up_idle_jobs(runner: JobRunner, clock: Clock = SYSTEM_CLOCK) -> None:
    """Work off jobs whose owner is gone, for as long as this process runs; a worker's part.

    What goes wrong with one is told, and does not end the counting beside it.
    """
    while True:
        await clock.sleep(_LOOK_INTERVAL)
        try:
            job = await runner.work_off(idle_for=IDLE_FOR)
        except DatabaseUnreachable:
            continue  # the batcher waits for it, and says so
        except LaurelError as error:
            metrics.ERRORS.labels(error.code).inc()
            log.warning("catalog_job_waits", reason=error.message, code=error.code)
            continue
        if job is not None:
            log.info(
                "catalog_job_done",
                version=job.version,
                awarded=job.awarded,
                raised=job.raised,
                rewritten=job.rewritten,
            )


def _is_concerned(job: Job, badge: ActiveBadge) -> bool:
    """Return whether a badge shows what the job has changed; a rebuild changes few counters."""
    if not job.work.shadows:
        return True
    held = badge.counters
    return any(
        each.type_id == badge.type_id
        and any(held.get(name, 0) != held.get(other(name), 0) for name in each.counters)
        for each in job.work.shadows
        for other in [filled if each.step is ShadowStep.UNDO else replaced]
    )


def _moved(job: Job, done: Sequence[UUID]) -> Job:
    """Return the job after a slice: further in its state, or with nothing left in the next."""
    if done:
        return replace(job, done_to=done[-1])
    return replace(job, state=_NEXT[job.state], done_to=None)
