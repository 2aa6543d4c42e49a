"""Which linked wallets receive tokens."""

import pytest

from minter.recipients import refusal
from store.values.names import RawAddress

SOMEBODY = RawAddress("0:" + "5" * 64)
OURS = frozenset({RawAddress("0:" + "7" * 64)})


def test_a_wallet_in_the_basechain_receives() -> None:
    assert refusal(SOMEBODY, OURS) is None


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        (None, "the linked wallet is no address"),
        (RawAddress("0:" + "0" * 64), "the linked wallet is the zero address, which is nobody's"),
        (
            RawAddress("-1:" + "5" * 64),
            "the linked wallet is not in the basechain, where the tokens are",
        ),
        (next(iter(OURS)), "the linked wallet is a contract of Laurel's own"),
    ],
)
def test_what_nobody_could_hold_receives_nothing(address: RawAddress | None, reason: str) -> None:
    assert refusal(address, OURS) == reason


def test_a_form_for_test_networks_only_receives_nothing_on_the_main_network() -> None:
    assert refusal(SOMEBODY, OURS, test_only=True) == (
        "the linked wallet is an address for test networks only, and this is the main one"
    )
