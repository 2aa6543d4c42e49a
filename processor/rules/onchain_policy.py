"""Whether a badge may be minted, and whether it is minted without anybody's request.

| policy (the level's, else the type's) | may be minted | by itself |
|---|---|---|
| never, or a type that is not capable | no | no |
| rare_and_above | from the type's onchain_min_rarity up | a passed level has auto_mint_onchain |
| by_user_request | on badge.mint | no |
| always | yes | a passed level has auto_mint_onchain |

Pure. Each passed level is decided by its own policy and rarity, so that two levels in one batch and
in two batches end alike.
"""

from collections.abc import Iterable
from typing import assert_never

from store.values.catalog import LevelSpec, OnchainPolicy, TypeSpec


def policy_of(badge_type: TypeSpec, level: LevelSpec) -> OnchainPolicy:
    """Return the policy in force at `level`.

    Its own, else the type's, and never where the type has no on-chain form.
    """
    if not badge_type.is_onchain_capable:
        return OnchainPolicy.NEVER
    return level.onchain_policy or badge_type.default_onchain_policy


def may_mint(badge_type: TypeSpec, level: LevelSpec) -> bool:
    """Return whether a badge at `level` may have a token, if somebody asks for it."""
    match policy_of(badge_type, level):
        case OnchainPolicy.NEVER:
            return False
        case OnchainPolicy.RARE_AND_ABOVE:
            return level.rarity.rank >= badge_type.onchain_min_rarity.rank
        case OnchainPolicy.BY_USER_REQUEST | OnchainPolicy.ALWAYS:
            return True
        case unreachable:
            assert_never(unreachable)


def mints_by_itself(badge_type: TypeSpec, passed: Iterable[LevelSpec]) -> bool:
    """Return whether passing the levels `passed` asks for a token without anybody's request."""
    return any(
        level.auto_mint_onchain
        and policy_of(badge_type, level) is not OnchainPolicy.BY_USER_REQUEST
        and may_mint(badge_type, level)
        for level in passed
    )
