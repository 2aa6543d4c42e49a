"""Blocks as cells.

The header, the transactions of each account, and for the masterchain the shard it carries along.

Well-formed and as simple as its readers allow: the state update names both states and shows
neither, flows of value and message descriptors are empty (docs/ton-network.md lists what is
simplified and who would notice).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from sandbox.ton.boc import from_boc, to_boc
from sandbox.ton.cells import Builder, Cell
from sandbox.ton.config import CONFIG_ADDRESS
from sandbox.ton.dictionaries import CURRENCIES, Dictionary
from sandbox.ton.messages import Transaction
from sandbox.ton.proofs import merkle_proof, merkle_update
from sandbox.ton.states import (
    CATCHAIN_SEQNO,
    MASTERCHAIN,
    BlockId,
    BlockRef,
    Network,
    ShardTip,
    State,
    shard_hashes,
    store_shard,
    validator_set_hash,
)

# Positions of the references inside a Block and a BlockExtra, for proofs.
BLOCK_INFO, BLOCK_EXTRA = 0, 3
EXTRA_CUSTOM = 3
KEY_BLOCK_SEQNO = 1


@dataclass(slots=True, eq=False)
class Block:
    """A block of either chain, or a zero state (seqno 0, whose `boc` is the state itself).

    Only the serialised block is kept for ever; the state goes when it leaves the window of pinned
    reads (`state` is None then).
    """

    id: BlockId
    boc: bytes
    utime: int
    start_lt: int
    end_lt: int
    previous: BlockId | None
    state: State | None
    # Merkle proof of the header (what every answer about the block needs), as a bag of cells; empty
    # for a zero state
    header_proof: bytes = b""
    # (account, lt, hash) of each transaction, by account and then time
    transactions: tuple[tuple[bytes, int, bytes], ...] = ()
    # the masterchain block's shard block, and the other way round
    companion: BlockId | None = None
    state_root_hash: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.state_root_hash = b"" if self.state is None else self.state.root.hash

    @property
    def ref(self) -> BlockRef:
        """Return the block as a later one refers to it."""
        return BlockRef(self.id, self.end_lt)

    @property
    def is_key(self) -> bool:
        """Return whether it carries the configuration.

        The zero state and block 1 of the masterchain.
        """
        return self.id.workchain == MASTERCHAIN and self.id.seqno <= KEY_BLOCK_SEQNO

    def root(self) -> Cell:
        """Return the block's cell, read back from its bag of cells."""
        return from_boc(self.boc)

    def tip(self, registered_at_seqno: int) -> ShardTip:
        """Return what a masterchain block records of this shard block."""
        return ShardTip(self.id, registered_at_seqno, self.start_lt, self.end_lt, self.utime)


@dataclass(frozen=True, slots=True)
class Span:
    """Where a new block lies.

    Its time, Unix seconds, and the logical times from `start_lt` up to, not including, `end_lt`.
    """

    utime: int
    start_lt: int
    end_lt: int


def zero_state(workchain: int, state: State, utime: int) -> Block:
    """Return the beginning of a chain."""
    boc = to_boc(state.root)
    return Block(
        BlockId(workchain, 0, state.root.hash, sha256(boc).digest()), boc, utime, 0, 0, None, state
    )


def make_block(
    network: Network,
    previous: Block,
    span: Span,
    state: State,
    extra: Cell,
    *,
    master: BlockRef | None = None,
) -> Block:
    """Return the block after `previous`.

    Args:
        network: who signs.
        previous: the chain's last block, whose state must still be there.
        span: time and logical times.
        state: the state after the block.
        extra: `BlockExtra`.
        master: the masterchain block that a shard block refers to; None in the masterchain.

    Raises:
        ValueError: the state before is gone.
    """
    if previous.state is None:
        raise ValueError(f"the state of block {previous.id.seqno} is gone")
    workchain, seqno = previous.id.workchain, previous.id.seqno + 1
    info = _info(network, previous, span, seqno, master)
    root = (
        Builder()
        .uint(0x11EF55AA, 32)
        .signed(network.global_id, 32)
        .ref(info)
        .ref(_no_value_flow())
        .ref(merkle_update(previous.state.root, state.root))
        .ref(extra)
        .end()
    )
    boc = to_boc(root)
    block_id = BlockId(workchain, seqno, root.hash, sha256(boc).digest())
    header = to_boc(merkle_proof(root, {info.hash}))
    return Block(block_id, boc, span.utime, span.start_lt, span.end_lt, previous.id, state, header)


