"""What a load of history came to, or would come to: for a person, and for a script."""

from collections import Counter
from dataclasses import dataclass, field
from uuid import UUID

from ops.lifecycle import EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE
from ops.quantities import shown_grams

# What the amounts of the settings were held against: ops/setting_parts.py, minter/ton/fees.py.
PRICES_OF = "August 2026"


@dataclass(slots=True)
class LoadReport:
    """What became of the records of some sources, this run's and what earlier runs had done.

    Args:
        read: records of the sources.
        counted: events that counters have counted.
        repeated: events that repeat an earlier one of the sources.
        known: events that were counted before.
        refused: records that the stream would refuse, by reason.
        conflicts: places of those events whose id is that of another one, counted before.
        rejected: places of wallet changes and commands that were refused, with the reason.
        others: wallet changes and commands that were carried out.
        levels: badges that were created or raised, by type and the level reached.
        samples: some of whose they are; of a forecast alone.
        mints: tokens that the levels ask for, whether or not this run asks the minter.
        mint_nano: what one of them takes, in nanograms, at most.
        resumed_at: slices that earlier runs had done.
        slices: how many there are.
        finished: all of them are done, and what is no event as well.
        dry_run: nothing was written.
        seconds: how long this run took.
    """

    read: int = 0
    counted: int = 0
    repeated: int = 0
    known: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    conflicts: list[int] = field(default_factory=list)
    rejected: list[tuple[int, str, str]] = field(default_factory=list)
    others: int = 0
    levels: Counter[tuple[str, int]] = field(default_factory=Counter)
    samples: dict[tuple[str, int], list[UUID]] = field(default_factory=dict)
    mints: int = 0
    mint_nano: int = 0
    resumed_at: int = 0
    slices: int = 0
    finished: bool = False
    dry_run: bool = False
    seconds: float = 0.0

    @property
    def cost_nano(self) -> int:
        """Return what the tokens take, in nanograms, at most."""
        return self.mints * self.mint_nano

    def exit_code(self, *, strict: bool) -> int:
        """Return the code that a run ends with; a dry run's is that of the run it stands for.

        `strict`: one record that is refused refuses them all.
        """
        if not self.finished:
            return EXIT_INTERRUPTED
        return EXIT_USAGE if strict and self.refused else EXIT_OK

    @property
    def document(self) -> dict[str, object]:
        """Return it for a script."""
        return {
            "read": self.read,
            "counted": self.counted,
            "duplicates": {"within": self.repeated, "known": self.known},
            "refused": dict(sorted(self.refused.items())),
            "others": self.others,
            "levels": [
                {
                    "type": code,
                    "level": level,
                    "badges": badges,
                    "samples": [str(each) for each in self.samples.get((code, level), ())],
                }
                for (code, level), badges in sorted(self.levels.items())
            ],
            "mints": {
                "tokens": self.mints,
                "cost_nanograms": self.cost_nano,
                "prices_of": PRICES_OF,
            },
            "resumed_at": self.resumed_at,
            "slices": self.slices,
            "finished": self.finished,
            "dry_run": self.dry_run,
            "seconds": round(self.seconds, 3),
        }

    @property
    def text(self) -> str:
        """Return it for a person."""
        verb = "would count" if self.dry_run else "counted"
        resumed = f", from slice {self.resumed_at + 1} of {self.slices}" if self.resumed_at else ""
        repeated = f"{self.repeated:,} within the input, {self.known:,} counted before"
        lines = [
            f"{self.read:,} records in {self.seconds:.1f} s{resumed}",
            f"  {verb:<14} {self.counted:,}",
            f"  {'duplicates':<14} {self.known + self.repeated:,} ({repeated})",
            f"  {'refused':<14} {self.refused.total():,}",
        ]
        lines += [f"    {reason:<24} {n:,}" for reason, n in sorted(self.refused.items())]
        if self.others:
            lines.append(f"  {'carried out':<14} {self.others:,} wallet changes and commands")
        lines.append(f"  {'levels':<14} {self.levels.total():,}")
        for (code, level), badges in sorted(self.levels.items()):
            who = ", ".join(str(each) for each in self.samples.get((code, level), ()))
            lines.append(f"    {code:<20} {level:>3} {badges:>10,}" + (f"  {who}" if who else ""))
        if self.mints:
            lines.append(
                f"  {'tokens':<14} {self.mints:,} to mint, {shown_grams(self.cost_nano)} Grams at"
                f" most (the settings' amounts, held against the prices of {PRICES_OF})"
            )
        if not self.finished:
            lines.append("Interrupted; the same command goes on from here.")
        return "\n".join(lines)
