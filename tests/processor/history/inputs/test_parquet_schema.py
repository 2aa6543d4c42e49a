"""Columns that are no events are refused before a row is read, with the way out."""

from typing import Any

import pyarrow as pa
import pytest

from ops.errors import UsageError
from processor.history.inputs.parquet_schema import check

COLUMNS: dict[str, pa.DataType] = {
    "id": pa.string(),
    "source": pa.string(),
    "type": pa.dictionary(pa.int32(), pa.string()),
    "subject": pa.uuid(),
    "time": pa.timestamp("us", "UTC"),
    "data": pa.struct({"a": pa.int64()}),
}


def schema(**changed: pa.DataType | None) -> pa.Schema:
    return pa.schema({name: kind for name, kind in (COLUMNS | changed).items() if kind is not None})


@pytest.mark.parametrize(
    "columns",
    [
        *({}, {"tenantid": pa.string()}, {"myext1": pa.large_string()}),
        *({"time": pa.string()}, {"subject": pa.binary(16)}, {"data": pa.string()}),
        {"data": pa.map_(pa.string(), pa.list_(pa.decimal128(9, 2)))},
    ],
)
def test_events_are_taken(columns: dict[str, Any]) -> None:
    check(schema(**columns), "a.parquet")
    check(pa.schema({"value": pa.binary()}), "a.parquet")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"time": None, "id": None}, r"has the columns source, .* and lacks id, time\. Either one"),
        ({"time": pa.timestamp("us")}, r"`time` has no time zone.*AT TIME ZONE 'UTC'"),
        ({"time": pa.int64()}, "`time` is int64, not a timestamp with time zone or a text"),
        ({"subject": pa.int64()}, "`subject` is int64, not a UUID"),
        ({"id": pa.int64()}, r"`id` is int64, not a text\. Cast it, or leave it out"),
        ({"amount": pa.int64()}, "`amount` is int64, not a text"),
        ({"My_Ext": pa.string()}, "`My_Ext` is no attribute of CloudEvents"),
        ({"data_base64": pa.string()}, "data_base64"),
        ({"data": pa.int64()}, "`data` is int64, not JSON, a struct or a map"),
        ({"data": pa.struct({"a": pa.list_(pa.binary())})}, r"`data\.a\[\]` is binary"),
        ({"data": pa.struct({"a": pa.duration("s")})}, r"`data\.a` is duration"),
        ({"data": pa.map_(pa.int8(), pa.int8())}, "`data` is a map with keys of int8"),
    ],
)
def test_others_are_refused(columns: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words) as refused:
        check(schema(**columns), "a.parquet")
    assert refused.value.message.startswith("a.parquet: ")


def test_two_columns_of_a_name_are_refused() -> None:
    twice = pa.schema([*schema(), pa.field("id", pa.string())])
    with pytest.raises(UsageError, match="two of its columns have one name"):
        check(twice, "a.parquet")


def test_a_value_that_is_no_text_is_refused() -> None:
    with pytest.raises(UsageError, match="`value` is int64, not a text or bytes"):
        check(pa.schema({"value": pa.int64()}), "a.parquet")
