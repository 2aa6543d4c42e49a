"""One line every ten seconds about what was done for mints and burns, in place of one a message.

Each step has its own line at DEBUG; what happens once (a collection is deployed, minting is shut)
has one at INFO or above beside these.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import timedelta

from ops.clock import SYSTEM_CLOCK, Clock
from ops.logs import logger
from ops.running_totals import RunningTotals
from store.settlement_effects import Settlement
from store.values.minting import TaskEvent

_INTERVAL = timedelta(seconds=10)
# A chain that takes no messages for half an hour has the same ones sent again and again.
_OF_SENDS_ALONE = timedelta(minutes=1)
# Messages, and their tasks; sends, and those that no lite server took; then what became of tasks.
_FIGURES = (
    "messages",
    "tasks",
    "resumed",
    "sends",
    "not_taken",
    "confirmed",
    "again",
    "parked",
    "failed",
    "freed",
)
_BECAME = {
    TaskEvent.CONFIRMED: "confirmed",
    TaskEvent.VOID: "again",
    TaskEvent.INDEX_TAKEN: "again",
    TaskEvent.PARKED: "parked",
    TaskEvent.FAILED: "failed",
}

log = logger("minter")


class StepSummary:
    """Adds up what one minter did, and logs it.

    Args:
        clock: the time between two lines.
    """

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._totals = RunningTotals(_FIGURES, clock)
        # Why the last message that was not taken was not.
        self._detail = ""

    def add(self, **figures: int) -> None:
        """Add to figures of the line."""
        self._totals.add(figures)

    def sent(self, *, taken: bool, detail: str) -> None:
        """Add a message that was handed to the lite servers, and what they said."""
        self.add(sends=1, not_taken=int(not taken))
        if not taken:
            self._detail = detail

    def settled(self, settlements: Iterable[Settlement]) -> None:
        """Add what became of tasks."""
        self.add(**Counter(_BECAME[each.event] for each in settlements if each.event in _BECAME))

    def tell(self) -> None:
        """Log where ten seconds are over, or a minute of sends alone; called at each turn."""
        moved = self._totals.moved
        alone = bool(moved) and moved <= {"sends", "not_taken"}
        interval = _OF_SENDS_ALONE if alone else _INTERVAL
        if self._totals.seconds >= interval.total_seconds():
            self.log()

    def log(self) -> None:
        """Log what was not logged yet."""
        detail, self._detail = self._detail, ""
        if figures := self._totals.take():
            why = {"detail": detail} if figures["not_taken"] else {}
            log.info("mint_steps_taken", **figures, **why)
