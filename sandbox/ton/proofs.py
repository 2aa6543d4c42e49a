"""Make Merkle proofs of any tree of cells: the format alone.

A tree with the branches that do not matter cut off, which still has the hash of the whole. Which
branches matter is for others to say (evidence.py).

What to keep is a set of cell hashes. A cell below the root that is not in the set becomes a pruned
branch; a cell without references is never worth cutting.
"""

from collections.abc import Set as AbstractSet

from sandbox.ton.cells import Builder, Cell, CellError, CellKind


def pruned_branch(cell: Cell) -> Cell:
    """Return the stand-in of level 1 for `cell`: its hash and depth.

    Raises:
        CellError: the cell has a level of its own; proofs within proofs are not made here.
    """
    if cell.level_mask:
        raise CellError("only a cell of level 0 is pruned here")
    return (
        Builder()
        .uint(CellKind.PRUNED, 8)
        .uint(1, 8)
        .raw(cell.hash)
        .uint(cell.depth, 16)
        .end(CellKind.PRUNED)
    )


def prune(cell: Cell, keep: AbstractSet[bytes], whole: AbstractSet[bytes] = frozenset()) -> Cell:
    """Return `cell` with every branch below it cut that neither set names; the cell itself stays.

    Args:
        cell: an ordinary cell.
        keep: hashes of cells that are shown, their own branches being judged one by one.
        whole: hashes of cells that are shown with all below them.
    """
    refs = tuple(
        ref
        if not ref.refs or ref.is_exotic or ref.hash in whole
        else prune(ref, keep, whole)
        if ref.hash in keep
        else pruned_branch(ref)
        for ref in cell.refs
    )
    if all(ref is old for ref, old in zip(refs, cell.refs, strict=True)):
        return cell
    return Cell(cell.data, cell.bits, refs)


def merkle_proof(
    root: Cell, keep: AbstractSet[bytes], whole: AbstractSet[bytes] = frozenset()
) -> Cell:
    """Return the Merkle proof of `root` that shows the cells in `keep` and `whole`.

    Those in `whole` are shown with all below them.
    """
    shown = root if root.hash in whole else prune(root, keep, whole)
    return (
        Builder()
        .uint(CellKind.MERKLE_PROOF, 8)
        .raw(root.hash)
        .uint(root.depth, 16)
        .ref(shown)
        .end(CellKind.MERKLE_PROOF)
    )


def merkle_update(old: Cell, new: Cell) -> Cell:
    """Return the Merkle update from `old` to `new`, both cut at their roots.

    It names the states and shows neither.
    """
    return (
        Builder()
        .uint(CellKind.MERKLE_UPDATE, 8)
        .raw(old.hash)
        .raw(new.hash)
        .uint(old.depth, 16)
        .uint(new.depth, 16)
        .ref(pruned_branch(old))
        .ref(pruned_branch(new))
        .end(CellKind.MERKLE_UPDATE)
    )
