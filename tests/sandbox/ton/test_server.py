"""Requests that pytonlib does not make, or not with every answer: asked directly, over TL."""

import asyncio

import pytest
import pytest_asyncio
from pytoniq_core.boc.address import Address as OtherAddress
from pytoniq_core.boc.cell import Cell as OtherCell
from pytoniq_core.proof.check_proof import check_account_proof, check_proof
from pytoniq_core.tl.block import BlockIdExt
from pytoniq_core.tlb.block import Block as OtherBlock

from sandbox.ton.blocks import Block
from sandbox.ton.boc import from_boc, roots_from_boc
from sandbox.ton.chain import Chain
from sandbox.ton.server import LiteServer
from sandbox.ton.states import WHOLE_SHARD
from sandbox.ton.tl import TlObject, lite_api
from tests.sandbox.ton.chains import Minter, a_chain

pytestmark = pytest.mark.usefixtures("virtual_machine")
_SIGNED_SHARD = -WHOLE_SHARD


class Asked:
    def __init__(self, chain: Chain) -> None:
        self.chain, self.server = chain, LiteServer(chain)

    async def raw(self, data: bytes) -> TlObject:
        query = lite_api().serialize({"@type": "liteServer.query", "data": data})
        return lite_api().deserialize(await self.server.answer(query))

    async def __call__(self, name: str, **fields: object) -> TlObject:
        return await self.raw(lite_api().serialize({"@type": f"liteServer.{name}", **fields}))


@pytest_asyncio.fixture
async def minter() -> Minter:
    minter = Minter(a_chain(state_window=5))
    minter.mint(0, 3)
    minter.settle()
    return minter


@pytest.fixture
def ask(minter: Minter) -> Asked:
    return Asked(minter.chain)


def place(block: Block) -> TlObject:
    return {
        "@type": "tonNode.blockId",
        "workchain": block.id.workchain,
        "shard": _SIGNED_SHARD,
        "seqno": block.id.seqno,
    }


def account(minter: Minter, workchain: int = 0) -> TlObject:
    return {
        "@type": "liteServer.accountId",
        "workchain": workchain,
        "id": minter.collection.address.account,
    }


async def test_an_unknown_request_is_refused(ask: Asked) -> None:
    answer = await ask("getLibraries", library_list=[])
    assert answer == {
        "@type": "liteServer.error",
        "code": 601,
        "message": "unsupported query liteServer.getLibraries",
    }


async def test_noise_is_refused(ask: Asked) -> None:
    assert (await ask.raw(b"????"))["@type"] == "liteServer.error"
    assert lite_api().deserialize(await ask.server.answer(b"????"))["code"] == -400


async def test_time_and_version_follow_the_networks_clock(ask: Asked) -> None:
    assert (await ask("getTime"))["now"] == ask.chain.clock.now()
    assert (await ask("getVersion"))["now"] == ask.chain.clock.now()


async def test_the_tip_is_told_with_its_time(ask: Asked) -> None:
    told = await ask("getMasterchainInfoExt", mode=0)
    assert (told["last"]["seqno"], told["last_utime"]) == (
        ask.chain.last.id.seqno,
        ask.chain.last.utime,
    )
    assert told["init"]["root_hash"] == ask.chain.zero.id.root_hash


async def test_a_query_may_wait_for_a_block(ask: Asked) -> None:
    wait = {
        "@type": "liteServer.waitMasterchainSeqno",
        "seqno": ask.chain.last.id.seqno + 1,
        # far more than a block takes
        "timeout_ms": 600_000,
    }
    info = lite_api().serialize({"@type": "liteServer.getMasterchainInfo"})
    waiting = asyncio.create_task(ask.raw(lite_api().serialize(wait) + info))
    await asyncio.sleep(0)
    assert not waiting.done()
    ask.chain.produce()
    assert (await waiting)["last"]["seqno"] == wait["seqno"]


async def test_a_wait_ends(ask: Asked) -> None:
    wait = {"@type": "liteServer.waitMasterchainSeqno", "seqno": 10_000, "timeout_ms": 1}
    info = lite_api().serialize({"@type": "liteServer.getMasterchainInfo"})
    assert (await ask.raw(lite_api().serialize(wait) + info))["code"] == 652


