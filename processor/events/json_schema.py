"""The contract with producers as JSON Schema (draft 2020-12): one schema for each message type.

A schema describes a message in structured mode: the CloudEvents envelope with its `data`. In binary
mode the record's value is the part at `#/properties/data`. What the reader takes its schema takes,
and what the reader rejects its schema rejects, but for what no schema can say (`BEYOND`);
tests/processor/events/test_json_schema.py holds the two together.

Derived from the decoders of message_schema.py and the catalog; the only rules that stand here are
those that the reader has in code. Pure.
"""

from collections.abc import Mapping
from typing import Any, assert_never

import msgspec
from msgspec import structs

from processor.events.message_schema import (
    BASE64,
    BUILT_IN_DATA,
    BUILT_IN_TOPICS,
    ID_LENGTH_MAX,
    Envelope,
    integer_bounds,
)
from store.values.catalog import Catalog, EventSpec, FieldKind, FieldSpec
from store.values.stream import CommandType

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
# What the reader holds a message against beside its schema: a line each in docs/events/README.md.
BEYOND = (
    (
        "The clock: `time` may be ahead by ten minutes at most, and no older than ids that may"
        " have been forgotten."
    ),
    "The calendar: a 30th of February, or a moment that is none of the years 1 to 9999 in UTC.",
    "How a whole number is written: JSON Schema takes `5.0` and `5e0` for 5, Laurel rejects them.",
    "Digits of a `number`: 30 at most, with an exponent within 30.",
    (
        "Numbers beyond any decimal, such as `1e99999999999999999999`, in undeclared fields of"
        " `data` where Laurel reads those: of commands, and of events whose counters read a field."
    ),
    "The checksum of a wallet's address, its first byte and its workchain.",
    "What a filter of the catalog reads: an undeclared field that holds a number beyond 30 digits.",
    (
        "What `data_base64` holds: `contentSchema` is a note there and checks nothing. It is the"
        " same `data`. Where both are given, Laurel reads `data_base64` and the schema looks at"
        " `data`."
    ),
    (
        "Bytes: JSON that is broken, not UTF-8, or nested too deeply; half of a surrogate pair; a"
        " key that is given twice."
    ),
    (
        "The end of a text: for Python's regular expressions `$` stands before a last line end,"
        " too; validators written in Python overlook one after a time, a UUID or an address."
    ),
    (
        "What `format` adds: the patterns are what Laurel takes. A validator that checks `format`"
        " as well is stricter: a UUID without hyphens, an offset of time without its colon."
    ),
    "Kafka: the topic that a message comes by, and its headers.",
)

# `format` is a note unless a validator is told otherwise; the pattern is what the reader takes.
# Patterns keep to what the regular expressions of ECMAScript, Go (RE2), Python, Rust and Java have
# in common: no look-around, and no escapes but of ASCII.
_PATTERNS = {
    "uuid": "^([0-9a-fA-F]{32}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})$",
    "date-time": (
        "^([1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
        "-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[Tt ]"
        "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]+)?"
        "([Zz]|[+-]([01][0-9]|2[0-3]):?[0-5][0-9])$"
    ),
}
# application/json, or anything that ends in +json; whatever follows a semicolon.
_JSON_TYPE = (
    "^[ \\t]*([Aa][Pp][Pp][Ll][Ii][Cc][Aa][Tt][Ii][Oo][Nn]/[Jj][Ss][Oo][Nn]"
    "|[^;]*\\+[Jj][Ss][Oo][Nn])[ \\t]*(;|$)"
)
_ADDRESS = "^(-?0{1,3}:[0-9a-fA-F]{64}|[A-Za-z0-9_/+-]{48})$"
# PostgreSQL's text holds no NUL: in no text, and in no name of a field, however deep.
_NO_NUL = "^[^\\x00]*$"
_TEXT: Schema = {
    "pattern": _NO_NUL,
    "propertyNames": {"pattern": _NO_NUL},
    "additionalProperties": {"$ref": "#/$defs/text"},
    "items": {"$ref": "#/$defs/text"},
}
_ATTRIBUTES: Mapping[str, Schema] = {
    "id": {
        "description": "The producer's own; a repeated source and id is counted once.",
        "pattern": _NO_NUL,
    },
    "source": {
        "description": "Who sends: its first path segment names the service.",
        "pattern": _NO_NUL,
    },
    "subject": {"description": "The user."},
    "time": {"description": "When it happened, by RFC 3339."},
    "tenantid": {"description": "The tenant; the configured one unless given."},
    "datacontenttype": {"pattern": _JSON_TYPE},
    "data_base64": {
        "pattern": f"^{BASE64}$",
        "contentEncoding": "base64",
        "contentMediaType": "application/json",
        "contentSchema": {"$ref": "#/properties/data"},
    },
}
# What the reader asks of commands in code.
_BADGE_NAMED: Schema = {"anyOf": [{"required": ["type_code"]}, {"required": ["instance_id"]}]}
_ALSO: Mapping[str, Schema] = {
    CommandType.MINT: _BADGE_NAMED,
    CommandType.BURN: _BADGE_NAMED,
    CommandType.REVOKE: _BADGE_NAMED,
}
_ALSO_REQUIRED: Mapping[str, list[str]] = {CommandType.REVOKE: ["reason"]}


