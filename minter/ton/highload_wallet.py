"""The minting wallet: highload-wallet-v3, whose replay protection is a query id and not a counter.

One external message carries one `internal_transfer` of the wallet to itself with up to 254 actions
(docs/mint-lifecycle.md, The message). Everything here builds or reads cells; keys are in
mnemonic.py. The contract: github.com/ton-blockchain/highload-wallet-contract-v3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from ton_core.boc.builder import Builder
from ton_core.boc.cell import Cell
from ton_core.boc.slice import Slice
from ton_core.contrib.contracts.versions import ContractVersion

from minter.ton import tokens
from minter.ton.values import ACTIONS_MAX, SELF_TRANSFER_NANO, Execution
from ops.errors import Permanent
from store.values.names import RawAddress

# Limits of an external message, enforced by validators (config parameter 43), not by the virtual
# machine.
EXTERNAL_BYTES_MAX = 65_535
EXTERNAL_DEPTH_MAX = 512

_BITS = 1023  # bit 1023 of a shift is refused (exit 9 of the virtual machine)
_SHIFTS = 8192
_OP_INTERNAL_TRANSFER = 0xAE42E5A4
_ACTION_SEND = 0x0EC3C86D
# Fees apart from the value; without ignore-errors, so that a list is sent as a whole or not at all:
# a hole would block the indexes behind.
_MODE = 1
_BACKDATED = timedelta(seconds=30)


class MessageTooLarge(Permanent):
    """More actions, bytes or depth than an external message may have."""

    code = "message_too_large"


class Signer(Protocol):
    """Whoever holds the wallet's key."""

    @property
    def public_key(self) -> bytes:
        """Return the 32 bytes of the Ed25519 public key."""

    def sign(self, digest: bytes) -> bytes:
        """Return the 64 bytes of the signature over `digest`."""


@dataclass(frozen=True, slots=True)
class Wallet:
    """A wallet's identity: the address follows from key, subwallet and timeout."""

    public_key: bytes
    subwallet_id: int
    timeout: timedelta
    contract: tokens.Contract

    @property
    def address(self) -> RawAddress:
        """Return the raw address."""
        return self.contract.address


@dataclass(frozen=True, slots=True)
class Action:
    """One internal message that the wallet sends. `state_init` deploys the destination."""

    destination: RawAddress
    value_nano: int
    body: Cell | None = None
    state_init: Cell | None = None


@dataclass(frozen=True, slots=True)
class MessageHeader:
    """What an external message says beside its actions.

    `query_seq` is its number, never used before. It is dated back from `chain_time`, the newest
    masterchain block's, since a lite server may lag (exit 35). `deploy`: the wallet itself is
    missing, so the message carries its initial state.
    """

    query_seq: int
    chain_time: datetime
    deploy: bool


@dataclass(frozen=True, slots=True)
class SignedMessage:
    """An external message, ready to be sent as often as one likes until `valid_until` (chain time).

    `message_hash` is TEP-467's normalised hash, under which explorers find it.
    """

    boc: bytes
    message_hash: bytes
    created_at: datetime
    valid_until: datetime


def wallet(public_key: bytes, timeout: timedelta, zero_state_hash: bytes) -> Wallet:
    """Return the wallet of a key on a network.

    Its subwallet id is the beginning of the network's zero state's hash. The contract checks it in
    each message, so what is signed for one network does nothing to the key's wallet on another.

    Args:
        public_key: 32 bytes, Ed25519.
        timeout: how long a signed message can execute, whole seconds; part of the address.
        zero_state_hash: names the network; part of the address.
    """
    subwallet_id = int.from_bytes(zero_state_hash[:4], "big")
    data = (
        Builder()
        .store_bytes(public_key)
        .store_uint(subwallet_id, 32)
        .store_dict(None)
        .store_dict(None)
        .store_uint(0, 64)
        .store_uint(round(timeout.total_seconds()), 22)
        .end_cell()
    )
    code = tokens.code(ContractVersion.WalletHighloadV3R1)
    return Wallet(public_key, subwallet_id, timeout, tokens.contract(code, data))


