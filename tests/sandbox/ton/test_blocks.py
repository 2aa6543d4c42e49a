"""Blocks and states, read by software that is not ours."""

from typing import Any

import pytest
from pytoniq_core.boc.cell import Cell as OtherCell
from pytoniq_core.tlb.block import Block as OtherBlock
from pytoniq_core.tlb.block import ShardStateUnsplit

from sandbox.ton.boc import to_boc
from tests.sandbox.ton.chains import Minter, a_chain

pytestmark = pytest.mark.usefixtures("virtual_machine")


def by_pytoniq(boc: bytes) -> Any:
    return OtherBlock.deserialize(OtherCell.one_from_boc(boc).begin_parse())  # type: ignore[no-untyped-call]


def test_block_one_is_the_key_block() -> None:
    chain = a_chain()
    chain.produce()
    key, ordinary = by_pytoniq(chain.key_block.boc), by_pytoniq(chain.last.boc)
    assert (key.info.key_block, ordinary.info.key_block) == (1, 0)
    assert ordinary.info.prev_key_block_seqno == 1
    assert set(key.extra.custom.config.config) >= {8, 20, 21, 34}
    assert not ordinary.extra.custom.key_block


def test_a_block_follows_the_one_before() -> None:
    chain = a_chain()
    before = chain.last
    after = by_pytoniq(chain.produce().boc)
    assert after.info.prev_ref.prev.root_hash == before.id.root_hash
    assert after.info.prev_ref.prev.seqno == before.id.seqno
    assert after.info.start_lt > before.end_lt


def test_every_masterchain_block_carries_the_shard_block_of_its_number() -> None:
    chain = a_chain()
    Minter(chain)
    for master, shard in zip(chain.masterchain[1:], chain.basechain[1:], strict=True):
        (listed,) = by_pytoniq(master.boc).extra.custom.shard_hashes[0].list
        assert (listed.root_hash, listed.seq_no) == (shard.id.root_hash, shard.id.seqno)


def test_a_state_is_what_other_software_reads() -> None:
    chain = a_chain()
    minter = Minter(chain)
    state = chain.last_shard.state
    assert state is not None
    cell = OtherCell.one_from_boc(to_boc(state.root))
    read = ShardStateUnsplit.deserialize(cell.begin_parse())  # type: ignore[no-untyped-call]
    accounts, _ = read.accounts
    key = int.from_bytes(minter.wallet.address.account, "big")
    balance = chain.account(minter.wallet.address)
    assert balance is not None
    assert accounts[key].account.storage.balance.grams == balance.balance_nano
    assert read.total_balance.grams == sum(
        account.account.storage.balance.grams
        for account in accounts.values()
        if account.account is not None
    )


def test_the_transactions_of_a_block_are_in_it() -> None:
    chain = a_chain()
    minter = Minter(chain)
    minter.mint(0, 3)
    chain.produce()
    block = by_pytoniq(chain.last_shard.boc)
    account_blocks, _ = block.extra.account_blocks
    found = sorted(
        (account.to_bytes(32, "big"), lt, transaction.cell.hash)
        for account, of_account in account_blocks.items()
        for lt, transaction in of_account.transactions[0].items()
    )
    assert found == list(chain.last_shard.transactions)
    assert (
        len(found) == 1 + 1 + 3 + 3
    )  # external, its own transfer, three mints at the collection, three items


def test_the_supply_is_in_the_range_that_javascript_clients_can_read() -> None:
    # @ton/core reads one bit too few before global_balance: it comes through for 2**56 <= balance <
    # 2**62.
    assert 2**56 <= a_chain().network.supply_nano < 2**62