async def test_pytoniq_accepts_an_account_with_its_proofs(ask: Asked, minter: Minter) -> None:
    answer = await ask("getAccountState", id=ask.chain.last.id.tl(), account=account(minter))
    proof = OtherCell.from_boc(answer["proof"])
    state = OtherCell.one_from_boc(answer["state"])
    shard = ask.chain.last_shard.id
    shard_id = BlockIdExt(
        shard.workchain, _SIGNED_SHARD, shard.seqno, shard.root_hash, shard.file_hash
    )
    address = OtherAddress((0, minter.collection.address.account))
    check_account_proof(answer["proof"], shard_id, address, state)
    check_proof(proof[0], shard.root_hash)


async def test_absence_is_proven_too(ask: Asked) -> None:
    nobody = {"@type": "liteServer.accountId", "workchain": 0, "id": b"\x01" * 32}
    answer = await ask("getAccountState", id=ask.chain.last.id.tl(), account=nobody)
    _, state_proof = roots_from_boc(answer["proof"])
    state = ask.chain.last_shard.state
    assert state is not None
    assert answer["state"] == b""
    assert state_proof.refs[0].hash_at(0) == state.root.hash


async def test_an_account_may_be_read_at_a_shard_block(ask: Asked, minter: Minter) -> None:
    answer = await ask("getAccountState", id=ask.chain.last_shard.id.tl(), account=account(minter))
    assert (answer["shard_proof"], answer["shardblk"]) == (b"", answer["id"])


async def test_an_account_of_the_masterchain_is_absent(ask: Asked, minter: Minter) -> None:
    answer = await ask(
        "getAccountState", id=ask.chain.last.id.tl(), account=account(minter, workchain=-1)
    )
    assert (answer["state"], answer["shardblk"]["workchain"]) == (b"", -1)


async def test_an_account_of_the_masterchain_is_not_in_a_shard_block(
    ask: Asked, minter: Minter
) -> None:
    answer = await ask(
        "getAccountState", id=ask.chain.last_shard.id.tl(), account=account(minter, workchain=-1)
    )
    assert answer["code"] == -400


async def test_a_state_that_left_the_window_is_told_as_gone(ask: Asked, minter: Minter) -> None:
    old = ask.chain.last
    for _ in range(6):
        ask.chain.produce()
    answer = await ask("getAccountState", id=old.id.tl(), account=account(minter))
    assert (answer["code"], "state already gc'd" in answer["message"]) == (651, True)
    assert (await ask("getBlockHeader", id=old.id.tl(), mode=0))["header_proof"] == old.header_proof


async def test_a_block_with_other_hashes_is_not_known(ask: Asked) -> None:
    forged = {**ask.chain.last.id.tl(), "root_hash": b"\x01" * 32}
    assert (await ask("getBlock", id=forged))["code"] == 651


async def test_a_zero_state_has_no_header(ask: Asked) -> None:
    zero = ask.chain.zero
    assert (await ask("getBlockHeader", id=zero.id.tl(), mode=0))["code"] == 651
    assert (await ask("getConfigAll", id=zero.id.tl(), mode=0))["code"] == 651
    assert (await ask("lookupBlock", mode=1, id=place(zero)))["code"] == 651


async def test_a_block_is_given_whole(ask: Asked) -> None:
    last = ask.chain.last_shard
    assert (await ask("getBlock", id=last.id.tl()))["data"] == last.boc


async def test_a_block_is_found_by_seqno_time_and_logical_time(ask: Asked) -> None:
    wanted = ask.chain.basechain[3]
    by_seqno = await ask("lookupBlock", mode=1, id=place(wanted))
    by_lt = await ask("lookupBlock", mode=2, id=place(wanted), lt=wanted.start_lt)
    by_time = await ask("lookupBlock", mode=4, id=place(wanted), utime=wanted.utime)
    assert by_seqno["id"] == by_lt["id"] == {**wanted.id.tl(), "shard": _SIGNED_SHARD}
    assert (
        by_time["id"]["seqno"] == 1
    )  # the clock stands still here: the first block has this time already


async def test_a_block_of_the_future_is_not_found(ask: Asked) -> None:
    answer = await ask(
        "lookupBlock", mode=4, id=place(ask.chain.last), utime=ask.chain.last.utime + 1
    )
    assert answer["code"] == 651


async def test_another_shard_or_workchain_does_not_exist(ask: Asked) -> None:
    half = {**place(ask.chain.last_shard), "shard": 1 << 62}
    assert (await ask("lookupBlock", mode=1, id=half))["code"] == 651
    assert (await ask("lookupBlock", mode=1, id={**place(ask.chain.last), "workchain": 7}))[
        "code"
    ] == 651


