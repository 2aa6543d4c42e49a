"""The highload wallet's messages and its replay protection.

On the real contract where it decides.
"""

import base64
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ton_core.boc.address import Address
from ton_core.boc.builder import Builder
from ton_core.boc.cell import Cell
from ton_core.boc.hashmap import HashMap

from minter.ton import highload_wallet, mnemonic, tokens
from minter.ton.global_config import zero_state_hash
from minter.ton.highload_wallet import Action, MessageHeader, SignedMessage, Wallet
from minter.ton.liteserver import LiteServers
from minter.ton.mnemonic import MnemonicSigner
from minter.ton.values import Execution, SendOutcome, Token
from ops.errors import UsageError
from sandbox.ton.chain import ChainOptions, Rejected
from sandbox.ton.network import TonNetwork, TonOptions
from store.values.names import RawAddress

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SOMEBODY = RawAddress("0:" + "5d" * 32)
NETWORK = bytes.fromhex("4e" * 32)
TTL = timedelta(minutes=5)


@pytest.fixture(scope="module")
def key(mnemonic_file: Path) -> MnemonicSigner:
    return mnemonic.from_file(mnemonic_file)


@pytest.fixture(scope="module")
def mine(key: MnemonicSigner) -> Wallet:
    return highload_wallet.wallet(key.public_key, TTL, NETWORK)


@given(st.integers(0, 3 * 1023 * 8192))
def test_query_ids_stay_within_the_contracts_bits(query_seq: int) -> None:
    query = highload_wallet.query_id(query_seq)
    assert query >> 10 < 8192
    assert query & 1023 < 1023


@given(st.integers(0, 1023 * 8192 - 1), st.integers(0, 1023 * 8192 - 1))
def test_query_ids_repeat_only_after_eight_million_messages(one: int, other: int) -> None:
    assert (highload_wallet.query_id(one) == highload_wallet.query_id(other)) == (one == other)


def test_a_message_is_dated_back_and_ends_with_the_wallets_timeout(
    mine: Wallet, key: MnemonicSigner
) -> None:
    made = highload_wallet.sign_message(
        mine, key, [Action(SOMEBODY, 1)], MessageHeader(0, NOW, deploy=False)
    )
    assert made.created_at == NOW - timedelta(seconds=30)
    assert made.valid_until == made.created_at + TTL


def test_the_messages_hash_does_not_depend_on_the_initial_state(
    mine: Wallet, key: MnemonicSigner
) -> None:
    """TEP-467: the normalised form has no initial state."""
    hashes = {
        highload_wallet.sign_message(
            mine, key, [Action(SOMEBODY, 1)], MessageHeader(0, NOW, deploy=deploy)
        ).message_hash
        for deploy in (True, False)
    }
    assert len(hashes) == 1


def test_the_messages_hash_is_teps_normal_form(mine: Wallet, key: MnemonicSigner) -> None:
    made = highload_wallet.sign_message(
        mine, key, [Action(SOMEBODY, 1)], MessageHeader(0, NOW, deploy=True)
    )
    body = Cell.one_from_boc(made.boc).refs[-1]
    normal = (
        Builder().store_uint(0b10, 2).store_uint(0, 2).store_address(mine.address).store_coins(0)
    )
    assert (
        normal.store_bit_int(0).store_bit_int(1).store_ref(body).end_cell().hash
        == made.message_hash
    )


@pytest.mark.parametrize("count", [0, 255])
def test_a_message_carries_1_to_254_actions(count: int, mine: Wallet, key: MnemonicSigner) -> None:
    with pytest.raises(highload_wallet.MessageTooLarge):
        highload_wallet.sign_message(
            mine, key, [Action(SOMEBODY, 1)] * count, MessageHeader(0, NOW, deploy=False)
        )


