"""Look after commands that wait, now and then: what nobody else does.

A batch decides what waits of its own users. Left over are commands whose badge was made by a batch
that did not see them yet, or by a catalog's job; whose token the minter has minted; that silent
runs have left; and those that have waited for long enough. Each turn looks at so many and goes on
in the next one; several workers do not get into each other's way.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from ops import metrics
from ops.clock import SYSTEM_CLOCK, Clock
from ops.errors import LaurelError
from ops.logs import logger
from processor.batch import waiting
from processor.batch.options import PipelineOptions
from processor.batch.pipeline import Pipeline
from processor.batch.stats import MessageOutcome
from store import waiting_commands
from store.engine import Database, DatabaseUnreachable

_LOOK_INTERVAL = timedelta(seconds=30)

# Commands: looked at in one statement, made dead letters of in one transaction.
PAGE = 1_000
EXPIRED_PAGE = 200
PAGES_A_TURN = 20

log = logger("waiting")


class WaitingSweep:
    """Decides what can be decided of the commands that wait, and ends what waited in vain.

    Args:
        db: the database.
        options: as of the worker's batches.
        clock: the time between two turns.
    """

    def __init__(self, db: Database, options: PipelineOptions, clock: Clock = SYSTEM_CLOCK) -> None:
        self._db = db
        self._clock = clock
        self._live = Pipeline(db, options, clock)
        self._silent = Pipeline(db, replace(options, publish=False, mint=False), clock)
        self._after: tuple[datetime, str] | None = None

    async def watch(self) -> None:
        """Take a turn now and then, for ever.

        What goes wrong with one is told, and does not end the counting beside it.
        """
        while True:
            await self._clock.sleep(_LOOK_INTERVAL)
            try:
                await self.turn()
            except DatabaseUnreachable:
                continue  # the batcher waits for it, and says so
            except LaurelError as error:
                metrics.ERRORS.labels(error.code).inc()
                log.warning("waiting_commands_left", reason=error.message, code=error.code)

    async def turn(self) -> None:
        """Look once."""
        for _ in range(PAGES_A_TURN):
            async with self._db.transaction() as conn:
                page = await waiting_commands.page(conn, self._after, PAGE)
            self._after = page.end
            await self._decide(self._live, page.due)
            await self._decide(self._silent, page.silent_due)
            if page.end is None:
                break
        for _ in range(PAGES_A_TURN):
            if await self._expire() < EXPIRED_PAGE:
                break
        async with self._db.transaction() as conn:
            metrics.COMMANDS_WAITING.set(await waiting_commands.count(conn))

    async def _decide(self, pipeline: Pipeline, external_ids: Sequence[str]) -> None:
        if external_ids:
            await pipeline.load()
            decided = await pipeline.try_again(external_ids)
            log.info("waiting_commands_decided", due=len(external_ids), ended=len(decided.waited))

    async def _expire(self) -> int:
        letters = await self._db.retried("waiting", lambda conn: waiting.expire(conn, EXPIRED_PAGE))
        for topic, letter in letters:
            metrics.COMMANDS_EXPIRED.inc()
            metrics.DEAD_LETTERS.labels(topic, letter.reason.value).inc()
            metrics.EVENTS.labels(letter.type, MessageOutcome.DEAD_LETTER).inc()
        if letters:
            log.info("waiting_commands_expired", number=len(letters))
        return len(letters)
