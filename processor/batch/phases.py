"""Where the time of a batch goes.

The phases of one batch add up to all the time it took: an attempt that came to nothing counts in
the phase that it ended in, which is where somebody was waited for.
"""

from enum import StrEnum

from ops import metrics
from ops.clock import Clock


class Phase(StrEnum):
    """A part of a batch's transaction; the label of laurel_batch_phase_seconds."""

    FENCE = "fence"
    """A connection, and the locks of catalog and ledger; a new catalog is read here too."""
    DEDUPE = "dedupe"
    """Which events are new."""
    MERGE = "merge"
    """Counters, wallets, and the claims of commands."""
    DECIDE = "decide"
    """The badges concerned are locked, levels and commands decided."""
    WRITE = "write"
    """What was decided, the ledger, and what others will be told."""
    COMMIT = "commit"


class PhaseTimes:
    """The time of one batch by phase, from the moment that this is made.

    Args:
        clock: measures.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seconds = dict.fromkeys(Phase, 0.0)
        self._phase = Phase.FENCE
        self._since = clock.monotonic()

    def enter(self, phase: Phase) -> None:
        """Begin `phase`, which ends the one before; it may come again."""
        now = self._clock.monotonic()
        self._seconds[self._phase] += now - self._since
        self._phase, self._since = phase, now

    def observe(self) -> float:
        """Add to the metrics what a committed batch took; return its seconds."""
        self.enter(self._phase)
        for phase, seconds in self._seconds.items():
            metrics.BATCH_PHASE_SECONDS.labels(phase).observe(seconds)
        total = sum(self._seconds.values())
        metrics.BATCH_SECONDS.observe(total)
        return total
