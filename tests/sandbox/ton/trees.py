"""Random trees of cells for Hypothesis."""

from hypothesis import strategies as st

from sandbox.ton.cells import Builder, Cell


def _cell(bits: list[bool], refs: list[Cell]) -> Cell:
    builder = Builder()
    for bit in bits:
        builder.flag(bit)
    for ref in refs:
        builder.ref(ref)
    return builder.end()


def trees(leaves_max: int = 25) -> st.SearchStrategy[Cell]:
    contents = st.lists(st.booleans(), max_size=80)
    leaves = st.builds(_cell, contents, st.just([]))
    return st.recursive(
        leaves,
        lambda below: st.builds(_cell, contents, st.lists(below, min_size=1, max_size=4)),
        max_leaves=leaves_max,
    )
