"""Cells.

The tree of bits that everything on TON is made of, with builders and slices for reading and writing
them.

Ordinary and exotic cells (pruned branches, library references, Merkle proofs and updates), their
level masks, and the hash and depth of each level, as "Telegram Open Network Virtual Machine", 3.1,
defines them. A cell of our own, because the network hashes some hundred thousand of them a minute
and needs exotic ones in proofs (docs/adr/0006-local-ton-network.md has the comparison).
"""

import base64
import binascii
from enum import IntEnum
from hashlib import sha256
from typing import NamedTuple, Self

CELL_BITS_MAX = 1023
CELL_REFS_MAX = 4
CELL_DEPTH_MAX = 1024
_DEPTHS = tuple(depth.to_bytes(2, "big") for depth in range(CELL_DEPTH_MAX + 1))


class CellError(ValueError):
    """A cell, slice or bag of cells is not well formed, or a value does not fit."""


class CellKind(IntEnum):
    """The first byte of an exotic cell's data; ordinary cells carry no such byte."""

    ORDINARY = -1
    PRUNED = 1
    LIBRARY = 2
    MERKLE_PROOF = 3
    MERKLE_UPDATE = 4


class Address(NamedTuple):
    """An account: workchain (signed) and the 32 bytes of its id."""

    workchain: int
    account: bytes

    def __str__(self) -> str:
        return f"{self.workchain}:{self.account.hex()}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the raw form or the user-friendly one.

        Raw: `workchain:64 hexadecimal digits`; user-friendly: 48 characters of base64.

        Raises:
            CellError: it is neither.
        """
        if len(text) == 48:
            return cls._parse_friendly(text)
        workchain, _, account = text.partition(":")
        try:
            parsed = cls(int(workchain), bytes.fromhex(account))
        except ValueError:
            raise CellError(
                f"{text!r} is no address (workchain:hex, or 48 characters of base64)"
            ) from None
        if len(parsed.account) != 32:
            raise CellError(f"{text!r}: an account id has 32 bytes, not {len(parsed.account)}")
        return parsed

    @classmethod
    def _parse_friendly(cls, text: str) -> Self:
        try:
            data = base64.b64decode(
                text, altchars=b"-_" if "-" in text or "_" in text else None, validate=True
            )
        except binascii.Error:
            raise CellError(f"{text!r} is no base64") from None
        # tag (0x11, with bits for not bounceable and for test networks), workchain, account,
        # CRC16-CCITT
        if data[0] & 0x3F != 0x11 or binascii.crc_hqx(data[:34], 0) != int.from_bytes(
            data[34:], "big"
        ):
            raise CellError(f"{text!r} has a wrong tag or checksum")
        return cls(int.from_bytes(data[1:2], "big", signed=True), data[2:34])


class Cell:
    """An immutable node: up to 1023 bits, up to four references.

    `data` is padded to whole bytes with the completion tag (a one, then zeros) where `bits` is not
    a multiple of 8. `hash` and `depth` are those of the highest level: the representation hash, by
    which a cell is known. Equality is equality of that hash.
    """

    __slots__ = ("_lower", "bits", "data", "depth", "hash", "kind", "level_mask", "refs")

    def __init__(
        self,
        data: bytes,
        bits: int,
        refs: "tuple[Cell, ...]" = (),
        kind: CellKind = CellKind.ORDINARY,
    ) -> None:
        self.data = data
        self.bits = bits
        self.refs = refs
        self.kind = kind
        mask: int = 0
        if kind is CellKind.ORDINARY:
            for ref in refs:
                mask |= ref.level_mask
        else:
            mask = _exotic_level_mask(self)
        self.level_mask: int = mask
        # Nearly every cell is ordinary and of level 0: one hash, and no list of lower ones.
        if mask == 0 and kind is CellKind.ORDINARY:
            self._lower: tuple[tuple[bytes, int], ...] = ()
            self.hash, self.depth = self._level_zero()
        else:
            *lower, (self.hash, self.depth) = _levels(self)
            self._lower = tuple(lower)

    def _level_zero(self) -> tuple[bytes, int]:
        refs = self.refs
        head = bytes((len(refs), self.bits // 8 + (self.bits + 7) // 8)) + self.data
        if not refs:
            return sha256(head).digest(), 0
        depths = [ref.depth for ref in refs]
        depth = max(depths) + 1
        if depth > CELL_DEPTH_MAX:
            raise CellError(f"a cell is at most {CELL_DEPTH_MAX} deep")
        parts = [head, *[_DEPTHS[depth] for depth in depths], *[ref.hash for ref in refs]]
        return sha256(b"".join(parts)).digest(), depth

    @property
    def is_exotic(self) -> bool:
        """Return whether the cell is anything but ordinary."""
        return self.kind is not CellKind.ORDINARY

    @property
    def level(self) -> int:
        """Return the highest level that is significant in the mask."""
        return self.level_mask.bit_length()

    def hash_at(self, level: int) -> bytes:
        """Return the cell's hash at `level`.

        Branches pruned at `level` or above count as what they stand for.
        """
        return self._at(level)[0]

    def depth_at(self, level: int) -> int:
        """Return the depth at `level`."""
        return self._at(level)[1]

    def _at(self, level: int) -> tuple[bytes, int]:
        index = (self.level_mask & ((1 << level) - 1)).bit_count()
        if index < len(self._lower):
            return self._lower[index]
        return self.hash, self.depth

    def begin(self) -> "Slice":
        """Return a reader at the first bit and the first reference."""
        return Slice(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cell) and self.hash == other.hash

    def __hash__(self) -> int:
        return hash(self.hash)

    def __repr__(self) -> str:
        kind, refs = self.kind.name.lower(), len(self.refs)
        return f"<Cell {kind} {self.bits} bits, {refs} refs, {self.hash.hex()[:12]}>"


def _exotic_level_mask(cell: Cell) -> int:
    """Check an exotic cell's own shape and return its level mask."""
    data, bits, refs = cell.data, cell.bits, cell.refs
    if bits < 8 or data[0] != cell.kind:
        raise CellError("an exotic cell opens with the byte of its kind")
    match cell.kind:
        case CellKind.PRUNED:
            mask = data[1] if bits >= 16 else 0
            if refs or not 1 <= mask <= 7 or bits != 16 + mask.bit_count() * 272:
                raise CellError(
                    "a pruned branch has a level mask, a hash and a depth for each level, "
                    "and no references"
                )
            return mask
        case CellKind.LIBRARY:
            if refs or bits != 8 + 256:
                raise CellError("a library reference is one hash")
            return 0
        case CellKind.MERKLE_PROOF:
            if len(refs) != 1 or bits != 8 + 256 + 16:
                raise CellError("a Merkle proof has a hash, a depth and one reference")
            return refs[0].level_mask >> 1
        case CellKind.MERKLE_UPDATE:
            if len(refs) != 2 or bits != 8 + 2 * (256 + 16):
                raise CellError("a Merkle update has two hashes, two depths and two references")
            return (refs[0].level_mask | refs[1].level_mask) >> 1
        case _:
            raise CellError(f"no exotic cell: {cell.kind!r}")


