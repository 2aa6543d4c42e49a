"""What Parquet holds is the JSON that a person would write of it."""

import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pyarrow as pa
import pytest

from processor.history.inputs.parquet_rows import values_of

USER = UUID("01234567-89ab-cdef-0123-456789abcdef")
ROW = {
    "id": "e1",
    "source": "/shop",
    "type": "shop.bought",
    "subject": str(USER),
    "time": "2025-01-02T03:04:05Z",
    "data": '{"a": 1}',
}


def batch(**columns: pa.Array) -> pa.RecordBatch:
    rows = len(next(iter(columns.values())))
    given = {name: pa.array([text] * rows) for name, text in ROW.items()} | columns
    return pa.RecordBatch.from_pydict(given)


def first(**columns: pa.Array) -> dict[str, Any]:
    found = values_of(batch(**columns))[0].as_py()
    assert found is not None
    document: dict[str, Any] = json.loads(found, parse_float=Decimal)
    return document


def data_of(values: list[Any], kind: pa.DataType) -> list[bytes]:
    """The JSON of a member `x` of the data with these values."""
    structs = pa.StructArray.from_arrays([pa.array(values, kind)], names=["x"])
    found = values_of(batch(data=structs)).to_pylist()
    texts = [each.partition(b'"data":')[2].removesuffix(b"}") for each in found if each]
    return [each.removeprefix(b'{"x":').removesuffix(b"}") for each in texts]


def test_whole_events_come_as_they_are() -> None:
    for kind in (pa.string(), pa.large_string(), pa.binary(), pa.large_binary(), pa.string_view()):
        column = pa.array(["{}", None, " é"], pa.string()).cast(kind)
        assert values_of(pa.RecordBatch.from_pydict({"value": column})).to_pylist() == [
            *(b"{}", None, " é".encode())
        ]


def test_attributes_make_an_event() -> None:
    assert first(id=pa.array(["e1"])) == ROW | {"specversion": "1.0", "data": {"a": 1}}
    more = {"tenantid": "t", "datacontenttype": "application/json", "specversion": "0.3"}
    found = first(**{name: pa.array([text]) for name, text in more.items()})
    assert found == ROW | more | {"data": {"a": 1}}


def test_what_is_null_is_left_out() -> None:
    found = first(tenantid=pa.array([None], pa.string()), data=pa.array([None], pa.string()))
    assert found == {name: text for name, text in ROW.items() if name != "data"} | {
        "specversion": "1.0"
    }


@pytest.mark.parametrize(
    "subject",
    [
        pa.array([USER.bytes], pa.binary(16)),
        pa.array([USER.bytes], pa.binary()),
        pa.array([USER.bytes], pa.uuid()),
        pa.array([str(USER)]).dictionary_encode(),
    ],
    ids=["16 bytes", "bytes", "UUID", "dictionary"],
)
def test_a_subject_is_a_uuid(subject: pa.Array) -> None:
    assert first(subject=subject)["subject"] == str(USER)


