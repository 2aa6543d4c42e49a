"""What a load of history came to: for a person, and for a script."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class LoadReport:
    """What became of the records of some sources, this run's and what earlier runs had done.

    Args:
        read: records of the sources.
        counted: events that counters have counted.
        repeated: events that repeat an earlier one of the sources.
        known: events that were counted before.
        refused: records that the stream would refuse, by reason.
        conflicts: places of those whose id is that of another event which was counted before.
        others: wallet changes and commands.
        levels: badges that were created or raised, by type and the level reached.
        mints: tokens that were asked for.
        resumed_at: slices that earlier runs had done.
        slices: how many there are.
        finished: all of them are done, and what is no event as well.
        seconds: how long this run took.
    """

    read: int = 0
    counted: int = 0
    repeated: int = 0
    known: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    conflicts: list[int] = field(default_factory=list)
    others: int = 0
    levels: Counter[tuple[str, int]] = field(default_factory=Counter)
    mints: int = 0
    resumed_at: int = 0
    slices: int = 0
    finished: bool = False
    seconds: float = 0.0
