"""Rows of Parquet as the JSON of events.

A file has one column `value`, whole events as JSON; or the attributes of CloudEvents as columns,
and `data` as JSON or as what Parquet knows: structs, maps, lists, numbers, texts, times.

Numbers stay what they are: integers of any size, decimals digit by digit, floats as Python writes
them, which is the shortest text of the same float. A member of a struct that is null is left out:
Parquet does not tell a missing field from a null one. Other nulls (in a list, of a map) are null.
"""

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
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

_WHOLE_MICROSECONDS = r"(\.\d{6})000$"
# Below it a text of JSON has to escape everything.
_SPACE = ord(" ")
_BINARY = pa.large_binary()
_encoded = msgspec.json.Encoder().encode
_one_value = msgspec.json.Decoder(msgspec.Raw).decode


def values_of(batch: pa.RecordBatch) -> pa.LargeBinaryArray:
    """Return the JSON of the event in each row; null where there is no value at all."""
    if batch.schema.names == [VALUE]:
        return _plain(batch.column(0)).cast(_BINARY)
    members = {name: _attribute(name, batch.column(name)) for name in batch.schema.names}
    if "specversion" not in members:
        members = {"specversion": pa.scalar(b'"1.0"', _BINARY)} | members
    return _object(members)


def _attribute(name: str, column: pa.Array) -> pa.LargeBinaryArray:
    """Return the JSON of an attribute in each row; null where it has none."""
    if name == "data" and (is_text(column.type) or is_binary(column.type)):
        texts = _plain(column).cast(_BINARY).to_pylist()
        return pa.array([None if each is None else _json(each) for each in texts], _BINARY)
    if name == "subject" and is_binary(column.type):
        return _quoted(pa.array(_uuids(column), pa.string()))
    return _texts(column)


def _object(members: Mapping[str, pa.Array | pa.Scalar]) -> pa.LargeBinaryArray:
    """Return objects of JSON; a member that is null is left out."""
    parts = [
        _joined(pa.scalar(_encoded(name) + b":", _BINARY), value) for name, value in members.items()
    ]
    listed = pc.binary_join_element_wise(*parts, pa.scalar(b",", _BINARY), null_handling="skip")
    return _joined(pa.scalar(b"{", _BINARY), listed, pa.scalar(b"}", _BINARY))


def _joined(*parts: pa.Array | pa.Scalar) -> pa.LargeBinaryArray:
    """Return the parts of each row together; null where one of them is."""
    return pc.binary_join_element_wise(*parts, pa.scalar(b"", _BINARY))


def _quoted(texts: pa.Array) -> pa.LargeBinaryArray:
    """Return texts as JSON."""
    texts = texts.cast(_BINARY)
    if _has_to_be_escaped(texts):
        found = [None if each is None else _encoded(each.decode()) for each in texts.to_pylist()]
        return pa.array(found, _BINARY)
    quote = pa.scalar(b'"', _BINARY)
    return _joined(quote, texts, quote)


def _has_to_be_escaped(texts: pa.LargeBinaryArray) -> bool:
    _, offsets, content = texts.buffers()
    if content is None or not len(texts):
        return False
    ends = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    held = memoryview(content)[ends[0] : ends[-1]].tobytes()
    if not held:
        return False
    return b'"' in held or b"\\" in held or int(np.frombuffer(held, np.uint8).min()) < _SPACE


def _texts(column: pa.Array) -> pa.LargeBinaryArray:
    """Return the JSON in each row: column by column where that can be, else value by value."""
    if not is_uuid(column.type):
        column = _plain(column)
    kind = column.type
    if types.is_struct(kind) and kind.num_fields:
        members = dict(zip([field.name for field in kind], column.flatten(), strict=True))
        found = _object({name: _texts(member) for name, member in members.items()})
        return pc.if_else(column.is_valid(), found, pa.scalar(None, _BINARY))
    if is_text(kind) and not is_uuid(kind):
        return _quoted(column)
    if types.is_integer(kind) or types.is_boolean(kind) or types.is_decimal(kind):
        return column.cast(pa.string()).cast(_BINARY)
    if types.is_timestamp(kind):
        return _quoted(_times(column))
    if types.is_null(kind):
        return pa.nulls(len(column), _BINARY)
    values = _values(column)
    return pa.array([None if each is None else _encoded(each) for each in values], _BINARY)


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
        return list(_times(column).to_pylist())
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


def _times(column: pa.TimestampArray) -> pa.StringArray:
    """Return times as RFC 3339, in UTC where they have a zone; to the microsecond, or finer."""
    unit = "ns" if column.type.unit == "ns" else "us"
    # numpy's, which takes a tenth of the time of Arrow's.
    instants = pc.fill_null(column.cast(pa.timestamp(unit)).cast(pa.int64()), 0)
    written = np.datetime_as_string(instants.to_numpy().view(f"M8[{unit}]")).astype(np.bytes_)
    missing = column.is_null().to_numpy(zero_copy_only=False)
    texts = pa.array(written, pa.binary(), mask=missing).cast(pa.string())
    if unit == "ns":
        texts = pc.replace_substring_regex(texts, _WHOLE_MICROSECONDS, r"\1")
    end = pa.scalar("" if column.type.tz is None else "Z")
    return pc.binary_join_element_wise(texts, end, "")


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
