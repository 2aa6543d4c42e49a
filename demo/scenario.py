"""The run of `laurel demo`: send, kill, wait, compare, read back, inject faults, reconcile.

Everything is done from outside, as an operator would do it: commands, signals, Kafka, the chain's
own getters. The database is asked for figures on the way, and for everything once at the end.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from demo import fault_injection
from demo.chain import ChainReader
from demo.convergence import Goal, Stalled, Watch
from demo.fault_injection import repair_differences
from demo.oracle.catalog import Badges
from demo.oracle.comparison import Aspect, Difference, chain_differences, differences
from demo.oracle.expected import ExpectedOutcome
from demo.phases import Phase
from demo.progress import View
from demo.reconcile import Finding, ReconcileReport, reconcile
from demo.restoring import Lost, items_of, restore_and_compare
from demo.result import Check, counted
from demo.stack import backup
from demo.stack.processes import Service, Stack
from demo.stack.publisher import Publisher
from store import inspection
from store.engine import Database
from store.inspection import Figures, Snapshot

_HALF = 2
# The backup is made while this one is counted and minted.
_BACKED_UP = 2


@dataclass(frozen=True, slots=True)
class System:
    """A running stack, and the connections by which the scenario acts on it and reads it."""

    stack: Stack
    database: Database
    publisher: Publisher
    chain: ChainReader


class Scenario:
    """One run. `checks`, `differences` and `notes` fill as it goes on.

    With a path for a `backup` the run ends with the database lost, and the backup in its place.
    """

    def __init__(
        self, system: System, badges: Badges, view: View, backup_path: Path | None = None
    ) -> None:
        self.checks: list[Check] = []
        self.differences: list[Difference] = []
        self.notes: list[str] = []
        self._stack = system.stack
        self._database = system.database
        self._publisher = system.publisher
        self._chain = system.chain
        self._view = view
        self._badges = badges
        self._backup_path = backup_path
        self._watch = Watch(system.stack, system.database, view)

    async def run(self, phases: Sequence[Phase], travellers: int, authority: str) -> None:
        """Send the phases one after the other, then compare everything with what is expected.

        Args:
            phases: of the file.
            travellers: how many there are.
            authority: raw address of the minting wallet.

        Raises:
            LaurelError: a part, a service or a command failed.
        """
        expected = phases[0].expected
        for phase in phases:
            expected = phase.expected
            try:
                await self._play(phase)
            except Stalled as stalled:
                place = f"phase {phase.number}"
                self.differences.append(
                    Difference(Aspect.CONVERGENCE, place, "everything done", stalled.message)
                )
                break
        self._view.say("comparing the database with the expected outcome")
        found = await self._snapshot()
        await self._compare(expected, found, authority)
        if not self.differences:
            repaired = await self._reconcile(expected, found, travellers)
            if self._backup_path is not None and not self.differences:
                await self._restore(self._backup_path, repaired, Goal.of(expected))

    # -------------------------------------------------------------- sending

    async def _play(self, phase: Phase) -> None:
        goal = Goal.of(phase.expected)
        self._view.say(f"phase {phase.number}: sending {counted(len(phase.records))} messages")
        if phase.number == 1:
            await self._send_and_kill(phase, goal)
        else:
            await self._publisher.send(phase.records)
        if phase.number == _BACKED_UP and self._backup_path is not None:
            self._view.say("backing the database up, while everybody works")
            await backup.dump(self._stack, self._backup_path)
        await self._watch.settled(goal, self._publisher.ends)

    async def _send_and_kill(self, phase: Phase, goal: Goal) -> None:
        """Send the phase; on the way kill a worker and the minter, and start them again."""
        half = len(phase.records) // _HALF
        await self._publisher.send(phase.records[:half])
        worker, minter = self._stack.services["worker-1"], self._stack.services["minter"]
        found = await self._watch.until(
            "the first events", lambda figures: figures.events > 0, goal
        )
        await self._kill(worker, f"at {counted(found.events)} events counted")
        await self._publisher.send(phase.records[half:])
        worker.start()
        found = await self._watch.until(
            "a signed message",
            lambda figures: figures.signed_tasks > 0 or _nothing_to_mint(figures, goal),
            goal,
        )
        await self._kill(
            minter, f"with {found.signed_tasks} mints on their way and {found.tokens} confirmed"
        )
        minter.start()

    async def _kill(self, service: Service, when: str) -> None:
        await service.kill()
        self._view.say(f"killed {service.name} by SIGKILL, {when}")
        self.notes.append(f"{service.name} was killed {when}, and started again.")

    # ------------------------------------------------------------ comparing

    async def _snapshot(self) -> Snapshot:
        async with self._database.transaction() as conn:
            return await inspection.snapshot(conn)

    async def _compare(self, expected: ExpectedOutcome, found: Snapshot, authority: str) -> None:
        self.differences += differences(expected, self._badges, found, self._publisher.prefix)
        self._view.say("reading every token back from the chain")
        tokens = await self._chain.tokens(row.token_id for row in found.badges if row.token_id)
        homes = [row.address for row in found.collections]
        items = dict(
            zip(homes, await asyncio.gather(*map(self._chain.item_count, homes)), strict=True)
        )
        self.differences += chain_differences(expected, found, tokens, items, authority)
        burned = sum(badge.burned for badge in expected.badges.values())
        held = sum(badge.wanted and badge.owner is None for badge in expected.badges.values())
        self.checks += [
            Check("events counted once", counted(expected.events), counted(found.events)),
            Check("dead letters", counted(expected.letters.total()), counted(len(found.letters))),
            self._all_alike("counters", Aspect.COUNTERS, sum(map(len, expected.counters.values()))),
            self._all_alike("levels and states of badges", Aspect.BADGES, len(expected.badges)),
            self._all_alike(
                "audit rows of badges", Aspect.AUDIT, sum(row.level for row in found.badges)
            ),
            self._all_alike("outbox without gaps", Aspect.OUTBOX, found.outbox_messages),
            Check(
                "badges with one token",
                counted(len(expected.tokens)),
                counted(sum(row.mints == 1 for row in found.badges)),
            ),
            Check(
                "badges waiting for a wallet",
                counted(held),
                counted(sum(row.held for row in found.badges)),
            ),
            Check("items on chain", counted(len(expected.tokens)), counted(sum(items.values()))),
            self._all_alike("owner, authority and content", Aspect.CHAIN, len(tokens)),
            Check(
                "revoked on chain",
                counted(burned),
                counted(sum(token.revoked for token in tokens.values())),
            ),
        ]
        self.notes.append(
            f"{counted(expected.messages)} messages were sent: "
            f"{counted(expected.duplicates)} duplicates, "
            f"{counted(expected.letters.total())} that are dead letters, "
            f"{expected.repeated_commands} repeated requests."
        )

    def _all_alike(self, name: str, aspect: Aspect, number: int) -> Check:
        differing = sum(difference.aspect is aspect for difference in self.differences)
        return Check(
            name,
            counted(number),
            counted(number) if not differing else f"{counted(differing)} differ",
        )

    # ---------------------------------------------------------- reconciling

    async def _reconcile(
        self, expected: ExpectedOutcome, before: Snapshot, travellers: int
    ) -> Snapshot:
        """Return what the database knows after the repair."""
        self._view.say("reconciling: there is nothing to find")
        self._expect("reconcile finds", [], await reconcile(self._stack))
        targets = fault_injection.choose(expected, before.badges)
        self._view.say(
            "two differences by hand: an owner destroys a token, a row loses its token's id"
        )
        await fault_injection.destroy(targets.destroyed, travellers, self._stack.ton, self._chain)
        await fault_injection.drop_token_id(targets.token_lost, self._database)
        wanted = [
            Finding("destroyed", str(targets.destroyed.id), str(targets.destroyed.token_id)),
            Finding("lost id", str(targets.token_lost.id), str(targets.token_lost.token_id)),
        ]
        self._expect("after two differences by hand", wanted, await reconcile(self._stack), left=2)
        self._expect("reconcile --repair finds", wanted, await reconcile(self._stack, "--repair"))
        self._expect("and finds afterwards", [], await reconcile(self._stack))
        self._view.say("comparing what was repaired")
        after = await self._snapshot()
        self.differences += repair_differences(targets, before, after)
        self.checks.append(
            self._all_alike("badges as the chain says", Aspect.REPAIR, len(after.badges))
        )
        return after

    def _expect(
        self, name: str, wanted: Sequence[Finding], found: ReconcileReport, left: int = 0
    ) -> None:
        self.checks.append(Check(name, _shown(wanted), _shown(found.findings)))
        expected = (sorted(wanted), int(bool(wanted)), left)
        if (sorted(found.findings), found.exit_code, found.left) != expected:
            words = [
                f"{'; '.join(map(str, findings)) or 'nothing'}, exit code {code}, {unrepaired} left"
                for findings, code, unrepaired in (
                    expected,
                    (sorted(found.findings), found.exit_code, found.left),
                )
            ]
            self.differences.append(Difference(Aspect.RECONCILE, name, *words))

    async def _restore(self, path: Path, known: Snapshot, goal: Goal) -> None:
        lost = Lost(known, await items_of(self._chain, known), goal)
        try:
            found = await restore_and_compare(
                self._stack, self._chain, self._view, path, lost, self._publisher.ends
            )
        except Stalled as stalled:
            place = "the restored database"
            self.differences.append(
                Difference(Aspect.RESTORE, place, "everything done", stalled.message)
            )
            return
        self.checks += found.checks
        self.differences += found.differences
        self.notes.append(found.note)


def _shown(findings: Sequence[Finding]) -> str:
    return ", ".join(sorted(finding.kind for finding in findings)) or "nothing"


def _nothing_to_mint(figures: Figures, goal: Goal) -> bool:
    return figures.events >= goal.events and figures.open_tasks == 0
