"""Bags of cells: the wire format of cell trees ("TON Blockchain", 5.2, `serialized_boc#b5ee9c72`), with any number of roots."""

from sandbox.ton.cells import Cell, CellError, CellKind

_MAGIC = b"\xb5\xee\x9c\x72"
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
        descriptor = len(cell.refs) | (8 if cell.is_exotic else 0) | cell.level_mask << 5
        parts.append(bytes((descriptor, cell.bits // 8 + (cell.bits + 7) // 8)))
        parts.append(cell.data)
        parts.extend(numbers[index[ref.hash]] for ref in cell.refs)
    body = b"".join(parts)
    offset_size = max(1, (len(body).bit_length() + 7) // 8)
    head = (
        _MAGIC
        + bytes(((64 if checksum else 0) | size, offset_size))
        + len(order).to_bytes(size, "big")
        + len(roots).to_bytes(size, "big")
        + bytes(size)  # absent cells
        + len(body).to_bytes(offset_size, "big")
        + b"".join(numbers[index[root.hash]] for root in roots)
    )
    boc = head + body
    return boc + crc32c(boc).to_bytes(4, "little") if checksum else boc


def _parents_first(roots: tuple[Cell, ...]) -> list[Cell]:
    """Return every cell once, in a topological order; iteratively, since a tree may be a thousand deep."""
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


def from_boc(data: bytes, pool: CellPool | None = None) -> Cell:
    """Read a bag with exactly one root.

    Args:
        data: the serialised bag.
        pool: where cells are shared with what was read before.

    Raises:
        CellError: it is malformed, or has several roots.
    """
    roots = roots_from_boc(data, pool)
    if len(roots) != 1:
        raise CellError(f"one root expected, {len(roots)} found")
    return roots[0]


def roots_from_boc(data: bytes, pool: CellPool | None = None) -> list[Cell]:
    """Read every root of a bag of cells.

    Raises:
        CellError: it is malformed: bad magic or checksum, cut short, references that do not lead downwards, absent cells.
    """
    reader = _Reader(data)
    if reader.take(4) != _MAGIC:
        raise CellError("no bag of cells: the magic bytes are wrong")
    flags, offset_size = reader.take(2)
    size = flags & 7
    if not 1 <= size <= 4 or not 1 <= offset_size <= 8:
        raise CellError("a bag of cells with impossible field sizes")
    count, root_count, absent = reader.number(size), reader.number(size), reader.number(size)
    body_size = reader.number(offset_size)
    if absent or root_count < 1 or count < 1 or count > len(data):
        raise CellError("a bag of cells with impossible counts")
    root_indexes = [reader.number(size) for _ in range(root_count)]
    if flags & 128:
        reader.take(count * offset_size)  # the index: offsets that a sequential reader does not need
    body = _Reader(reader.take(body_size))
    if flags & 64:
        checked = data[: reader.position]
        if reader.number(4).to_bytes(4, "big") != crc32c(checked).to_bytes(4, "little"):
            raise CellError("a bag of cells with a wrong checksum")
    if reader.position != len(data):
        raise CellError("bytes are left behind the bag of cells")
    cells = _read_cells(body, count, size, pool)
    if any(index >= count for index in root_indexes):
        raise CellError("a root beyond the last cell")
    return [cells[index] for index in root_indexes]


def _read_cells(body: _Reader, count: int, size: int, pool: CellPool | None) -> list[Cell]:
    raw: list[tuple[bytes, int, list[int], bool]] = []
    take, number = body.take, body.number
    for position in range(count):
        d1, d2 = take(2)
        if d1 & 7 > 4:
            raise CellError("a cell with more than four references, or an absent one")
        if d1 & 16:  # stored hashes and depths: recomputed below, so not read
            take(34 * ((d1 >> 5).bit_count() + 1))
        data = take((d2 + 1) // 2)
        bits = 8 * len(data)
        if d2 & 1:
            last = data[-1]
            if last == 0:
                raise CellError("a cell without its completion tag")
            bits -= (last & -last).bit_length()
        refs = [number(size) for _ in range(d1 & 7)]
        if any(not position < ref < count for ref in refs):
            raise CellError("a reference that does not lead downwards")
        raw.append((data, bits, refs, bool(d1 & 8)))
    if body.position != len(body.data):
        raise CellError("bytes are left behind the last cell")
    cells: list[Cell | None] = [None] * count
    for position in range(count - 1, -1, -1):
        data, bits, indexes, exotic = raw[position]
        refs_of = tuple(cell for index in indexes if (cell := cells[index]) is not None)
        if exotic:
            cells[position] = Cell(data, bits, refs_of, _kind(data))
        else:
            cells[position] = Cell(data, bits, refs_of) if pool is None else pool.cell(data, bits, refs_of)
    return [cell for cell in cells if cell is not None]


def _kind(data: bytes) -> CellKind:
    if not data or data[0] not in (1, 2, 3, 4):
        raise CellError("an exotic cell of an unknown kind")
    return CellKind(data[0])
