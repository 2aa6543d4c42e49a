"""The states of both chains as cells.

`ShardStateUnsplit`, and for the masterchain `McStateExtra` inside it.

What no client looks at is the simplest well-formed value: no out-message queue (docs/ton-network.md
says where messages wait), no libraries, no fees collected.
"""

from dataclasses import dataclass

from sandbox.ton.boc import crc32c
from sandbox.ton.cells import Builder, Cell
from sandbox.ton.config import CONFIG_ADDRESS, VALIDATOR_WEIGHT, Config
from sandbox.ton.dictionaries import DEPTH_BALANCE, KEY_MAX_LT, NO_EXTRA, Dictionary, KeyMaxLt
from sandbox.ton.tl import TlObject

MASTERCHAIN, BASECHAIN = -1, 0
WHOLE_SHARD = 1 << 63
CATCHAIN_SEQNO = 1
# Positions of the references inside a ShardStateUnsplit and a McStateExtra, for proofs.
STATE_ACCOUNTS, STATE_INFO, STATE_CUSTOM = 1, 2, 3
CUSTOM_SHARDS, CUSTOM_CONFIG, CUSTOM_BLOCKS = 0, 1, 2


@dataclass(frozen=True, slots=True)
class BlockId:
    """A block, or a zero state, by place and content."""

    workchain: int
    seqno: int
    root_hash: bytes
    file_hash: bytes

    def tl(self) -> TlObject:
        """Return `tonNode.blockIdExt`."""
        return {
            "@type": "tonNode.blockIdExt",
            "workchain": self.workchain,
            "shard": WHOLE_SHARD,
            "seqno": self.seqno,
            "root_hash": self.root_hash,
            "file_hash": self.file_hash,
        }


@dataclass(frozen=True, slots=True)
class BlockRef:
    """A block and the logical time where it ends, as later blocks name it (TL-B `ExtBlkRef`)."""

    id: BlockId
    end_lt: int

    def store(self, builder: Builder) -> Builder:
        """Append the reference."""
        return (
            builder.uint(self.end_lt, 64)
            .uint(self.id.seqno, 32)
            .raw(self.id.root_hash)
            .raw(self.id.file_hash)
        )


@dataclass(frozen=True, slots=True)
class ShardTip:
    """What the masterchain records of the newest shard block (TL-B `ShardDescr`)."""

    id: BlockId
    registered_at_seqno: int
    start_lt: int
    end_lt: int
    utime: int


@dataclass(frozen=True, slots=True)
class State:
    """A chain's state after a block.

    The cell, and the dictionaries inside it, for look-ups and proofs.
    """

    root: Cell
    accounts: Dictionary[int]
    previous_blocks: Dictionary[KeyMaxLt]


@dataclass(frozen=True, slots=True)
class Network:
    """What never changes: who signs, under which configuration, and the id that blocks carry."""

    global_id: int
    validator_key: bytes
    config: Config
    supply_nano: int


def no_accounts() -> Dictionary[int]:
    """Return the empty `ShardAccounts`."""
    return Dictionary(256, DEPTH_BALANCE)


def no_blocks() -> Dictionary[KeyMaxLt]:
    """Return the empty `OldMcBlocksInfo`."""
    return Dictionary(32, KEY_MAX_LT)


def validator_set_hash(validator_key: bytes) -> int:
    """Return the hash that headers and signatures carry.

    CRC32-C over the set as TL (test0.validatorSet).
    """
    head = (-1877581587).to_bytes(4, "little", signed=True) + CATCHAIN_SEQNO.to_bytes(4, "little")
    count = (1).to_bytes(4, "little")
    return crc32c(head + count + validator_key + VALIDATOR_WEIGHT.to_bytes(8, "little") + bytes(32))


def store_shard(builder: Builder, workchain: int) -> Builder:
    """Append the `ShardIdent` of a whole workchain."""
    return builder.uint(0, 2).uint(0, 6).signed(workchain, 32).uint(0, 64)


def shard_hashes(tip: ShardTip) -> Dictionary[None]:
    """Return `ShardHashes`: the basechain, one shard, a tree of one leaf."""
    descriptor = (
        Builder()
        .uint(0, 1)  # bt_leaf
        .uint(0xA, 4)
        .uint(tip.id.seqno, 32)
        .uint(tip.registered_at_seqno, 32)
        .uint(tip.start_lt, 64)
        .uint(tip.end_lt, 64)
        .raw(tip.id.root_hash)
        .raw(tip.id.file_hash)
        .uint(0, 8)  # no split, merge or catchain change
        .uint(CATCHAIN_SEQNO, 32)
        .uint(WHOLE_SHARD, 64)
        .uint(0, 32)
        .uint(tip.utime, 32)
        .uint(0, 1)
        .ref(Builder().currencies(0).currencies(0).end())
        .end()
    )
    return Dictionary(32, NO_EXTRA).put(BASECHAIN, Builder().ref(descriptor), None)


def shard_state(
    global_id: int,
    workchain: int,
    seqno: int,
    utime: int,
    lt: int,
    accounts: Dictionary[int],
    *,
    custom: Cell | None = None,
    master: BlockRef | None = None,
) -> Cell:
    """Return `ShardStateUnsplit`.

    Args:
        global_id: the network's id.
        workchain: which chain.
        seqno: of the block after which this is the state; 0 for a zero state.
        utime: that block's time.
        lt: the logical time where it ends.
        accounts: `ShardAccounts`.
        custom: `McStateExtra`, in the masterchain.
        master: the masterchain block that this shard block refers to.
    """
    queue = Builder().uint(0, 65).uint(0, 2).end()
    info = Builder().uint(0, 128).currencies(accounts.extra).currencies(0).uint(0, 1)
    if master is None:
        info.uint(0, 1)
    else:
        master.store(info.uint(1, 1))
    min_reference = 0xFFFFFFFF if seqno == 0 else seqno - 1
    builder = store_shard(Builder().uint(0x9023AFE2, 32).signed(global_id, 32), workchain)
    builder.uint(seqno, 32).uint(0, 32).uint(utime, 32).uint(lt, 64).uint(min_reference, 32)
    builder.ref(queue).uint(0, 1).ref(accounts.store(Builder()).end()).ref(info.end())
    return builder.maybe_ref(custom).end()


def masterchain_extra(
    network: Network,
    tip: ShardTip,
    previous_blocks: Dictionary[KeyMaxLt],
    last_key_block: BlockRef | None,
    *,
    key: bool,
) -> Cell:
    """Return `McStateExtra`.

    Args:
        network: configuration, validator and supply.
        tip: the newest shard block.
        previous_blocks: the masterchain's blocks before this one.
        last_key_block: the last key block before this one; None in the zero state.
        key: this block is a key block itself.
    """
    blocks = (
        Builder()
        .uint(0, 16)
        .uint(validator_set_hash(network.validator_key), 32)
        .uint(CATCHAIN_SEQNO, 32)
    )
    blocks.uint(0, 1)
    previous_blocks.store(blocks).flag(key)
    if last_key_block is None:
        blocks.uint(0, 1)
    else:
        last_key_block.store(blocks.uint(1, 1))
    return (
        Builder()
        .uint(0xCC26, 16)
        .maybe_ref(shard_hashes(tip).cell())
        .raw(CONFIG_ADDRESS)
        .ref(network.config.root)
        .ref(blocks.end())
        .currencies(network.supply_nano)
        .end()
    )
