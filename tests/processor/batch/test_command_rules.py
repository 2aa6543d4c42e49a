"""Every state of a badge times every command has one decision, and asking twice asks once."""

from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from processor.batch.command_rules import (
    Accepted,
    BadgeState,
    Waits,
    decide_award,
    decide_badge_command,
)
from processor.events.rejection import Rejected
from processor.rules.badge_ids import instance_id
from processor.rules.levels import TypeRules
from store.values.badges import InstanceStatus, OnchainStatus
from store.values.catalog import OnchainPolicy
from store.values.minting import TokenState
from store.values.names import RawAddress
from store.values.stream import CommandType, Reason
from tests.builders.catalogs import a_level, a_type, an_instance
from tests.builders.commands import a_badge_command, a_badge_state

TOKEN = RawAddress("0:" + "a" * 64)
# Level 1 may go on chain, level 2 may not.
RULES = TypeRules.compile(
    a_type(
        a_level(1),
        a_level(2, onchain_policy=OnchainPolicy.NEVER),
        default_onchain_policy=OnchainPolicy.BY_USER_REQUEST,
    )
)
# Level 2 mints by itself.
AWARDED = TypeRules.compile(a_type(a_level(1), a_level(2, auto_mint_onchain=True)))
ANY = (False, True)
STATES = [
    a_badge_state(
        level=level,
        status=status,
        onchain_status=onchain,
        onchain_token_id=token,
        mint_open=mint_open,
        burn_open=burn_open,
        burned=burned,
    )
    for level, status, onchain, token, mint_open, burn_open, burned in product(
        (1, 2), InstanceStatus, OnchainStatus, (None, TOKEN), ANY, ANY, ANY
    )
]
# What is asked of a badge that is there.
REQUESTS = (CommandType.MINT, CommandType.BURN, CommandType.REVOKE)
ACTIVE = [state for state in STATES if state.instance.status is InstanceStatus.ACTIVE]


def decided(kind: CommandType, state: BadgeState) -> Accepted | Rejected | Waits:
    return decide_badge_command(a_badge_command(kind), RULES, state)


def reason(decision: Accepted | Rejected | Waits) -> Reason | None:
    return decision.reason if isinstance(decision, Rejected) else None


def asked(decision: Accepted | Rejected | Waits) -> set[str]:
    """What is to be written."""
    names = ("mint", "burn", "revoke")
    return {name for name in names if getattr(decision, name, False)}


@pytest.mark.parametrize("kind", REQUESTS)
def test_a_rejection_names_the_command_and_says_why(kind: CommandType) -> None:
    found = [decided(kind, state) for state in STATES]
    rejected = [each for each in found if isinstance(each, Rejected)]
    assert rejected
    assert len(rejected) < len(found)
    assert all(each.type == kind and each.detail for each in rejected)


@pytest.mark.parametrize("kind", REQUESTS)
def test_a_badge_that_is_not_active_obeys_no_command(kind: CommandType) -> None:
    for state in STATES:
        status = state.instance.status
        if status is InstanceStatus.ACTIVE:
            continue
        if kind is CommandType.REVOKE and status is InstanceStatus.REVOKED:
            # It is revoked already: what was asked is so.
            assert decided(kind, state) == Accepted(state)
        else:
            assert reason(decided(kind, state)) is Reason.NOT_ACTIVE, state


def test_a_mint_is_asked_for_once_and_where_the_policy_allows_it() -> None:
    for state in ACTIVE:
        decision = decided(CommandType.MINT, state)
        if state.instance.current_level == 2:
            assert reason(decision) is Reason.POLICY_REJECTED, state
        elif state.token.mint_open or state.instance.onchain_status is OnchainStatus.MINTED:
            assert decision == Accepted(state), state
        else:
            after = replace(state, token=replace(state.token, mint_open=True))
            assert decision == Accepted(after, mint=True), state


def test_a_burn_needs_a_token_or_one_that_is_being_minted() -> None:
    for state in ACTIVE:
        decision = decided(CommandType.BURN, state)
        has_token = state.instance.onchain_token_id is not None
        if state.token.burned:
            assert reason(decision) is Reason.NO_TOKEN, state
        elif not (has_token or state.token.mint_open):
            # It may come: the burn waits for it.
            assert isinstance(decision, Waits), state
            assert decision.rejected.reason is Reason.NO_TOKEN, state
        elif state.token.burn_open:
            assert decision == Accepted(state), state
        else:
            after = replace(state, token=replace(state.token, burn_open=True))
            assert decision == Accepted(after, burn=True), state


def test_a_revocation_burns_a_token_that_is_left_and_takes_the_mint_back() -> None:
    for state in ACTIVE:
        decision = decided(CommandType.REVOKE, state)
        left = state.instance.onchain_token_id is not None and not state.token.burned
        assert isinstance(decision, Accepted)
        assert decision.badge == replace(
            state,
            instance=replace(state.instance, status=InstanceStatus.REVOKED),
            token=replace(state.token, mint_open=False, burn_open=left),
        )
        expected = {"revoke", "burn"} if left and not state.token.burn_open else {"revoke"}
        assert asked(decision) == expected, state


@pytest.mark.parametrize("kind", CommandType)
def test_what_was_accepted_asks_for_nothing_a_second_time(kind: CommandType) -> None:
    for state in STATES:
        first = decided(kind, state)
        if isinstance(first, Accepted):
            assert decided(kind, first.badge) == Accepted(first.badge), state


@pytest.mark.parametrize(("stored", "minting"), [*product(ANY, ANY)])
def test_a_mint_of_this_batch_is_open_but_not_stored(stored: bool, minting: bool) -> None:
    state = BadgeState.of(an_instance(), TokenState(mint_open=stored), minting=minting)
    assert (state.token.mint_open, state.mint_stored) == (stored or minting, stored)


def an_award(level: int | None, state: BadgeState | None, **given: Any) -> Accepted | Rejected:
    command = a_badge_command(CommandType.AWARD, level=level)
    return decide_award(command, AWARDED, state, {}, **given)


def test_an_award_of_a_badge_that_is_gone_makes_the_next_one() -> None:
    for state in STATES:
        decision = an_award(2, state)
        assert isinstance(decision, Accepted)
        before, after = state.instance, decision.badge.instance
        if before.status is not InstanceStatus.ACTIVE:
            made = instance_id(before.user_id, AWARDED.spec.code, 2)
            assert (after.id, after.ordinal, after.current_level) == (made, 2, 2)
            assert decision.badge.token == TokenState(mint_open=True)
        elif before.current_level == 2:
            assert decision == Accepted(state)
        else:
            assert after == replace(before, current_level=2)
        begun = before.onchain_status is not OnchainStatus.NOT_MINTED or state.token.mint_open
        if before.status is InstanceStatus.ACTIVE and begun:
            assert not decision.mint, state


def test_an_award_mints_by_itself_only_where_that_is_asked() -> None:
    assert asked(an_award(2, None)) == {"mint"}
    assert asked(an_award(1, None)) == set()
    assert asked(an_award(2, None, auto_mint=False)) == set()


def test_an_award_of_an_unknown_level_is_rejected() -> None:
    assert reason(an_award(3, None)) is Reason.UNKNOWN_LEVEL
