"""Whether a command is accepted, and what it asks for.

Pure. Each is decided by its badge as everything before leaves it (docs/data-model.md, Commands).
What a command asks for may be there already: then it is accepted and changes nothing. What is not
there yet may come: then it waits.

| reason | becomes right | so the command |
|---|---|---|
| no_such_badge | once the badge is made | waits; not where it is another's, or of another type |
| no_token | once a token exists or is being minted | waits; not where the token was burned |
| not_active | never: what comes next is another badge | is rejected |
| policy_rejected | by a level or a catalog, which nobody asked for | is rejected |
| unknown_badge_type, unknown_level | by a catalog: the word is an error now | is rejected |
| external_id_conflict | never | is rejected |

A mint without a wallet is accepted: its task waits for one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self, TypeAlias, assert_never

from processor.events.reader import BadgeCommand
from processor.events.rejection import Rejected
from processor.rules.badge_ids import FIRST_ORDINAL, instance_id
from processor.rules.levels import Award, LevelUp, Rulebook, TypeRules, Unchanged, award
from processor.rules.onchain_policy import may_mint, mints_by_itself
from store.values.badges import Instance, InstanceStatus, OnchainStatus
from store.values.minting import TokenState
from store.values.names import CounterName, Number, TypeCode
from store.values.stream import CommandType, Reason

# Every kind of command. Another one joins here, and is decided in command_sequence.py.
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
class Accepted:
    """The command is carried out: what is to be written, and the badge after it.

    `award`: the badge is new, or rises.
    """

    badge: BadgeState
    award: Award | LevelUp | None = None
    mint: bool = False
    burn: bool = False
    revoke: bool = False

    @property
    def changes(self) -> bool:
        """Return whether it changes anything."""
        return self.award is not None or self.mint or self.burn or self.revoke


@dataclass(frozen=True, slots=True)
class Repeated:
    """The same command was applied before, under the same id: nothing is written."""


@dataclass(frozen=True, slots=True)
class Waits:
    """The command cannot be carried out as things are, but may be once they change.

    `rejected` is what it becomes if they do not. `again`: the same command waits already.
    """

    rejected: Rejected
    again: bool = False


# A rejected command may be sent again later, under the same id.
CommandDecision = Accepted | Repeated | Rejected | Waits


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
    if (unknown := _unknown_level(command, rules)) is not None:
        return unknown
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
) -> Accepted | Rejected | Waits:
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
        return rejected(
            command,
            Reason.POLICY_REJECTED,
            f"{rules.spec.code} at level {level.level} may not go on chain",
        )
    if badge.token.mint_open or instance.onchain_status is OnchainStatus.MINTED:
        return Accepted(badge)
    return Accepted(replace(badge, token=replace(badge.token, mint_open=True)), mint=True)


def _burn(command: BadgeCommand, badge: BadgeState) -> Accepted | Rejected | Waits:
    instance, token = badge.instance, badge.token
    if instance.status is not InstanceStatus.ACTIVE:
        return _not_active(command, instance)
    if token.burned:
        detail = f"the token of badge {instance.id} was burned"
        return rejected(command, Reason.NO_TOKEN, detail)
    if not (instance.onchain_token_id or token.mint_open):
        detail = f"badge {instance.id} has no token, and none is being minted"
        return Waits(rejected(command, Reason.NO_TOKEN, detail))
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
    return rejected(command, Reason.NOT_ACTIVE, f"badge {instance.id} is {instance.status.value}")


def refused_by_catalog(command: BadgeCommand, rulebook: Rulebook) -> Rejected | None:
    """Return why no badge makes `command` right, since the catalog does not know what it names.

    None: it is for the badges to say.
    """
    if command.type_code is None:
        return None
    rules = rulebook.by_code.get(TypeCode(command.type_code))
    return unknown_type(command) if rules is None else _unknown_level(command, rules)


def _unknown_level(command: BadgeCommand, rules: TypeRules) -> Rejected | None:
    if command.level is None or any(each.spec.level == command.level for each in rules.levels):
        return None
    return rejected(
        command, Reason.UNKNOWN_LEVEL, f"{rules.spec.code} has no level {command.level}"
    )


def unknown_type(command: BadgeCommand) -> Rejected:
    """Return that the catalog has no such type."""
    return rejected(
        command, Reason.UNKNOWN_BADGE_TYPE, f"there is no badge type {command.type_code}"
    )


def rejected(command: Command, reason: Reason, detail: str) -> Rejected:
    """Return `command` as rejected."""
    return Rejected(type=command.type.value, reason=reason, detail=detail)