def query_id(query_seq: int) -> int:
    """Return the contract's query id (13 bits shift, 10 bits bit) of our count of messages.

    The ids come round after 8.4 million messages, long after the wallet forgot the first.
    """
    shift, bit = divmod(query_seq, _BITS)
    return (shift % _SHIFTS) << 10 | bit


def sign_message(
    wallet: Wallet,
    signer: Signer,
    actions: Sequence[Action],
    header: MessageHeader,
) -> SignedMessage:
    """Build and sign one external message.

    Args:
        wallet: the sender.
        signer: holds the wallet's key.
        actions: sent in this order; the collection receives them in this order.
        header: number and date; whether the wallet is deployed too.

    Raises:
        MessageTooLarge: it would be refused by every validator.
    """
    if not 1 <= len(actions) <= ACTIONS_MAX:
        raise MessageTooLarge(f"{len(actions)} actions: a message carries 1 to {ACTIONS_MAX}")
    query = query_id(header.query_seq)
    created_at = header.chain_time.replace(microsecond=0) - min(_BACKDATED, wallet.timeout / 10)
    created_at = datetime.fromtimestamp(int(created_at.timestamp()), UTC)
    order = (
        Builder()
        .store_uint(wallet.subwallet_id, 32)
        .store_ref(_internal_transfer(wallet, actions, query))
        .store_uint(_MODE, 8)
        .store_uint(query, 23)
        .store_uint(int(created_at.timestamp()), 64)
        .store_uint(round(wallet.timeout.total_seconds()), 22)
        .end_cell()
    )
    body = Builder().store_bytes(signer.sign(order.hash)).store_ref(order).end_cell()
    message = _external(wallet.address, body, wallet.contract.state_init if header.deploy else None)
    boc = message.to_boc()
    if len(boc) > EXTERNAL_BYTES_MAX or message.get_depth() >= EXTERNAL_DEPTH_MAX:
        raise MessageTooLarge(
            f"{len(boc)} bytes, depth {message.get_depth()}", actions=len(actions)
        )
    return SignedMessage(
        boc, _external(wallet.address, body, None).hash, created_at, created_at + wallet.timeout
    )


def execution(data: bytes | None, query_seq: int, created_at: datetime) -> Execution:
    """Tell whether the wallet executed a message.

    The wallet keeps an executed id for at least its timeout after the execution, and drops it only
    when a later message makes it clean up. So "not kept" proves "never" only while the last
    clean-up is no later than the timeout after the message could first execute.

    Args:
        data: the wallet's data cell as a bag of cells; None while the wallet is not deployed.
        query_seq: the message's number.
        created_at: the date inside the message.

    Raises:
        ValueError: it is not the data of a highload-wallet-v3.
    """
    if data is None:
        return Execution.NEVER
    wanted = query_id(query_seq)
    kept, cleaned_at, timeout_s = _protection(data)
    shift, bit = wanted >> 10, wanted & 1023
    if any(shift in group and bit < len(group[shift]) and group[shift][bit] == 1 for group in kept):
        return Execution.EXECUTED
    return (
        Execution.NEVER
        if cleaned_at <= int(created_at.timestamp()) + timeout_s
        else Execution.UNKNOWN
    )


