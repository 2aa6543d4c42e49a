"""Figures that are added up between two lines of a log, in place of a line each.

What a worker and a minter say every ten seconds: processor/stream/batch_summary.py,
minter/step_summary.py.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from ops.clock import Clock


class RunningTotals:
    """Totals of what was done since they were taken last.

    Args:
        figures: their names, in the order of the line.
        clock: the time since.
    """

    def __init__(self, figures: Sequence[str], clock: Clock) -> None:
        self._figures = tuple(figures)
        self._clock = clock
        self._totals: Counter[str] = Counter()
        self._since = clock.monotonic()

    @property
    def seconds(self) -> float:
        """Return how long ago they were taken last."""
        return self._clock.monotonic() - self._since

    @property
    def moved(self) -> frozenset[str]:
        """Return the figures that are not 0."""
        return frozenset(self._totals)

    def add(self, figures: Mapping[str, int]) -> None:
        """Add to figures."""
        self._totals += Counter(figures)

    def take(self) -> dict[str, int | float]:
        """Return every figure, and `seconds`, and begin anew; nothing where none has moved."""
        totals, seconds = self._totals, self.seconds
        self._totals, self._since = Counter(), self._clock.monotonic()
        if not totals:
            return {}
        return {name: totals[name] for name in self._figures} | {"seconds": round(seconds, 1)}
