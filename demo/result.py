"""The result of a run, as a table for people and a document for scripts."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from demo.oracle.comparison import Difference

_SHOWN_DIFFERENCES = 20


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that had to hold: `expected` by the oracle, `found` in the system."""

    name: str
    expected: str
    found: str

    @property
    def holds(self) -> bool:
        """Return whether both are the same."""
        return self.expected == self.found


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of a run. `differences` explain the checks that do not hold.

    `peak_bytes` is None where it cannot be measured.
    """

    checks: Sequence[Check]
    differences: Sequence[Difference]
    notes: Sequence[str]
    seconds: float
    peak_bytes: int | None

    @property
    def holds(self) -> bool:
        """Return whether everything holds."""
        return not self.differences and all(check.holds for check in self.checks)

    def document(self) -> Mapping[str, object]:
        """Return the result as JSON would hold it."""
        return {
            "holds": self.holds,
            "checks": [asdict(check) | {"holds": check.holds} for check in self.checks],
            "differences": [str(difference) for difference in self.differences],
            "notes": list(self.notes),
            "seconds": round(self.seconds, 1),
            "peak_bytes": self.peak_bytes,
        }

    def text(self) -> str:
        """Return the result as a short table."""
        rows = [
            ("", "expected", "found", ""),
            *((c.name, c.expected, c.found, _mark(c)) for c in self.checks),
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        lines = [
            f"  {name:<{widths[0]}}  {expected:>{widths[1]}}  {found:>{widths[2]}}  {mark}".rstrip()
            for name, expected, found, mark in rows
        ]
        lines += ["", *(f"  {note}" for note in self.notes)]
        if self.differences:
            lines += ["", f"  {counted(len(self.differences))} differences:"]
            lines += [f"    {difference}" for difference in self.differences[:_SHOWN_DIFFERENCES]]
            if len(self.differences) > _SHOWN_DIFFERENCES:
                lines.append(
                    f"    ... and {counted(len(self.differences) - _SHOWN_DIFFERENCES)} more"
                )
        memory = (
            ""
            if self.peak_bytes is None
            else f", {counted(round(self.peak_bytes / 2**20))} MiB at most"
        )
        word = "All of it holds" if self.holds else "It does not hold"
        return "\n".join([*lines, "", f"{word}. {self.seconds:.0f} s{memory}."])


def counted(number: int) -> str:
    """Return a number as people read it: 50 325."""
    return f"{number:,}".replace(",", " ")


def _mark(check: Check) -> str:
    return "ok" if check.holds else "DIFFERS"
