"""Rows of Parquet as the JSON of events.

A file has one column `value`, whole events as JSON; or the attributes of CloudEvents as columns,
and `data` as JSON or as what Parquet knows: structs, maps, lists, numbers, texts, times.

Numbers stay what they are: integers of any size, decimals digit by digit, floats as Python writes
them, which is the shortest text of the same float. A member of a struct that is null is left out:
Parquet does not tell a missing field from a null one. Other nulls (in a list, of a map) are null.
"""

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from processor.history.inputs.parquet_schema import (
    UUID_BYTES,
    VALUE,
    is_binary,
    is_list,
    is_text,
    is_uuid,
)

_SECONDS = "%Y-%m-%dT%H:%M:%S"
_encoded = msgspec.json.Encoder().encode
_one_value = msgspec.json.Decoder(msgspec.Raw).decode


def values_of(batch: pa.RecordBatch) -> Sequence[bytes | None]:
    """Return the JSON of the event in each row; None where there is no value at all."""
    if batch.schema.names == [VALUE]:
        return [_bytes(each) for each in _plain(batch.column(0)).to_pylist()]
    names = [each for each in batch.schema.names if each != "data"]
    columns = [_attribute(name, batch.column(name)) for name in names]
    if "specversion" not in names:
        names.insert(0, "specversion")
        columns.insert(0, [b'"1.0"'] * batch.num_rows)
    keys = [f'"{name}":'.encode() for name in [*names, "data"]]
    columns.append(_data(batch.column("data")))
    return [
        b"{%b}"
        % b",".join([key + part for key, part in zip(keys, row, strict=True) if part is not None])
        for row in zip(*columns, strict=True)
    ]


def _attribute(name: str, column: pa.Array) -> Sequence[bytes | None]:
    """Return the JSON of an attribute in each row; None where it has none."""
    if name == "subject" and is_binary(column.type):
        texts: Sequence[str | None] = _uuids(column)
    elif types.is_timestamp(column.type):
        texts = list(_times(column))
    else:
        texts = _plain(column).to_pylist()
    return [None if text is None else _encoded(text) for text in texts]


def _data(column: pa.Array) -> Sequence[bytes | None]:
    if is_text(column.type) or is_binary(column.type):
        return [
            None if each is None else _json(each)
            for each in map(_bytes, _plain(column).to_pylist())
        ]
    return [None if each is None else _encoded(each) for each in _values(column)]


def _json(text: bytes) -> bytes:
    """Return `text`, which is one JSON value; else a text, which is no data of any event.

    What is none must not become a part of the JSON around it.
    """
    try:
        _one_value(text)
    except (msgspec.DecodeError, RecursionError):
        return _encoded(text.decode(errors="replace"))
    return text


def _values(column: pa.Array) -> list[Any]:
    """Return the value in each row, of types that JSON has."""
    kind = column.type
    if is_uuid(kind):
        return _uuids(column)
    column = _plain(column)
    kind = column.type
    if types.is_struct(kind):
        return _structs(column)
    if types.is_map(kind):
        return _maps(column)
    if is_list(kind):
        return list(_lists(column, _values(column.flatten())))
    if types.is_timestamp(kind):
        return list(_times(column))
    if types.is_date(kind):
        return list(column.cast(pa.date32()).cast(pa.string()).to_pylist())
    if types.is_time(kind):
        return list(column.cast(pa.string()).to_pylist())
    found: list[Any] = column.to_pylist()
    if types.is_floating(kind):
        # NaN and infinities are no JSON, and break the event that they are in.
        return [None if each is None else msgspec.Raw(repr(each).encode()) for each in found]
    if types.is_decimal(kind):
        return [None if each is None else msgspec.Raw(f"{each:f}".encode()) for each in found]
    return found


def _structs(column: pa.StructArray) -> list[Any]:
    names = [field.name for field in column.type]
    rows = zip(*map(_values, column.flatten()), strict=True) if names else iter(())
    members = (
        {name: part for name, part in zip(names, row, strict=True) if part is not None}
        for row in (rows if names else ((),) * len(column))
    )
    valid = column.is_valid().to_pylist()
    return [each if there else None for each, there in zip(members, valid, strict=True)]


def _maps(column: pa.MapArray) -> list[Any]:
    # Keys and items are those of the whole array that this may be a part of.
    starts = column.offsets.to_pylist()
    first, last = starts[0], starts[-1]
    keys = _values(column.keys[first:last])
    items = _values(column.items[first:last])
    valid = column.is_valid().to_pylist()
    return [
        dict(
            zip(keys[start - first : end - first], items[start - first : end - first], strict=True)
        )
        if there
        else None
        for start, end, there in zip(starts[:-1], starts[1:], valid, strict=True)
    ]


def _lists(column: pa.Array, flat: list[Any]) -> Iterator[list[Any] | None]:
    at = 0
    for length in pc.list_value_length(column).to_pylist():
        if length is None:
            yield None
            continue
        yield flat[at : at + length]
        at += length


def _times(column: pa.TimestampArray) -> Iterator[str | None]:
    """Yield times as RFC 3339, in UTC where they have a time zone: to the microsecond, or finer."""
    zone = column.type.tz
    unit = "ns" if column.type.unit == "ns" else "us"
    instants = column.cast(pa.timestamp(unit, None if zone is None else "UTC"))
    end = "" if zone is None else "Z"
    for text in pc.strftime(instants, _SECONDS).to_pylist():
        if text is None:
            yield None
        else:
            yield (text.removesuffix("000") if unit == "ns" else text) + end


def _uuids(column: pa.Array) -> list[str | None]:
    return [
        None if part is None else _uuid(part)
        for part in _plain(column).cast(pa.binary()).to_pylist()
    ]


def _uuid(part: bytes) -> str:
    # Of another length it is a text, or none that the reader of the event takes.
    return str(UUID(bytes=part)) if len(part) == UUID_BYTES else part.decode(errors="replace")


def _plain(column: pa.Array) -> pa.Array:
    """Return a column's values without a dictionary and an extension's name."""
    while True:
        if types.is_dictionary(column.type):
            column = column.dictionary_decode()
        elif isinstance(column, pa.ExtensionArray):
            column = column.storage
        else:
            return column


def _bytes(each: str | bytes | None) -> bytes | None:
    return each.encode() if isinstance(each, str) else each