def _info(
    network: Network, previous: Block, span: Span, seqno: int, master: BlockRef | None
) -> Cell:
    key = master is None and seqno == KEY_BLOCK_SEQNO
    info = Builder().uint(0x9BC7A987, 32).uint(0, 32).flag(master is not None)
    info.uint(
        0b10 if key else 0, 7
    )  # after_merge, before_split, after_split, want_split, want_merge, key_block, vert_seqno_incr
    info.uint(0, 8).uint(seqno, 32).uint(0, 32)
    store_shard(info, previous.id.workchain)
    info.uint(span.utime, 32).uint(span.start_lt, 64).uint(span.end_lt, 64)
    info.uint(validator_set_hash(network.validator_key), 32).uint(CATCHAIN_SEQNO, 32)
    info.uint(seqno - 1, 32).uint(min(seqno - 1, KEY_BLOCK_SEQNO), 32)
    if master is not None:
        info.ref(master.store(Builder()).end())
    return info.ref(previous.ref.store(Builder()).end()).end()


def _no_value_flow() -> Cell:
    nothing = Builder().currencies(0).currencies(0).currencies(0).currencies(0).end()
    return Builder().uint(0xB8E48DFB, 32).ref(nothing).currencies(0).ref(nothing).end()


def block_extra(
    network: Network, account_blocks: Dictionary[int], seed: bytes, custom: Cell | None = None
) -> Cell:
    """Return `BlockExtra`.

    Args:
        network: who made it.
        account_blocks: the transactions by account.
        seed: the block's 32 random bytes.
        custom: `McBlockExtra`, in the masterchain.
    """
    messages_in = Builder().uint(0, 1).coins(0).currencies(0).end()
    messages_out = Builder().uint(0, 1).currencies(0).end()
    return (
        Builder()
        .uint(0x4A33F6FD, 32)
        .ref(messages_in)
        .ref(messages_out)
        .ref(account_blocks.store(Builder()).end())
        .raw(seed)
        .raw(network.validator_key)
        .maybe_ref(custom)
        .end()
    )


def masterchain_block_extra(network: Network, tip: ShardTip, *, key: bool) -> Cell:
    """Return `McBlockExtra`; a key block carries the configuration."""
    builder = Builder().uint(0xCCA5, 16).flag(key).maybe_ref(shard_hashes(tip).cell())
    builder.uint(0, 1).currencies(0).currencies(0).ref(Builder().uint(0, 3).end())
    if key:
        builder.raw(CONFIG_ADDRESS).ref(network.config.root)
    return builder.end()


def no_account_blocks() -> Dictionary[int]:
    """Return the `ShardAccountBlocks` of a block without transactions."""
    return Dictionary(256, CURRENCIES)


def account_blocks(
    transactions: Mapping[bytes, Sequence[Transaction]],
    updates: Mapping[bytes, tuple[bytes, bytes]],
) -> Dictionary[int]:
    """Return `ShardAccountBlocks`.

    Args:
        transactions: by account, in the order of their logical times.
        updates: the hash of each account's cell before the block and after it.
    """
    blocks = no_account_blocks()
    for account, of_account in transactions.items():
        by_lt = Dictionary(64, CURRENCIES)
        for transaction in of_account:
            by_lt = by_lt.put(
                transaction.lt, Builder().ref(transaction.cell), transaction.total_fees_nano
            )
        before, after = updates[account]
        value = Builder().uint(5, 4).raw(account).append(by_lt.root_builder())
        value.ref(Builder().uint(0x72, 8).raw(before).raw(after).end())
        blocks = blocks.put(int.from_bytes(account, "big"), value, by_lt.extra)
    return blocks
