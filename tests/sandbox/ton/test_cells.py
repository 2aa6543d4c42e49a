import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytoniq_core.boc.address import Address as OtherAddress
from pytoniq_core.boc.builder import Builder as OtherBuilder
from pytoniq_core.boc.cell import Cell as OtherCell

from sandbox.ton.boc import from_boc, to_boc
from sandbox.ton.cells import (
    CELL_DEPTH_MAX,
    EMPTY_CELL,
    Address,
    Builder,
    Cell,
    CellError,
    CellKind,
)
from tests.sandbox.ton.trees import trees

addresses = st.builds(Address, st.integers(-128, 127), st.binary(min_size=32, max_size=32))


@given(trees())
def test_a_cell_has_the_hash_and_depth_that_pytoniq_computes(tree: Cell) -> None:
    other = OtherCell.one_from_boc(to_boc(tree))
    assert (tree.hash, tree.depth) == (other.hash, other.get_depth(0))


def test_the_empty_cell_has_its_well_known_hash() -> None:
    assert (
        EMPTY_CELL.hash.hex() == "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
    )


@given(
    st.integers(0, 2**32 - 1),
    st.integers(-(2**31), 2**31 - 1),
    st.booleans(),
    st.integers(0, 2**120 - 1),
    addresses,
)
def test_a_slice_reads_back_what_a_builder_wrote(
    number: int, signed: int, flag: bool, coins: int, address: Address
) -> None:
    cell = (
        Builder()
        .uint(number, 32)
        .signed(signed, 32)
        .flag(flag)
        .coins(coins)
        .address(address)
        .address(None)
        .maybe_ref(EMPTY_CELL)
        .maybe_ref(None)
        .raw(b"end")
        .end()
    )
    reader = cell.begin()
    assert (reader.uint(32), reader.signed(32), reader.flag(), reader.coins()) == (
        number,
        signed,
        flag,
        coins,
    )
    assert (reader.address(), reader.address()) == (address, None)
    assert (reader.maybe_ref(), reader.maybe_ref()) == (EMPTY_CELL, None)
    assert reader.raw(3) == b"end"
    assert (reader.bits_left, reader.refs_left) == (0, 0)


@given(st.integers(0, 2**120 - 1), addresses)
def test_coins_and_addresses_are_written_as_pytoniq_writes_them(
    coins: int, address: Address
) -> None:
    ours = Builder().coins(coins).address(address).end()
    other = (
        OtherBuilder()
        .store_coins(coins)
        .store_address(OtherAddress((address.workchain, address.account)))
        .end_cell()
    )
    assert ours.hash == other.hash


@pytest.mark.parametrize("value", [-1, 256])
def test_a_number_that_does_not_fit_is_refused(value: int) -> None:
    with pytest.raises(CellError, match="does not fit in 8 unsigned bits"):
        Builder().uint(value, 8)


@pytest.mark.parametrize("value", [-129, 128])
def test_a_signed_number_that_does_not_fit_is_refused(value: int) -> None:
    with pytest.raises(CellError, match="does not fit in 8 signed bits"):
        Builder().signed(value, 8)


def test_a_cell_holds_1023_bits_and_four_references() -> None:
    full = Builder().uint(0, 1023)
    for _ in range(4):
        full.ref(EMPTY_CELL)
    assert full.end().bits == 1023
    with pytest.raises(CellError, match="do not fit in a cell"):
        full.uint(0, 1).end()


def test_a_fifth_reference_is_refused() -> None:
    builder = Builder()
    for _ in range(5):
        builder.ref(EMPTY_CELL)
    with pytest.raises(CellError, match="5 references"):
        builder.end()


def test_a_tree_is_at_most_1024_deep() -> None:
    cell = EMPTY_CELL
    for _ in range(CELL_DEPTH_MAX):
        cell = Builder().ref(cell).end()
    assert cell.depth == 1024
    with pytest.raises(CellError, match="at most 1024 deep"):
        Builder().ref(cell).end()


def test_reading_beyond_the_end_is_refused() -> None:
    reader = Builder().uint(5, 3).end().begin()
    with pytest.raises(CellError, match="4 bits wanted, 3 left"):
        reader.uint(4)
    with pytest.raises(CellError, match="none left"):
        reader.ref()


@pytest.mark.parametrize(
    ("kind", "bits", "refs"),
    [
        (CellKind.PRUNED, 16 + 272, [EMPTY_CELL]),
        (CellKind.PRUNED, 16, []),
        (CellKind.LIBRARY, 8, []),
        (CellKind.MERKLE_PROOF, 280, []),
        (CellKind.MERKLE_UPDATE, 552, [EMPTY_CELL]),
    ],
)
def test_a_malformed_exotic_cell_is_refused(kind: CellKind, bits: int, refs: list[Cell]) -> None:
    builder = Builder().uint(kind, 8).uint(1, 8) if bits >= 16 else Builder().uint(kind, 8)
    builder.uint(0, bits - builder.bits)
    for ref in refs:
        builder.ref(ref)
    with pytest.raises(CellError):
        builder.end(kind)


@given(addresses)
def test_an_address_is_read_in_both_its_forms(address: Address) -> None:
    friendly = OtherAddress((address.workchain, address.account)).to_str()  # type: ignore[no-untyped-call]
    assert Address.parse(str(address)) == address
    assert Address.parse(friendly) == address


@pytest.mark.parametrize(
    "text",
    ["", "0:12", "x:" + "00" * 32, "0:" + "00" * 33, "A" * 48, "!" * 48, "EQ" + "A" * 45 + "B"],
)
def test_a_string_that_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(CellError):
        Address.parse(text)


def test_a_library_reference_keeps_its_hash_through_a_bag() -> None:
    library = Builder().uint(CellKind.LIBRARY, 8).raw(b"\x07" * 32).end(CellKind.LIBRARY)
    other = OtherCell.one_from_boc(to_boc(library))
    assert from_boc(to_boc(library)).hash == library.hash == other.hash
