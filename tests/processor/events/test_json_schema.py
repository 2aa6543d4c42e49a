"""The schemas of the contract say what the reader does: they are held against it, message by message."""

import json
import re
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from msgspec import structs

from ops.settings import DEFAULT_TENANT
from processor.catalog import load
from processor.events.chunks import PlainRecord
from processor.events.json_schema import _ATTRIBUTES, schemas
from processor.events.message_schema import BUILT_IN_DATA, Envelope
from processor.events.reader import EventReader
from processor.events.rejection import Rejected
from store.values.catalog import EventSpec, FieldKind, FieldSpec
from store.values.stream import CommandType
from tests.builders.messages import ALICE, NOW, an_event

# Every kind of field, with and without bounds, beside the shipped types.
TRIP = EventSpec(
    "trip.ended",
    "trips",
    (
        FieldSpec("trip_id", FieldKind.ID, required=True),
        FieldSpec("kilometres", FieldKind.NUMBER, required=True, maximum=500),
        FieldSpec("litres", FieldKind.NUMBER, minimum=-3),
        FieldSpec("stops", FieldKind.INTEGER, minimum=2, maximum=9),
        FieldSpec("seconds", FieldKind.INTEGER),
        FieldSpec("mood", FieldKind.TEXT),
    ),
)
PAUSED = EventSpec("trip.paused", "trips", ())
_SHIPPED = load.load(load.SHIPPED)
CATALOG = replace(_SHIPPED, events=(*_SHIPPED.events, TRIP, PAUSED))
SCHEMAS = schemas(CATALOG)
VALIDATORS = {kind: Draft202012Validator(schema) for kind, schema in SCHEMAS.items()}
READ = EventReader(CATALOG, DEFAULT_TENANT, timedelta(minutes=10), None).at(NOW, topic=None)

ADDRESS = "0:" + "ab" * 32
GOOD: dict[str, Any] = {
    "type_code": "explorer",
    "instance_id": str(UUID(int=7)),
    "reason": "cheated",
    "address": ADDRESS,
    "kilometres": 3,
    "stops": 4,
    "stars": 5,
    "rating": 1,
    "litres": -1,
}
# JSON Schema takes 5.0 for a whole number; it is left out of what is drawn (json_schema.BEYOND).
NUMBERS = st.one_of(
    st.integers(-(10**3), 10**3),
    st.sampled_from([2**53 - 1, 2**53, 10**29, 0.5, 1.25, 499.75, 500.5, -3.5, True]),
)
# Python's `$` also stands before a line's last end; no other regular expressions' does.
TEXTS = st.text(max_size=6).filter(lambda text: not text.endswith("\n"))
STRINGS = st.one_of(
    TEXTS,
    st.sampled_from(["", "x" * 128, "x" * 129, "\x00", "a\x00b", "\U0001f980" * 128]),
    st.sampled_from([str(ALICE), ALICE.hex, str(ALICE).upper(), f"{{{ALICE}}}", f"-{ALICE}"]),
    st.sampled_from(
        [ADDRESS, "-1:" + "ab" * 32, "000:" + "AB" * 32, "\u0660:" + "ab" * 32, "1.0", "1.1"]
    ),
)
SCALARS = st.one_of(st.none(), NUMBERS, STRINGS)
NESTED = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(STRINGS, inner, max_size=2)
    ),
    max_leaves=4,
)
# The parts of a time: one that is right, and others.
_PARTS = (
    ("2025", ["0000", "0001", "26", "1969"]),
    ("-", ["/", ""]),
    ("06", ["00", "01", "12", "13", "6"]),
    ("-", ["/"]),
    ("15", ["00", "01", "28", "32", "5"]),
    ("T", ["t", " ", "_", ""]),
    ("12", ["00", "23", "24", "7"]),
    (":00", [":59", ":60", ""]),
    (":00", [":59", ":60", ""]),
    ("", [".5", ".123456789123", ".", ",5"]),
    ("Z", ["z", "+02:00", "-2359", "+24:00", "+02", "", "+00:60"]),
)


@st.composite
def times(draw: st.DrawFn) -> str:
    """A time with at most two parts that are not as usual."""
    odd = draw(st.sets(st.integers(0, len(_PARTS) - 1), max_size=2))
    return "".join(
        draw(st.sampled_from(others)) if number in odd else good
        for number, (good, others) in enumerate(_PARTS)
    )


MEDIA_TYPES = st.sampled_from(
    [
        "application/json",
        "Application/JSON ; charset=utf-8",
        " application/json",
        "application/vnd.acme+json;v=1",
        "text/plain",
        "text/plain; application/json",
        "application/jsonp",
        "\tapplication/json \t; charset=utf-8",
        "\u00a0application/json",
        "\ufeffapplication/json",
        "application/json\r;",
        "a+json\n;",
        "",
    ]
)


