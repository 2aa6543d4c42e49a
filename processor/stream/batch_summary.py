"""One line every ten seconds about what was counted, in place of one a batch.

At a trickle there are a dozen batches a second; each has its own line at DEBUG
(processor/batch/attempt.py).
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from ops.clock import SYSTEM_CLOCK, Clock
from ops.logs import logger
from ops.running_totals import RunningTotals
from processor.batch.attempt import BatchOutcome
from processor.batch.staging import ReadChunk

_INTERVAL = timedelta(seconds=10)
_FIGURES = ("batches", "records", "counted", "duplicates", "dead_letters", "levels")

log = logger("worker")

CommitBatch = Callable[[Sequence[ReadChunk]], Awaitable[BatchOutcome]]


class BatchSummary:
    """Adds up what batches came to, and logs it.

    Args:
        clock: the time between two lines.
    """

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        # Figures alone: rejected records would stay in memory for ten seconds, with their bytes.
        self._totals = RunningTotals(_FIGURES, clock)

    def over(self, commit: CommitBatch) -> CommitBatch:
        """Return `commit` with its outcomes added."""

        async def added(chunks: Sequence[ReadChunk]) -> BatchOutcome:
            outcome = await commit(chunks)
            if outcome.records:
                self._totals.add(
                    {
                        "batches": 1,
                        "records": outcome.records,
                        "counted": outcome.counted,
                        "duplicates": outcome.duplicates,
                        "dead_letters": len(outcome.rejected),
                        "levels": outcome.levels,
                    }
                )
            return outcome

        return added

    async def tell(self) -> None:
        """Log every ten seconds, where there was a batch, for as long as the worker runs."""
        while True:
            await self._clock.sleep(_INTERVAL)
            self.log()

    def log(self) -> None:
        """Log what was not logged yet."""
        if figures := self._totals.take():
            log.info("batches_committed", **figures)
