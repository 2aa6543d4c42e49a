"""The commands of a batch at the database: claimed early, settled once they are decided.

An external id is applied once, for ever. Claims are written where the lock order wants them, before
anybody knows which of them stand. The claim of a command that is rejected, or waits, is withdrawn,
so that it can be sent again. Who decides about an id holds its claim: so two never do at once, also
where it waits (processor/batch/waiting.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self
from uuid import UUID

from processor.batch.command_rules import Accepted, Command, CommandDecision, Repeated, Waits
from processor.batch.command_sequence import CommandState, decide_commands
from processor.batch.options import PipelineOptions
from processor.batch.staging import Batch, PlacedCommand
from processor.events.rejection import Rejected
from processor.rules.levels import Rulebook
from store import command_log
from store.command_log import AppliedCommand, NewCommand
from store.engine import Connection
from store.values.names import Holder, TypeCode
from store.values.stream import CommandType


@dataclass(frozen=True, slots=True)
class Claims:
    """What the log says of the external ids of a batch.

    `new` are those that this transaction wrote; `applied` maps the others to the content hashes of
    what was applied under them.
    """

    new: frozenset[str] = frozenset()
    applied: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HeardCommand:
    """A command that a silent run applied to the badge `badge_id`, and that the stream brings."""

    command: Command
    badge_id: UUID


@dataclass(frozen=True, slots=True)
class CommandDecisions:
    """The commands of a batch as they are carried out, each with what was decided.

    Those that wait are among them: that came now, and that have waited.
    """

    each: tuple[tuple[PlacedCommand, CommandDecision], ...] = ()

    @property
    def accepted(self) -> list[tuple[Command, Accepted]]:
        """Return the commands to be carried out."""
        return [
            (placed.command, decision)
            for placed, decision in self.each
            if isinstance(decision, Accepted)
        ]

    @property
    def repeated(self) -> list[Command]:
        """Return the commands that were applied before, or wait already."""
        return [
            placed.command
            for placed, decision in self.each
            if isinstance(decision, Repeated) or (isinstance(decision, Waits) and decision.again)
        ]

    @property
    def rejected(self) -> list[tuple[PlacedCommand, Rejected]]:
        """Return the commands that cannot be carried out as things are."""
        return [
            (placed, decision) for placed, decision in self.each if isinstance(decision, Rejected)
        ]

    @property
    def begin_to_wait(self) -> list[tuple[PlacedCommand, Rejected]]:
        """Return the commands of records that wait from now on, and what for."""
        return [
            (placed, decision.rejected)
            for placed, decision in self.each
            if isinstance(decision, Waits)
            and not decision.again
            and placed.waits is None
            and placed.record is not None
        ]

    @property
    def wait_on(self) -> list[tuple[Command, Rejected]]:
        """Return the commands that go on waiting, but for something else."""
        return [
            (placed.command, decision.rejected)
            for placed, decision in self.each
            if isinstance(decision, Waits)
            and placed.waits is not None
            and placed.waits != decision.rejected
        ]

    @property
    def waited(self) -> list[tuple[Command, CommandDecision]]:
        """Return the commands whose wait ends now, and how."""
        return [
            (placed.command, decision)
            for placed, decision in self.each
            if placed.waits is not None and not isinstance(decision, Waits)
        ]


@dataclass(frozen=True, slots=True)
class CommandSet:
    """The commands of one batch, in their order."""

    placed: tuple[PlacedCommand, ...]

    @classmethod
    def of(cls, batch: Batch) -> Self:
        """Gather the commands of `batch`."""
        return cls(tuple(placed for chunk in batch.chunks for placed in chunk.commands))

    def __bool__(self) -> bool:
        return bool(self.placed)

    def after(self, waiting: Sequence[PlacedCommand]) -> "CommandSet":
        """Return these commands behind `waiting`, which came before them."""
        return CommandSet((*waiting, *self.placed)) if waiting else self

    @property
    def instance_ids(self) -> frozenset[UUID]:
        """Return the badges that are named by their own ids."""
        return frozenset(
            placed.command.instance_id for placed in self.placed if placed.command.instance_id
        )

    def holders(self, rulebook: Rulebook) -> set[Holder]:
        """Return the users and types of the badges that are named by their types."""
        found: set[Holder] = set()
        for placed in self.placed:
            rules = rulebook.by_code.get(TypeCode(placed.command.type_code or ""))
            if rules is not None:
                found.add((placed.command.user_id, rules.spec.id))
        return found

    def awarded(self, rulebook: Rulebook) -> set[Holder]:
        """Return the users and types of the badges that are awarded."""
        awards = (each for each in self.placed if each.command.type is CommandType.AWARD)
        return CommandSet(tuple(awards)).holders(rulebook)

    async def claim(self, conn: Connection) -> Claims:
        """Write each external id, and read what was applied under those that are there already."""
        first = {placed.command.external_id: placed.command for placed in reversed(self.placed)}
        new = await command_log.claim(conn, [_row(command) for command in first.values()])
        return Claims(new, await command_log.hashes(conn, sorted(first.keys() - new)))

    async def hear(self, conn: Connection, claims: Claims) -> list[HeardCommand]:
        """Return the commands that a silent run has applied, and that come live at last."""
        again = {
            placed.command.external_id: placed.command
            for placed in self.placed
            if claims.applied.get(placed.command.external_id) == placed.command.content_hash
        }
        ended = await command_log.end_silence(conn, again.keys())
        return [HeardCommand(again[each], badge_id) for each, badge_id in sorted(ended.items())]

    def decide(self, state: CommandState) -> CommandDecisions:
        """Return what becomes of each command; processor/batch/command_sequence.py decides."""
        decided = decide_commands([placed.command for placed in self.placed], state)
        return CommandDecisions(tuple((self.placed[place], each) for place, each in decided))


async def settle(
    conn: Connection, claims: Claims, decisions: CommandDecisions, options: PipelineOptions
) -> None:
    """Withdraw the claims that did not stand, and note what the others were applied to."""
    applied = [
        AppliedCommand(
            _row(command),
            accepted.badge.instance.id,
            silent=_leaves_unsaid(command, accepted, options),
        )
        for command, accepted in decisions.accepted
    ]
    stand = {each.command.external_id for each in applied}
    await command_log.withdraw(conn, sorted(claims.new - stand))
    await command_log.applied(conn, applied)


def _leaves_unsaid(command: Command, accepted: Accepted, options: PipelineOptions) -> bool:
    """Return whether something follows once the stream brings the same command.

    A mint or a burn that is asked for is never left out.
    """
    if command.type is CommandType.AWARD:
        return options.is_silent
    return accepted.revoke and not options.publish


def _row(command: Command) -> NewCommand:
    return NewCommand(command.external_id, command.content_hash, command.type)
