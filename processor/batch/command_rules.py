"""May a command about a badge be carried out, and what it asks for then.

Pure. A command is judged by the badge as the batch leaves it, and by the commands before it
(docs/data-model.md, States). What it asks for may be there already: then it is applied and changes
nothing.
"""

from dataclasses import dataclass, replace
from typing import assert_never

from processor.events.reader import BadgeCommand
from processor.rules.levels import TypeRules
from processor.rules.onchain_policy import may_mint
from store.mint_queue import TokenStanding
from store.values import CommandType, Instance, InstanceStatus, OnchainStatus, RawAddress, Reason


@dataclass(frozen=True, slots=True)
class Badge:
    """A badge and what is known of its token. `mint_stored`.

    There was an open mint before this batch; it may be signed at any time.
    """

    instance: Instance
    token_id: RawAddress | None
    mint_open: bool = False
    mint_stored: bool = False
    burn_open: bool = False
    burned: bool = False

    @classmethod
    def of(
        cls, instance: Instance, standing: TokenStanding | None, *, minting: bool = False
    ) -> "Badge":
        """Return `instance` with its standing: None where the batch made it. `minting`.

        The batch asks for its mint already.
        """
        if standing is None:
            return cls(instance, instance.onchain_token_id, mint_open=minting)
        return cls(
            instance,
            standing.token_id,
            standing.mint_open or minting,
            standing.mint_open,
            standing.burn_open,
            standing.burned,
        )


@dataclass(frozen=True, slots=True)
class Accepted:
    """The command is carried out: what is to be written, and the badge after it."""

    badge: Badge
    mint: bool = False
    burn: bool = False
    revoke: bool = False


@dataclass(frozen=True, slots=True)
class Refuse:
    """The command cannot be carried out as things are; it may be sent again later."""

    reason: Reason
    detail: str


CommandDecision = Accepted | Refuse


def decide_command(command: BadgeCommand, rules: TypeRules, badge: Badge) -> CommandDecision:
    """Return what becomes of `command`.

    Args:
        command: the wish.
        rules: the type of the badge.
        badge: the badge that the command names, with all that came before in the batch.
    """
    match command.type:
        case CommandType.MINT:
            return _mint(rules, badge)
        case CommandType.BURN:
            return _burn(badge)
        case CommandType.REVOKE:
            return _revoke(badge)
        case unreachable:
            assert_never(unreachable)


def _mint(rules: TypeRules, badge: Badge) -> CommandDecision:
    instance = badge.instance
    if instance.status is not InstanceStatus.ACTIVE:
        return _not_active(instance)
    level = next(each.spec for each in rules.levels if each.spec.level == instance.current_level)
    if not may_mint(rules.spec, level):
        return Refuse(
            Reason.POLICY_REFUSED, f"{rules.spec.code} at level {level.level} may not go on chain"
        )
    if badge.mint_open or instance.onchain_status is OnchainStatus.MINTED:
        return Accepted(badge)
    return Accepted(replace(badge, mint_open=True), mint=True)


def _burn(badge: Badge) -> CommandDecision:
    if badge.instance.status is not InstanceStatus.ACTIVE:
        return _not_active(badge.instance)
    if badge.burned or not (badge.token_id or badge.mint_open):
        return Refuse(
            Reason.NO_TOKEN, f"badge {badge.instance.id} has no token, and none is being minted"
        )
    return Accepted(replace(badge, burn_open=True), burn=not badge.burn_open)


def _revoke(badge: Badge) -> CommandDecision:
    instance = badge.instance
    if instance.status is InstanceStatus.REVOKED:
        return Accepted(badge)
    if instance.status is not InstanceStatus.ACTIVE:
        return _not_active(instance)
    # What becomes of an open mint is known when it is cancelled: one that was signed meanwhile is
    # completed, and its token burned then.
    burn = badge.token_id is not None and not badge.burned
    after = replace(
        badge,
        instance=replace(instance, status=InstanceStatus.REVOKED),
        mint_open=False,
        burn_open=burn,
    )
    return Accepted(after, burn=burn and not badge.burn_open, revoke=True)


def _not_active(instance: Instance) -> Refuse:
    return Refuse(Reason.NOT_ACTIVE, f"badge {instance.id} is {instance.status.value}")
