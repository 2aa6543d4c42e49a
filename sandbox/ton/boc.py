"""Bags of cells.

The wire format of cell trees ("TON Blockchain", 5.2, `serialized_boc#b5ee9c72`), with any number of
roots.
"""

from collections.abc import Sequence

from sandbox.ton.cells import CELL_REFS_MAX, EMPTY_CELL, Cell, CellError, CellKind

_MAGIC = b"\xb5\xee\x9c\x72"
_HAS_INDEX, _HAS_CHECKSUM, _HAS_CACHE_BITS, _RESERVED = 128, 64, 32, 24
_EXOTIC, _STORED_HASHES = 8, 16  # in a cell's first descriptor
_CRC32C_POLYNOMIAL = 0x82F63B78  # reflected


def _crc32c_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        crc = value
        for _ in range(8):
            crc = crc >> 1 ^ (_CRC32C_POLYNOMIAL if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


_CRC32C = _crc32c_table()


def crc32c(data: bytes) -> int:
    """Return the Castagnoli checksum."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC32C[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def to_boc(*roots: Cell, checksum: bool = False) -> bytes:
    """Serialise `roots` and all below them, each cell once, parents before children.

    Args:
        roots: one cell or several; equal cells are written once.
        checksum: end with a CRC32-C.
    """
    order = _parents_first(roots)
    index = {cell.hash: position for position, cell in enumerate(order)}
    size = max(1, (len(order).bit_length() + 7) // 8)
    numbers = [position.to_bytes(size, "big") for position in range(len(order))]
    parts = []
    for cell in order:
        descriptor = len(cell.refs) | (_EXOTIC if cell.is_exotic else 0) | cell.level_mask << 5
        parts.append(bytes((descriptor, cell.bits // 8 + (cell.bits + 7) // 8)))
        parts.append(cell.data)
        parts.extend(numbers[index[ref.hash]] for ref in cell.refs)
    body = b"".join(parts)
    offset_size = max(1, (len(body).bit_length() + 7) // 8)
    head = (
        _MAGIC
        + bytes(((_HAS_CHECKSUM if checksum else 0) | size, offset_size))
        + len(order).to_bytes(size, "big")
        + len(roots).to_bytes(size, "big")
        + bytes(size)  # absent cells
        + len(body).to_bytes(offset_size, "big")
        + b"".join(numbers[index[root.hash]] for root in roots)
    )
    boc = head + body
    return boc + crc32c(boc).to_bytes(4, "little") if checksum else boc


def _parents_first(roots: tuple[Cell, ...]) -> list[Cell]:
    """Return every cell once, in a topological order.

    Iteratively, since a tree may be a thousand deep.
    """
    children_first: list[Cell] = []
    seen: set[bytes] = set()
    for root in roots:
        if root.hash in seen:
            continue
        seen.add(root.hash)
        stack = [(root, iter(root.refs))]
        while stack:
            cell, refs = stack[-1]
            for ref in refs:
                if ref.hash not in seen:
                    seen.add(ref.hash)
                    stack.append((ref, iter(ref.refs)))
                    break
            else:
                children_first.append(cell)
                stack.pop()
    children_first.reverse()
    return children_first


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.position = data, 0

    def take(self, size: int) -> bytes:
        end = self.position + size
        if end > len(self.data):
            raise CellError("the bag of cells ends too early")
        taken = self.data[self.position : end]
        self.position = end
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")


class CellPool:
    """Cells seen before, by their content: what is read again is shared, and not hashed again.

    Contracts' codes are most of what a network reads. Bounded: a full pool starts afresh.
    """

    def __init__(self, cells_max: int = 50_000) -> None:
        self._cells_max = cells_max
        self._cells: dict[tuple[bytes, int, bytes], Cell] = {}

    def cell(self, data: bytes, bits: int, refs: tuple[Cell, ...]) -> Cell:
        """Return the ordinary cell with this content, the one from before if there was one."""
        key = (data, bits, b"".join([ref.hash for ref in refs]))
        found = self._cells.get(key)
        if found is None:
            if len(self._cells) >= self._cells_max:
                self._cells.clear()
            found = self._cells[key] = Cell(data, bits, refs)
        return found


def from_boc(data: bytes, pool: CellPool | None = None, *, verify_checksum: bool = True) -> Cell:
    """Read a bag with exactly one root; the arguments are those of `roots_from_boc`.

    Raises:
        CellError: it is malformed, or has several roots.
    """
    roots = roots_from_boc(data, pool, verify_checksum=verify_checksum)
    if len(roots) != 1:
        raise CellError(f"one root expected, {len(roots)} found")
    return roots[0]


def roots_from_boc(
    data: bytes, pool: CellPool | None = None, *, verify_checksum: bool = True
) -> list[Cell]:
    """Read every root of a bag of cells.

    Args:
        data: the serialised bag.
        pool: where cells are shared with what was read before.
        verify_checksum: look at the CRC32-C, where there is one. It costs more than all the rest,
            and is for bags that travelled.

    Raises:
        CellError: it is malformed: bad magic or checksum, cut short, references that do not lead
            downwards, absent cells.
    """
    reader = _Reader(data)
    if reader.take(4) != _MAGIC:
        raise CellError("no bag of cells: the magic bytes are wrong")
    flags, offset_size = reader.take(2)
    size = flags & 7
    if flags & _RESERVED or flags & (_HAS_CACHE_BITS | _HAS_INDEX) == _HAS_CACHE_BITS:
        # In TL-B: `flags:(## 2) { flags = 0 }`; cache bits stand in the index.
        raise CellError("a bag of cells with impossible flags")
    if not 1 <= size <= 4 or not 1 <= offset_size <= 8:
        raise CellError("a bag of cells with impossible field sizes")
    count, root_count, absent = reader.number(size), reader.number(size), reader.number(size)
    body_size = reader.number(offset_size)
    if absent or root_count < 1 or count < 1 or count > len(data):
        raise CellError("a bag of cells with impossible counts")
    root_indexes = [reader.number(size) for _ in range(root_count)]
    if any(index >= count for index in root_indexes):
        raise CellError("a root beyond the last cell")
    if flags & _HAS_INDEX:
        reader.take(count * offset_size)  # offsets, which a sequential reader does not need
    body = reader.take(body_size)
    if flags & _HAS_CHECKSUM:
        checked = data[: reader.position]
        checksum = reader.take(4)
        if verify_checksum and checksum != crc32c(checked).to_bytes(4, "little"):
            raise CellError("a bag of cells with a wrong checksum")
    if reader.position != len(data):
        raise CellError("bytes are left behind the bag of cells")
    try:
        cells = _read_cells(body, count, size, pool)
    except IndexError:
        raise CellError("the bag of cells ends too early") from None
    return [cells[index] for index in root_indexes]


def _read_cells(body: bytes, count: int, size: int, pool: CellPool | None) -> list[Cell]:
    """Read all cells; IndexError where the body ends too early. The hot loop of the network.

    Plain indexing on purpose.
    """
    raw: list[tuple[bytes, int, Sequence[int], int]] = []
    position = 0
    for number in range(count):
        d1, d2 = body[position], body[position + 1]
        position += 2
        ref_count = d1 & 7
        if ref_count > CELL_REFS_MAX:
            raise CellError("a cell with more than four references, or an absent one")
        if d1 & _STORED_HASHES:  # recomputed anyway, so not read
            position += 34 * ((d1 >> 5).bit_count() + 1)
        data = body[position : position + (d2 + 1 >> 1)]
        position += d2 + 1 >> 1
        bits = d2 << 2
        if d2 & 1:
            if not data[-1]:
                raise CellError("a cell without its completion tag")
            bits += 4 - (data[-1] & -data[-1]).bit_length()
        refs: Sequence[int] = body[position : position + ref_count]
        if size > 1:
            at = range(position, position + ref_count * size, size)
            refs = [int.from_bytes(body[start : start + size], "big") for start in at]
        position += ref_count * size
        if refs and not (number < min(refs) and max(refs) < count):
            raise CellError("a reference that does not lead downwards")
        raw.append((data, bits, refs, d1))
    if position != len(body):
        raise CellError("the cells do not fill the bag")
    make = Cell if pool is None else pool.cell
    cells: list[Cell] = [EMPTY_CELL] * count
    for number in range(count - 1, -1, -1):
        data, bits, refs, d1 = raw[number]
        below = tuple([cells[ref] for ref in refs])
        cell = Cell(data, bits, below, _kind(data)) if d1 & _EXOTIC else make(data, bits, below)
        if cell.level_mask != d1 >> 5:  # refused by the reference, too (crypto/vm/boc.cpp)
            raise CellError("a cell whose level mask is not that of its content")
        cells[number] = cell
    return cells


def _kind(data: bytes) -> CellKind:
    if not data or data[0] not in (1, 2, 3, 4):
        raise CellError("an exotic cell of an unknown kind")
    return CellKind(data[0])