def test_a_message_of_more_bytes_than_validators_take_is_refused(
    mine: Wallet, key: MnemonicSigner
) -> None:
    large = [
        Action(SOMEBODY, 1, Builder().store_bytes(number.to_bytes(120, "big")).end_cell())
        for number in range(254)
    ]
    deep = Action(
        SOMEBODY, 1, tokens.mint_body(0, Token(SOMEBODY, SOMEBODY, "x" * 127 * 520), 1, 0)
    )
    highload_wallet.sign_message(mine, key, large, MessageHeader(0, NOW, deploy=False))
    with pytest.raises(highload_wallet.MessageTooLarge, match="depth"):
        highload_wallet.sign_message(mine, key, [deep], MessageHeader(0, NOW, deploy=False))


def test_a_wallet_that_is_not_deployed_has_executed_nothing() -> None:
    assert highload_wallet.execution(None, 0, NOW) is Execution.NEVER


def test_what_is_no_wallet_is_refused() -> None:
    with pytest.raises(ValueError, match="not a wallet's data"):
        highload_wallet.execution(Builder().store_uint(1, 8).end_cell().to_boc(), 0, NOW)


@pytest.mark.parametrize(
    ("cleaned_after", "expected"),
    [
        (timedelta(0), Execution.NEVER),
        (TTL, Execution.NEVER),  # whatever ran after `created_at` is still kept
        (TTL + timedelta(seconds=1), Execution.UNKNOWN),  # it may have run and been forgotten
    ],
)
def test_not_kept_proves_never_only_until_the_wallet_may_have_forgotten(
    cleaned_after: timedelta, expected: Execution
) -> None:
    cleaned_at = int((NOW + cleaned_after).timestamp())
    data = (
        Builder()
        .store_uint(0, 256 + 32)
        .store_bit_int(0)
        .store_bit_int(0)
        .store_uint(cleaned_at, 64)
    )
    data.store_uint(int(TTL.total_seconds()), 22)
    assert highload_wallet.execution(data.end_cell().to_boc(), 5, NOW) is expected


async def test_the_contract_and_our_reading_of_it_agree(
    ton: TonNetwork, mine: Wallet, key: MnemonicSigner
) -> None:
    """`processed?` of the contract, asked through libtonlibjson, against `execution`, over two
    clean-ups."""
    await ton.fund(mine.address, 10 * 10**9)
    sent: list[tuple[int, SignedMessage]] = []
    async with LiteServers(ton.config, servers=1) as gateway:
        (server,) = gateway._servers
        client = await server._ready()
        for round_number in range(4):
            for query_seq in (round_number, 1023 + round_number):
                block = await gateway.newest_block()
                made = highload_wallet.sign_message(
                    mine,
                    key,
                    [Action(SOMEBODY, 1000)],
                    MessageHeader(query_seq, block.time, deploy=round_number == 0),
                )
                assert (await gateway.send(made.boc)).outcome is SendOutcome.ACCEPTED
                await ton.next_block()
                await ton.next_block()
                sent.append((query_seq, made))
            block = await gateway.newest_block()
            account = await gateway.account(mine.address, block)
            for query_seq, made in sent:
                query = ["num", highload_wallet.query_id(query_seq)]
                answer = await client.raw_run_method(
                    mine.address, "processed?", [query, ["num", 0]], block.seqno
                )
                kept = int(answer["stack"][0][1], 16) != 0
                found = highload_wallet.execution(account.data, query_seq, made.created_at)
                assert (found is Execution.EXECUTED) == kept
                assert found is not Execution.NEVER, "executed, and proven that it was not"
            never = highload_wallet.execution(account.data, 500, sent[-1][1].created_at)
            assert never is Execution.NEVER
            ton.advance(TTL + timedelta(seconds=20))
            await ton.next_block()


