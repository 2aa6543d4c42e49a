"""Words for a person who named something that there is not."""

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(written: str, known: Iterable[str]) -> str:
    """Return " Did you mean ...?" where a known name is close to `written`, else nothing."""
    close = get_close_matches(written, list(known), n=1)
    return f" Did you mean {close[0]}?" if close else ""


def no_such_type(kind: str, known: Iterable[str]) -> str:
    """Return what a person is told who names an event type that there is not."""
    names = sorted(known)
    hint = did_you_mean(kind, names)
    return f"There is no event type {kind}.{hint} There are: {', '.join(names)}."
