"""What `laurel wallet show` says of a wallet; tests/minter/test_commands.py has it on a network."""

from datetime import UTC, datetime, timedelta

import pytest

from minter.budget import Prices
from minter.ton import highload_wallet
from minter.ton.values import Account, Block
from minter.wallet_report import WalletReport

WALLET = highload_wallet.wallet(b"\x01" * 32, timedelta(minutes=5), b"\x02" * 32)
BLOCK = Block(7, datetime(2026, 8, 1, tzinfo=UTC), "", "")
PRICES = Prices(20_000_000, 5_000_000, 50_000_000, reserve_nano=10**9)


def with_balance(balance_nano: int, data: bytes | None = None) -> WalletReport:
    return WalletReport(WALLET, b"\x02" * 32, PRICES, (BLOCK, Account(balance_nano, data)))


@pytest.mark.parametrize(("data", "form"), [(None, "UQ"), (b"contract", "EQ")])
def test_a_payment_comes_back_only_where_a_contract_can_send_it(
    data: bytes | None, form: str
) -> None:
    assert with_balance(0, data).pay_to.startswith(form)


def test_a_wallet_that_was_not_seen_is_paid_as_one_that_is_not_there() -> None:
    unseen = WalletReport(WALLET, b"\x02" * 32, PRICES, None, "no answer")
    assert unseen.pay_to.startswith("UQ")
    assert unseen.text().splitlines()[-1] == "balance   unknown: no answer"
    assert unseen.document()["error"] == "no answer"


@pytest.mark.parametrize(
    ("balance_nano", "mints", "missing_nano"),
    [
        (0, 0, 11 * 10**9),
        (10**9, 0, 10 * 10**9),
        (10**9 + 230_000_000 + 3 * 22_000_000, 3, 9_704_000_000),
        (10**9 + 230_000_000 + 3 * 22_000_000 - 1, 2, 9_704_000_001),
        (50 * 10**9, 2_216, 0),
    ],
)
def test_the_balance_is_enough_for_what_it_pays_beside_the_reserve(
    balance_nano: int, mints: int, missing_nano: int
) -> None:
    shown = with_balance(balance_nano)
    assert (shown.mints, shown.missing_nano) == (mints, missing_nano)
    assert ("to do" in shown.text()) == (mints == 0)
