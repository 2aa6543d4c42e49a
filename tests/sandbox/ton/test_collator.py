"""Which messages a block takes, and in which order."""

from itertools import pairwise

import pytest

from sandbox.ton.accounts import user_wallet
from sandbox.ton.boc import from_boc
from sandbox.ton.cells import Address
from sandbox.ton.chain import Chain
from sandbox.ton.messages import read_transaction
from tests.sandbox.ton.chains import NOW, OWNER, Minter, a_chain
from tests.sandbox.ton.contracts import GRAM

pytestmark = pytest.mark.usefixtures("virtual_machine")


def test_an_accounts_transactions_form_a_chain() -> None:
    chain = a_chain()
    minter = Minter(chain)
    for first in range(0, 9, 3):
        minter.mint(first, 3)
        minter.settle()
    account = minter.collection.address.account
    lts = sorted(lt for of, lt in chain.transactions if of == account)
    for earlier, later in pairwise(lts):
        assert chain.transactions[account, later].previous_lt == earlier
        assert (
            chain.transactions[account, later].previous_hash
            == chain.transactions[account, earlier].hash
        )
    assert len(lts) == 10


def test_a_transaction_comes_after_the_message_that_caused_it() -> None:
    chain = a_chain()
    minter = Minter(chain)
    minter.mint(0, 20)
    minter.settle()
    for (_, lt), stored in chain.transactions.items():
        transaction = read_transaction(from_boc(stored.boc))
        for message in transaction.out_messages:
            place = chain.transaction_of_message.get(message.hash)
            assert place is None or place[1] > lt


def test_messages_that_find_no_room_are_delivered_in_later_blocks() -> None:
    chain = a_chain(transactions_per_block_max=4)
    minter = Minter(chain)
    before = chain.last.id.seqno
    minter.mint(0, 10)
    minter.settle()
    counts = [len(block.transactions) for block in chain.basechain[before + 1 :]]
    assert max(counts) == 4
    assert sum(counts) == 2 + 10 + 10
    assert chain.account(minter.collection.item(9)) is not None


def test_the_end_does_not_depend_on_how_blocks_are_cut() -> None:
    def items(chain: Chain) -> list[bytes | None]:
        minter = Minter(chain)
        minter.mint(0, 10)
        minter.settle()
        states = [chain.account(minter.collection.item(index)) for index in range(10)]
        return [
            state.data.hash if state is not None and state.data is not None else None
            for state in states
        ]

    assert items(a_chain(transactions_per_block_max=3)) == items(a_chain())


def test_waiting_messages_go_before_new_ones() -> None:
    chain = a_chain(transactions_per_block_max=2)
    minter = Minter(chain)
    minter.mint(0, 3)
    chain.produce()
    external = minter.signed([])
    chain.submit(external)
    chain.produce()
    assert from_boc(external).hash not in chain.transaction_of_message
    minter.settle()
    assert from_boc(external).hash in chain.transaction_of_message


def test_an_external_that_is_no_longer_accepted_is_dropped_with_its_block() -> None:
    chain = a_chain()
    minter = Minter(chain)
    message = minter.signed([minter.collection.mint(0, OWNER)])
    chain.submit(message)
    chain.submit(message)
    minter.settle()
    wallet = minter.wallet.address.account
    assert (
        len([of for of, _, _ in chain.last_shard.transactions if of == wallet]) == 2
    )  # the external, its transfer


def test_an_account_that_returns_what_it_got_is_not_in_the_state() -> None:
    chain, user, nobody = a_chain(), user_wallet(0), Address(0, b"\x09" * 32)
    chain.submit(
        user.transfer(nobody, GRAM, seqno=0, valid_until=NOW + 60)
    )  # bounces: nobody is there
    chain.produce()
    after = chain.account(user.address)
    assert nobody.account in {account for account, _, _ in chain.last_shard.transactions}
    assert chain.account(nobody) is None
    assert after is not None
    assert after.balance_nano > 99 * GRAM
