import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytoniq_core.boc.cell import Cell as OtherCell

from sandbox.ton.boc import CellPool, crc32c, from_boc, roots_from_boc, to_boc
from sandbox.ton.cells import EMPTY_CELL, Builder, Cell, CellError
from tests.sandbox.ton.trees import trees


@given(trees(), st.booleans())
def test_a_tree_survives_its_bag(tree: Cell, checksum: bool) -> None:
    read = from_boc(to_boc(tree, checksum=checksum))
    assert (read.hash, read.bits, read.data) == (tree.hash, tree.bits, tree.data)


@given(trees(), st.booleans(), st.booleans())
def test_a_bag_from_pytoniq_is_read(tree: Cell, index: bool, checksum: bool) -> None:
    theirs = OtherCell.one_from_boc(to_boc(tree)).to_boc(has_idx=index, hash_crc32=checksum)  # type: ignore[no-untyped-call]
    assert from_boc(theirs).hash == tree.hash


@given(trees(), st.booleans())
def test_pytoniq_reads_a_bag_of_ours(tree: Cell, checksum: bool) -> None:
    assert OtherCell.one_from_boc(to_boc(tree, checksum=checksum)).hash == tree.hash


@given(st.lists(trees(8), min_size=1, max_size=5))
def test_several_roots_come_back_in_order(roots: list[Cell]) -> None:
    boc = to_boc(*roots)
    assert roots_from_boc(boc) == roots
    assert [other.hash for other in OtherCell.from_boc(boc)] == [root.hash for root in roots]


def test_an_equal_cell_is_written_once() -> None:
    leaf = Builder().raw(b"the same" * 10).end()
    both = Builder().ref(leaf).ref(Builder().raw(b"the same" * 10).end()).end()
    assert to_boc(both).count(b"the same" * 10) == 1


def test_a_bag_of_more_than_256_cells_has_wider_references() -> None:
    cell = EMPTY_CELL
    for number in range(700):
        cell = Builder().uint(number, 32).ref(cell).end()
    assert from_boc(to_boc(cell)).hash == cell.hash


@pytest.mark.parametrize(
    ("position", "change", "message"),
    [
        pytest.param(4, 8, "impossible flags", id="a reserved flag"),
        pytest.param(4, 16, "impossible flags", id="the other reserved flag"),
        pytest.param(4, 32, "impossible flags", id="cache bits without an index"),
        pytest.param(11, 32, "level mask", id="a level that the content has not"),
    ],
)
def test_a_bit_that_says_nothing_true_is_refused(position: int, change: int, message: str) -> None:
    boc = bytearray(to_boc(EMPTY_CELL))
    boc[position] ^= change
    with pytest.raises(CellError, match=message):
        roots_from_boc(bytes(boc))


@given(trees(), st.data())
def test_a_damaged_bag_is_refused_or_is_another_tree(tree: Cell, data: st.DataObject) -> None:
    boc = bytearray(to_boc(tree))
    position = data.draw(st.integers(0, len(boc) - 1))
    boc[position] ^= data.draw(st.integers(1, 255))
    try:
        read = roots_from_boc(bytes(boc))
    except CellError:
        return
    assert read != [tree] or len(boc) != len(to_boc(tree))


@given(trees(), st.data())
def test_a_bag_that_is_cut_short_is_refused(tree: Cell, data: st.DataObject) -> None:
    boc = to_boc(tree)
    with pytest.raises(CellError):
        from_boc(boc[: data.draw(st.integers(0, len(boc) - 1))])


@given(trees(), st.data())
def test_a_checksum_finds_every_changed_byte(tree: Cell, data: st.DataObject) -> None:
    boc = bytearray(to_boc(tree, checksum=True))
    boc[data.draw(st.integers(0, len(boc) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(CellError):
        from_boc(bytes(boc))


@given(st.binary(max_size=200))
def test_noise_is_refused(noise: bytes) -> None:
    with pytest.raises(CellError):
        from_boc(b"\xb5\xee\x9c\x72" + noise)


def test_bytes_behind_a_bag_are_refused() -> None:
    with pytest.raises(CellError, match="left behind"):
        from_boc(to_boc(EMPTY_CELL) + b"\x00")


def test_two_roots_are_not_one() -> None:
    with pytest.raises(CellError, match="2 found"):
        from_boc(to_boc(EMPTY_CELL, Builder().uint(1, 1).end()))


def test_the_checksum_is_castagnoli() -> None:
    assert crc32c(b"123456789") == 0xE3069283


@given(trees())
def test_a_pool_gives_the_same_cell_for_the_same_content(tree: Cell) -> None:
    pool, boc = CellPool(), to_boc(tree)
    first, second = from_boc(boc, pool), from_boc(boc, pool)
    assert first is second
    assert first == tree


def test_a_full_pool_starts_afresh() -> None:
    pool = CellPool(cells_max=2)
    bocs = [to_boc(Builder().uint(number, 8).end()) for number in range(5)]
    assert [from_boc(boc, pool) for boc in bocs] == [from_boc(boc) for boc in bocs]
