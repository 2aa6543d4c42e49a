"""Which commands are accepted, and what they ask for.

Pure. Commands are decided in their order, each by the badges as the batch and the commands before
it leave them (docs/data-model.md, States). What a command asks for may be there already: then it is
accepted and changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self, TypeAlias, assert_never
from uuid import UUID

from processor.events.reader import BadgeCommand
from processor.events.rejection import Rejected
from processor.rules.badge_ids import FIRST_ORDINAL, instance_id
from processor.rules.levels import Award, LevelUp, Rulebook, TypeRules, Unchanged, award
from processor.rules.onchain_policy import may_mint, mints_by_itself
from store.values import (
    CommandType,
    CounterName,
    Holder,
    Instance,
    InstanceStatus,
    Number,
    OnchainStatus,
    Reason,
    TokenState,
    TypeCode,
)

# Every kind of command. Another one joins here, and gets an arm in `_decide`.
Command: TypeAlias = BadgeCommand


@dataclass(frozen=True, slots=True)
class BadgeState:
    """A badge and its token, as the batch and the commands so far leave them.

    `mint_stored`: a mint was open before this batch; it may be signed at any time.
    """

    instance: Instance
    token: TokenState = field(default_factory=TokenState)
    mint_stored: bool = False

    @classmethod
    def of(cls, instance: Instance, token: TokenState, *, minting: bool) -> Self:
        """Return the state before any command; `minting`: the batch itself asks for the mint."""
        asked = replace(token, mint_open=token.mint_open or minting)
        return cls(instance, asked, mint_stored=token.mint_open)


@dataclass(frozen=True, slots=True)
class CommandState:
    """What commands are decided by.

    `applied` maps external ids to the content hashes of what was applied under them before;
    `badges` has every badge that a command may name, and `by_holder` the one that speaks for a user
    and a type. `counters` are those of the users who are awarded a badge. `auto_mint`: an awarded
    badge is minted by itself where its policy says so; not where history is counted.
    """

    rulebook: Rulebook
    applied: Mapping[str, bytes]
    badges: Mapping[UUID, BadgeState]
    by_holder: Mapping[Holder, UUID]
    counters: Mapping[Holder, Mapping[CounterName, Number]] = field(default_factory=dict)
    auto_mint: bool = True


@dataclass(frozen=True, slots=True)
class Accepted:
    """The command is carried out: what is to be written, and the badge after it.

    `award`: the badge is new, or rises.
    """

    badge: BadgeState
    award: Award | LevelUp | None = None
    mint: bool = False
    burn: bool = False
    revoke: bool = False


@dataclass(frozen=True, slots=True)
class Repeated:
    """The same command was applied before, under the same id: nothing is written."""


# A rejected command may be sent again later, under the same id.
CommandDecision = Accepted | Repeated | Rejected


def decide_commands(
    commands: Sequence[Command], state: CommandState
) -> tuple[CommandDecision, ...]:
    """Return what becomes of each of `commands`, each seeing what the ones before it did.

    Args:
        commands: in the order in which they came.
        state: what was there before the first of them.
    """
    applied, badges, by_holder = dict(state.applied), dict(state.badges), dict(state.by_holder)
    current = replace(state, applied=applied, badges=badges, by_holder=by_holder)
    decisions: list[CommandDecision] = []
    for command in commands:
        decision = _decide(command, current)
        if isinstance(decision, Accepted):
            applied[command.external_id] = command.content_hash
            instance = decision.badge.instance
            badges[instance.id] = decision.badge
            if isinstance(decision.award, Award):
                by_holder[instance.user_id, instance.type_id] = instance.id
        decisions.append(decision)
    return tuple(decisions)


def _decide(command: Command, state: CommandState) -> CommandDecision:
    applied = state.applied.get(command.external_id)
    if applied == command.content_hash:
        return Repeated()
    if applied is not None:
        return _rejected(
            command,
            Reason.EXTERNAL_ID_CONFLICT,
            f"external_id {command.external_id} was applied before with other content",
        )
    match command:
        case BadgeCommand() if command.type is CommandType.AWARD:
            return _decide_award(command, state)
        case BadgeCommand():
            badge = _target(command, state)
            if isinstance(badge, Rejected):
                return badge
            return decide_badge_command(
                command, state.rulebook.by_id[badge.instance.type_id], badge
            )
        case unreachable:
            assert_never(unreachable)


def _target(command: BadgeCommand, state: CommandState) -> BadgeState | Rejected:
    """Return the badge that `command` names by its type, its own id, or both."""
    named = None
    if command.type_code is not None:
        named = state.rulebook.by_code.get(TypeCode(command.type_code))
        if named is None:
            return _unknown_type(command)
    badge_id = command.instance_id
    if badge_id is None and named is not None:
        badge_id = state.by_holder.get((command.user_id, named.spec.id))
    badge = None if badge_id is None else state.badges.get(badge_id)
    if (
        badge is None
        or badge.instance.user_id != command.user_id
        or (named is not None and badge.instance.type_id != named.spec.id)
    ):
        return _rejected(command, Reason.NO_SUCH_BADGE, "the user has no such badge")
    return badge


def _decide_award(command: BadgeCommand, state: CommandState) -> Accepted | Rejected:
    rules = state.rulebook.by_code.get(TypeCode(command.type_code or ""))
    if rules is None:
        return _unknown_type(command)
    holder = (command.user_id, rules.spec.id)
    badge_id = state.by_holder.get(holder)
    return decide_award(
        command,
        rules,
        None if badge_id is None else state.badges[badge_id],
        state.counters.get(holder, {}),
        auto_mint=state.auto_mint,
    )


def decide_award(
    command: BadgeCommand,
    rules: TypeRules,
    badge: BadgeState | None,
    counters: Mapping[CounterName, Number],
    *,
    auto_mint: bool = True,
) -> Accepted | Rejected:
    """Return what becomes of an award, which was not applied before.

    Args:
        command: what is asked.
        rules: the type of the badge.
        badge: the user's latest badge of the type, with all that came before in the batch.
        counters: the user's, for the type.
        auto_mint: the badge is minted by itself where its policy says so.
    """
    if command.level is not None and all(each.spec.level != command.level for each in rules.levels):
        return _rejected(
            command,
            Reason.UNKNOWN_LEVEL,
            f"{rules.spec.code} has no level {command.level}",
        )
    decision = award(rules, counters, None if badge is None else badge.instance, command.level)
    match decision:
        case Award():
            ordinal = FIRST_ORDINAL if badge is None else badge.instance.ordinal + 1
            after = BadgeState(
                Instance(
                    instance_id(command.user_id, rules.spec.code, ordinal),
                    rules.spec.id,
                    command.user_id,
                    command.tenant_id,
                    decision.level.level,
                    InstanceStatus.ACTIVE,
                    OnchainStatus.NOT_MINTED,
                    None,
                    ordinal,
                )
            )
        case LevelUp() if badge is not None:
            raised = replace(badge.instance, current_level=decision.level.level)
            after = replace(badge, instance=raised)
        case Unchanged() if badge is not None:
            return Accepted(badge)
        case _:
            raise ValueError("a badge that does not exist can neither rise nor stay")
    mint = (
        auto_mint
        and mints_by_itself(rules.spec, decision.passed)
        and after.instance.onchain_status is OnchainStatus.NOT_MINTED
        and not after.token.mint_open
    )
    if mint:
        after = replace(after, token=replace(after.token, mint_open=True))
    return Accepted(after, award=decision, mint=mint)


def decide_badge_command(
    command: BadgeCommand, rules: TypeRules, badge: BadgeState
) -> Accepted | Rejected:
    """Return what becomes of `command`, which was not applied before.

    Args:
        command: what is asked.
        rules: the type of the badge.
        badge: the badge that the command names, with all that came before in the batch.
    """
    match command.type:
        case CommandType.AWARD:
            return decide_award(command, rules, badge, {})
        case CommandType.MINT:
            return _mint(command, rules, badge)
        case CommandType.BURN:
            return _burn(command, badge)
        case CommandType.REVOKE:
            return _revoke(command, badge)
        case unreachable:
            assert_never(unreachable)


def _mint(command: BadgeCommand, rules: TypeRules, badge: BadgeState) -> Accepted | Rejected:
    instance = badge.instance
    if instance.status is not InstanceStatus.ACTIVE:
        return _not_active(command, instance)
    level = next(each.spec for each in rules.levels if each.spec.level == instance.current_level)
    if not may_mint(rules.spec, level):
        return _rejected(
            command,
            Reason.POLICY_REJECTED,
            f"{rules.spec.code} at level {level.level} may not go on chain",
        )
    if badge.token.mint_open or instance.onchain_status is OnchainStatus.MINTED:
        return Accepted(badge)
    return Accepted(replace(badge, token=replace(badge.token, mint_open=True)), mint=True)


def _burn(command: BadgeCommand, badge: BadgeState) -> Accepted | Rejected:
    instance, token = badge.instance, badge.token
    if instance.status is not InstanceStatus.ACTIVE:
        return _not_active(command, instance)
    if token.burned or not (instance.onchain_token_id or token.mint_open):
        return _rejected(
            command,
            Reason.NO_TOKEN,
            f"badge {instance.id} has no token, and none is being minted",
        )
    return Accepted(replace(badge, token=replace(token, burn_open=True)), burn=not token.burn_open)


def _revoke(command: BadgeCommand, badge: BadgeState) -> Accepted | Rejected:
    instance, token = badge.instance, badge.token
    if instance.status is InstanceStatus.REVOKED:
        return Accepted(badge)
    if instance.status is not InstanceStatus.ACTIVE:
        return _not_active(command, instance)
    # What becomes of an open mint is known when it is cancelled: one that was signed meanwhile is
    # completed, and its token burned then.
    burn = instance.onchain_token_id is not None and not token.burned
    after = replace(
        badge,
        instance=replace(instance, status=InstanceStatus.REVOKED),
        token=replace(token, mint_open=False, burn_open=burn),
    )
    return Accepted(after, burn=burn and not token.burn_open, revoke=True)


def _not_active(command: BadgeCommand, instance: Instance) -> Rejected:
    return _rejected(command, Reason.NOT_ACTIVE, f"badge {instance.id} is {instance.status.value}")


def _unknown_type(command: BadgeCommand) -> Rejected:
    return _rejected(
        command, Reason.UNKNOWN_BADGE_TYPE, f"there is no badge type {command.type_code}"
    )


def _rejected(command: Command, reason: Reason, detail: str) -> Rejected:
    return Rejected(type=command.type.value, reason=reason, detail=detail)
