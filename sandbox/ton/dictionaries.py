"""Hashmaps, plain and augmented, as persistent trees.

An update shares all it does not touch with what was there before.

That sharing is what makes old states cheap to keep, and each node serialises itself once. TL-B
`Hashmap n X` and `HashmapAug n X Y` ("TON Blockchain", 3.3): a leaf is label, extra, value; a fork
is label, two references, extra.
"""

from collections.abc import Callable, Iterator
from typing import Generic, NamedTuple, Self, TypeVar

from sandbox.ton.cells import Builder, Cell, CellError

Extra = TypeVar("Extra")


class Augmentation(NamedTuple, Generic[Extra]):
    """The extra of an augmented hashmap: how it is written, the empty one, and a fork's."""

    store: Callable[[Builder, Extra], Builder]
    combine: Callable[[Extra, Extra], Extra]
    empty: Extra


class KeyMaxLt(NamedTuple):
    """The extra of a masterchain's list of earlier blocks (TL-B `KeyMaxLt`)."""

    key: bool
    max_end_lt: int


NO_EXTRA: Augmentation[None] = Augmentation(
    lambda builder, _: builder, lambda _left, _right: None, None
)
CURRENCIES: Augmentation[int] = Augmentation(
    Builder.currencies, lambda left, right: left + right, 0
)
# DepthBalanceInfo: split_depth:(#<= 30), 5 bits, zero for every account here; then the balance.
DEPTH_BALANCE: Augmentation[int] = Augmentation(
    lambda builder, nano: builder.uint(0, 5).currencies(nano), lambda left, right: left + right, 0
)
KEY_MAX_LT: Augmentation[KeyMaxLt] = Augmentation(
    lambda builder, extra: builder.flag(extra.key).uint(extra.max_end_lt, 64),
    lambda left, right: KeyMaxLt(left.key or right.key, max(left.max_end_lt, right.max_end_lt)),
    KeyMaxLt(key=False, max_end_lt=0),
)


def store_label(builder: Builder, label: int, length: int, remaining: int) -> Builder:
    """Append the shortest `HmLabel` for the `length` bits of `label`, of at most `remaining`.

    On a tie the smaller tag.

    Sizes in bits: short 2n+2, long 2+k+n, same 3+k, with k the bits that hold `remaining`.
    """
    width = remaining.bit_length()
    if length > 1 and label in (0, (1 << length) - 1) and width < 2 * length - 1:
        return builder.uint(0b110 | label & 1, 3).uint(length, width)
    if width < length:
        return builder.uint(0b10, 2).uint(length, width).uint(label, length)
    return builder.uint(0, 1).uint((1 << length + 1) - 2, length + 1).uint(label, length)


class _Node(Generic[Extra]):
    """A subtree below `remaining` bits of key.

    `label` of `length` bits, then a value or two children.
    """

    __slots__ = ("_cell", "children", "extra", "label", "length", "remaining", "value")

    def __init__(
        self,
        label: int,
        length: int,
        remaining: int,
        extra: Extra,
        value: Builder | None,
        children: "tuple[_Node[Extra], _Node[Extra]] | None",
    ) -> None:
        self.label, self.length, self.remaining = label, length, remaining
        self.extra, self.value, self.children = extra, value, children
        self._cell: Cell | None = None

    def builder(self, augmentation: Augmentation[Extra]) -> Builder:
        builder = store_label(Builder(), self.label, self.length, self.remaining)
        if self.children is not None:
            for child in self.children:
                builder.ref(child.cell(augmentation))
        augmentation.store(builder, self.extra)
        return builder if self.value is None else builder.append(self.value)

    def cell(self, augmentation: Augmentation[Extra]) -> Cell:
        if self._cell is None:
            self._cell = self.builder(augmentation).end()
        return self._cell

    def relabelled(self, label: int, length: int, remaining: int) -> "_Node[Extra]":
        return _Node(label, length, remaining, self.extra, self.value, self.children)

    def matches(self, key: int) -> bool:
        return key >> (self.remaining - self.length) == self.label

    def below(self, key: int) -> tuple[int, int]:
        """Return which child a matching key goes to, and the key's bits below that child."""
        rest = self.remaining - self.length - 1
        return key >> rest & 1, key & ((1 << rest) - 1)


