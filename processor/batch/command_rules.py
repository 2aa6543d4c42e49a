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
from processor.rules.levels import Rulebook, TypeRules
from processor.rules.onchain_policy import may_mint
from store.values import (
    CommandType,
    Holder,
    Instance,
    InstanceStatus,
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
    and a type.
    """

    rulebook: Rulebook
    applied: Mapping[str, bytes]
    badges: Mapping[UUID, BadgeState]
    by_holder: Mapping[Holder, UUID]


@dataclass(frozen=True, slots=True)
class Accepted:
    """The command is carried out: what is to be written, and the badge after it."""

    badge: BadgeState
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
    applied, badges = dict(state.applied), dict(state.badges)
    current = replace(state, applied=applied, badges=badges)
    decisions: list[CommandDecision] = []
    for command in commands:
        decision = _decide(command, current)
        if isinstance(decision, Accepted):
            applied[command.external_id] = command.content_hash
            badges[decision.badge.instance.id] = decision.badge
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
            return _rejected(
                command,
                Reason.UNKNOWN_BADGE_TYPE,
                f"there is no badge type {command.type_code}",
            )
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


def _rejected(command: Command, reason: Reason, detail: str) -> Rejected:
    return Rejected(type=command.type.value, reason=reason, detail=detail)
