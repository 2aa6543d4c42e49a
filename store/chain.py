"""The chain's side of the database: the one wallet, and a collection a type.

A database belongs to one wallet on one network for ever; what moves a wallet's row names the wallet
all the same. A collection's row is locked while a message for it is signed (lock order:
docs/architecture.md).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Row, select, text

from ops.errors import Permanent, Transient
from store.engine import Connection
from store.ids import ordered_id
from store.models.catalog import NFTType
from store.models.minting import ChainCollection, ChainWallet
from store.values.names import RawAddress, TypeCode

Value = TypeVar("Value")


class MintingShut(Transient):
    """Nothing may be signed: chain and database may know different tokens."""

    code = "minting_shut"


class RecordGone(Permanent):
    """A row that this process worked with is not there any more: the database went back under it.

    What was begun with it is given up; where it was the wallet's own row, the process ends, and
    starts anew with what is there.
    """

    code = "record_gone"


@dataclass(frozen=True, slots=True)
class WalletIdentity:
    """What must never change under a database: drift means other addresses, or another network."""

    address: RawAddress
    public_key: bytes
    subwallet_id: int
    timeout_s: int
    zero_state_hash: bytes


@dataclass(frozen=True, slots=True)
class WalletRecord:
    """The wallet's row.

    `seqno_seen` is the newest masterchain block that this database was ever shown.
    """

    id: UUID
    identity: WalletIdentity
    seqno_seen: int
    deployed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Collection:
    """A type's collection. `next_index` is the next index to assign.

    `deployed_at` None: not seen on chain yet. `stopped_reason`: why nothing is signed for it until
    a person has looked. `breaker`: why nothing is minted into it. `accepted`: badges that it has
    tokens of, and that a person accepted as unknown.
    """

    id: UUID
    type_id: UUID
    type_code: TypeCode
    address: RawAddress
    content_uri: str
    item_prefix: str
    next_index: int
    deployed_at: datetime | None
    stopped_reason: str | None = None
    breaker: str | None = None
    accepted: frozenset[UUID] = frozenset()


@dataclass(frozen=True, slots=True)
class NewCollection:
    """A type's collection, as the wallet is going to deploy it."""

    type_id: UUID
    wallet_id: UUID
    address: RawAddress
    content_uri: str
    item_prefix: str


_COLLECTION = select(
    ChainCollection.id,
    ChainCollection.type_id,
    NFTType.code,
    ChainCollection.address,
    ChainCollection.content_uri,
    ChainCollection.item_prefix,
    ChainCollection.next_index,
    ChainCollection.deployed_at,
    ChainCollection.stopped_reason,
    ChainCollection.breaker,
    ChainCollection.accepted_badges,
).join(NFTType, NFTType.id == ChainCollection.type_id)
REGISTER_WALLET = text("""
    INSERT INTO chain_wallet (id, address, public_key, subwallet_id, timeout_s, zero_state_hash)
    VALUES (:id, :address, :public_key, :subwallet_id, :timeout_s, :zero_state_hash)
        ON CONFLICT DO NOTHING
""")

SAW_BLOCK = text("""
    UPDATE chain_wallet
       SET seqno_seen = greatest(seqno_seen, :seqno), updated_at = clock_timestamp(),
           deployed_at = CASE WHEN :deployed THEN coalesce(deployed_at, clock_timestamp())
                              ELSE deployed_at END
     WHERE id = :wallet_id
    RETURNING seqno_seen
""")

SEQNO_SEEN = text("SELECT seqno_seen FROM chain_wallet WHERE id = :wallet_id")

TAKE_QUERY_SEQ = text("""
    UPDATE chain_wallet
       SET next_query_seq = greatest(next_query_seq, :unused) + 1, updated_at = clock_timestamp()
     WHERE id = :wallet_id AND shut_reason IS NULL
    RETURNING next_query_seq - 1
""")

ADD_COLLECTION = text("""
    INSERT INTO chain_collection (id, type_id, chain_wallet_id, address, content_uri, item_prefix)
    VALUES (:id, :type_id, :wallet_id, :address, :content_uri, :item_prefix)
        ON CONFLICT (type_id) DO NOTHING
""")

COLLECTION_SEEN = text("""
    UPDATE chain_collection SET deployed_at = clock_timestamp(), updated_at = clock_timestamp()
     WHERE id = :id AND deployed_at IS NULL
""")

# Nothing of such a collection is or can come on chain.
FORGET_UNSIGNED = text("""
    DELETE FROM chain_collection AS collection
     WHERE id = ANY(CAST(:ids AS uuid[])) AND deployed_at IS NULL
       AND NOT EXISTS (SELECT 1 FROM chain_message AS message
                        WHERE message.chain_collection_id = collection.id)
    RETURNING id
""")

SET_NEXT_INDEX = text("""
    UPDATE chain_collection SET next_index = :next_index, updated_at = clock_timestamp()
     WHERE id = :id
""")

STOP_COLLECTION = text("""
    UPDATE chain_collection SET stopped_reason = :reason, updated_at = clock_timestamp()
     WHERE id = :id
""")

OWN_ADDRESSES = text("""
    SELECT listed.address FROM unnest(CAST(:addresses AS text[])) AS listed (address)
     WHERE EXISTS (SELECT 1 FROM chain_wallet WHERE address = listed.address)
        OR EXISTS (SELECT 1 FROM chain_collection WHERE address = listed.address)
        OR EXISTS (SELECT 1 FROM nft_instance WHERE onchain_token_id = listed.address)
""")


