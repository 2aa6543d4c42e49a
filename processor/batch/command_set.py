"""The commands of a batch: each external id applied once, for ever.

Repeated, conflicting and refused ones told apart.

Claims are written early, where the lock order wants them; which of them stand is known after the
badges are decided. A refused command is withdrawn, so that it can be sent again.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

from processor.batch.command_rules import Accepted, Badge, Refuse, decide_command
from processor.batch.decisions import Decisions
from processor.batch.staging import Batch, PlacedCommand
from processor.events.reader import BadgeCommand
from processor.rules.levels import Rulebook, TypeRules
from store import command_log
from store.command_log import NewCommand
from store.engine import Connection
from store.instances import Holder
from store.mint_queue import TokenStanding
from store.values import Instance, Reason, TypeCode

if TYPE_CHECKING:
    from typing import Self


@dataclass(slots=True)
class CommandSet:
    """The commands of one batch, in their order, and what became of each."""

    commands: Sequence[PlacedCommand]
    refused: list[tuple[PlacedCommand, Refuse]] = field(default_factory=list)
    applied_by_type: Counter[str] = field(default_factory=Counter)
    repeated_by_type: Counter[str] = field(default_factory=Counter)
    _claimed: frozenset[str] = frozenset()
    _logged: dict[str, bytes] = field(
        default_factory=dict
    )  # external id -> hash of what was applied under it
    _applied: dict[str, tuple[NewCommand, UUID]] = field(default_factory=dict)

    @classmethod
    def of(cls, batch: Batch) -> "Self":
        """Gather the commands of `batch`."""
        return cls([placed for chunk in batch.chunks for placed in chunk.commands])

    def __bool__(self) -> bool:
        return bool(self.commands)

    @property
    def instance_ids(self) -> frozenset[UUID]:
        """Return the badges that are named by their own ids."""
        return frozenset(
            placed.command.instance_id for placed in self.commands if placed.command.instance_id
        )

    def holders(self, rulebook: Rulebook) -> set[Holder]:
        """Return the users and types of the badges that are named by their types."""
        found: set[Holder] = set()
        for placed in self.commands:
            rules = rulebook.by_code.get(TypeCode(placed.command.type_code or ""))
            if rules is not None:
                found.add((placed.command.user_id, rules.spec.id))
        return found

    async def claim(self, conn: Connection) -> None:
        """Write each external id, and read what was applied under those that are there already."""
        first = {placed.command.external_id: placed.command for placed in reversed(self.commands)}
        self._claimed = await command_log.claim(conn, [_row(command) for command in first.values()])
        self._logged = await command_log.hashes(conn, sorted(first.keys() - self._claimed))

    def judge(
        self,
        rulebook: Rulebook,
        badges: Mapping[Holder, Instance],
        locked: Sequence[Instance],
        standings: Mapping[UUID, TokenStanding],
        decisions: Decisions,
    ) -> None:
        """Decide every command in its order, each seeing what the ones before it did.

        Args:
            rulebook: the catalog in force.
            badges: the badge that speaks for each holder, as the batch's levels leave it.
            locked: all badges under lock, as the database has them.
            standings: what is known of the tokens of `locked`.
            decisions: where to gather what is carried out; its mints are open already.
        """
        known = {instance.id: instance for instance in locked} | {
            badge.id: badge for badge in badges.values()
        }
        state = {
            instance.id: Badge.of(
                instance, standings.get(instance.id), minting=instance.id in decisions.mints
            )
            for instance in known.values()
        }
        for placed in self.commands:
            command = placed.command
            logged = self._logged.get(command.external_id)
            if logged == command.content_hash:
                self.repeated_by_type[command.type] += 1
                continue
            if logged is not None:
                detail = f"external_id {command.external_id} was applied before with other content"
                self.refused.append((placed, Refuse(Reason.EXTERNAL_ID_CONFLICT, detail)))
                continue
            target = _target(command, rulebook, badges, known)
            if isinstance(target, Refuse):
                self.refused.append((placed, target))
                continue
            rules, instance = target
            decision = decide_command(command, rules, state[instance.id])
            if isinstance(decision, Refuse):
                self.refused.append((placed, decision))
                continue
            self._carry(command, rules, decision, decisions)
            state[instance.id] = decision.badge

    async def settle(self, conn: Connection) -> None:
        """Withdraw the claims that did not stand, and note what the others were applied to."""
        await command_log.withdraw(conn, sorted(self._claimed - self._applied.keys()))
        await command_log.applied(conn, list(self._applied.values()))

    def _carry(
        self, command: BadgeCommand, rules: TypeRules, decision: Accepted, decisions: Decisions
    ) -> None:
        decisions.take_command(command, rules, decision)
        self._logged[command.external_id] = command.content_hash
        self._applied[command.external_id] = (_row(command), decision.badge.instance.id)
        self.applied_by_type[command.type] += 1


def _row(command: BadgeCommand) -> NewCommand:
    return NewCommand(command.external_id, command.content_hash, command.type)


def _target(
    command: BadgeCommand,
    rulebook: Rulebook,
    badges: Mapping[Holder, Instance],
    known: Mapping[UUID, Instance],
) -> tuple[TypeRules, Instance] | Refuse:
    """Return the badge that `command` names, with the rules of its type."""
    named = None
    if command.type_code is not None:
        named = rulebook.by_code.get(TypeCode(command.type_code))
        if named is None:
            return Refuse(Reason.UNKNOWN_BADGE_TYPE, f"there is no badge type {command.type_code}")
    if command.instance_id is not None:
        instance = known.get(command.instance_id)
    else:
        instance = badges.get((command.user_id, named.spec.id)) if named is not None else None
    wrong_type = instance is not None and named is not None and instance.type_id != named.spec.id
    if instance is None or instance.user_id != command.user_id or wrong_type:
        return Refuse(Reason.NO_SUCH_BADGE, "the user has no such badge")
    return rulebook.by_id[instance.type_id], instance
