"""What a run of reconcile says: to a person a line a kind, to a script every finding."""

from collections import Counter
from dataclasses import dataclass

from minter.comparison import Finding, FindingKind
from store.fence import Shut

# What --repair writes back, and the word for it.
REPAIRS = {
    FindingKind.UNKNOWN_TOKEN: "adopted",
    FindingKind.LOST_ID: "restored",
    FindingKind.DESTROYED: "burned_onchain",
    FindingKind.INDEX_GAP: "index agreed",
    FindingKind.STANDING_TOKEN: "revocation asked",
    FindingKind.SECOND_TOKEN: "revocation asked",
}


@dataclass(frozen=True, slots=True)
class ReportedFinding:
    """A finding, and what was done about it: `repair` None where nothing was."""

    finding: Finding
    repair: str | None = None


@dataclass(frozen=True, slots=True)
class ReconcileReport:
    """What one run saw and did. `shut`: why nothing is signed, None while one may sign."""

    seqno: int
    tokens: int
    collections: int
    findings: tuple[ReportedFinding, ...]
    seconds: float
    shut: Shut | None = None

    @property
    def repaired(self) -> int:
        """Return how many findings were repaired."""
        return sum(each.repair is not None for each in self.findings)

    def document(self) -> dict[str, object]:
        """Return the report for a script."""
        return {
            "block": self.seqno,
            "tokens": self.tokens,
            "collections": self.collections,
            "findings": [
                {
                    "finding": each.finding.kind.value,
                    "type_code": each.finding.type_code,
                    "instance_id": each.finding.instance_id,
                    "token_id": each.finding.token_id,
                    "index": each.finding.index,
                    "detail": each.finding.detail,
                    "repair": each.repair,
                }
                for each in self.findings
            ],
            "repaired": self.repaired,
            "left": len(self.findings) - self.repaired,
            "seconds": round(self.seconds, 3),
            "shut": None
            if self.shut is None
            else {
                "reason": self.shut.reason,
                "until": self.shut.until.isoformat(),
                "needs_repair": self.shut.needs_repair,
                "repair_asked": self.shut.repair_asked,
            },
        }

    def text(self) -> str:
        """Return the report for a person: a line a kind, with one example."""
        spaced = f"{self.tokens:_}".replace("_", " ")
        lines = [
            f"block {self.seqno} (masterchain), {spaced} tokens in {self.collections} collections"
        ]
        for kind, count in Counter(each.finding.kind for each in self.findings).items():
            of_kind = [each for each in self.findings if each.finding.kind is kind]
            first = of_kind[0].finding
            about = (
                f"badge {first.instance_id}"
                if first.instance_id
                else (first.token_id or first.type_code)
            )
            done = sum(each.repair is not None for each in of_kind)
            arrow = f"   -> {of_kind[0].repair or REPAIRS[kind]} {done}" if done else ""
            lines.append(
                f"  {kind.value:<18}{count:>5}   {kind.meaning}; {about}: {first.detail}{arrow}"
            )
        left = len(self.findings) - self.repaired
        if self.shut is not None:
            lines.append(f"minting is shut: {self.shut.reason}")
            lines.append(_way_out(self.shut))
        lines.append(
            f"{len(self.findings)} findings, {self.repaired} repaired, {left} left.  "
            f"{self.seconds:.1f} s"
        )
        return "\n".join(lines)


def _way_out(shut: Shut) -> str:
    until = f"{shut.until:%Y-%m-%d %H:%M:%S} UTC by the chain's clock"
    if shut.needs_repair and not shut.repair_asked:
        return f"  run `laurel reconcile --repair`; it opens after {until} at the earliest"
    return (
        f"  a running minter opens it after {until}, once every token has its badge and every "
        "collection its count"
    )
