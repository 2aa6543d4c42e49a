"""The four ways a step can go wrong, and the one way a request can.

Each error has a `code`: a closed, lower-case word that is the same in logs, metrics and documents.
Packages subclass the kind that tells what to do about it, so that a caller never has to look at a
message.
"""

from typing import ClassVar


class LaurelError(Exception):
    """The root of every error that Laurel raises on purpose.

    Args:
        message: one sentence for a person; names the place, and the way out where there is one.
        details: ids and numbers for the log line; never a secret, never personal data.
    """

    code: ClassVar[str] = "error"

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class Transient(LaurelError):
    """The same step may succeed if it is tried again: retry in place, within a bound, then exit."""

    code = "transient"


class Permanent(LaurelError):
    """A retry cannot help: dead letter or park; the other records or tasks continue."""

    code = "permanent"


class LeaseLost(LaurelError):
    """Somebody else holds the row by now: drop the work, count it, change nothing."""

    code = "lease_lost"


class InvariantBroken(LaurelError):
    """The state contradicts an invariant: crash before the damage spreads."""

    code = "invariant_broken"


class UsageError(LaurelError):
    """A setting, file or argument is wrong.

    Exit code 2, one message with the place and the way out.
    """

    code = "usage"


# Of an error that Laurel did not raise on purpose.
UNKNOWN = "unknown"


def code_of(error: BaseException | None) -> str:
    """Return the code of an error of ours, and one word for all others."""
    return error.code if isinstance(error, LaurelError) else UNKNOWN


def codes() -> frozenset[str]:
    """Return every code that `code_of` may return in this process, by what it has loaded."""
    kinds: list[type[LaurelError]] = [LaurelError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    return frozenset(kind.code for kind in kinds) | {UNKNOWN}