def unused_query_seq(data: bytes | None, query_seq: int) -> int:
    """Return the first number from `query_seq` on that lies past all that the wallet remembers.

    A database that went back would number its next message like one that was executed since, which
    the wallet refuses (exit 36), and which would be taken for executed.

    Args:
        data: the wallet's data cell as a bag of cells; None while the wallet is not deployed.
        query_seq: the next number by the database.

    Raises:
        ValueError: it is not the data of a highload-wallet-v3.
    """
    if data is None:
        return query_seq
    kept, _, _ = _protection(data)
    ids = _SHIFTS * _BITS
    ahead = [
        (shift * _BITS + bit - query_seq) % ids
        for group in kept
        for shift, bits in group.items()
        for bit, used in enumerate(bits)
        if used
    ]
    # The ids come round: those of the last messages lie nearly a whole round ahead.
    return query_seq + max((each + 1 for each in ahead if each < ids // 2), default=0)


def external_hash(address: RawAddress, transaction: bytes) -> bytes | None:
    """Return the normalised hash (TEP-467) of the external message that caused a transaction.

    None where it was an internal one: a payment, what came back, the wallet's message to itself.

    Args:
        address: the wallet's.
        transaction: of the wallet, as a bag of cells.

    Raises:
        ValueError: it is no transaction.
    """
    try:
        message = Cell.one_from_boc(transaction).refs[0].begin_parse().load_maybe_ref()
        if message is None:
            return None
        part = message.begin_parse()
        # ext_in_msg_info$10 src:addr_none, dest, import_fee; see _external.
        if part.load_uint(2) != 0b10:
            return None
        part.skip_bits(2)
        part.load_address()
        part.load_coins()
        if part.load_bit() and part.load_bit():
            part.load_ref()
        body = part.load_ref() if part.load_bit() else part.to_cell()
    except tokens.UNREADABLE as error:
        raise ValueError(f"not a transaction: {error}") from error
    return _external(address, body, None).hash


def _protection(data: bytes) -> tuple[list[dict[int, list[int]]], int, int]:
    """Return the executed query ids (two groups, shift -> bits), the last clean-up, the timeout."""
    try:
        part = Cell.one_from_boc(data).begin_parse()
        part.skip_bits(256 + 32)
        kept = [_kept(part.load_maybe_ref()), _kept(part.load_maybe_ref())]
        return kept, part.load_uint(64), part.load_uint(22)
    except tokens.UNREADABLE as error:
        raise ValueError(f"not a wallet's data: {error}") from error


def _kept(root: Cell | None) -> dict[int, list[int]]:
    if root is None:
        return {}

    def bits(value: Slice) -> list[int]:
        return list(value.load_ref().bits)

    part = Builder().store_dict(root).end_cell().begin_parse()
    return dict(part.load_dict(13, value_deserializer=bits) or {})


def _internal_transfer(wallet: Wallet, actions: Sequence[Action], query: int) -> Cell:
    listed = Cell.empty()
    for action in actions:
        listed = (
            Builder()
            .store_ref(listed)
            .store_uint(_ACTION_SEND, 32)
            .store_uint(_MODE, 8)
            .store_ref(_internal(action))
            .end_cell()
        )
    body = (
        Builder()
        .store_uint(_OP_INTERNAL_TRANSFER, 32)
        .store_uint(query, 64)
        .store_ref(listed)
        .end_cell()
    )
    return _internal(Action(wallet.address, SELF_TRANSFER_NANO, body))


def _internal(action: Action) -> Cell:
    # int_msg_info$0 ihr_disabled:1 bounce bounced:0 src:addr_none; a contract that is being
    # deployed has nothing to bounce with.
    bounce = action.state_init is None
    message = (
        Builder()
        .store_uint(0b0110_00 if bounce else 0b0100_00, 6)
        .store_address(action.destination)
        .store_coins(action.value_nano)
        .store_uint(0, 1 + 4 + 4 + 64 + 32)
    )
    if action.state_init is None:
        message.store_bit_int(0)
    else:
        message.store_uint(0b11, 2).store_ref(action.state_init)
    return message.store_maybe_ref(action.body).end_cell()


def _external(destination: RawAddress, body: Cell, state_init: Cell | None) -> Cell:
    # ext_in_msg_info$10 src:addr_none, import_fee 0, body in a cell of its own: TEP-467's normal
    # form, but for the initial state.
    message = Builder().store_uint(0b1000, 4).store_address(destination).store_coins(0)
    if state_init is None:
        message.store_bit_int(0)
    else:
        message.store_uint(0b11, 2).store_ref(state_init)
    return message.store_bit_int(1).store_ref(body).end_cell()