@pytest.mark.parametrize(
    ("ticks", "kind", "text"),
    [
        (1735787045, pa.timestamp("s", "UTC"), "2025-01-02T03:04:05.000000Z"),
        (1735787045006, pa.timestamp("ms", "+05:00"), "2025-01-02T03:04:05.006000Z"),
        (1735787045000006, pa.timestamp("us", "Europe/Paris"), "2025-01-02T03:04:05.000006Z"),
        (1735787045000006000, pa.timestamp("ns", "UTC"), "2025-01-02T03:04:05.000006Z"),
        (1735787045000006007, pa.timestamp("ns", "UTC"), "2025-01-02T03:04:05.000006007Z"),
        (-1, pa.timestamp("us", "UTC"), "1969-12-31T23:59:59.999999Z"),
    ],
)
def test_a_time_is_an_instant(ticks: int, kind: pa.DataType, text: str) -> None:
    assert first(time=pa.array([ticks], pa.int64()).cast(kind))["time"] == text


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([2**63 - 1, -(2**63)], pa.int64(), [b"9223372036854775807", b"-9223372036854775808"]),
        ([2**64 - 1], pa.uint64(), [b"18446744073709551615"]),
        ([0.1, 1e300, -0.0, 2.0], pa.float64(), [b"0.1", b"1e+300", b"-0.0", b"2.0"]),
        ([0.5], pa.float32(), [b"0.5"]),
        (
            [Decimal("1.50"), Decimal("-0.01"), Decimal("12345678901234567890.12")],
            pa.decimal128(38, 2),
            [b"1.50", b"-0.01", b"12345678901234567890.12"],
        ),
        ([Decimal(10) ** 30], pa.decimal256(60, 9), [b"1" + b"0" * 30 + b"." + b"0" * 9]),
        ([True], pa.bool_(), [b"true"]),
        (['"\n\\'], pa.string(), [rb'"\"\n\\"']),
        ([date(2025, 1, 2)], pa.date32(), [b'"2025-01-02"']),
        ([date(2025, 1, 2)], pa.date64(), [b'"2025-01-02"']),
        ([time(3, 4, 5, 6)], pa.time64("us"), [b'"03:04:05.000006"']),
        (
            [datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)],
            pa.timestamp("ms", "UTC"),
            [b'"2025-01-02T03:04:05.000000Z"'],
        ),
        (
            [datetime(2025, 1, 2, 3, 4, 5)],  # noqa: DTZ001 - as it is in a file
            pa.timestamp("us"),
            [b'"2025-01-02T03:04:05.000000"'],
        ),
        ([USER.bytes], pa.uuid(), [f'"{USER}"'.encode()]),
        ([[1, None], [], [2]], pa.list_(pa.int8()), [b"[1,null]", b"[]", b"[2]"]),
        ([[1, 2], [3, None]], pa.list_(pa.int8(), 2), [b"[1,2]", b"[3,null]"]),
        (
            [[("a", Decimal("1.0")), ("b", None)], []],
            pa.map_(pa.string(), pa.decimal128(9, 1)),
            [b'{"a":1.0,"b":null}', b"{}"],
        ),
        (
            [{"a": None, "b": [{"c": 1}, {"c": None}, None]}],
            pa.struct({"a": pa.int8(), "b": pa.list_(pa.struct({"c": pa.int8()}))}),
            [b'{"b":[{"c":1},{},null]}'],
        ),
    ],
)
def test_data_keep_what_they_are(
    values: list[Any], kind: pa.DataType, expected: list[bytes]
) -> None:
    assert data_of(values, kind) == expected
    # Whatever part of a larger array it is.
    found = data_of([values[0], *values], kind)
    structs = pa.StructArray.from_arrays(
        [pa.array([values[0], None, *values], kind)], names=["x"]
    ).slice(2)
    sliced = values_of(batch(data=structs)).to_pylist()
    assert [each and each.partition(b'"data":')[2] for each in sliced] == [
        b'{"x":' + each + b"}}" for each in found[1:]
    ]


def test_a_map_may_be_the_data() -> None:
    kind = pa.map_(pa.string(), pa.string())
    assert first(data=pa.array([[("a", "1")]], kind))["data"] == {"a": "1"}
    assert "data" not in first(data=pa.array([None], kind))


def test_a_number_that_json_has_not_breaks_its_event_alone() -> None:
    structs = pa.array([{"x": float("nan")}, {"x": 1.0}])
    broken, whole = values_of(batch(data=structs)).to_pylist()
    assert broken is not None
    assert whole is not None
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(broken)
    assert json.loads(whole)["data"] == {"x": 1.0}


@pytest.mark.parametrize("text", ['{}, "id": "other"', '{"a": 1', "", "nonsense", "1}{"])
def test_what_is_no_json_takes_nothing_over(text: str) -> None:
    found = first(data=pa.array([text]))
    assert found["id"] == "e1"
    assert found["data"] == text


@pytest.mark.parametrize("unit", ["s", "us", "ns"])
def test_a_time_that_is_null_is_left_out_of_its_row_alone(unit: str) -> None:
    times = pa.array([None, 0, None, 1], pa.int64()).cast(pa.timestamp(unit, "UTC")).slice(1)
    found = [json.loads(each) for each in values_of(batch(time=times)).to_pylist()]
    assert ["time" in each for each in found] == [True, False, True]
    assert found[0]["time"] == "1970-01-01T00:00:00.000000Z"