async def test_one_transaction_is_given_with_its_proof(ask: Asked, minter: Minter) -> None:
    block = next(block for block in reversed(ask.chain.basechain) if block.transactions)
    of, lt, transaction_hash = block.transactions[0]
    who = {"@type": "liteServer.accountId", "workchain": 0, "id": of}
    answer = await ask("getOneTransaction", id=block.id.tl(), account=who, lt=lt)
    proof = OtherCell.one_from_boc(answer["proof"])
    check_proof(proof, block.id.root_hash)
    shown, _ = OtherBlock.deserialize(proof[0].begin_parse()).extra.account_blocks  # type: ignore[no-untyped-call]
    assert lt in shown[int.from_bytes(of, "big")].transactions[0]
    assert from_boc(answer["transaction"]).hash == transaction_hash
    assert (await ask("getOneTransaction", id=ask.chain.last.id.tl(), account=who, lt=lt))[
        "code"
    ] == 651


async def test_a_blocks_transactions_are_listed_in_pages(ask: Asked) -> None:
    block = max(ask.chain.basechain, key=lambda block: len(block.transactions))
    first = await ask("listBlockTransactions", id=block.id.tl(), mode=7 | 32, count=3)
    last = first["ids"][-1]
    after = {"@type": "liteServer.transactionId3", "account": last["account"], "lt": last["lt"]}
    rest = await ask(
        "listBlockTransactions", id=block.id.tl(), mode=7 | 128, count=100, after=after
    )
    backwards = await ask("listBlockTransactions", id=block.id.tl(), mode=7 | 64, count=100)
    listed = [(item["account"], item["lt"], item["hash"]) for item in first["ids"] + rest["ids"]]
    assert (first["incomplete"], rest["incomplete"]) == (True, False)
    assert listed == list(block.transactions)
    assert [item["hash"] for item in backwards["ids"]] == [
        item[2] for item in reversed(block.transactions)
    ]
    check_proof(OtherCell.one_from_boc(first["proof"]), block.id.root_hash)


async def test_a_history_from_a_wrong_hash_is_refused(ask: Asked, minter: Minter) -> None:
    state = ask.chain.account(minter.collection.address)
    assert state is not None
    lt = max(lt for of, lt in ask.chain.transactions if of == minter.collection.address.account)
    wrong = await ask("getTransactions", count=5, account=account(minter), lt=lt, hash=b"\x01" * 32)
    unknown = await ask(
        "getTransactions", count=5, account=account(minter), lt=lt + 1, hash=b"\x01" * 32
    )
    assert "hash mismatch" in wrong["message"]
    assert "cannot locate transaction" in unknown["message"]


async def test_proofs_lead_from_any_block_to_any_other(ask: Asked) -> None:
    chain = ask.chain
    kinds = {"liteServer.blockLinkForward": "forward", "liteServer.blockLinkBack": "back"}

    async def steps(source: Block, target: Block) -> list[tuple[str, int, int]]:
        answer = await ask(
            "getBlockProof", mode=1, known_block=source.id.tl(), target_block=target.id.tl()
        )
        assert answer["complete"]
        return [
            (kinds[step["@type"]], step["from"]["seqno"], step["to"]["seqno"])
            for step in answer["steps"]
        ]

    last = chain.last.id.seqno
    assert await steps(chain.zero, chain.zero) == []
    assert await steps(chain.zero, chain.key_block) == [("forward", 0, 1)]
    assert await steps(chain.zero, chain.last) == [("forward", 0, 1), ("forward", 1, last)]
    assert await steps(chain.key_block, chain.last) == [("forward", 1, last)]
    assert await steps(chain.masterchain[last - 1], chain.last) == [
        ("back", last - 1, 1),
        ("forward", 1, last),
    ]
    assert await steps(chain.last, chain.key_block) == [("back", last, 1)]


async def test_libraries_are_proven_to_be_none(ask: Asked) -> None:
    answer = await ask(
        "getLibrariesWithProof", id=ask.chain.last.id.tl(), mode=0, library_list=[b"\x01" * 32]
    )
    assert answer["result"] == []
    assert from_boc(answer["data_proof"]).refs[0].hash_at(0) == ask.chain.last.state_root_hash


async def test_a_shard_block_is_tied_to_its_masterchain_block(ask: Asked) -> None:
    answer = await ask("getShardBlockProof", id=ask.chain.last_shard.id.tl())
    check_proof(OtherCell.one_from_boc(answer["links"][0]["proof"]), ask.chain.last.id.root_hash)
    assert answer["masterchain_id"]["seqno"] == ask.chain.last.id.seqno
