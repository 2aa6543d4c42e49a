"""What another machine's clock says beside the host's, and how far they are apart for certain."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from ops.quantities import shown_duration


@dataclass(frozen=True, slots=True)
class ClockReading:
    """Two clocks at one moment.

    Args:
        witness: whose clock the other one is.
        host: what the host's said.
        theirs: what the other one said.
        uncertainty: how much earlier or later than `host` that may have been.
        may_be_later: theirs was no earlier than that, and may have been later by any time.
    """

    witness: str
    host: datetime
    theirs: datetime
    uncertainty: timedelta = timedelta(0)
    may_be_later: bool = False

    @property
    def ahead(self) -> timedelta:
        """Return how far the host's clock is ahead, at a guess; negative where it is behind."""
        return self.host - self.theirs

    @property
    def difference(self) -> timedelta:
        """Return by how much the clocks differ for certain."""
        if self.may_be_later and self.host > self.theirs:
            return timedelta(0)
        return max(timedelta(0), abs(self.ahead) - self.uncertainty)

    def trouble(self, tolerance: timedelta) -> str | None:
        """Return a sentence with the way out, where they differ by more than `tolerance`."""
        if self.difference <= tolerance:
            return None
        side = "ahead of" if self.host > self.theirs else "behind"
        return (
            f"the host's clock is {shown_duration(self.difference)} {side} {self.witness}'s "
            f"({self.host:%Y-%m-%dT%H:%M:%SZ} and {self.theirs:%Y-%m-%dT%H:%M:%SZ}), more than "
            f"LAUREL_WORKER__FUTURE_TOLERANCE ({shown_duration(tolerance)}): which events are too "
            "new cannot be told. Set both by NTP."
        )
