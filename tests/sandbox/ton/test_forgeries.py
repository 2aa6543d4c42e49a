"""What a lying lite server gets.

Libtonlibjson believes nothing that is not proven, so green tests here mean that our proofs are
real.
"""

import base64
from collections.abc import Callable
from pathlib import Path

import pytest
from pytonlib.tonlibjson import TonlibError

from sandbox.ton.accounts import faucet
from sandbox.ton.adnl import Handler
from sandbox.ton.boc import roots_from_boc, to_boc
from sandbox.ton.cells import Builder
from sandbox.ton.chain import Chain
from sandbox.ton.network import TonNetwork, TonOptions
from sandbox.ton.tl import TlObject, lite_api
from tests.sandbox.ton.client import connected

Forgery = Callable[[TlObject], None]


def forging(constructor: str, forge: Forgery) -> Callable[[Handler], Handler]:
    """Answers of the type `constructor` are falsified on their way out."""

    def around(handler: Handler) -> Handler:
        async def answer(data: bytes) -> bytes | None:
            honest = await handler(data)
            if honest is None:
                return None
            value = lite_api().deserialize(honest)
            if value["@type"] == constructor:
                forge(value)
            return lite_api().serialize(value)

        return answer

    return around


def signatures(answer: TlObject) -> list[TlObject]:
    found: list[TlObject] = [
        signature
        for step in answer["steps"]
        for signature in step.get("signatures", {}).get("signatures", [])
    ]
    return found


def zeroed_signature(answer: TlObject) -> None:
    for signature in signatures(answer):
        signature["signature"] = bytes(64)


def foreign_signature(answer: TlObject) -> None:
    other = Chain()
    for signature in signatures(answer):
        signature["signature"] = other.validator.sign(b"another block").signature


def no_signature(answer: TlObject) -> None:
    for step in answer["steps"]:
        if "signatures" in step:
            step["signatures"]["signatures"] = []


def changed_account(answer: TlObject) -> None:
    (cell,) = roots_from_boc(answer["state"])
    value = int.from_bytes(cell.data, "big") >> -cell.bits % 8
    changed = Builder().uint(value ^ 1 << 40, cell.bits)  # a bit of its storage
    for ref in cell.refs:
        changed.ref(ref)
    answer["state"] = to_boc(changed.end())


def absent_account(answer: TlObject) -> None:
    answer["state"] = b""


def no_shard_proof(answer: TlObject) -> None:
    answer["shard_proof"] = b""


def no_account_proof(answer: TlObject) -> None:
    answer["proof"] = b""


def half_an_account_proof(answer: TlObject) -> None:
    answer["proof"] = to_boc(roots_from_boc(answer["proof"])[0])


@pytest.mark.parametrize(
    ("constructor", "forge", "complaint"),
    [
        ("liteServer.partialBlockProof", zeroed_signature, "VALIDATE_BLOCK_PROOF"),
        ("liteServer.partialBlockProof", foreign_signature, "VALIDATE_BLOCK_PROOF"),
        ("liteServer.partialBlockProof", no_signature, "VALIDATE_BLOCK_PROOF"),
        ("liteServer.accountState", changed_account, "VALIDATE_ACCOUNT_STATE"),
        ("liteServer.accountState", absent_account, "VALIDATE_ACCOUNT_STATE"),
        ("liteServer.accountState", no_shard_proof, "VALIDATE_ACCOUNT_STATE"),
        ("liteServer.accountState", no_account_proof, "VALIDATE_ACCOUNT_STATE"),
        ("liteServer.accountState", half_an_account_proof, "VALIDATE_ACCOUNT_STATE"),
    ],
)
async def test_a_client_rejects(
    virtual_machine: Path, tmp_path: Path, constructor: str, forge: Forgery, complaint: str
) -> None:
    options = TonOptions(block_interval=None, directory=tmp_path)
    async with TonNetwork.start(options, around=forging(constructor, forge)) as network:
        await network.produce()
        async with connected(network.config, tmp_path / "keystore") as client:
            with pytest.raises(TonlibError, match=complaint):
                await client.raw_get_account_state(str(faucet().address))


async def test_the_same_answers_unforged_are_accepted(
    virtual_machine: Path, tmp_path: Path
) -> None:
    options = TonOptions(block_interval=None, directory=tmp_path)
    async with TonNetwork.start(
        options, around=forging("liteServer.accountState", lambda _answer: None)
    ) as network:
        await network.produce()
        async with connected(network.config, tmp_path / "keystore") as client:
            state = await client.raw_get_account_state(str(faucet().address))
    assert int(state["balance"]) == 10**18


async def test_a_client_of_another_network_is_refused(ton: TonNetwork, tmp_path: Path) -> None:
    wrong = base64.b64encode(b"\x01" * 32).decode()
    zero = {**ton.config["validator"]["zero_state"], "root_hash": wrong}
    config = {
        **ton.config,
        "validator": {**ton.config["validator"], "zero_state": zero, "init_block": zero},
    }
    async with connected(config, tmp_path / "keystore") as client:
        with pytest.raises(TonlibError, match="VALIDATE_ZERO_STATE"):
            await client.raw_get_account_state(str(faucet().address))
