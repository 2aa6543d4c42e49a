"""The collections that the wallet has on chain, or is going to have: one a type.

A collection's address follows from the wallet and from where the metadata lives, so it is known
before it is deployed, and a database that was restored from before the deployment finds it again.
"""

from uuid import UUID

from minter.ton import metadata_uris, tokens
from store import chain, claiming
from store.chain import Collection, NewCollection
from store.engine import Connection
from store.values.names import RawAddress, TypeCode


async def add(
    conn: Connection,
    wallet: tuple[UUID, RawAddress],
    metadata_base_url: str,
    of_type: tuple[UUID, TypeCode],
) -> Collection:
    """Write a type's collection unless there is one; return it.

    Args:
        conn: a transaction of the caller's.
        wallet: its row's id and its address.
        metadata_base_url: the operator's setting; it goes on chain.
        of_type: the type's id and code.
    """
    wallet_id, address = wallet
    type_id, code = of_type
    uri = metadata_uris.collection_uri(metadata_base_url, code)
    prefix = metadata_uris.item_prefix(metadata_base_url, code)
    contract = tokens.collection(address, uri, prefix)
    new = NewCollection(type_id, wallet_id, contract.address, uri, prefix)
    return await chain.add_collection(conn, new)


async def add_missing(
    conn: Connection, wallet: tuple[UUID, RawAddress], metadata_base_url: str
) -> None:
    """Write the collection of each type that has mints waiting and no collection yet.

    Reconcile reads the tokens of those that have a row.
    """
    for of_type in await claiming.types_without_collection(conn):
        await add(conn, wallet, metadata_base_url, of_type)
