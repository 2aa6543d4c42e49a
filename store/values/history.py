"""Jobs that count history: what there are, and how far one is.

Pure.
"""

from enum import StrEnum


class HistoryJobKind(StrEnum):
    """What a job does with the events of its sources.

    `backfill` counts them as the stream would have; `fill` gives one new counter its past;
    `rebuild` counts all of them anew beside what is there.
    """

    BACKFILL = "backfill"
    FILL = "fill"
    REBUILD = "rebuild"


class HistoryJobState(StrEnum):
    """How far a job is. `superseded`: it cannot go on, and another one did what was left."""

    OPEN = "open"
    DONE = "done"
    SUPERSEDED = "superseded"
