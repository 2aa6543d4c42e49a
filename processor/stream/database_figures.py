"""Figures about the database as a whole, which a worker looks at now and then.

What waits to be published, and how far a new catalog's job is. Each worker shows the same; whoever
asks takes one of them. What costs more the more there is has a hundredth of the time at most: ten
million messages are counted in 0.2 to 1.3 s (2026-11-27), and so every minute or two.
"""

from datetime import timedelta
from typing import assert_never

from ops import metrics
from ops.clock import SYSTEM_CLOCK, Clock
from ops.errors import LaurelError
from ops.logs import logger
from store import catalog_jobs, outbox, reevaluation
from store.catalog_jobs import Job
from store.engine import Connection, Database, DatabaseUnreachable, StatementTimedOut
from store.values.catalog import JobState

_LOOK_INTERVAL = timedelta(seconds=30)
# Between two counts, in times of what the last one took.
_COUNT_REST = 100

log = logger("figures")


class DatabaseFigures:
    """Looks, and sets the gauges.

    Args:
        db: the database.
        clock: the time between two looks, and what a count takes.
    """

    def __init__(self, db: Database, clock: Clock = SYSTEM_CLOCK) -> None:
        self._db = db
        self._clock = clock
        self._count_at = clock.monotonic()

    async def watch(self) -> None:
        """Look now and then, for ever.

        What goes wrong with one is told, and does not end the counting beside it.
        """
        while True:
            try:
                await self.look()
            except DatabaseUnreachable:
                pass  # the batcher waits for it, and says so
            except LaurelError as error:
                metrics.ERRORS.labels(error.code).inc()
                log.warning("figures_missing", reason=error.message, code=error.code)
            await self._clock.sleep(_LOOK_INTERVAL)

    async def look(self) -> None:
        """Look once; count where that is due."""
        async with self._db.transaction() as conn:
            ends = await outbox.ends(conn)
        metrics.OUTBOX_OLDEST_SECONDS.set(ends.oldest_seconds)
        metrics.OUTBOX_LAST_PUBLISHED.set(ends.last_published_at)
        started = self._clock.monotonic()
        if started < self._count_at:
            return
        try:
            await self._count()
        except StatementTimedOut:
            # More than can be counted; what was known of it is no longer so.
            for gauge in (metrics.OUTBOX_MESSAGES, metrics.CATALOG_JOB_USERS.labels("left")):
                gauge.set(float("nan"))
            raise
        finally:
            now = self._clock.monotonic()
            self._count_at = now + _COUNT_REST * (now - started)

    async def _count(self) -> None:
        async with self._db.transaction() as conn:
            messages = await outbox.unpublished(conn)
        metrics.OUTBOX_MESSAGES.set(messages)
        async with self._db.transaction() as conn:
            job = await catalog_jobs.current(conn)
            left = 0 if job is None else await _left(conn, job)
        metrics.CATALOG_JOB_USERS.labels("done").set(0 if job is None else job.users)
        metrics.CATALOG_JOB_USERS.labels("left").set(left)


async def _left(conn: Connection, job: Job) -> int:
    """Return how many users the job has not evaluated."""
    match job.state:
        case JobState.COUNTERS:
            return await reevaluation.number_of_users(conn, job.work.rules, None)
        case JobState.LEVELS:
            return await reevaluation.number_of_users(conn, job.work.rules, job.done_to)
        case JobState.METADATA | JobState.DONE | JobState.SUPERSEDED:
            return 0
        case unreachable:
            assert_never(unreachable)