def usually(good: object, other: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Draw `good` five times out of six: else no message would be right as a whole."""
    return st.integers(0, 5).flatmap(lambda number: other if number == 0 else st.just(good))


ABSENT = object()


@st.composite
def messages(draw: st.DrawFn) -> dict[str, Any]:
    """A message of any type, right or wrong in a few places."""
    kind = draw(st.sampled_from(sorted(SCHEMAS)))
    odd = st.one_of(st.just(ABSENT), NESTED)
    data: dict[str, Any] = {
        name: draw(usually(GOOD.get(name, f"{name}-1"), odd))
        if name not in ("seconds", "duration_s", "length")
        else draw(usually(7, odd))
        for name in SCHEMAS[kind]["properties"]["data"]["properties"]
    }
    if draw(st.booleans()):
        data |= draw(st.dictionaries(STRINGS, NESTED, max_size=2))
    document = an_event(kind) | {
        "id": draw(usually("e1", odd)),
        "source": draw(usually("/quest-service", odd)),
        "specversion": draw(usually("1.0", odd)),
        "subject": draw(usually(str(ALICE), odd)),
        "time": draw(usually("2026-06-01T12:00:00Z", st.one_of(times(), odd))),
        "tenantid": draw(usually(ABSENT, odd)),
        "datacontenttype": draw(usually(ABSENT, st.one_of(MEDIA_TYPES, odd))),
        "data_base64": draw(usually(ABSENT, st.none())),
        "data": draw(
            usually({name: value for name, value in data.items() if value is not ABSENT}, odd)
        ),
        "partitionkey": draw(usually(ABSENT, NESTED)),
    }
    return {name: value for name, value in document.items() if value is not ABSENT}


@given(message=messages())
def test_a_schema_takes_what_the_reader_takes_and_nothing_else(message: dict[str, Any]) -> None:
    read = READ(PlainRecord(0, json.dumps(message).encode()))
    found = next(VALIDATORS[message["type"]].iter_errors(message), None)
    event("rejected" if isinstance(read, Rejected) else "read")
    assert isinstance(read, Rejected) == (found is not None), (read, found)


@settings(max_examples=max(400, settings.default.max_examples if settings.default else 0))
@given(time=times())
def test_a_time_is_what_the_reader_takes_for_one(time: str) -> None:
    message = an_event("trip.paused", time=time)
    read = READ(PlainRecord(0, json.dumps(message).encode()))
    assert VALIDATORS["trip.paused"].is_valid(message) != isinstance(read, Rejected), (time, read)


@example(text="AAAA=")
@given(text=st.text("AB+/=_ ", max_size=9))
def test_base64_is_what_the_reader_takes_for_it(text: str) -> None:
    read = READ(PlainRecord(0, json.dumps(an_event("trip.paused", data_base64=text)).encode()))
    refused = isinstance(read, Rejected) and "base64" in read.detail
    assert VALIDATORS["trip.paused"].is_valid(an_event("trip.paused", data_base64=text)) != refused


def test_data_in_base64_stands_for_data() -> None:
    held = b64encode(b'{"partner_id": "p1"}').decode()
    message = an_event("partner.joined", data_base64=held)
    del message["data"]
    assert VALIDATORS["partner.joined"].is_valid(message)
    assert not isinstance(READ(PlainRecord(0, json.dumps(message).encode())), Rejected)


@pytest.mark.parametrize("kind", sorted(SCHEMAS))
def test_each_schema_is_a_schema_and_takes_a_message_of_its_own_type_alone(kind: str) -> None:
    Draft202012Validator.check_schema(SCHEMAS[kind])
    asked = SCHEMAS[kind]["properties"]["data"]["required"]
    message = an_event(
        kind, ALICE, {name: GOOD.get(name, "x") for name in [*asked, "type_code", "reason"]}
    )
    assert [other for other in SCHEMAS if VALIDATORS[other].is_valid(message)] == [kind]


def test_no_message_type_and_no_attribute_is_left_out() -> None:
    assert set(SCHEMAS) == {spec.type for spec in CATALOG.events} | set(BUILT_IN_DATA)
    assert set(CommandType) <= set(BUILT_IN_DATA)
    attributes = {field.encode_name for field in structs.fields(Envelope)}
    assert set(SCHEMAS["trip.ended"]["properties"]) == attributes
    assert set(_ATTRIBUTES) <= attributes


def patterns_of(schema: object) -> Iterator[str]:
    match schema:
        case dict():
            for name, each in schema.items():
                if name == "pattern":
                    yield each
                yield from patterns_of(each)
        case list():
            for each in schema:
                yield from patterns_of(each)
        case _:
            pass


def test_patterns_are_what_every_dialect_of_regular_expressions_takes() -> None:
    """Go's has neither look-around nor \\u, and a schema with one pattern of them is none to it."""
    patterns = {pattern for schema in SCHEMAS.values() for pattern in patterns_of(schema)}
    escapes = {escape for pattern in patterns for escape in re.findall(r"\\(x..|.)", pattern)}
    assert escapes <= {"x00", "t", ".", "+"}
    assert not [pattern for pattern in patterns if "(?" in pattern]
    assert all(pattern.isascii() and pattern.isprintable() for pattern in patterns)


def test_a_field_says_its_kind_and_its_bounds() -> None:
    assert SCHEMAS["trip.ended"]["properties"]["data"]["properties"] == {
        "trip_id": {"type": "string", "minLength": 1, "maxLength": 128},
        "kilometres": {"type": "number", "minimum": 0, "maximum": 500},
        "litres": {"type": "number", "minimum": -3},
        "stops": {"type": "integer", "minimum": 2, "maximum": 9},
        "seconds": {"type": "integer", "minimum": 0, "maximum": 2**53 - 1},
        "mood": {"type": "string"},
    }