async def register_wallet(conn: Connection, identity: WalletIdentity) -> WalletRecord:
    """Write the wallet on the first call; return the one that the database belongs to.

    The caller compares.
    """
    await conn.execute(REGISTER_WALLET, {"id": ordered_id(), **asdict(identity)})
    row = await wallet(conn)
    if row is None:
        raise LookupError("chain_wallet has no row right after one was written")
    return row


async def wallet(conn: Connection) -> WalletRecord | None:
    """Return the wallet that this database belongs to; None before the first minter."""
    row = (await conn.execute(select(ChainWallet.__table__))).one_or_none()
    if row is None:
        return None
    identity = WalletIdentity(
        RawAddress(row.address),
        bytes(row.public_key),
        row.subwallet_id,
        row.timeout_s,
        bytes(row.zero_state_hash),
    )
    return WalletRecord(row.id, identity, row.seqno_seen, row.deployed_at)


async def saw_block(conn: Connection, wallet_id: UUID, seqno: int, *, deployed: bool) -> int:
    """Remember the newest masterchain block, and that the wallet was seen deployed.

    Return the newest ever seen.
    """
    parameters = {"wallet_id": wallet_id, "seqno": seqno, "deployed": deployed}
    row = (await conn.execute(SAW_BLOCK, parameters)).one_or_none()
    return int(found(row, "the wallet").seqno_seen)


async def seqno_seen(conn: Connection, wallet_id: UUID) -> int:
    """Return the newest masterchain block that any minter of this wallet was shown."""
    row = (await conn.execute(SEQNO_SEEN, {"wallet_id": wallet_id})).one_or_none()
    return int(found(row, "the wallet").seqno_seen)


async def take_query_seq(conn: Connection, wallet_id: UUID, unused: int = 0) -> int:
    """Return the wallet's next query number, and lock its row until the transaction ends.

    Signing is one at a time. The number is `unused` at least, which the chain has not seen.

    Raises:
        MintingShut: another minter has shut minting meanwhile.
    """
    parameters = {"wallet_id": wallet_id, "unused": unused}
    taken = (await conn.execute(TAKE_QUERY_SEQ, parameters)).scalar_one_or_none()
    if taken is None:
        raise MintingShut("minting was shut while a message was signed")
    return int(taken)


async def add_collection(conn: Connection, new: NewCollection) -> Collection:
    """Write a type's collection unless there is one; return the one that stands."""
    await conn.execute(ADD_COLLECTION, {"id": ordered_id(), **asdict(new)})
    of_type = _COLLECTION.where(ChainCollection.type_id == new.type_id)
    return _collection((await conn.execute(of_type)).one())


async def collections(conn: Connection) -> list[Collection]:
    """Return every collection, by type code."""
    return [_collection(row) for row in await conn.execute(_COLLECTION.order_by(NFTType.code))]


async def lock_collection(conn: Connection, collection_id: UUID) -> Collection:
    """Return a collection and keep others from signing for it until the transaction ends.

    Raises:
        RecordGone: there is no such collection.
    """
    locked = _COLLECTION.where(ChainCollection.id == collection_id).with_for_update(
        of=ChainCollection
    )
    row = (await conn.execute(locked)).one_or_none()
    return _collection(found(row, f"collection {collection_id}"))


async def collection_seen(conn: Connection, collection_id: UUID) -> None:
    """Write that the collection is deployed, the first time."""
    await conn.execute(COLLECTION_SEEN, {"id": collection_id})


async def forget_unsigned(conn: Connection, ids: Sequence[UUID]) -> frozenset[UUID]:
    """Delete those of the collections for which nothing was ever signed; return their ids."""
    if not ids:
        return frozenset()
    rows = await conn.execute(FORGET_UNSIGNED, {"ids": list(ids)})
    return frozenset(row.id for row in rows)


async def set_next_index(conn: Connection, collection_id: UUID, next_index: int) -> None:
    """Write the next index to assign; the caller holds the collection's lock."""
    await conn.execute(SET_NEXT_INDEX, {"id": collection_id, "next_index": next_index})


async def stop_collection(conn: Connection, collection_id: UUID, reason: str | None) -> None:
    """Sign nothing more for a collection, and say why; None lets it go on."""
    await conn.execute(STOP_COLLECTION, {"id": collection_id, "reason": reason})


async def own_addresses(conn: Connection, addresses: Sequence[RawAddress]) -> frozenset[RawAddress]:
    """Return which of `addresses` are the wallet, a collection or a token of ours."""
    if not addresses:
        return frozenset()
    rows = await conn.execute(OWN_ADDRESSES, {"addresses": list(addresses)})
    return frozenset(RawAddress(row.address) for row in rows)


def found(row: Value | None, what: str) -> Value:
    """Return the one row that was asked for.

    Raises:
        RecordGone: there is none.
    """
    if row is None:
        raise RecordGone(f"{what} is in this database no more: the database went back")
    return row


def _collection(row: Row[*tuple[Any, ...]]) -> Collection:
    return Collection(
        row.id,
        row.type_id,
        TypeCode(row.code),
        RawAddress(row.address),
        row.content_uri,
        row.item_prefix,
        row.next_index,
        row.deployed_at,
        row.stopped_reason,
        row.breaker,
        frozenset(row.accepted_badges),
    )
