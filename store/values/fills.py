"""How far a counter's past is filled in.

Pure.
"""

from enum import StrEnum


class FillState(StrEnum):
    """Where a fill stands.

    `open`: sources are taken, and nobody sees anything; `closing`: users are given what was taken,
    a few at a time; `closed`: all have it, and what was taken from which event is forgotten;
    `undoing`: what was taken goes, and then the fill itself.
    """

    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"
    UNDOING = "undoing"
