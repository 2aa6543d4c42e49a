"""A file of Parquet as pieces: its rows as lines of JSON, as many at a time as make one piece.

A row is a line wherever that says the same. Where a value is missing, blank or has lines of its
own, its rows come as records.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from ops.errors import UsageError
from processor.events.chunks import PlainRecord
from processor.events.records import bounded
from processor.history.inputs import parquet_rows, parquet_schema
from processor.history.inputs.line_pieces import PIECE_BYTES
from processor.history.pieces import Piece

# Of a batch. What its values take is told beforehand by nothing: a value that many rows share is
# in the file once.
_ROWS_MAX = 4096
_BUFFER_BYTES = 1024 * 1024


def check(path: Path, name: str) -> None:
    """Look at the end of a file, where its columns are.

    Raises:
        UsageError: it is cut off or damaged, or its columns are no events.
        OSError: it cannot be read.
    """
    try:
        with parquet.ParquetFile(path) as file:
            parquet_schema.check(file.schema_arrow, name)
    except (pa.ArrowException, OSError) as error:
        raise _broken(error, name, "") from error


def pieces_of(
    path: Path, name: str, size: int, source: int, record_bytes_max: int
) -> Iterator[Piece]:
    """Yield the rows of a file; `read_bytes` add up to `size`, by the rows that are read.

    Raises:
        UsageError: as `check`.
        OSError: it cannot be read.
    """
    first = reported = 0
    try:
        with parquet.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
            rows = max(1, file.metadata.num_rows)
            for batch in file.iter_batches(_rows_at_once(file.metadata), use_threads=False):
                done = size * (first + batch.num_rows) // rows
                values = parquet_rows.values_of(batch)
                for piece in _cut(values, first, source, record_bytes_max):
                    yield replace(piece, read_bytes=done - reported)
                    reported = done
                first += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise _broken(error, name, f" after {first} rows") from error
    if reported < size:
        yield Piece(source, first, b"", read_bytes=size - reported)


def _cut(
    values: pa.LargeBinaryArray, first: int, source: int, record_bytes_max: int
) -> Iterator[Piece]:
    start = held = 0
    lengths = pc.fill_null(pc.binary_length(values), 0).to_pylist()
    for end, length in enumerate(lengths, 1):
        held += length
        if held >= PIECE_BYTES or end == len(lengths):
            yield _piece(values[start:end], first + start, source, record_bytes_max)
            start, held = end, 0


def _piece(values: pa.LargeBinaryArray, first: int, source: int, record_bytes_max: int) -> Piece:
    found: list[bytes | None] = values.to_pylist()
    whole = [each for each in found if each is not None and each.strip()]
    if len(whole) == len(found):
        lines = b"\n".join([*whole, b""])
        if lines.count(b"\n") == len(found) and b"\r" not in lines:
            return Piece(source, first, lines)
    records = [
        bounded(PlainRecord(number, value), record_bytes_max)
        for number, value in enumerate(found, first)
    ]
    return Piece(source, first, records=tuple(records))


def _rows_at_once(metadata: parquet.FileMetaData) -> int:
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    largest = max((group.total_byte_size // max(1, group.num_rows) for group in groups), default=1)
    return max(1, min(_ROWS_MAX, PIECE_BYTES // max(1, largest)))


def _broken(error: Exception, name: str, where: str) -> Exception:
    if isinstance(error, OSError) and error.errno is not None:
        return error  # the file's own
    return UsageError(
        f"{name}: its Parquet data are broken or cut off{where} ({error}). "
        "Give a whole copy of it.",
        path=name,
    )