async def test_what_is_signed_for_one_network_does_nothing_on_another(
    ton: TonNetwork, key: MnemonicSigner, tmp_path: Path
) -> None:
    """Not even turned towards the other network's wallet of the same words: exit 34, subwallet."""
    options = TonOptions(
        chain=ChainOptions(seed="another"), block_interval=None, directory=tmp_path / "other"
    )
    async with TonNetwork.start(options) as elsewhere:
        here_wallet, there_wallet = (
            highload_wallet.wallet(key.public_key, TTL, zero_state_hash(network.config))
            for network in (ton, elsewhere)
        )
        assert here_wallet.address != there_wallet.address
        for network, wallet in ((ton, here_wallet), (elsewhere, there_wallet)):
            await network.fund(wallet.address, 10 * 10**9)
        header = MessageHeader(0, datetime.fromtimestamp(ton.chain.last.utime, UTC), deploy=True)
        made = highload_wallet.sign_message(here_wallet, key, [Action(SOMEBODY, 10**9)], header)
        with pytest.raises(Rejected):
            elsewhere.chain.submit(made.boc)
        turned = _towards(made.boc, there_wallet)
        with pytest.raises(Rejected, match="exit code 34"):
            elsewhere.chain.submit(turned)
        ton.chain.submit(made.boc)


def _towards(boc: bytes, wallet: Wallet) -> bytes:
    """Return a message with its signed body as it is, for another wallet of the same key."""
    body = Cell.one_from_boc(boc).refs[-1]
    message = Builder().store_uint(0b1000, 4).store_address(wallet.address).store_coins(0)
    message.store_uint(0b11, 2).store_ref(wallet.contract.state_init)
    return message.store_bit_int(1).store_ref(body).end_cell().to_boc()


async def test_item_addresses_are_the_collections_own(
    ton: TonNetwork, mine: Wallet, key: MnemonicSigner
) -> None:
    await ton.fund(mine.address, 10 * 10**9)
    contract = tokens.collection(mine.address, "https://x.example/c.json", "https://x.example/")
    async with LiteServers(ton.config, servers=1) as gateway:
        block = await gateway.newest_block()
        made = highload_wallet.sign_message(
            mine,
            key,
            [Action(contract.address, 10**8, None, contract.state_init)],
            MessageHeader(0, block.time, deploy=True),
        )
        await gateway.send(made.boc)
        for _ in range(3):
            await ton.next_block()
        client = await gateway._servers[0]._ready()
        for index in (0, 1, 2**40):
            answer = await client.raw_run_method(
                contract.address, "get_nft_address_by_index", [["num", index]]
            )
            part = Cell.one_from_boc(base64.b64decode(answer["stack"][0][1]["bytes"])).begin_parse()
            assert part.load_address() == Address(tokens.item_address(contract.address, index))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "0 words where a TON wallet has 24"),
        ("abandon " * 12, "12 words where a TON wallet has 24"),
        ("abandon " * 24, "its 24 words are no TON mnemonic"),
        ("qqqq " * 24, "its 24 words are no TON mnemonic"),
    ],
)
def test_a_broken_wallet_file_says_what_to_do_and_repeats_no_word(
    text: str, complaint: str, tmp_path: Path
) -> None:
    path = tmp_path / "wallet.words"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    with pytest.raises(UsageError, match=complaint) as caught:
        mnemonic.from_file(path)
    assert str(path) in caught.value.message
    assert "abandon" not in caught.value.message


def test_a_missing_or_unreadable_wallet_file_names_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="laurel wallet new"):
        mnemonic.from_file(tmp_path / "nowhere")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="it is not text"):
        mnemonic.from_file(tmp_path / "binary")


def test_words_that_others_can_read_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "wallet.words"
    mnemonic.write_new(path)
    path.chmod(0o644)
    with pytest.raises(UsageError, match=f"MNEMONIC_FILE: others can read .*chmod 600 {path}"):
        mnemonic.from_file(path)
    path.chmod(0o640)  # the group that Kubernetes' fsGroup or Docker's secret gives it
    mnemonic.from_file(path)


