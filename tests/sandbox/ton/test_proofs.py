import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytoniq_core.boc.cell import Cell as OtherCell
from pytoniq_core.proof.check_proof import check_proof

from sandbox.ton.boc import from_boc, to_boc
from sandbox.ton.cells import EMPTY_CELL, Builder, Cell, CellError, CellKind
from sandbox.ton.proofs import merkle_proof, merkle_update, prune, pruned_branch
from tests.sandbox.ton.trees import trees


def cells_of(root: Cell) -> list[Cell]:
    found, stack = [], [root]
    while stack:
        found.append(stack.pop())
        stack.extend(found[-1].refs)
    return found


@given(trees(), st.data())
def test_a_proof_has_the_hash_of_the_whole_tree_whatever_is_cut(
    tree: Cell, data: st.DataObject
) -> None:
    keep = data.draw(st.sets(st.sampled_from([cell.hash for cell in cells_of(tree)])))
    proof = from_boc(to_boc(merkle_proof(tree, keep)))
    assert proof.refs[0].hash_at(0) == tree.hash
    assert proof.refs[0].depth_at(0) == tree.depth
    assert proof.level_mask == 0


@given(trees(), st.data())
def test_pytoniq_accepts_our_proofs_and_computes_their_hashes(
    tree: Cell, data: st.DataObject
) -> None:
    keep = data.draw(st.sets(st.sampled_from([cell.hash for cell in cells_of(tree)])))
    proof = merkle_proof(tree, keep)
    other = OtherCell.one_from_boc(to_boc(proof))
    check_proof(other, tree.hash)
    assert other.hash == proof.hash


@given(trees())
def test_a_proof_that_shows_the_whole_cuts_nothing(tree: Cell) -> None:
    assert merkle_proof(tree, set(), {tree.hash}).refs[0] is tree
    assert prune(tree, {cell.hash for cell in cells_of(tree)}) is tree


def test_what_is_not_named_is_cut() -> None:
    shown = Builder().uint(1, 8).ref(EMPTY_CELL).end()
    hidden = Builder().uint(2, 8).ref(EMPTY_CELL).end()
    root = Builder().ref(shown).ref(hidden).end()
    first, second = merkle_proof(root, {shown.hash}).refs[0].refs
    assert first == shown
    assert second.kind is CellKind.PRUNED
    assert (second.hash_at(0), second.depth_at(0)) == (hidden.hash, hidden.depth)


@given(trees(), trees())
def test_an_update_names_both_states(old: Cell, new: Cell) -> None:
    update = merkle_update(old, new)
    other = OtherCell.one_from_boc(to_boc(update))
    assert [ref.hash_at(0) for ref in update.refs] == [old.hash, new.hash]
    assert other.hash == update.hash
    assert update.level_mask == 0


def test_a_cell_with_a_level_of_its_own_is_not_cut() -> None:
    with pytest.raises(CellError, match="level 0"):
        pruned_branch(pruned_branch(EMPTY_CELL))
