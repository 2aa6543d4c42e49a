"""Unmodified pytonlib against the network: what the minter does, and what a user's wallet does."""

import asyncio
import base64
from datetime import timedelta
from pathlib import Path

import pytest
from pytonlib import TonlibClient
from pytonlib.tonlibjson import BlockDeleted, BlockNotFound, ExternalMessageNotAccepted

from sandbox.ton.accounts import user_wallet
from sandbox.ton.boc import from_boc
from sandbox.ton.cells import Address
from sandbox.ton.chain import ChainOptions
from sandbox.ton.config import GLOBAL_VERSION
from sandbox.ton.network import TonNetwork, TonOptions
from tests.sandbox.ton.client import connected
from tests.sandbox.ton.contracts import GRAM, MINT_VALUE, destroy_body, revoke
from tests.sandbox.ton.minting import Minting

OWNER = Address(0, b"\x44" * 32)
SHARD = -(1 << 63)


def numbers(result: dict[str, object]) -> list[int]:
    stack = result["stack"]
    assert isinstance(stack, list)
    return [int(value, 16) for kind, value in stack if kind == "num"]


def address_on_stack(result: dict[str, object], position: int) -> Address | None:
    stack = result["stack"]
    assert isinstance(stack, list)
    kind, value = stack[position]
    assert kind == "cell"
    return from_boc(base64.b64decode(value["bytes"])).begin().address()


async def test_a_wallet_and_its_collection_are_deployed_by_one_message(minting: Minting) -> None:
    wallet = await minting.client.raw_get_account_state(str(minting.wallet.address))
    collection = await minting.client.raw_run_method(
        str(minting.collection.address), "get_collection_data", []
    )
    assert wallet["code"]
    assert numbers(collection) == [0]
    assert address_on_stack(collection, 2) == minting.wallet.address


async def test_a_minted_item_says_whose_it_is(minting: Minting) -> None:
    await minting.send([minting.collection.mint(0, OWNER), minting.collection.mint(1, OWNER)])
    item = str(minting.collection.item(1))
    data = await minting.client.raw_run_method(item, "get_nft_data", [])
    authority = await minting.client.raw_run_method(item, "get_authority_address", [])
    assert (data["exit_code"], numbers(data)) == (0, [-1, 1])
    assert address_on_stack(data, 2) == minting.collection.address
    assert address_on_stack(data, 3) == OWNER
    assert address_on_stack(authority, 0) == minting.wallet.address


async def test_the_collection_computes_the_address_that_was_computed_locally(
    minting: Minting,
) -> None:
    found = await minting.client.raw_run_method(
        str(minting.collection.address), "get_nft_address_by_index", [["num", 7]]
    )
    assert address_on_stack(found, 0) == minting.collection.item(7)


async def test_the_authority_revokes_once(minting: Minting) -> None:
    await minting.send([minting.collection.mint(0, OWNER)])
    item = minting.collection.item(0)
    before = minting.network.chain.last.utime
    await minting.send([revoke(item)])
    (revoked_at,) = numbers(await minting.client.raw_run_method(str(item), "get_revoked_time", []))
    await minting.send([revoke(item)])
    (still,) = numbers(await minting.client.raw_run_method(str(item), "get_revoked_time", []))
    assert revoked_at >= before
    assert still == revoked_at


async def test_an_owner_destroys_the_item_with_a_wallet_of_the_genesis(minting: Minting) -> None:
    owner, item = user_wallet(3), minting.collection.item(0)
    await minting.send([minting.collection.mint(0, owner.address)])
    valid_until = minting.network.chain.last.utime + 60
    await minting.client.raw_send_message(
        owner.transfer(item, 5 * 10**7, destroy_body(), seqno=0, valid_until=valid_until)
    )
    await minting.settled()
    data = await minting.client.raw_run_method(str(item), "get_nft_data", [])
    assert address_on_stack(data, 3) is None


async def test_an_account_lists_its_transactions_newest_first(minting: Minting) -> None:
    await minting.send([minting.collection.mint(0, OWNER)])
    await minting.send([revoke(minting.collection.item(0))])
    listed = await minting.client.get_transactions(str(minting.collection.item(0)), limit=10)
    assert [int(transaction["in_msg"]["value"]) for transaction in listed] == [5 * 10**7, 5 * 10**7]
    assert int(listed[0]["transaction_id"]["lt"]) > int(listed[1]["transaction_id"]["lt"])
    assert listed[1]["in_msg"]["source"] != listed[0]["in_msg"]["source"]


async def test_a_long_history_is_read_in_pages(minting: Minting) -> None:
    for index in range(20):
        await minting.send([minting.collection.mint(index, OWNER)])
    listed = await minting.client.get_transactions(str(minting.collection.address), limit=30)
    assert len(listed) == 21


async def test_a_read_is_pinned_to_a_block(minting: Minting) -> None:
    pinned = minting.network.chain.last.id.seqno
    await minting.send([minting.collection.mint(0, OWNER)])
    collection, item = str(minting.collection.address), str(minting.collection.item(0))
    before = await minting.client.raw_run_method(collection, "get_collection_data", [], pinned)
    absent = await minting.client.raw_get_account_state(item, pinned)
    after = await minting.client.raw_run_method(collection, "get_collection_data", [])
    assert (numbers(before), numbers(after)) == ([0], [1])
    assert absent["code"] == ""
    assert absent["block_id"]["seqno"] == pinned


