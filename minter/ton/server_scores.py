"""How well a lite server answers, kind of request by kind of request. Pure.

A server may answer one kind and be silent on another, so an answer to one says nothing of the
others. What is expected of a request is one number, the seconds that it will probably cost: what
such answers took lately, and a fine for each that failed, which is forgiven with time.
"""

from dataclasses import dataclass, field

TIP = "newest_block"  # asked of every server, again and again: what is known where nothing else is

_FINE_S = 10.0  # a failure costs about as much as a silence does
_FORGIVEN_IN_S = 60.0  # half of it
_UNKNOWN_S = 1.0  # of a server that never answered
_NEWEST_SHARE = 0.3  # of the last answer in the running mean
_SIDE_BY_SIDE = 16  # requests under way that make the next one cost twice as much


@dataclass(slots=True)
class _Kind:
    seconds: float | None = None
    fine: float = 0.0
    fined_at: float = 0.0
    under_way: int = 0

    def fine_at(self, now: float) -> float:
        return float(self.fine * 0.5 ** ((now - self.fined_at) / _FORGIVEN_IN_S))


@dataclass(slots=True)
class ServerScore:
    """What one server showed so far; times are seconds of one monotonic clock."""

    _kinds: dict[str, _Kind] = field(default_factory=dict)

    def asked(self, kind: str) -> None:
        """Count a request that is under way from now on."""
        self._kind(kind).under_way += 1

    def answered(self, kind: str, seconds: float, now: float) -> None:
        """Count an answer, and forgive half of what failed before."""
        found = self._kind(kind)
        found.under_way -= 1
        found.fine, found.fined_at = found.fine_at(now) / 2, now
        before = seconds if found.seconds is None else found.seconds
        found.seconds = before + _NEWEST_SHARE * (seconds - before)

    def failed(self, kind: str, now: float) -> None:
        """Count an error, a lie, or no answer in time."""
        found = self._kind(kind)
        found.under_way -= 1
        found.fine, found.fined_at = found.fine_at(now) + _FINE_S, now

    def late(self, kind: str, seconds: float) -> None:
        """Note that an answer is still missing after `seconds`: it takes that long at least."""
        found = self._kind(kind)
        found.seconds = max(seconds, found.seconds or 0.0)

    def usual_s(self, kind: str) -> float | None:
        """Return how long answers of `kind` took lately; None before the first."""
        return self._kind(kind).seconds

    def cost_s(self, kind: str, now: float) -> float:
        """Return the seconds that one more request of `kind` will probably cost."""
        found = self._kind(kind)
        seconds = found.seconds
        if seconds is None:
            seconds = self._kind(TIP).seconds
        if seconds is None:
            seconds = _UNKNOWN_S
        return seconds * (1 + found.under_way / _SIDE_BY_SIDE) + found.fine_at(now)

    def _kind(self, kind: str) -> _Kind:
        return self._kinds.setdefault(kind, _Kind())