def test_a_new_wallet_is_its_owners_alone_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "wallet.words"
    made = mnemonic.write_new(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert mnemonic.from_file(path).public_key == made.public_key
    before = path.read_bytes()
    with pytest.raises(UsageError, match="never overwritten"):
        mnemonic.write_new(path)
    assert path.read_bytes() == before
    # A pair of them: one word alone may be a word of Python's own ("object").
    words = before.decode().split()
    shown = repr(made) + repr(vars(made))
    assert len(words) == 24
    assert all(f"{one} {next_one}" not in shown for one, next_one in pairwise(words))


def remembering(*query_seqs: int) -> bytes:
    """Return the data of a wallet that executed these messages."""
    shifts: dict[int, list[int]] = {}
    for each in query_seqs:
        query = highload_wallet.query_id(each)
        shifts.setdefault(query >> 10, []).append(query & 1023)
    cells = {
        shift: Builder().store_uint(sum(1 << (1022 - bit) for bit in bits), 1023).end_cell()
        for shift, bits in shifts.items()
    }
    kept = HashMap(13, value_serializer=lambda cell, part: part.store_ref(cell))
    for shift, cell in cells.items():
        kept.set_int_key(shift, cell)
    part = Builder().store_bytes(b"k" * 32).store_uint(0x10AD, 32).store_dict(kept.serialize())
    return part.store_dict(None).store_uint(0, 64).store_uint(300, 22).end_cell().to_boc()


@pytest.mark.parametrize(
    ("executed", "next_seq", "unused"),
    [
        ((), 5, 5),
        ((0, 1, 4), 5, 5),
        ((4, 5), 5, 6),
        ((4, 5, 1_022, 1_023, 2_000), 5, 2_001),
        # The ids come round: number 3 of the second round is not ahead of the end of the first.
        ((3,), 8192 * 1023 - 1, 8192 * 1023 + 4),
        ((8192 * 1023 - 2,), 2 + 8192 * 1023, 2 + 8192 * 1023),
    ],
)
def test_an_unused_number_lies_past_all_that_the_wallet_remembers(
    executed: tuple[int, ...], next_seq: int, unused: int
) -> None:
    data = remembering(*executed) if executed else None
    assert highload_wallet.unused_query_seq(data, next_seq) == unused
    if data is not None:
        for each in executed:
            assert highload_wallet.execution(data, each, NOW) is Execution.EXECUTED
    assert highload_wallet.execution(data, unused, NOW) is Execution.NEVER


async def test_the_message_behind_a_transaction_is_known_by_its_hash(
    ton: TonNetwork, mine: Wallet, key: MnemonicSigner
) -> None:
    """Deployed with its initial state or not; what comes in is no message of the wallet's."""
    await ton.fund(mine.address, 10**9)
    made = []
    async with LiteServers(ton.config, servers=1) as gateway:
        for number in range(2):
            block = await gateway.newest_block()
            header = MessageHeader(number, block.time, deploy=number == 0)
            made.append(highload_wallet.sign_message(mine, key, [Action(SOMEBODY, 1)], header))
            await gateway.send(made[-1].boc)
            for _ in range(3):
                await ton.next_block()
        account = await gateway.account(mine.address, await gateway.newest_block())
        found = await gateway.transactions(mine.address, account, 0)
        hashes = [highload_wallet.external_hash(mine.address, each.data) for each in found]
        newest = found[0].lt
        assert await gateway.transactions(mine.address, account, newest) == []
        assert [each.lt for each in await gateway.transactions(mine.address, account, found[2].lt)]
    assert [each for each in hashes if each is not None] == [
        each.message_hash for each in reversed(made)
    ]
    assert len(hashes) > len(made), "the payment, and the messages to itself"


def test_what_is_no_transaction_is_told() -> None:
    with pytest.raises(ValueError, match="not a transaction"):
        highload_wallet.external_hash(SOMEBODY, b"nothing")
