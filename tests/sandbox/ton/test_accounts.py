"""The wallets that a network brings along, on a chain."""

import pytest

from sandbox.ton.account_state import AccountStatus
from sandbox.ton.accounts import faucet, user_wallet
from sandbox.ton.chain import Rejected
from tests.sandbox.ton.chains import NOW, OWNER, a_chain
from tests.sandbox.ton.contracts import GRAM

pytestmark = pytest.mark.usefixtures("virtual_machine")


def test_genesis_users_have_money_and_no_contract_yet() -> None:
    chain = a_chain()
    account = chain.account(user_wallet(1).address)
    assert account is not None
    assert (account.balance_nano, account.status) == (100 * GRAM, AccountStatus.UNINITIALISED)
    assert chain.account(user_wallet(2).address) is None


def test_a_users_first_message_deploys_the_wallet() -> None:
    chain, user = a_chain(), user_wallet(0)
    for seqno in range(2):
        chain.submit(user.transfer(OWNER, GRAM, seqno=seqno, valid_until=NOW + 60, bounce=False))
        chain.produce()
    account, paid = chain.account(user.address), chain.account(OWNER)
    assert account is not None
    assert paid is not None
    assert account.status is AccountStatus.ACTIVE
    assert account.data is not None
    assert account.data.begin().uint(32) == 2
    assert paid.balance_nano == 2 * GRAM


@pytest.mark.parametrize(("seqno", "valid_until"), [(0, NOW + 60), (2, NOW + 60), (1, NOW - 1)])
def test_a_users_message_with_a_wrong_seqno_or_too_late_is_refused(
    seqno: int, valid_until: int
) -> None:
    chain, user = a_chain(), user_wallet(0)
    chain.submit(user.transfer(OWNER, GRAM, seqno=0, valid_until=NOW + 60, bounce=False))
    chain.produce()
    with pytest.raises(Rejected, match="exit code"):
        chain.submit(user.transfer(OWNER, GRAM, seqno=seqno, valid_until=valid_until, bounce=False))


def test_the_faucet_counts_past_the_bit_number_that_does_not_exist() -> None:
    chain = a_chain()
    for query in (1_022, 1_023, 1_024):
        chain.submit(faucet().payment(OWNER, GRAM, query=query, created_at=NOW - 1))
    chain.produce()
    paid = chain.account(OWNER)
    assert paid is not None
    assert paid.balance_nano == 3 * GRAM
