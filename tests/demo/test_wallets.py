"""Addresses in both forms, as Laurel's own reader understands them."""

import pytest

from demo import wallets
from processor.events.addresses import normalised
from sandbox.ton.accounts import user_wallet


def test_a_travellers_address_is_a_wallet_whose_key_the_network_knows() -> None:
    assert wallets.address(7) == str(user_wallet(7).address)
    assert wallets.address(7) != wallets.address(7, former=True)


@pytest.mark.parametrize("number", range(5))
def test_both_forms_name_one_address(number: int) -> None:
    raw = wallets.address(number)
    assert wallets.raw(raw) == wallets.raw(wallets.friendly(raw)) == wallets.raw(raw.upper()) == raw
    assert normalised(wallets.friendly(raw)) == raw


@pytest.mark.parametrize(
    "written",
    [
        "",
        "0:12",
        "0:" + "zz" * 32,
        "-1:" + "ab" * 32,
        "EQ" + "A" * 46,
        "EQ",
        "?" * 48,
        wallets.friendly("0:" + "ab" * 32)[:-1] + "A",
    ],
)
def test_what_is_no_address_is_none(written: str) -> None:
    assert wallets.raw(written) is None
    with pytest.raises(ValueError, match=r"0:hex|checksum|workchain"):
        normalised(written)
