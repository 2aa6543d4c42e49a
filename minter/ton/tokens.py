"""What a badge is on chain.

Collections, items, their addresses, their bodies, and how their data cells read.

Pure. The standards are TEP-62 (collection and item), TEP-64 (content) and TEP-85 (soulbound); the
layouts are those of the reference contracts, whose code cells ship in ton_core. Addresses are
computed here, not asked for: a getter with arguments is a cross-check in the tests only.
"""

from dataclasses import dataclass
from functools import cache

from ton_core.boc.address import Address, AddressError
from ton_core.boc.builder import Builder
from ton_core.boc.cell import Cell, CellError
from ton_core.boc.deserialize import BocError
from ton_core.boc.slice import Slice, SliceError
from ton_core.boc.tvm_bitarray import TvmBitarrayException
from ton_core.contrib.contracts.codes import CONTRACT_CODES
from ton_core.contrib.contracts.versions import ContractVersion

from minter.ton.values import CollectionState, Item, Token
from store.values.names import RawAddress

OP_MINT = 1  # reference collection: deploy one item
OP_REVOKE = 0x6F89F5E3  # TEP-85
OP_DESTROY = 0x1F04537A  # TEP-85, the owner's
_OFF_CHAIN = 0x01  # TEP-64: what follows is a URI
_CELL_BYTES_MAX = 127
_ROYALTY_DENOMINATOR = 1000
# What ton_core raises on cells of another layout; its asserts are its input checks.
UNREADABLE = (
    BocError,
    TvmBitarrayException,
    SliceError,
    CellError,
    AddressError,
    IndexError,
    AssertionError,
)


class InvalidAddress(ValueError):
    """Not an address of TON in raw or user-friendly form."""


@dataclass(frozen=True, slots=True)
class Contract:
    """A contract before it is deployed: the address follows from the initial state."""

    address: RawAddress
    state_init: Cell


def raw(address: str | Address) -> RawAddress:
    """Return `address` as `workchain:64 hex digits`.

    Raises:
        InvalidAddress: it is no address, raw or user-friendly.
    """
    try:
        parsed = Address(address)
    except (AddressError, ValueError, IndexError, TypeError) as error:
        raise InvalidAddress(f"{address!r} is no address of TON") from error
    if len(parsed.hash_part) != 32:  # ton_core takes any hex after the colon
        raise InvalidAddress(f"{address!r} is no address of TON: its hash has not 32 bytes")
    return RawAddress(parsed.to_str(is_user_friendly=False))


def user_friendly(address: RawAddress, *, bounceable: bool) -> str:
    """Return an address as wallet apps take it.

    `bounceable` (EQ...): a payment comes back where there is no contract. So it is for contracts
    that are there; what is not deployed yet is paid under the other form (UQ...).
    """
    return str(Address(address).to_str(is_bounceable=bounceable))


@cache
def code(version: ContractVersion) -> Cell:
    """Return a contract's code cell, out of ton_core."""
    return Cell.one_from_boc(CONTRACT_CODES[version])


def contract(code_cell: Cell, data: Cell) -> Contract:
    """Return the contract of workchain 0 with this code and initial data."""
    state_init = (
        Builder()
        .store_uint(0, 2)
        .store_maybe_ref(code_cell)
        .store_maybe_ref(data)
        .store_bit_int(0)
        .end_cell()
    )
    return Contract(RawAddress(f"0:{state_init.hash.hex()}"), state_init)


def collection(owner: RawAddress, content_uri: str, prefix: str) -> Contract:
    """Return the collection that `owner` (the minting wallet) deploys for a type.

    Args:
        owner: may mint; also the royalty's address, with a royalty of nothing.
        content_uri: the collection's own metadata.
        prefix: the common part of the items' metadata URIs.
    """
    about = _snake(Builder().store_uint(_OFF_CHAIN, 8), content_uri.encode())
    content = Builder().store_ref(about).store_ref(_snake(Builder(), prefix.encode())).end_cell()
    royalty = (
        Builder()
        .store_uint(0, 16)
        .store_uint(_ROYALTY_DENOMINATOR, 16)
        .store_address(owner)
        .end_cell()
    )
    data = (
        Builder()
        .store_address(owner)
        .store_uint(0, 64)
        .store_ref(content)
        .store_ref(code(ContractVersion.NFTItemSoulbound))
        .store_ref(royalty)
        .end_cell()
    )
    return contract(code(ContractVersion.NFTCollectionEditable), data)


def item_address(collection_address: RawAddress, index: int) -> RawAddress:
    """Return the address of the item with `index`, as the collection computes it."""
    data = Builder().store_uint(index, 64).store_address(collection_address).end_cell()
    return contract(code(ContractVersion.NFTItemSoulbound), data).address


def mint_body(index: int, token: Token, forward_nano: int, query_id: int) -> Cell:
    """Return the collection's op 1.

    Deploy item `index`, and forward `forward_nano` nanograms and its content to it.
    """
    item = (
        Builder()
        .store_address(token.owner)
        .store_ref(_snake(Builder(), token.content.encode()))
        .store_address(token.authority)
        .store_uint(0, 64)  # revoked_at
        .end_cell()
    )
    return (
        Builder()
        .store_uint(OP_MINT, 32)
        .store_uint(query_id, 64)
        .store_uint(index, 64)
        .store_coins(forward_nano)
        .store_ref(item)
        .end_cell()
    )


def revoke_body(query_id: int) -> Cell:
    """Return TEP-85's revoke, which only the authority may send, once."""
    return Builder().store_uint(OP_REVOKE, 32).store_uint(query_id, 64).end_cell()


def parse_item(data: bytes) -> Item:
    """Read the data cell of an item's account.

    Args:
        data: bag of cells, as a lite server returns it.

    Raises:
        ValueError: it is not the data of the reference soulbound item.
    """
    try:
        part = Cell.one_from_boc(data).begin_parse()
        index = part.load_uint(64)
        home = _address(part)
        if home is None:
            raise ValueError("an item without a collection")
        if part.remaining_bits == 0:
            # The constructor's data: the collection's message never reached it.
            return Item(index, home, None)
        owner = _address(part)
        content = part.load_ref().begin_parse().load_snake_bytes().decode("utf-8", "replace")
        token = Token(owner, _address(part), content, part.load_uint(64))
    except UNREADABLE as error:
        raise ValueError(f"not an item's data: {error}") from error
    return Item(index, home, token)


def parse_collection(data: bytes) -> CollectionState:
    """Read the data cell of a collection's account: owner, next_item_index, ... (reference layout).

    Raises:
        ValueError: it is not a collection's data.
    """
    try:
        part = Cell.one_from_boc(data).begin_parse()
        state = CollectionState(_address(part), part.load_uint(64))
    except UNREADABLE as error:
        raise ValueError(f"not a collection's data: {error}") from error
    # Content, item code, royalty. Another contract's first bits may read as an owner and a count.
    if (part.remaining_bits, part.remaining_refs) != (0, 3):
        raise ValueError("not a collection's data: another layout")
    return state


def _address(part: Slice) -> RawAddress | None:
    address = part.load_address()
    return raw(address) if isinstance(address, Address) else None


def _snake(head: Builder, value: bytes) -> Cell:
    room = _CELL_BYTES_MAX - head.used_bits // 8
    if len(value) <= room:
        return head.store_bytes(value).end_cell()
    return head.store_bytes(value[:room]).store_ref(_snake(Builder(), value[room:])).end_cell()
