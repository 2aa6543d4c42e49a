"""Decide the commands of a batch one after the other, each seeing what the ones before it did.

Pure. A command that waits is tried again after each one that changes a badge of its user, so that
it ends as if it had come later. Which come first here have waited longest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from processor.batch.command_rules import (
    Accepted,
    BadgeState,
    Command,
    CommandDecision,
    Repeated,
    Waits,
    decide_award,
    decide_badge_command,
    rejected,
    unknown_type,
)
from processor.events.rejection import Rejected
from processor.rules.levels import Award, Rulebook
from store.values.names import CounterName, Holder, Number, TypeCode
from store.values.stream import CommandType, Reason


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits under an external id: the hash of its content, and why it waits."""

    content_hash: bytes
    rejected: Rejected


@dataclass(frozen=True, slots=True)
class CommandState:
    """What commands are decided by.

    `applied` maps external ids to the content hashes of what was applied under them before;
    `badges` has every badge that a command may name, and `by_holder` the one that speaks for a user
    and a type. `waiting` maps external ids to what waits under them, beside the commands that are
    decided here. `counters` are those of the users who are awarded a badge. `auto_mint`: an awarded
    badge is minted by itself where its policy says so; not where history is counted.
    """

    rulebook: Rulebook
    applied: Mapping[str, bytes]
    badges: Mapping[UUID, BadgeState]
    by_holder: Mapping[Holder, UUID]
    waiting: Mapping[str, Waiting] = field(default_factory=dict)
    counters: Mapping[Holder, Mapping[CounterName, Number]] = field(default_factory=dict)
    auto_mint: bool = True


def decide_commands(
    commands: Sequence[Command], state: CommandState
) -> tuple[tuple[int, CommandDecision], ...]:
    """Return what becomes of each of `commands`, beside its place among them.

    In the order in which they are carried out; those that wait come last.

    Args:
        commands: in the order in which they came, those that have waited first.
        state: what was there before the first of them.
    """
    sequence = _Sequence(state)
    for place, command in enumerate(commands):
        sequence.take(place, command)
    return sequence.decisions


class _Sequence:
    def __init__(self, before: CommandState) -> None:
        self._applied, self._waiting = dict(before.applied), dict(before.waiting)
        self._badges, self._by_holder = dict(before.badges), dict(before.by_holder)
        self._state = replace(
            before,
            applied=self._applied,
            waiting=self._waiting,
            badges=self._badges,
            by_holder=self._by_holder,
        )
        self._decided: list[tuple[int, CommandDecision]] = []
        # By user, in their order.
        self._untried: dict[UUID, dict[int, Command]] = {}

    @property
    def decisions(self) -> tuple[tuple[int, CommandDecision], ...]:
        left = {place: each for some in self._untried.values() for place, each in some.items()}
        waiting = (
            (place, Waits(self._waiting[each.external_id].rejected))
            for place, each in sorted(left.items())
        )
        return (*self._decided, *waiting)

    def take(self, place: int, command: Command) -> None:
        """Decide a command that comes now."""
        decision = _known(command, self._state) or _judge(command, self._state)
        if isinstance(decision, Waits) and not decision.again:
            self._waiting[command.external_id] = Waiting(command.content_hash, decision.rejected)
            self._untried.setdefault(command.user_id, {})[place] = command
        elif self._note(place, command, decision):
            self._try_again(command.user_id)

    def _try_again(self, user_id: UUID) -> None:
        """Try what waits of a user, until nothing changes any more."""
        waiting = self._untried.get(user_id, {})
        changed = True
        while changed:
            changed = False
            for place, command in list(waiting.items()):
                decision = _judge(command, self._state)
                if isinstance(decision, Waits):
                    self._waiting[command.external_id] = Waiting(
                        command.content_hash, decision.rejected
                    )
                    continue
                del waiting[place], self._waiting[command.external_id]
                changed |= self._note(place, command, decision)

    def _note(self, place: int, command: Command, decision: CommandDecision) -> bool:
        """Take in a decision, and return whether it changes a badge."""
        self._decided.append((place, decision))
        if not isinstance(decision, Accepted):
            return False
        self._applied[command.external_id] = command.content_hash
        instance = decision.badge.instance
        self._badges[instance.id] = decision.badge
        if isinstance(decision.award, Award):
            self._by_holder[instance.user_id, instance.type_id] = instance.id
        return decision.changes


def _known(command: Command, state: CommandState) -> CommandDecision | None:
    """Return what follows from the id alone; None: it is new."""
    applied = state.applied.get(command.external_id)
    if applied == command.content_hash:
        return Repeated()
    if applied is not None:
        return rejected(
            command,
            Reason.EXTERNAL_ID_CONFLICT,
            f"external_id {command.external_id} was applied before with other content",
        )
    waiting = state.waiting.get(command.external_id)
    if waiting is None:
        return None
    if waiting.content_hash == command.content_hash:
        return Waits(waiting.rejected, again=True)
    return rejected(
        command,
        Reason.EXTERNAL_ID_CONFLICT,
        f"a command with other content waits under external_id {command.external_id}",
    )


def _judge(command: Command, state: CommandState) -> Accepted | Rejected | Waits:
    """Return what becomes of a command by the badges alone."""
    if command.type is CommandType.AWARD:
        return _judge_award(command, state)
    badge = _target(command, state)
    if not isinstance(badge, BadgeState):
        return badge
    return decide_badge_command(command, state.rulebook.by_id[badge.instance.type_id], badge)


def _target(command: Command, state: CommandState) -> BadgeState | Rejected | Waits:
    """Return the badge that `command` names by its type, its own id, or both."""
    named = None
    if command.type_code is not None:
        named = state.rulebook.by_code.get(TypeCode(command.type_code))
        if named is None:
            return unknown_type(command)
    badge_id = command.instance_id
    if badge_id is None and named is not None:
        badge_id = state.by_holder.get((command.user_id, named.spec.id))
    badge = None if badge_id is None else state.badges.get(badge_id)
    missing = rejected(command, Reason.NO_SUCH_BADGE, "the user has no such badge")
    if badge is None:
        return Waits(missing)
    if badge.instance.user_id != command.user_id or (
        named is not None and badge.instance.type_id != named.spec.id
    ):
        return missing
    return badge


def _judge_award(command: Command, state: CommandState) -> Accepted | Rejected:
    rules = state.rulebook.by_code.get(TypeCode(command.type_code or ""))
    if rules is None:
        return unknown_type(command)
    holder = (command.user_id, rules.spec.id)
    badge_id = state.by_holder.get(holder)
    return decide_award(
        command,
        rules,
        None if badge_id is None else state.badges[badge_id],
        state.counters.get(holder, {}),
        auto_mint=state.auto_mint,
    )
