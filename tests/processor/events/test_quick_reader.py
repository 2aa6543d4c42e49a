"""The quick reader says of a record what the full one says, or leaves it to that one.

Both are compared by `repr`, which tells 1 from Decimal("1"), and that from Decimal("1.0").
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from ops.settings import DEFAULT_TENANT
from processor.catalog import load
from processor.events.chunks import PlainRecord
from processor.events.event import Event
from processor.events.identity import event_key
from processor.events.quick_reader import QuickReader
from processor.events.reader import EventReader
from processor.events.records import Headers, Record, bounded
from processor.rules.counters import listeners_by_type
from store.values.catalog import (
    Catalog,
    CounterKind,
    CounterSpec,
    EventSpec,
    FieldKind,
    FieldSpec,
)
from store.values.names import CounterName
from tests.builders.messages import (
    ALICE,
    NOW,
    encoded,
)
from tests.builders.raw_json import HEADERS, NUMBERS, STRINGS, TIMES, TOKENS, RawRecord, records

TOLERANCE = timedelta(minutes=10)
FLOOR = date(2026, 5, 1)
SHIPPED = load.load(load.SHIPPED)
ENDED = EventSpec(
    "trip.ended",
    "trips",
    (
        FieldSpec("trip_id", FieldKind.ID, required=True),
        FieldSpec("city", FieldKind.ID),
        FieldSpec("km", FieldKind.NUMBER, required=True),
        FieldSpec("litres", FieldKind.NUMBER, minimum=-3, maximum=500),
        FieldSpec("stops", FieldKind.INTEGER, minimum=-2, maximum=9),
        FieldSpec("seconds", FieldKind.INTEGER),
        FieldSpec("mood", FieldKind.TEXT),
    ),
)
# Of the same topic, and without a field that it must have.
UNDONE = EventSpec("trip.undone", "trips", (FieldSpec("trip_id", FieldKind.ID),))
GOOD = {
    "trip_id": '"t-1"',
    "city": '"berlin"',
    "km": "12.50",
    "litres": "7",
    "stops": "3",
    "seconds": "3600",
    "mood": '"fine"',
    "tier": '"gold"',
    "height": "8848",
}
ATTRIBUTES = {
    "specversion": '"1.0"',
    "id": '"e1"',
    "source": '"/trip-service/eu"',
    "type": '"trip.ended"',
    "subject": f'"{ALICE}"',
    "time": '"2026-06-01T12:00:00Z"',
}


def a_counter(kind: CounterKind, number: int = 1, **changes: Any) -> CounterSpec:
    return replace(CounterSpec(number, CounterName(f"c{number}"), kind, "trip.ended"), **changes)


def a_trips_catalog(*counters: CounterSpec) -> Catalog:
    return Catalog(1, (ENDED, UNDONE), counters, ())


def quickly(record: Record, catalog: Catalog = SHIPPED, topic: str | None = None) -> Event | None:
    """What the quick reader says of a record; None where it leaves it."""
    specs = [spec for spec in catalog.events if topic in (None, spec.topic)]
    quick = QuickReader(specs, listeners_by_type(catalog), DEFAULT_TENANT)
    try:
        return quick.at(datetime(2026, 5, 1, tzinfo=UTC), NOW + TOLERANCE)(record)
    except Exception:  # noqa: BLE001 - as whoever calls it
        return None


def a_record(message: Mapping[str, Any] | bytes, headers: Headers = ()) -> PlainRecord:
    return PlainRecord(7, encoded(message), headers=headers)


def a_trip(attributes: Mapping[str, str] | None = None, /, **data: str) -> PlainRecord:
    """An event of JSON tokens as they are written; "" leaves one out."""
    fields = ",".join(f'"{name}":{token}' for name, token in (GOOD | data).items() if token)
    whole = ATTRIBUTES | {"data": f"{{{fields}}}"} | dict(attributes or {})
    text = ",".join(f'"{name}":{token}' for name, token in whole.items() if token)
    return PlainRecord(7, f"{{{text}}}".encode())


# ------------------------------------------------------------------ it never says anything else

COUNTERS = st.one_of(
    st.just(a_counter(CounterKind.COUNT)),
    st.builds(
        lambda field: a_counter(CounterKind.DISTINCT, field=field),
        st.sampled_from(["trip_id", "city", "tier", 'od"d']),
    ),
    st.builds(
        lambda kind, field: a_counter(kind, field=field),
        st.sampled_from([CounterKind.SUM, CounterKind.MAX]),
        st.sampled_from(["km", "litres", "stops", "seconds", "height"]),
    ),
    st.builds(
        lambda field, undo: a_counter(
            CounterKind.COUNT, field=field, undo_event_type="trip.undone", undo_field=undo
        ),
        st.sampled_from(["trip_id", "tier"]),
        st.sampled_from([None, "trip_id", "city"]),
    ),
)
BOUNDS = st.one_of(st.integers(-3, 9), st.decimals(-3, 9, places=2))
COMPARISONS = st.one_of(
    st.tuples(st.sampled_from(["gte", "gt", "lte", "lt", "eq", "ne"]), BOUNDS),
    st.tuples(st.sampled_from(["eq", "ne"]), st.sampled_from(["gold", "fine", True, ""])),
    st.tuples(st.just("in"), st.lists(BOUNDS | st.just("gold"), min_size=1, max_size=3)),
).map(lambda pair: dict([pair]))
FILTERS = st.recursive(
    st.builds(lambda name, test: {name: test}, st.sampled_from([*GOOD, 'od"d']), COMPARISONS),
    lambda inner: st.one_of(
        st.builds(lambda parts: {"all": parts}, st.lists(inner, min_size=1, max_size=2)),
        st.builds(lambda parts: {"any": parts}, st.lists(inner, min_size=1, max_size=2)),
        st.builds(lambda part: {"not": part}, inner),
    ),
    max_leaves=3,
)


@st.composite
def catalogs(draw: st.DrawFn) -> Catalog:
    """Up to three counters of any kind, with and without a filter."""
    counters = [
        replace(counter, id=number, filter=draw(st.none() | FILTERS))
        for number, counter in enumerate(draw(st.lists(COUNTERS, max_size=3)), 1)
    ]
    return a_trips_catalog(*counters)


ODD_NUMBERS = ["1e5", "1.0", "-0", "-0.0", "0e0", "5.0", "1e30", "1E-30", "-2", "-3", "499.75"]
LONG_NUMBERS = ["9" * 30, "9" * 31, f"1e{'0' * 130}5", "1e99999999999999999999", "1" * 5_000]
NUMERIC = NUMBERS | st.sampled_from([*ODD_NUMBERS, *LONG_NUMBERS, str(2**53), str(2**64)])
# The edges of what is on time.
MOMENTS = st.sampled_from(
    [
        '"2026-06-01T12:10:00Z"',
        '"2026-06-01T12:10:00.000001Z"',
        '"2026-05-01T00:00:00Z"',
        '"2026-04-30T23:59:59.999999Z"',
        '"2026-06-01T14:00:00+02:00"',
        '"2026-06-01T12:00:00+00:00"',
        '"0001-01-01T00:00:00Z"',
        '"2026-06-01T12:00:00"',
    ]
)
UUID7 = '"018f2f6e-1a2b-7c3d-8e4f-0123456789ab"'
# Other values of what an event is made of, right and wrong ones.
VALUES: Mapping[str, st.SearchStrategy[str]] = {
    "id": STRINGS | st.just(UUID7),
    "source": STRINGS | st.sampled_from([json.dumps("/s" * 128), json.dumps("/s" * 129)]),
    "type": STRINGS | st.sampled_from(['"trip.undone"', '"trip.dreamt"', '"tri\\u0070.ended"']),
    "subject": STRINGS | st.sampled_from([f'"{ALICE.hex}"', f'"{str(ALICE).upper()}"']),
    "time": MOMENTS | TIMES,
    "datacontenttype": STRINGS | st.sampled_from(['"application/json"', '"a/b+json"', "null"]),
    "data_base64": st.sampled_from(["null", '"e30="', '"e"']),
    "tenantid": STRINGS | st.sampled_from([f'"{UUID(int=9)}"', "null"]),
    **dict.fromkeys(("trip_id", "city", "mood", "tier"), STRINGS),
    **dict.fromkeys(("km", "litres", "stops", "seconds", "height"), NUMERIC),
}
UNDECLARED = [*VALUES, "tier", "height", 'od"d', "höhe", "extra", "partitionkey", ""]
TROUBLES = st.sampled_from(["value", "value", "token", "more", "twice", "less", "name", "order"])
OTHER_HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["content-type", "Content-Type", "traceparent", "Ce_id"]),
        st.sampled_from(
            [
                b"application/cloudevents+json",
                b"application/cloudevents+json; charset=utf-8",
                b"application/json",
                b" Application/JSON",
                b"application/cloudevents-batch+json",
                b"text/plain",
                None,
            ]
        ),
    ),
    max_size=2,
)


def values_of(name: str) -> st.SearchStrategy[str]:
    return VALUES.get(json.loads(name), TOKENS | NUMERIC)


@st.composite
def members(draw: st.DrawFn, good: Mapping[str, str]) -> str:
    """An object of members, names and tokens as they are written, with up to two troubles."""
    found = [(json.dumps(name), token) for name, token in good.items()]
    for trouble in draw(st.lists(TROUBLES, max_size=2)):
        place = draw(st.integers(0, len(found) - 1))
        name, token = found[place]
        match trouble:
            case "value":
                found[place] = name, draw(values_of(name))
            case "token":
                found[place] = name, draw(TOKENS)
            case "more":
                name = json.dumps(draw(st.sampled_from(UNDECLARED)), ensure_ascii=False)
                found.append((name, draw(values_of(name))))
            case "twice":
                found.append((name, draw(st.just(token) | values_of(name))))
            case "less" if len(found) > 1:
                del found[place]
            case "name" if len(name) > 2 and name.isascii() and "\\" not in name:
                found[place] = f'"\\u{ord(name[1]):04x}{name[2:]}', token
            case _:
                found = draw(st.permutations(found))
    return "{" + ",".join(f"{name}:{token}" for name, token in found if token) + "}"


@st.composite
def trips(draw: st.DrawFn) -> PlainRecord:
    """A record of an event of the trips, right or wrong in a few places."""
    attributes = {"data": draw(members(GOOD))}
    kind = draw(st.sampled_from(['"trip.ended"', '"trip.ended"', '"trip.undone"']))
    text = draw(members(ATTRIBUTES | attributes | {"type": kind}))
    value = text.encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 9)) == 9:
        value = value.replace(b"berlin", draw(st.binary(max_size=3)))
    headers = draw(st.one_of(st.just([]), OTHER_HEADERS, HEADERS))
    timestamp = draw(st.sampled_from([0, 1_780_315_200_000, 1_780_318_800_000]))
    return PlainRecord(7, value, b"key", headers, timestamp)


def both(reader: EventReader, record: Record, topic: str | None) -> tuple[str, str]:
    return repr(reader.at(NOW, topic)(record)), repr(reader.fully_at(NOW, topic)(record))


@given(
    catalog=catalogs(),
    chunk=st.lists(trips(), min_size=1, max_size=3),
    floor=st.sampled_from([None, FLOOR]),
    topic=st.sampled_from(["trips", "trips", "trips", None, "others"]),
)
def test_every_record_reads_the_same(
    catalog: Catalog, chunk: list[PlainRecord], floor: date | None, topic: str | None
) -> None:
    reader = EventReader(catalog, DEFAULT_TENANT, TOLERANCE, floor)
    read, fully = reader.at(NOW, topic), reader.fully_at(NOW, topic)
    for record in chunk:
        full = repr(fully(record))
        taken = quickly(record, catalog, topic) is not None
        event("taken" if taken else "an event" if full.startswith("Event") else "rejected")
        assert repr(read(record)) == full


@given(record=records())
def test_every_record_of_the_shipped_catalog_reads_the_same(record: RawRecord) -> None:
    reader = EventReader(SHIPPED, DEFAULT_TENANT, TOLERANCE, None)
    quick, full = both(reader, record.at(0), record.topic)
    assert quick == full


# ------------------------------------------------------------------ what it takes, and what not

COUNTED = a_trips_catalog(
    a_counter(CounterKind.DISTINCT, 1, field="city"),
    a_counter(CounterKind.SUM, 2, field="km", filter={"tier": {"in": ["gold", "silver"]}}),
    a_counter(CounterKind.MAX, 3, field="stops"),
)
JSON_HEADER: Headers = [
    ("content-type", b"application/cloudevents+json; charset=utf-8"),
    ("x", None),
]


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(a_trip(), id="as it should be"),
        pytest.param(a_trip({"type": '"trip.undone"'}), id="of another type"),
        pytest.param(a_trip({"tenantid": f'"{UUID(int=9)}"'}), id="of a named tenant"),
        pytest.param(a_trip({"tenantid": "null"}), id="of a tenant that is null"),
        pytest.param(a_trip({"id": UUID7}), id="an id with a time"),
        pytest.param(a_trip({"time": '"2026-06-01T12:00:00.5+00:00"'}), id="+00:00"),
        pytest.param(a_trip({"time": '"2026-05-01T00:00:00Z"'}), id="at the floor"),
        pytest.param(a_trip({"time": '"2026-06-01T12:10:00Z"'}), id="just in time"),
        pytest.param(a_trip({"datacontenttype": '"application/json"'}), id="JSON"),
        pytest.param(a_trip({"traceparent": '[{"a":1}]'}), id="more attributes"),
        pytest.param(a_trip(extra='{"a":[null,1.5]}'), id="a field that nobody declared"),
        pytest.param(a_trip(city='"K\\u00f6ln \\"am\\" Rhein\\n"'), id="escapes"),
        pytest.param(a_trip(city='"Москва"'), id="letters beyond ASCII"),
        pytest.param(a_trip(km="1e5"), id="a number with an exponent"),
        pytest.param(a_trip(litres="", city="", tier="null"), id="fields that are missing"),
        pytest.param(replace(a_trip(), headers=JSON_HEADER), id="headers that say JSON"),
    ],
)
def test_an_event_as_it_should_be_is_read_quickly(record: PlainRecord) -> None:
    found = quickly(record, COUNTED, "trips")
    assert found is not None
    assert both(EventReader(COUNTED, DEFAULT_TENANT, TOLERANCE, FLOOR), record, "trips") == (
        repr(found),
        repr(found),
    )


@pytest.mark.parametrize(
    ("record", "is_event"),
    [
        pytest.param(replace(a_trip(), value=None), False, id="no value"),
        pytest.param(
            bounded(replace(a_trip(), headers=[("x", bytes(500))]), 400),
            False,
            id="cut, though its value is whole",
        ),
        pytest.param(replace(a_trip(), headers=[("CE_id", b"1")]), False, id="binary mode"),
        pytest.param(
            replace(a_trip(), headers=[("Content-Type", b"text/plain")]), False, id="no JSON"
        ),
        pytest.param(
            replace(a_trip(), headers=[("content-type", b" Application/JSON")]),
            True,
            id="JSON in a spelling of its own",
        ),
        pytest.param(a_trip(mood='"a\\u0000"'), False, id="NUL"),
        pytest.param(a_trip(mood='"a\\\\u0000"'), True, id="what looks like NUL"),
        pytest.param(a_trip({"data_base64": '"e30="'}), False, id="other data beside"),
        pytest.param(a_trip({"datacontenttype": '"a/b+json"'}), True, id="a JSON type"),
        pytest.param(a_trip({"datacontenttype": '"text/xml"'}), False, id="no JSON type"),
        pytest.param(a_trip({"time": '"2026-06-01T14:00:00+02:00"'}), True, id="another zone"),
        pytest.param(a_trip({"time": '"2026-04-30T23:59:59.999999Z"'}), False, id="too old"),
        pytest.param(a_trip({"time": '"2026-06-01T12:10:00.000001Z"'}), False, id="too new"),
        pytest.param(a_trip({"type": '"trip.dreamt"'}), False, id="an unknown type"),
        pytest.param(a_trip({"type": '"city.visited"'}), False, id="another topic's"),
        pytest.param(a_trip({"type": ""}), False, id="no type"),
        pytest.param(a_trip({"type": '""'}), False, id="an empty type"),
        pytest.param(a_trip({"type": '"trip.ended","type":"trip.undone"'}), True, id="two types"),
        pytest.param(a_trip({"source": json.dumps("/s" * 129)}), True, id="a long source"),
        pytest.param(a_trip({"specversion": '"0.3"'}), False, id="another specversion"),
        pytest.param(a_trip(km="-1"), False, id="a negative number"),
        pytest.param(a_trip(litres="501"), False, id="a number that nobody counts"),
        pytest.param(a_trip(km='"1"'), False, id="a number that is a text"),
        pytest.param(a_trip(stops="5.0"), False, id="an integer with a fraction"),
        pytest.param(a_trip(city="null"), False, id="null in a declared field"),
        pytest.param(a_trip(tier="[1]"), True, id="a filter's field that is a list"),
        pytest.param(
            a_trip(extra="1e99999999999999999999"), False, id="a number beyond any decimal"
        ),
        pytest.param(a_trip(extra="-" + "1" * 5_000), False, id="a number beyond any integer"),
        pytest.param(a_trip(extra="1" * 18), True, id="a long number"),
    ],
)
def test_what_may_look_like_an_event_reads_the_same(record: Record, is_event: bool) -> None:
    quick, full = both(EventReader(COUNTED, DEFAULT_TENANT, TOLERANCE, FLOOR), record, "trips")
    assert quick == full
    assert full.startswith("Event(" if is_event else "Rejected(")


def test_a_type_that_a_topic_has_alone_is_asked_for_all_the_same() -> None:
    """Of one type alone msgspec asks no tag."""
    alone = Catalog(1, (ENDED,), (), ())
    for kind in ("", '""', "null", '"trip.undone"'):
        untold = a_trip({"type": kind})
        assert quickly(untold, alone, "trips") is None, kind
    assert quickly(a_trip(), alone, "trips") is not None


def test_what_is_skipped_is_utf8_too() -> None:
    record = a_trip(extra='"@"')
    broken = replace(record, value=(record.value or b"").replace(b"@", b"\xff"))
    for catalog in (COUNTED, a_trips_catalog()):
        assert quickly(broken, catalog, "trips") is None
        quick, full = both(EventReader(catalog, DEFAULT_TENANT, TOLERANCE, None), broken, "trips")
        assert quick == full
        assert "NOT_JSON" in full


def test_a_field_that_msgspec_has_no_name_for_is_read_by_the_full_reader() -> None:
    counter = a_counter(CounterKind.COUNT, filter={'od"d': {"eq": 1}})
    catalog = a_trips_catalog(counter)
    record = a_trip(**{'od\\"d': "1"})
    assert quickly(record, catalog, "trips") is None
    read = EventReader(catalog, DEFAULT_TENANT, TOLERANCE, None).at(NOW, "trips")(record)
    assert isinstance(read, Event)
    assert len(read.contributions) == 1


def test_a_catalogs_type_with_the_name_of_a_command_is_a_command() -> None:
    """Lint refuses it; until it does, both readers do."""
    catalog = Catalog(1, (replace(ENDED, type="badge.mint"),), (), ())
    record = a_trip({"type": '"badge.mint"'})
    quick, full = both(EventReader(catalog, DEFAULT_TENANT, TOLERANCE, None), record, None)
    assert quick == full
    assert "MISSING_FIELD" in full


def test_one_source_of_two_tenants_is_two() -> None:
    reader = EventReader(COUNTED, DEFAULT_TENANT, TOLERANCE, None)
    tenants = ["null", f'"{UUID(int=9)}"', f'"{UUID(int=8)}"', f'"{DEFAULT_TENANT}"']
    found = [reader.at(NOW, "trips")(a_trip({"tenantid": tenant})) for tenant in tenants * 2]
    keys = [parsed.key for parsed in found if isinstance(parsed, Event)]
    assert keys[:4] == keys[4:]
    assert len(set(keys)) == 3
    assert keys[0] == keys[3] == event_key(DEFAULT_TENANT, "/trip-service/eu", "e1")


def test_an_event_with_undeclared_fields_changes_nothing_for_those_behind_it() -> None:
    reader = EventReader(COUNTED, DEFAULT_TENANT, TOLERANCE, FLOOR)
    read, fully = reader.at(NOW, "trips"), reader.fully_at(NOW, "trips")
    more = a_trip(extra="1")
    behind = [a_trip(), a_trip(extra="1e99999999999999999999"), a_trip(km="x"), more, a_trip(km="")]
    for record in [more, *behind]:
        assert repr(read(record)) == repr(fully(record))
