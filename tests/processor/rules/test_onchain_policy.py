from itertools import product

import pytest

from processor.rules.onchain_policy import may_mint, mints_by_itself
from store.values.catalog import OnchainPolicy, Rarity
from tests.builders.catalogs import a_level, a_type

POLICIES = list(OnchainPolicy)


def expected_may(policy: OnchainPolicy, capable: bool, rarity: Rarity, minimum: Rarity) -> bool:
    """The table of docs/data-model.md, one row after the other."""
    if policy is OnchainPolicy.NEVER or not capable:
        return False
    if policy is OnchainPolicy.RARE_AND_ABOVE:
        return list(Rarity).index(rarity) >= list(Rarity).index(minimum)
    return True


@pytest.mark.parametrize(("policy", "capable"), list(product(POLICIES, [True, False])))
def test_the_table_of_policies(policy: OnchainPolicy, capable: bool) -> None:
    for rarity, minimum, auto in product(Rarity, Rarity, [True, False]):
        level = a_level(1, rarity=rarity, auto_mint_onchain=auto)
        spec = a_type(
            level,
            default_onchain_policy=policy,
            is_onchain_capable=capable,
            onchain_min_rarity=minimum,
        )
        may = expected_may(policy, capable, rarity, minimum)
        assert may_mint(spec, level) == may
        assert mints_by_itself(spec, [level]) == (
            may and auto and policy is not OnchainPolicy.BY_USER_REQUEST
        )


@pytest.mark.parametrize(("own", "default"), list(product(POLICIES, POLICIES)))
def test_a_levels_own_policy_comes_before_the_types(
    own: OnchainPolicy, default: OnchainPolicy
) -> None:
    level = a_level(1, rarity=Rarity.LEGENDARY, auto_mint_onchain=True, onchain_policy=own)
    plain = a_level(1, rarity=Rarity.LEGENDARY, auto_mint_onchain=True)
    assert may_mint(a_type(level, default_onchain_policy=default), level) == may_mint(
        a_type(plain, default_onchain_policy=own), plain
    )


def test_a_passed_level_that_mints_is_enough() -> None:
    # Reached one by one, level 2 would have been minted; reached at once with level 3 it is as
    # well.
    levels = [
        a_level(1),
        a_level(2, rarity=Rarity.RARE, auto_mint_onchain=True),
        a_level(3, rarity=Rarity.EPIC),
    ]
    spec = a_type(*levels, default_onchain_policy=OnchainPolicy.RARE_AND_ABOVE)
    assert mints_by_itself(spec, levels)
    assert not mints_by_itself(spec, [levels[0], levels[2]])
    assert not mints_by_itself(spec, [])


def test_a_passed_level_is_judged_by_its_own_rarity() -> None:
    levels = [a_level(1, auto_mint_onchain=True), a_level(2, rarity=Rarity.LEGENDARY)]
    spec = a_type(*levels, default_onchain_policy=OnchainPolicy.RARE_AND_ABOVE)
    assert not mints_by_itself(spec, levels)
