"""Which columns of Parquet are events, and what is said of others."""

import pyarrow as pa
from pyarrow import types

from ops.errors import UsageError

VALUE = "value"
_REQUIRED = ("id", "source", "type", "subject", "time", "data")
_OPTIONAL = ("specversion", "tenantid", "datacontenttype")
UUID_BYTES = 16


class _Refused(Exception):
    """What is wrong with a column, until its file is known."""


def check(schema: pa.Schema, name: str) -> None:
    """Refuse columns that are no events.

    Raises:
        UsageError: names the file, the columns, and what they should be.
    """
    try:
        _check(schema)
    except _Refused as refused:
        raise UsageError(f"{name}: {refused}", path=name) from None


def _check(schema: pa.Schema) -> None:
    names: list[str] = schema.names
    if names == [VALUE]:
        if not is_text(schema.field(0).type) and not is_binary(schema.field(0).type):
            raise _Refused(f"its column `value` is {schema.field(0).type}, not a text or bytes.")
        return
    missing = [each for each in _REQUIRED if each not in names]
    if missing:
        raise _Refused(
            f"it has the columns {', '.join(names)}, and lacks {', '.join(missing)}. Either one "
            "column `value` holds whole events as JSON, or the columns are the attributes "
            f"{', '.join(_REQUIRED)}, and perhaps {', '.join(_OPTIONAL)}: name them so by a query."
        )
    if len(set(names)) < len(names):
        raise _Refused(f"two of its columns have one name: {', '.join(names)}.")
    for field in schema:
        match field.name:
            case "data":
                _check_data(field.type, "data", top=True)
            case "time":
                _check_time(field.type)
            case "subject":
                _check_subject(field)
            case name:
                _check_attribute(name, field.type)


def _check_attribute(name: str, kind: pa.DataType) -> None:
    if not is_text(kind):
        raise _Refused(f"its column `{name}` is {kind}, not a text. Cast it, or leave it out.")
    # CloudEvents 1.0, section 3.1.1: lower-case letters and digits.
    if not (name.isascii() and name.isalnum() and name == name.lower()):
        raise _Refused(
            f"its column `{name}` is no attribute of CloudEvents, whose names have a to z and 0 to "
            "9 alone. Leave it out."
        )
    if name == "data_base64":
        raise _Refused("its column `data_base64` is not read: give `data`.")


def _check_time(kind: pa.DataType) -> None:
    if types.is_timestamp(kind) and kind.tz is None:
        raise _Refused(
            "its column `time` has no time zone, so that nobody knows which instants it means. "
            "Write it with one, as by time AT TIME ZONE 'UTC'."
        )
    if not types.is_timestamp(kind) and not is_text(kind):
        raise _Refused(f"its column `time` is {kind}, not a timestamp with time zone or a text.")


def _check_subject(field: pa.Field) -> None:
    if not (is_text(field.type) or is_binary(field.type)):
        raise _Refused(f"its column `subject` is {field.type}, not a UUID, 16 bytes or a text.")


def _check_data(kind: pa.DataType, path: str, *, top: bool = False) -> None:
    if is_uuid(kind):
        return
    kind = plain(kind)
    if top and not (
        is_text(kind) or is_binary(kind) or types.is_struct(kind) or types.is_map(kind)
    ):
        raise _Refused(f"its column `data` is {kind}, not JSON, a struct or a map.")
    if types.is_struct(kind):
        for field in kind:
            _check_data(field.type, f"{path}.{field.name}")
    elif types.is_map(kind):
        if not is_text(kind.key_type):
            raise _Refused(f"`{path}` is a map with keys of {kind.key_type}, not of text.")
        _check_data(kind.item_type, f"{path}.*")
    elif is_list(kind):
        _check_data(kind.value_type, f"{path}[]")
    elif not top and not _is_scalar(kind):
        raise _Refused(f"`{path}` is {kind}, which JSON has no word for. Cast it to a text.")


def plain(kind: pa.DataType) -> pa.DataType:
    """Return what a type's values are, without a dictionary and an extension's name."""
    while True:
        if types.is_dictionary(kind):
            kind = kind.value_type
        elif isinstance(kind, pa.BaseExtensionType):
            kind = kind.storage_type
        else:
            return kind


def is_text(kind: pa.DataType) -> bool:
    """Return whether its values are texts."""
    kind = plain(kind)
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def is_binary(kind: pa.DataType) -> bool:
    """Return whether its values are bytes."""
    kind = plain(kind)
    return bool(
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_binary_view(kind)
        or types.is_fixed_size_binary(kind)
    )


def is_list(kind: pa.DataType) -> bool:
    """Return whether its values are lists."""
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def is_uuid(kind: pa.DataType) -> bool:
    """Return whether its values are declared as UUIDs."""
    return isinstance(kind, pa.UuidType)


def _is_scalar(kind: pa.DataType) -> bool:
    return bool(
        is_text(kind)
        or types.is_null(kind)
        or types.is_boolean(kind)
        or types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_decimal(kind)
        or types.is_timestamp(kind)
        or types.is_date(kind)
        or types.is_time(kind)
    )