class Dictionary(Generic[Extra]):
    """An immutable hashmap from unsigned integers of `key_bits` bits to bits and references."""

    __slots__ = ("_root", "augmentation", "key_bits")

    def __init__(
        self, key_bits: int, augmentation: Augmentation[Extra], _root: _Node[Extra] | None = None
    ) -> None:
        self.key_bits = key_bits
        self.augmentation = augmentation
        self._root = _root

    @property
    def extra(self) -> Extra:
        """Return the extra of the whole."""
        return self.augmentation.empty if self._root is None else self._root.extra

    def _with(self, root: _Node[Extra] | None) -> Self:
        return type(self)(self.key_bits, self.augmentation, root)

    def put(self, key: int, value: Builder, extra: Extra) -> Self:
        """Return the dictionary with `key` mapped to `value`.

        Raises:
            CellError: the key has more bits than this dictionary's.
        """
        if key < 0 or key >> self.key_bits:
            raise CellError(f"the key {key} does not fit in {self.key_bits} bits")
        return self._with(self._inserted(self._root, key, self.key_bits, value, extra))

    def delete(self, key: int) -> Self:
        """Return the dictionary without `key`; one that is absent changes nothing."""
        return self._with(self._deleted(self._root, key))

    def get(self, key: int) -> Builder | None:
        """Return the value of `key`, None where absent."""
        node = self._root
        while node is not None and node.matches(key):
            if node.children is None:
                return node.value
            side, key = node.below(key)
            node = node.children[side]
        return None

    def items(self) -> Iterator[tuple[int, Builder]]:
        """Yield every key and value, keys ascending."""
        stack = [] if self._root is None else [(self._root, 0)]
        while stack:
            node, prefix = stack.pop()
            prefix = prefix << node.length | node.label
            if node.children is not None:
                left, right = node.children
                stack.append((right, prefix << 1 | 1))
                stack.append((left, prefix << 1))
            elif node.value is not None:
                yield prefix, node.value

    def cell(self) -> Cell | None:
        """Return the root cell (`Hashmap`, `HashmapAug`), None where empty."""
        return None if self._root is None else self._root.cell(self.augmentation)

    def root_builder(self) -> Builder:
        """Return the root's bits and references, for a structure that holds them inline.

        Raises:
            CellError: the dictionary is empty.
        """
        if self._root is None:
            raise CellError("an empty dictionary has no root")
        return self._root.builder(self.augmentation)

    def store(self, builder: Builder) -> Builder:
        """Append `HashmapE` or, augmented, `HashmapAugE`.

        A bit, the reference, the extra of the whole.
        """
        return self.augmentation.store(builder.maybe_ref(self.cell()), self.extra)

    def path(self, key: int) -> set[bytes]:
        """Return the hashes of the cells that a look-up of `key` reads, be it there or not."""
        hashes = set()
        node = self._root
        while node is not None:
            hashes.add(node.cell(self.augmentation).hash)
            if node.children is None or not node.matches(key):
                break
            side, key = node.below(key)
            node = node.children[side]
        return hashes

    def _inserted(
        self, node: _Node[Extra] | None, key: int, remaining: int, value: Builder, extra: Extra
    ) -> _Node[Extra]:
        if node is None:
            return _Node(key, remaining, remaining, extra, value, None)
        if not node.matches(key):
            return self._split(node, key, value, extra)
        if node.children is None:
            return _Node(node.label, node.length, remaining, extra, value, None)
        side, below = node.below(key)
        child = node.children[side]
        return self._fork(
            node,
            side,
            self._inserted(child, below, remaining - node.length - 1, value, extra),
            node.children[1 - side],
        )

    def _fork(
        self, node: _Node[Extra], side: int, changed: _Node[Extra], kept: _Node[Extra]
    ) -> _Node[Extra]:
        left, right = (kept, changed) if side else (changed, kept)
        combined = self.augmentation.combine(left.extra, right.extra)
        return _Node(node.label, node.length, node.remaining, combined, None, (left, right))

    def _split(self, node: _Node[Extra], key: int, value: Builder, extra: Extra) -> _Node[Extra]:
        """Fork `node` at the first bit where its label and `key` differ."""
        differing = key >> (node.remaining - node.length) ^ node.label
        common = node.length - differing.bit_length()
        rest = node.remaining - common - 1
        tail = node.length - common - 1
        old = node.relabelled(node.label & ((1 << tail) - 1), tail, rest)
        new = _Node(key & ((1 << rest) - 1), rest, rest, extra, value, None)
        stem = node.relabelled(node.label >> (node.length - common), common, node.remaining)
        return self._fork(stem, key >> rest & 1, new, old)

    def _deleted(self, node: _Node[Extra] | None, key: int) -> _Node[Extra] | None:
        if node is None or not node.matches(key):
            return node
        if node.children is None:
            return None
        side, below = node.below(key)
        kept = node.children[1 - side]
        left = self._deleted(node.children[side], below)
        if left is node.children[side]:
            return node
        if left is not None:
            return self._fork(node, side, left, kept)
        # A fork with one side left becomes that side, whose label takes in the fork's and the bit
        # between.
        label = ((node.label << 1 | 1 - side) << kept.length) | kept.label
        return kept.relabelled(label, node.length + 1 + kept.length, node.remaining)


def read_dictionary(root: Cell | None, key_bits: int) -> dict[int, Builder]:
    """Read a plain `Hashmap` (None: empty) into key -> rest of the leaf.

    Of an augmented one the leaf opens with its extra.

    Raises:
        CellError: a label that does not fit.
    """
    found: dict[int, Builder] = {}
    stack = [] if root is None else [(root, 0, key_bits)]
    while stack:
        cell, prefix, remaining = stack.pop()
        leaf = cell.begin()
        width = remaining.bit_length()
        if not leaf.flag():
            length = 0
            while leaf.flag():
                length += 1
            label = leaf.uint(length)
        elif not leaf.flag():
            length = leaf.uint(width)
            label = leaf.uint(length)
        else:
            ones = leaf.flag()
            length = leaf.uint(width)
            label = (1 << length) - 1 if ones else 0
        if length > remaining:
            raise CellError("a label longer than the key")
        prefix = prefix << length | label
        remaining -= length
        if remaining == 0:
            found[prefix] = leaf.rest()
            continue
        left, right = leaf.ref(), leaf.ref()
        stack.append((right, prefix << 1 | 1, remaining - 1))
        stack.append((left, prefix << 1, remaining - 1))
    return found
