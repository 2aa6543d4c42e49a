"""What a message costs, and how many actions the wallet can pay for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minter import budget
from minter.budget import MESSAGE_FEE_NANO, Prices, cost_nano, spendable_nano
from minter.ton.values import SELF_TRANSFER_NANO
from store.values.minting import ACTION_FEE_NANO, Commitments, MessageKind

PRICES = Prices(
    mint_nano=50_000_000, burn_nano=30_000_000, deploy_nano=100_000_000, reserve_nano=1_000_000_000
)
NOTHING = Commitments(0, 0, 0)


@pytest.mark.parametrize(
    ("kind", "value_nano"),
    [
        (MessageKind.MINT, 50_000_000),
        (MessageKind.BURN, 30_000_000),
        (MessageKind.DEPLOY, 100_000_000),
    ],
)
def test_a_message_costs_its_own_transfer_and_each_actions_value_and_fees(
    kind: MessageKind, value_nano: int
) -> None:
    assert cost_nano(kind, 0, PRICES) == SELF_TRANSFER_NANO + MESSAGE_FEE_NANO
    of_three = cost_nano(kind, 3, PRICES) - cost_nano(kind, 0, PRICES)
    assert of_three == 3 * (value_nano + ACTION_FEE_NANO)


def test_the_reserve_is_never_spent() -> None:
    assert spendable_nano(1_000_000_000, NOTHING, PRICES) == 0
    assert spendable_nano(400_000_000, NOTHING, PRICES) == -600_000_000


@pytest.mark.parametrize(
    ("commitments", "messages"),
    [
        (Commitments(2, 0, 0, 1), [(MessageKind.MINT, 2)]),
        (Commitments(0, 3, 0, 1), [(MessageKind.BURN, 3)]),
        (Commitments(0, 0, 1, 1), [(MessageKind.DEPLOY, 1)]),
        (
            Commitments(5, 1, 1, 4),
            [
                (MessageKind.MINT, 4),
                (MessageKind.MINT, 1),
                (MessageKind.BURN, 1),
                (MessageKind.DEPLOY, 1),
            ],
        ),
    ],
)
def test_what_unresolved_messages_may_still_take_is_kept_for_them_fees_included(
    commitments: Commitments, messages: list[tuple[MessageKind, int]]
) -> None:
    committed_nano = sum(cost_nano(kind, actions, PRICES) for kind, actions in messages)
    assert spendable_nano(9 * 10**9, commitments, PRICES) == 8 * 10**9 - committed_nano


@given(
    kind=st.sampled_from(MessageKind),
    balance_nano=st.integers(0, 10**12),
    mints=st.integers(0, 500),
)
def test_the_room_is_the_most_that_can_be_paid_for(
    kind: MessageKind, balance_nano: int, mints: int
) -> None:
    spendable = spendable_nano(balance_nano, Commitments(mints, 0, 0), PRICES)
    room = budget.room(kind, spendable, PRICES)
    assert room == 0 or cost_nano(kind, room, PRICES) <= spendable
    assert cost_nano(kind, room + 1, PRICES) > spendable


def test_a_wallet_that_promised_more_than_it_has_has_no_room() -> None:
    assert budget.room(MessageKind.MINT, -(10**12), PRICES) == 0