def schemas(catalog: Catalog) -> dict[str, Schema]:
    """Return the schema of each message type: those of the catalog, then Laurel's own."""
    found = {spec.type: _message(spec.type, spec.topic, _declared(spec)) for spec in catalog.events}
    for kind, struct in BUILT_IN_DATA.items():
        found[kind] = _message(kind, BUILT_IN_TOPICS[kind], _built_in(kind, struct))
    return found


def _message(kind: str, topic: str, data: Schema) -> Schema:
    properties = {
        field.encode_name: _attribute(field.encode_name, field.type)
        for field in structs.fields(Envelope)
        if field.encode_name != "data"
    }
    properties["type"] = {"const": kind}
    schema: Schema = {
        "$schema": DIALECT,
        "title": kind,
        "description": f"A CloudEvent in structured mode, on the topic `<prefix>.{topic}`.",
        "type": "object",
        "properties": properties | {"data": data},
        "required": [field.encode_name for field in structs.fields(Envelope) if field.required],
    }
    if data["required"]:
        schema["anyOf"] = [
            {"required": ["data"]},
            {"required": ["data_base64"], "properties": {"data_base64": {"type": "string"}}},
        ]
    schema["$defs"] = {"text": _TEXT}
    return schema


def _attribute(name: str, kind: object) -> Schema:
    return _sharpened(msgspec.json.schema(kind)) | _ATTRIBUTES.get(name, {})


def _declared(spec: EventSpec) -> Schema:
    return _data(
        {field.name: _field(field) for field in spec.fields},
        [field.name for field in spec.fields if field.required],
    )


def _built_in(kind: str, struct: type[msgspec.Struct]) -> Schema:
    (name,) = (components := msgspec.json.schema(struct)["$defs"])
    properties = {
        field: _sharpened(schema) for field, schema in components[name]["properties"].items()
    }
    if "address" in properties:
        properties["address"]["pattern"] = _ADDRESS
    required = [*components[name]["required"], *_ALSO_REQUIRED.get(kind, [])]
    return _data(properties, required) | _ALSO.get(kind, {})


def _data(properties: Mapping[str, Schema], required: list[str]) -> Schema:
    return {
        "type": "object",
        "$ref": "#/$defs/text",
        "properties": dict(properties),
        "required": required,
    }


def _field(field: FieldSpec) -> Schema:
    match field.kind:
        case FieldKind.ID:
            return {"type": "string", "minLength": 1, "maxLength": ID_LENGTH_MAX}
        case FieldKind.TEXT:
            return {"type": "string"}
        case FieldKind.INTEGER:
            low, high = integer_bounds(field)
            return {"type": "integer", "minimum": low, "maximum": high}
        case FieldKind.NUMBER:
            bounds = {"minimum": 0 if field.minimum is None else field.minimum}
            if field.maximum is not None:
                bounds["maximum"] = field.maximum
            return {"type": "number", **bounds}
        case unreachable:
            assert_never(unreachable)


def _sharpened(schema: Mapping[str, Any]) -> Schema:
    """Return msgspec's schema of a value with what the reader takes of each format."""
    found = {
        name: value
        for name, value in schema.items()
        if name not in ("default", "title", "description")
    }
    if "anyOf" in found:  # a value, or null
        (one,) = (each for each in found["anyOf"] if each != {"type": "null"})
        found = _sharpened(one)
        found["type"] = [found["type"], "null"]
    if found.get("format") in _PATTERNS:
        found["pattern"] = _PATTERNS[found["format"]]
    return found