def _levels(cell: Cell) -> list[tuple[bytes, int]]:
    """Return (hash, depth) for each significant level, lowest first."""
    mask = cell.level_mask
    if cell.kind is CellKind.PRUNED:
        count = mask.bit_count()
        stored = [
            (
                cell.data[2 + 32 * i : 34 + 32 * i],
                int.from_bytes(cell.data[2 + 32 * count + 2 * i :][:2], "big"),
            )
            for i in range(count)
        ]
        own = sha256(
            bytes((8 | mask << 5, cell.bits // 8 + (cell.bits + 7) // 8)) + cell.data
        ).digest()
        return [*stored, (own, 0)]
    # What a Merkle cell holds is one level higher than the cell itself.
    below = 1 if cell.kind in (CellKind.MERKLE_PROOF, CellKind.MERKLE_UPDATE) else 0
    found: list[tuple[bytes, int]] = []
    for level in range(mask.bit_length() + 1):
        if level and not mask >> (level - 1) & 1:
            continue
        descriptor = (
            len(cell.refs) | (8 if cell.is_exotic else 0) | (mask & ((1 << level) - 1)) << 5
        )
        digest = sha256(bytes((descriptor, cell.bits // 8 + (cell.bits + 7) // 8)))
        digest.update(found[-1][0] if found else cell.data)
        depth = 0
        for ref in cell.refs:
            ref_depth = ref.depth_at(level + below)
            depth = max(depth, ref_depth + 1)
            digest.update(ref_depth.to_bytes(2, "big"))
        if depth > CELL_DEPTH_MAX:
            raise CellError(f"a cell is at most {CELL_DEPTH_MAX} deep")
        for ref in cell.refs:
            digest.update(ref.hash_at(level + below))
        found.append((digest.digest(), depth))
    return found


class Builder:
    """Writes a cell: every method appends and returns the builder."""

    __slots__ = ("bits", "refs", "value")

    def __init__(self) -> None:
        self.value, self.bits = 0, 0
        self.refs: list[Cell] = []

    def uint(self, value: int, bits: int) -> Self:
        """Append an unsigned integer of `bits` bits.

        Raises:
            CellError: it does not fit in them.
        """
        if value < 0 or value >> bits:
            raise CellError(f"{value} does not fit in {bits} unsigned bits")
        self.value = self.value << bits | value
        self.bits += bits
        return self

    def signed(self, value: int, bits: int) -> Self:
        """Append a signed integer of `bits` bits, in two's complement."""
        if not -(1 << (bits - 1)) <= value < 1 << (bits - 1):
            raise CellError(f"{value} does not fit in {bits} signed bits")
        return self.uint(value & ((1 << bits) - 1), bits)

    def flag(self, value: bool) -> Self:
        """Append one bit."""
        return self.uint(int(value), 1)

    def raw(self, data: bytes) -> Self:
        """Append whole bytes."""
        return self.uint(int.from_bytes(data, "big"), 8 * len(data))

    def ref(self, cell: Cell) -> Self:
        """Append a reference."""
        self.refs.append(cell)
        return self

    def maybe_ref(self, cell: Cell | None) -> Self:
        """Append a bit and, where there is a cell, a reference (TL-B `Maybe ^X`, `HashmapE`)."""
        return self.uint(0, 1) if cell is None else self.uint(1, 1).ref(cell)

    def var_uint(self, value: int, length_bits: int) -> Self:
        """Append a length of `length_bits` bits and that many bytes (TL-B `VarUInteger`)."""
        size = (value.bit_length() + 7) // 8
        return self.uint(size, length_bits).uint(value, 8 * size)

    def coins(self, amount_nano: int) -> Self:
        """Append an amount in nanograms (TL-B `Grams`)."""
        return self.var_uint(amount_nano, 4)

    def currencies(self, amount_nano: int) -> Self:
        """Append a `CurrencyCollection` without extra currencies."""
        return self.coins(amount_nano).uint(0, 1)

    def address(self, address: Address | None) -> Self:
        """Append `addr_std` without anycast, or `addr_none`."""
        if address is None:
            return self.uint(0, 2)
        return self.uint(0b100, 3).signed(address.workchain, 8).raw(address.account)

    def append(self, other: "Builder | Cell | Slice") -> Self:
        """Append the bits and references of `other`.

        What a slice has left, all of a cell or builder.
        """
        if isinstance(other, Builder):
            self.refs.extend(other.refs)
            return self.uint(other.value, other.bits)
        rest = other.begin() if isinstance(other, Cell) else other
        self.refs.extend(rest.cell.refs[rest.ref_position :])
        return self.uint(rest.peek(rest.bits_left), rest.bits_left)

    def end(self, kind: CellKind = CellKind.ORDINARY) -> Cell:
        """Return the finished cell.

        Raises:
            CellError: too many bits or references, or no well-formed exotic cell.
        """
        if self.bits > CELL_BITS_MAX or len(self.refs) > CELL_REFS_MAX:
            raise CellError(
                f"{self.bits} bits and {len(self.refs)} references do not fit in a cell"
            )
        padding = -self.bits % 8
        value = (self.value << 1 | 1) << (padding - 1) if padding else self.value
        return Cell(value.to_bytes((self.bits + 7) // 8, "big"), self.bits, tuple(self.refs), kind)


class Slice:
    """Reads a cell from its front; every reader raises CellError where not enough is left."""

    __slots__ = ("_value", "cell", "position", "ref_position")

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self._value = int.from_bytes(cell.data, "big") >> (-cell.bits % 8)
        self.position = self.ref_position = 0

    @property
    def bits_left(self) -> int:
        """Return how many bits were not read yet."""
        return self.cell.bits - self.position

    @property
    def refs_left(self) -> int:
        """Return how many references were not read yet."""
        return len(self.cell.refs) - self.ref_position

    def peek(self, bits: int) -> int:
        """Return the next `bits` bits as an unsigned integer, and stay."""
        end = self.cell.bits - self.position - bits
        if end < 0:
            raise CellError(f"{bits} bits wanted, {self.bits_left} left")
        return self._value >> end & ((1 << bits) - 1)

    def skip(self, bits: int) -> Self:
        """Go on by `bits` bits."""
        if bits > self.cell.bits - self.position:
            raise CellError(f"{bits} bits wanted, {self.bits_left} left")
        self.position += bits
        return self

    def uint(self, bits: int) -> int:
        """Read an unsigned integer."""
        value = self.peek(bits)
        self.position += bits
        return value

    def signed(self, bits: int) -> int:
        """Read a signed integer."""
        value = self.uint(bits)
        return value - (1 << bits) if value >> (bits - 1) else value

    def flag(self) -> bool:
        """Read one bit."""
        return self.uint(1) == 1

    def raw(self, size: int) -> bytes:
        """Read `size` whole bytes."""
        return self.uint(8 * size).to_bytes(size, "big")

    def ref(self) -> Cell:
        """Read a reference."""
        if self.ref_position >= len(self.cell.refs):
            raise CellError("a reference wanted, none left")
        self.ref_position += 1
        return self.cell.refs[self.ref_position - 1]

    def maybe_ref(self) -> Cell | None:
        """Read a bit and, where it is set, a reference."""
        return self.ref() if self.flag() else None

    def var_uint(self, length_bits: int) -> int:
        """Read a `VarUInteger` whose length field has `length_bits` bits."""
        return self.uint(8 * self.uint(length_bits))

    def coins(self) -> int:
        """Read an amount in nanograms."""
        return self.var_uint(4)

    def address(self) -> Address | None:
        """Read `addr_std` or `addr_none`.

        Raises:
            CellError: an anycast, external or variable address; this network has none.
        """
        tag = self.uint(2)
        if tag == 0:
            return None
        if tag != 0b10 or self.uint(1):
            raise CellError("an addr_std without anycast, or addr_none, was expected")
        return Address(self.signed(8), self.raw(32))

    def rest(self) -> Builder:
        """Return a builder of what is left."""
        return Builder().append(self)


EMPTY_CELL = Cell(b"", 0)
