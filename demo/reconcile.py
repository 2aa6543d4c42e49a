"""Run `laurel reconcile` and parse its report."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from demo.stack.processes import CommandFailed, CommandResult


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """A difference that reconcile named: its kind, the badge's id, the token's raw address.

    Empty where it named none.
    """

    kind: str
    badge: str
    token: str

    def __str__(self) -> str:
        return f"{self.kind} (badge {self.badge or '-'}, token {self.token or '-'})"


@dataclass(frozen=True, slots=True)
class ReconcileReport:
    """What one run said; it exits with 1 when something differed, repaired or not.

    `left` were not repaired.
    """

    exit_code: int
    findings: Sequence[Finding]
    left: int


class Commands(Protocol):
    """What runs commands: a demo.stack.processes.Stack."""

    async def run(self, *words: str) -> CommandResult:
        """Run `laurel *words` to its end."""

    def talk(self) -> str:
        """Return the last lines of the commands' log."""


async def reconcile(stack: Commands, *options: str) -> ReconcileReport:
    """Run it to its end.

    Raises:
        CommandFailed: it said nothing that can be read.
    """
    said = await stack.run("reconcile", "--json", *options)
    try:
        report = json.loads(said.output)
        findings = [
            Finding(
                str(each["finding"]), str(each["instance_id"] or ""), str(each["token_id"] or "")
            )
            for each in report["findings"]
        ]
        return ReconcileReport(said.exit_code, findings, int(report["left"]))
    except (ValueError, KeyError, TypeError) as error:
        raise CommandFailed(
            f"laurel reconcile ended with {said.exit_code} and no report ({error!r}):\n"
            f"{stack.talk()}"
        ) from error
