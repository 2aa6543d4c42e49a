"""Generate malformed messages, which become dead letters.

Each kind is one mistake that a producer makes, with the reason its dead letter should have.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from demo.cloudevents import PLAIN_JSON, Event, as_json, binary, structured
from demo.records import Record


@dataclass(frozen=True, slots=True)
class Kind:
    """A mistake.

    `spoil` makes a broken message of a good event, `reason` is the code of its dead letter.
    """

    name: str
    reason: str
    spoil: Callable[[Event], Record]


def _value(event: Event, value: bytes | None) -> Record:
    return replace(structured(event), value=value)


def _attributes(event: Event, **changes: object) -> Record:
    """Return `event` with attributes changed, or dropped where the change is None."""
    document: dict[str, object] = event.attributes() | {"data": event.data} | changes
    return _value(
        event, as_json({name: value for name, value in document.items() if value is not None})
    )


def _data(event: Event, data: object) -> Record:
    return _value(event, as_json(event.attributes() | {"data": data}))


def _visit(event: Event, **data: object) -> Record:
    return structured(
        replace(event, topic="cities", type="city.visited", data={"city_id": "1", **data})
    )


def _quest(event: Event, data: Mapping[str, Any]) -> Record:
    return structured(replace(event, topic="quests", type="quest.completed", data=data))


def _review(event: Event, **data: object) -> Record:
    return structured(
        replace(event, topic="reviews", type="review.posted", data={"review_id": "r-1", **data})
    )


def _wallet(event: Event, address: object) -> Record:
    return structured(
        replace(event, topic="wallets", type="wallet.linked", data={"address": address})
    )


def _command(event: Event, type_: str, **data: object) -> Record:
    return structured(replace(event, topic="commands", type=type_, data=data))


def _another_user(event: Event) -> Record:
    return structured(replace(event, subject="5d8d2f6e-0f9e-4c0a-8f3b-2b1a9c8d7e60"))


def _another_type(event: Event) -> Record:
    if event.type == "quest.published":
        return _quest(event, {"quest_id": "q-1"})
    return structured(
        replace(event, topic="quests", type="quest.published", data={"quest_id": "q-1"})
    )


def _without_header(event: Event, name: str) -> Record:
    record = binary(event)
    return replace(record, headers=tuple(header for header in record.headers if header[0] != name))


def _half_a_character(event: Event) -> Record:
    # JSON can write it as an escape; UTF-8 cannot carry it.
    visit = replace(event, topic="cities", type="city.visited")
    return _value(visit, json.dumps(visit.attributes() | {"data": {"city_id": "\ud800"}}).encode())


def _nested(event: Event) -> Record:
    deep = b"[" * 5_000 + b"]" * 5_000
    whole = structured(event).value or b""
    return _value(event, b'{"extra":' + deep + b"," + whole[1:])


def _exponent(event: Event) -> Record:
    visit = replace(event, topic="cities", type="city.visited", data={"city_id": "1"})
    whole = structured(visit).value or b""
    return _value(visit, whole.replace(b'"city_id"', b'"height":1e99999999999999999999,"city_id"'))


def _base64(event: Event) -> Record:
    document: dict[str, object] = {**event.attributes(), "data_base64": "/w=="}
    return _value(event, as_json(document))


KINDS = (
    Kind("a null value", "no_value", lambda e: _value(e, None)),
    Kind("an empty value", "not_json", lambda e: _value(e, b"")),
    Kind("JSON cut off", "not_json", lambda e: _value(e, (structured(e).value or b"")[:-7])),
    Kind("not UTF-8", "not_json", lambda e: _value(e, b'{"id":"\xff\xfe"}')),
    Kind("bytes of another format", "not_json", lambda e: _value(e, bytes(range(256)))),
    Kind("JSON nested too deeply", "unreadable", _nested),
    Kind("an exponent beyond any decimal", "bad_field", _exponent),
    Kind("base64 that is not UTF-8", "not_json", _base64),
    Kind("a list", "bad_envelope", lambda e: _value(e, b"[1,2,3]")),
    Kind(
        "another content type",
        "content_type",
        lambda e: replace(structured(e), headers=(("content-type", b"text/csv"),)),
    ),
    Kind(
        "data alone",
        "bad_specversion",
        lambda e: replace(binary(e), headers=(("content-type", PLAIN_JSON),)),
    ),
    Kind("an old specification", "bad_specversion", lambda e: _attributes(e, specversion="0.3")),
    Kind("no id", "bad_envelope", lambda e: _attributes(e, id=None)),
    Kind("no source", "bad_envelope", lambda e: _attributes(e, source=None)),
    Kind("no time", "bad_time", lambda e: _attributes(e, time=None)),
    Kind("no type header", "bad_envelope", lambda e: _without_header(e, "ce_type")),
    Kind("a time that is none", "bad_time", lambda e: _attributes(e, time="yesterday")),
    Kind("a time without zone", "bad_time", lambda e: _attributes(e, time="2025-05-05T05:05:05")),
    Kind("a time far ahead", "too_new", lambda e: _attributes(e, time="2999-01-01T00:00:00Z")),
    Kind("a user that is no UUID", "bad_subject", lambda e: _attributes(e, subject="alice")),
    Kind("a tenant that is no UUID", "bad_tenant", lambda e: _attributes(e, tenantid="acme")),
    Kind("an unknown type", "unknown_type", lambda e: _attributes(e, type="quest.dreamt")),
    Kind(
        "a type on another topic", "wrong_topic", lambda e: replace(structured(e), topic="wallets")
    ),
    Kind("no data", "missing_field", lambda e: _value(e, as_json(e.attributes()))),
    Kind("data that is a list", "bad_data", lambda e: _data(e, [1, 2])),
    Kind("a required field missing", "missing_field", lambda e: _quest(e, {"rating": 5})),
    Kind("null in a field", "null_field", lambda e: _visit(e, country=None)),
    Kind("five stars and one", "bad_field", lambda e: _review(e, stars=6)),
    Kind("half a star", "bad_field", lambda e: _review(e, stars=4.5)),
    Kind(
        "a number too large",
        "bad_field",
        lambda e: _quest(e, {"quest_id": "q-1", "duration_s": 2**53}),
    ),
    Kind("a number as text", "bad_field", lambda e: _quest(e, {"quest_id": "q-1", "rating": "5"})),
    Kind("an id that is a number", "bad_field", lambda e: _quest(e, {"quest_id": 17})),
    Kind("an empty id", "bad_field", lambda e: _visit(e, city_id="")),
    Kind("an id too long", "bad_field", lambda e: _visit(e, city_id="c" * 129)),
    Kind("NUL in an id", "bad_text", lambda e: _visit(e, city_id="Par\x00is")),
    Kind("half a character in an id", "not_json", _half_a_character),
    Kind("an address that is none", "bad_address", lambda e: _wallet(e, "EQ" + "A" * 46)),
    Kind(
        "a command without its id",
        "missing_field",
        lambda e: _command(e, "badge.mint", type_code="explorer"),
    ),
)

# Events that keep to the contract under an id that was used: made of an event that was counted
# before they are sent.
USED_ID = (
    Kind("another user under a used id", "event_id_conflict", _another_user),
    Kind("another type under a used id", "event_id_conflict", _another_type),
)
