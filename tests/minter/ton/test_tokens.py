"""What is written is what is read back, and addresses are the standard's."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ton_core.boc.builder import Builder
from ton_core.boc.cell import Cell
from ton_core.contrib.contracts.nft.tlb import NFTItemSoulboundData, OffchainItemContent

from minter.ton import highload_wallet, metadata_uris, tokens
from minter.ton.values import CollectionState, Item, Token
from store.values.names import RawAddress, TypeCode

OWNER = RawAddress("0:" + "1f" * 32)
MINTER = RawAddress("0:" + "2e" * 32)
BASE = "https://badges.example/metadata"
EXPLORER = TypeCode("explorer")


@given(
    index=st.integers(0, 2**64 - 1),
    content=st.text(max_size=300),
    revoked_at=st.integers(0, 2**64 - 1),
    owner=st.sampled_from([OWNER, None]),
    authority=st.sampled_from([MINTER, None]),
)
def test_an_items_data_reads_as_the_libraries_write_it(
    index: int,
    content: str,
    revoked_at: int,
    owner: RawAddress | None,
    authority: RawAddress | None,
) -> None:
    data = NFTItemSoulboundData(
        index, MINTER, owner, OffchainItemContent(content), authority, revoked_at
    )
    token = Token(owner, authority, content, revoked_at)
    assert tokens.parse_item(data.serialize().to_boc()) == Item(index, MINTER, token)


def test_an_item_that_nobody_initialised_has_no_token() -> None:
    data = Builder().store_uint(5, 64).store_address(MINTER).end_cell()
    assert tokens.parse_item(data.to_boc()) == Item(5, MINTER, None)


@given(st.binary(max_size=200))
def test_what_is_no_item_is_refused_and_nothing_else_happens(data: bytes) -> None:
    with pytest.raises(ValueError, match="not an item's data"):
        tokens.parse_item(data)
    with pytest.raises(ValueError, match="not a collection's data"):
        tokens.parse_collection(data)


def test_a_new_collection_is_empty_and_the_wallets() -> None:
    contract = tokens.collection(
        MINTER,
        metadata_uris.collection_uri(BASE, EXPLORER),
        metadata_uris.item_prefix(BASE, EXPLORER),
    )
    data = contract.state_init.refs[1]
    assert tokens.parse_collection(data.to_boc()) == CollectionState(MINTER, 0)


def test_a_wallet_is_not_read_as_a_collection() -> None:
    """Its first bits are an owner and a count of 10^16 items, to whoever asks for no more."""
    wallet = highload_wallet.wallet(bytes.fromhex("93" * 32), timedelta(minutes=5), b"\x4e" * 32)
    data = wallet.contract.state_init.refs[1]
    with pytest.raises(ValueError, match="not a collection's data: another layout"):
        tokens.parse_collection(data.to_boc())


def test_collections_of_two_types_or_wallets_have_different_addresses() -> None:
    def address(owner: RawAddress, code: str) -> RawAddress:
        kind = TypeCode(code)
        return tokens.collection(
            owner, metadata_uris.collection_uri(BASE, kind), metadata_uris.item_prefix(BASE, kind)
        ).address

    assert (
        len(
            {
                address(owner, code)
                for owner in (MINTER, OWNER)
                for code in ("explorer", "quest_author")
            }
        )
        == 4
    )


def test_a_long_content_spans_cells() -> None:
    body = tokens.mint_body(1, Token(OWNER, MINTER, "x" * 400), 20_000_000, 0)
    assert Cell.one_from_boc(body.to_boc()) == body


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("0:" + "1F" * 32, OWNER),
        ("EQAfHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fH_uG", None),
        ("nobody", None),
        ("", None),
        ("0:12", None),
    ],
)
def test_addresses_are_raw_or_refused(address: str, expected: RawAddress | None) -> None:
    if expected is None:
        with pytest.raises(tokens.InvalidAddress):
            tokens.raw(address)
    else:
        assert tokens.raw(address) == expected