async def test_a_message_is_executed_once(minting: Minting) -> None:
    message = minting.signed([minting.collection.mint(0, OWNER)])
    await minting.client.raw_send_message(message)
    await minting.settled()
    with pytest.raises(ExternalMessageNotAccepted, match="exit code 36"):
        await minting.client.raw_send_message(message)


async def test_a_message_sent_twice_into_one_block_is_executed_once(minting: Minting) -> None:
    message = minting.signed([minting.collection.mint(0, OWNER)])
    await minting.client.raw_send_message(message)
    await minting.client.raw_send_message(message)
    await minting.settled()
    await minting.network.next_block()
    data = await minting.client.raw_run_method(
        str(minting.collection.address), "get_collection_data", []
    )
    assert numbers(data) == [1]
    listed = await minting.client.get_transactions(str(minting.collection.address), limit=10)
    assert len(listed) == 2


async def test_a_message_from_the_future_is_refused(minting: Minting) -> None:
    message = minting.wallet.external(
        [], query=99, created_at=minting.network.chain.last.utime + 1_000
    )
    with pytest.raises(ExternalMessageNotAccepted, match="exit code 35"):
        await minting.client.raw_send_message(message)


async def test_several_clients_read_while_one_mints(
    minting: Minting, ton: TonNetwork, tmp_path: Path
) -> None:
    async def reader(number: int) -> int:
        async with connected(ton.config, tmp_path / f"reader{number}") as client:
            seen = 0
            while seen < 60:
                found = await client.raw_run_method(
                    str(minting.collection.address), "get_collection_data", []
                )
                (now,) = numbers(found)
                assert now >= seen
                seen = now
        return seen

    async def minter() -> None:
        for first in range(0, 60, 20):
            await minting.send([minting.collection.mint_batch(first, OWNER, 20)], value=5 * GRAM)

    async with asyncio.TaskGroup() as group:
        readers = [group.create_task(reader(number)) for number in range(4)]
        group.create_task(minter())
    assert [reader.result() for reader in readers] == [60, 60, 60, 60]


async def test_blocks_shards_and_headers_are_looked_up(minting: Minting) -> None:
    client, last = minting.client, minting.network.chain.last.id.seqno
    shards = await client.get_shards(master_seqno=last)
    by_seqno = await client.lookup_block(-1, SHARD, last)
    shard = await client.lookup_block(0, SHARD, last)
    by_lt = await client.lookup_block(0, SHARD, lt=minting.network.chain.basechain[last].start_lt)
    header = await client.get_block_header(0, SHARD, last)
    assert [found["seqno"] for found in shards["shards"]] == [last]
    assert by_seqno["seqno"] == last
    assert (
        shard["root_hash"]
        == shards["shards"][0]["root_hash"]
        == header["id"]["root_hash"]
        == by_lt["root_hash"]
    )


async def test_a_block_lists_its_transactions(minting: Minting) -> None:
    await minting.send([minting.collection.mint(0, OWNER)])
    chain = minting.network.chain
    seqno = next(block.id.seqno for block in reversed(chain.basechain) if block.transactions)
    listed = await minting.client.get_block_transactions(0, SHARD, seqno, 40)
    whole = await minting.client.get_block_transactions_ext(0, SHARD, seqno, 40)
    assert (
        len(listed["transactions"])
        == len(whole["transactions"])
        == len(chain.basechain[seqno].transactions)
    )


async def test_a_config_parameter_is_read_with_proof(client: TonlibClient) -> None:
    found = await client.get_config_param(8, None)
    assert (
        from_boc(base64.b64decode(found["config"]["bytes"])).begin().skip(8).uint(32)
        == GLOBAL_VERSION
    )


async def test_a_block_that_does_not_exist_is_not_found(client: TonlibClient) -> None:
    with pytest.raises(BlockNotFound):
        await client.lookup_block(-1, SHARD, 1_000_000)


async def test_a_state_outside_the_window_is_deleted(virtual_machine: Path, tmp_path: Path) -> None:
    options = TonOptions(chain=ChainOptions(state_window=2), block_interval=None)
    async with TonNetwork.start(options) as network:
        for _ in range(5):
            await network.produce()
        async with connected(network.config, tmp_path / "keystore") as client:
            kept = await client.raw_get_account_state(str(OWNER), 5)
            with pytest.raises(BlockDeleted):
                await client.raw_get_account_state(str(OWNER), 3)
    assert kept["block_id"]["seqno"] == 5


async def test_block_time_follows_the_clock(minting: Minting) -> None:
    before = minting.network.chain.last.utime
    minting.network.advance(timedelta(hours=2))
    await minting.network.next_block()
    header = await minting.client.get_block_header(-1, SHARD, minting.network.chain.last.id.seqno)
    assert header["gen_utime"] >= before + 7_200


async def test_an_expired_message_is_refused(minting: Minting) -> None:
    message = minting.signed([minting.collection.mint(0, OWNER)])
    minting.network.advance(timedelta(hours=1))
    await minting.network.next_block()
    with pytest.raises(ExternalMessageNotAccepted, match="exit code 35"):
        await minting.client.raw_send_message(message)


async def test_a_faucet_pays_many_at_once(ton: TonNetwork, client: TonlibClient) -> None:
    addresses = [Address(0, bytes([number]) * 32) for number in range(1, 21)]
    await asyncio.gather(
        *(ton.fund(address, MINT_VALUE + address.account[0]) for address in addresses)
    )
    states = [await client.raw_get_account_state(str(address)) for address in addresses]
    assert [int(state["balance"]) for state in states] == [
        MINT_VALUE + address.account[0] for address in addresses
    ]
