"""Files of Parquet by several writers come as pieces whose rows and bytes add up."""

import json
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from pyarrow import parquet

from ops.errors import UsageError
from processor.events.records import LargeRecord
from processor.history.inputs.line_pieces import PIECE_BYTES, records_of
from processor.history.inputs.reading import Inputs, inputs_of

ROWS = 30_000


def values(rows: int = ROWS) -> list[str]:
    return [f'{{"id":"{number}","source":"/shop","type":"shop.bought"}}' for number in range(rows)]


def read(inputs: Inputs, record_bytes_max: int = 1 << 20) -> list[tuple[int, bytes | None]]:
    return [
        (record.offset, record.value)
        for piece in inputs.pieces(record_bytes_max)
        for record in records_of(piece, record_bytes_max)
    ]


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd", "lz4", "brotli"])
@pytest.mark.parametrize("options", [{}, {"row_group_size": 777}, {"use_dictionary": False}])
def test_every_row_is_read(tmp_path: Path, compression: str, options: dict[str, Any]) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"value": values()}), path, compression=compression, **options)
    inputs = inputs_of([str(path)])
    assert read(inputs) == [(number, text.encode()) for number, text in enumerate(values())]
    pieces = list(inputs.pieces(1 << 20))
    assert sum(each.read_bytes for each in pieces) == inputs.size == path.stat().st_size
    assert all(len(each.lines or b"") < PIECE_BYTES * 5 // 4 for each in pieces)
    assert inputs.place_name(0, 41) == f"{path}, row 42"


def test_a_file_without_rows_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"value": pa.array([], pa.string())}), path)
    inputs = inputs_of([str(path)])
    assert read(inputs) == []
    assert sum(each.read_bytes for each in inputs.pieces(1 << 20)) == inputs.size


def test_what_no_line_could_hold_comes_as_a_record(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    given = ['{"a":1}', None, "", " ", '{\n"a":1}', "{}\r", "x" * 100]
    parquet.write_table(pa.table({"value": given}), path)
    records = [
        record for piece in inputs_of([str(path)]).pieces(50) for record in records_of(piece, 50)
    ]
    assert [type(each) is LargeRecord for each in records] == [False] * 6 + [True]
    assert [each.value for each in records[:6]] == [
        each if each is None else each.encode() for each in given[:6]
    ]


def test_what_duckdb_writes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    rows = duckdb.sql(
        """
        SELECT 'e' || n AS id, '/shop' AS source, 'shop.bought' AS type, uuid() AS subject,
               TIMESTAMPTZ '2025-01-02 03:04:05.000006Z' + n * INTERVAL 1 SECOND AS time,
               {'amount': (n / 4)::DECIMAL(18, 2), 'city': CASE WHEN n % 2 = 0 THEN 'Riga' END,
                'tags': ['a', 'b'], 'more': MAP {'k': n}} AS data
          FROM range(5000) AS t(n)
        """
    )
    assert rows is not None
    rows.write_parquet(str(path), compression="zstd", row_group_size=2048)
    found = read(inputs_of([str(path)]))
    assert [number for number, _ in found] == list(range(5000))
    assert b'"amount":0.75,' in (found[3][1] or b"")
    document = json.loads(found[3][1] or b"")
    assert len(document.pop("subject")) == 36
    assert document == {
        "specversion": "1.0",
        "id": "e3",
        "source": "/shop",
        "type": "shop.bought",
        "time": "2025-01-02T03:04:08.000006Z",
        "data": {"amount": 0.75, "tags": ["a", "b"], "more": {"k": 3}},
    }
    assert json.loads(found[4][1] or b"")["data"]["city"] == "Riga"


def test_columns_that_are_no_events_end_it_before_a_row(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"n": [1]}), path)
    with pytest.raises(UsageError, match="has the columns n, and lacks id") as refused:
        inputs_of([str(path)])
    assert refused.value.message.startswith(f"{path}: ")


@pytest.mark.parametrize("kept", [5, 100, -1])
def test_what_is_cut_off_is_refused_before_a_row(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"value": values()}), path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UsageError, match=r"a\.parquet: its Parquet data are broken or cut off"):
        inputs_of([str(path)])


def test_damage_within_says_after_which_row(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"value": values()}), path, row_group_size=10_000)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4000] = b"\xff" * 4000
    path.write_bytes(content)
    inputs = inputs_of([str(path)])
    with pytest.raises(UsageError, match=r"broken or cut off after \d+ rows"):
        read(inputs)
