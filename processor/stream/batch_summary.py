"""One line every ten seconds about what was counted, in place of one a batch.

At a trickle there are a dozen batches a second; each has its own line at DEBUG
(processor/batch/attempt.py).
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from ops.clock import SYSTEM_CLOCK, Clock
from ops.logs import logger
from processor.batch.attempt import BatchOutcome
from processor.batch.staging import ReadChunk

_INTERVAL = timedelta(seconds=10)

log = logger("worker")

CommitBatch = Callable[[Sequence[ReadChunk]], Awaitable[BatchOutcome]]


class BatchSummary:
    """Adds up what batches came to, and logs it.

    Args:
        clock: the time between two lines.
    """

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._batches = 0
        self._total = _NOTHING
        self._since = clock.monotonic()

    def over(self, commit: CommitBatch) -> CommitBatch:
        """Return `commit` with its outcomes added."""

        async def added(chunks: Sequence[ReadChunk]) -> BatchOutcome:
            outcome = await commit(chunks)
            if outcome.records:
                self._batches += 1
                self._total = self._total.followed_by(outcome)
            return outcome

        return added

    async def tell(self) -> None:
        """Log every ten seconds, where there was a batch, for as long as the worker runs."""
        while True:
            await self._clock.sleep(_INTERVAL)
            self.log()

    def log(self) -> None:
        """Log what was not logged yet."""
        batches, total, since = self._batches, self._total, self._since
        self._batches, self._total, self._since = 0, _NOTHING, self._clock.monotonic()
        if not batches:
            return
        log.info(
            "batches_committed",
            batches=batches,
            records=total.records,
            counted=total.counted,
            duplicates=total.duplicates,
            dead_letters=len(total.rejected),
            levels=total.levels,
            seconds=round(self._since - since, 1),
        )


_NOTHING = BatchOutcome(0, 0, 0, 0, (), {})
