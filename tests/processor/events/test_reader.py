"""Reading messages.

What keeps to the contract is an event, what does not is rejected with a reason, and nothing else
happens.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ops.settings import DEFAULT_TENANT
from processor.catalog import load
from processor.events import identity
from processor.events.chunks import PlainRecord
from processor.events.event import Event
from processor.events.identity import event_key, fingerprint
from processor.events.message_schema import WalletType
from processor.events.reader import (
    BadgeCommand,
    EventReader,
    Parsed,
    WalletChange,
    service_of,
)
from processor.events.rejection import Rejected
from processor.rules.counters import Contribution
from store.values.catalog import (
    Catalog,
    CounterKind,
    CounterOperation,
    CounterSpec,
    EventSpec,
    FieldKind,
    FieldSpec,
)
from store.values.names import CounterName, RawAddress
from store.values.stream import CommandType, Reason
from tests.builders.messages import (
    ALICE,
    NOW,
    a_command,
    a_quest,
    a_visit,
    a_wallet,
    an_address,
    an_event,
    encoded,
    topic_of,
)
from tests.builders.raw_json import RawRecord, records

SHIPPED = load.load(load.SHIPPED)


def a_reader(definitions: Catalog = SHIPPED, floor: date | None = None) -> EventReader:
    return EventReader(definitions, DEFAULT_TENANT, timedelta(minutes=10), floor)


def read(
    message: Mapping[str, Any] | bytes | None,
    *,
    topic: str | None = None,
    headers: list[tuple[str, bytes | None]] | None = None,
    key: bytes | None = None,
    reader: EventReader | None = None,
) -> Parsed:
    where = topic
    if (
        topic is None
        and isinstance(message, dict)
        and str(message.get("type", "")).partition(".")[0] in ("quest", "city", "wallet", "badge")
    ):
        where = topic_of(message).removeprefix("laurel.")
    record = PlainRecord(0, encoded(message), key=key, headers=headers or ())
    return (reader or a_reader()).at(NOW, where)(record)


def reason(message: Mapping[str, Any] | bytes | None, **how: Any) -> Reason:
    parsed = read(message, **how)
    assert isinstance(parsed, Rejected), parsed
    return parsed.reason


def test_an_event_says_who_when_and_what_it_adds() -> None:
    parsed = read(
        a_quest(ALICE, id="e1", source="/quest-service/eu", time="2026-05-31T23:00:00+03:00")
    )
    assert isinstance(parsed, Event)
    assert parsed.user_id == ALICE
    assert parsed.time == datetime(2026, 5, 31, 20, tzinfo=UTC)
    assert parsed.key == event_key(DEFAULT_TENANT, "/quest-service/eu", "e1")
    assert parsed.fingerprint == fingerprint("quest.completed", ALICE)
    assert [(part.operation, part.amount) for part in parsed.contributions] == [
        (CounterOperation.ADD, 1)
    ]
    assert parsed.tenant_id == DEFAULT_TENANT


def test_a_tenant_may_be_named() -> None:
    tenant = UUID(int=99)
    parsed = read(a_quest(id="e1", tenantid=str(tenant)))
    assert isinstance(parsed, Event)
    assert parsed.tenant_id == tenant
    assert parsed.key == event_key(tenant, "/quest-service/eu", "e1")


def test_binary_mode_says_the_same_as_structured_mode() -> None:
    structured = a_visit(ALICE, "berlin", id="e1")
    headers: list[tuple[str, bytes | None]] = [
        (f"ce_{name}", str(value).encode()) for name, value in structured.items() if name != "data"
    ]
    binary = read(
        json.dumps(structured["data"]).encode(),
        topic="cities",
        headers=[*headers, ("content-type", b"application/json")],
        key=b"somebody else",
    )
    assert binary == read(structured)


def test_data_may_come_in_base64() -> None:
    plain = a_visit(ALICE, "berlin", id="e1")
    data = base64.b64encode(json.dumps(plain["data"]).encode()).decode()
    assert read({**{k: v for k, v in plain.items() if k != "data"}, "data_base64": data}) == read(
        plain
    )


def test_unknown_attributes_and_fields_are_welcome() -> None:
    assert isinstance(read(a_quest(traceparent="00-1", dataschema="x", comment=None)), Event)
    assert isinstance(
        read(an_event("quest.completed", ALICE, {"quest_id": "q", "more": None})), Event
    )


def test_a_declared_event_without_a_counter_is_an_event_that_nobody_hears() -> None:
    quiet = Catalog(1, SHIPPED.events, (), ())
    quest = a_quest()
    heard, unheard = read(quest), read(quest, reader=a_reader(quiet))
    assert isinstance(heard, Event)
    assert unheard == msgspec.structs.replace(heard, contributions=(), heard=False)


LONG = "x" * 129


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        pytest.param(None, Reason.NO_VALUE, id="a tombstone"),
        pytest.param(b"", Reason.NOT_JSON, id="nothing"),
        pytest.param(b"{broken", Reason.NOT_JSON, id="no JSON"),
        pytest.param(b"\xff\xfe", Reason.NOT_JSON, id="no UTF-8"),
        pytest.param(b"[]", Reason.BAD_ENVELOPE, id="no object"),
        pytest.param(encoded(a_quest()) + b"{}", Reason.NOT_JSON, id="two documents"),  # type: ignore[operator]
        pytest.param(a_quest(comment="\ud800"), Reason.NOT_JSON, id="a lone surrogate"),
        pytest.param(a_quest(specversion="0.3"), Reason.BAD_SPECVERSION, id="another specversion"),
        pytest.param(a_quest(specversion=None), Reason.BAD_SPECVERSION, id="no specversion"),
        pytest.param(a_quest(id=None), Reason.BAD_ENVELOPE, id="no id"),
        pytest.param(a_quest(id=""), Reason.BAD_ENVELOPE, id="an empty id"),
        pytest.param(a_quest(id=LONG), Reason.BAD_ENVELOPE, id="a long id"),
        pytest.param(a_quest(id=7), Reason.BAD_ENVELOPE, id="an id that is a number"),
        pytest.param(a_quest(id="a\x00b"), Reason.BAD_TEXT, id="NUL in the id"),
        pytest.param(a_quest(source=None), Reason.BAD_ENVELOPE, id="no source"),
        pytest.param(a_quest(source=""), Reason.BAD_ENVELOPE, id="an empty source"),
        pytest.param(a_quest(source="/" * 1025), Reason.BAD_ENVELOPE, id="a long source"),
        pytest.param(a_quest(subject=None), Reason.BAD_SUBJECT, id="no subject"),
        pytest.param(a_quest(subject="alice"), Reason.BAD_SUBJECT, id="a subject that is no UUID"),
        pytest.param(a_quest(tenantid="mine"), Reason.BAD_TENANT, id="a tenant that is no UUID"),
        pytest.param(a_quest(time=None), Reason.BAD_TIME, id="no time"),
        pytest.param(a_quest(time="yesterday"), Reason.BAD_TIME, id="a time that is none"),
        pytest.param(
            a_quest(time="2026-06-01T12:00:00"), Reason.BAD_TIME, id="a time without a zone"
        ),
        pytest.param(a_quest(time=1_780_000_000), Reason.BAD_TIME, id="a time that is a number"),
        pytest.param(
            a_quest(time="0001-01-01T00:00:00+14:00"),
            Reason.BAD_TIME,
            id="a time before the year 1",
        ),
        pytest.param(
            a_quest(time=(NOW + timedelta(minutes=11)).isoformat()),
            Reason.TOO_NEW,
            id="a time ahead",
        ),
        pytest.param(a_quest(type="quest.dreamt"), Reason.UNKNOWN_TYPE, id="an unknown type"),
        pytest.param(a_quest(type=None), Reason.BAD_ENVELOPE, id="no type"),
        pytest.param(
            a_quest(datacontenttype="text/xml"), Reason.CONTENT_TYPE, id="data that is no JSON"
        ),
        pytest.param(a_quest(data=None), Reason.MISSING_FIELD, id="no data"),
        pytest.param(a_quest(data=[1]), Reason.BAD_DATA, id="data that is a list"),
        pytest.param(a_quest(data={}), Reason.MISSING_FIELD, id="a missing field"),
        pytest.param(
            a_quest(data={"quest_id": None}), Reason.NULL_FIELD, id="null in a required field"
        ),
        pytest.param(
            a_quest(data={"quest_id": "q", "rating": None}),
            Reason.NULL_FIELD,
            id="null in an optional field",
        ),
        pytest.param(a_quest(data={"quest_id": 7}), Reason.BAD_FIELD, id="a field of another type"),
        pytest.param(a_quest(data={"quest_id": LONG}), Reason.BAD_FIELD, id="an id field too long"),
        pytest.param(a_quest(data={"quest_id": ""}), Reason.BAD_FIELD, id="an empty id field"),
        pytest.param(a_quest(data={"quest_id": "q\x00"}), Reason.BAD_TEXT, id="NUL in a field"),
        pytest.param(
            a_quest(data={"quest_id": "q", "x": [{"y\x00": 1}]}),
            Reason.BAD_TEXT,
            id="NUL in a key deep inside",
        ),
        pytest.param(
            a_quest(data={"quest_id": "q", "rating": 6}),
            Reason.BAD_FIELD,
            id="a rating out of range",
        ),
        pytest.param(
            a_quest(data={"quest_id": "q", "rating": 4.0}),
            Reason.BAD_FIELD,
            id="a float for an integer",
        ),
        pytest.param(
            a_quest(data={"quest_id": "q", "rating": True}),
            Reason.BAD_FIELD,
            id="a boolean for an integer",
        ),
        pytest.param(
            a_quest(data={"quest_id": "q", "duration_s": 2**53}),
            Reason.BAD_FIELD,
            id="an integer too large",
        ),
        pytest.param(
            a_quest(data={"quest_id": "q", "duration_s": -1}),
            Reason.BAD_FIELD,
            id="a negative duration",
        ),
        pytest.param(
            a_wallet(ALICE, "EQ" + "A" * 46),
            Reason.BAD_ADDRESS,
            id="an address with a wrong checksum",
        ),
        pytest.param(
            a_wallet(ALICE, f"-1:{'0' * 64}"),
            Reason.BAD_ADDRESS,
            id="an address on the masterchain",
        ),
        pytest.param(
            an_event("achievement.grant", ALICE, {"external_id": "x"}),
            Reason.UNSUPPORTED_COMMAND,
            id="a later command",
        ),
        pytest.param(a_command("mint"), Reason.MISSING_FIELD, id="a command that names no badge"),
        pytest.param(
            a_command("revoke", type_code="explorer"),
            Reason.MISSING_FIELD,
            id="a revocation without a reason",
        ),
        pytest.param(
            a_command("revoke", type_code="explorer", reason="x" * 1025),
            Reason.BAD_FIELD,
            id="a reason that is a book",
        ),
        pytest.param(
            a_command("award", instance_id=str(ALICE)),
            Reason.MISSING_FIELD,
            id="an award that names no type",
        ),
        pytest.param(
            a_command("award", type_code="explorer", level=0),
            Reason.BAD_FIELD,
            id="an award of level 0",
        ),
        pytest.param(
            a_command("award", type_code="explorer", level=2**31),
            Reason.BAD_FIELD,
            id="a level beyond PostgreSQL's integer",
        ),
        pytest.param(
            a_command("award", type_code="explorer", level=None),
            Reason.NULL_FIELD,
            id="a level that is null",
        ),
        pytest.param(
            an_event("badge.mint", ALICE, {"type_code": "explorer"}),
            Reason.MISSING_FIELD,
            id="no external id",
        ),
    ],
)
def test_a_message_that_breaks_the_contract_is_a_dead_letter(
    message: Any, expected: Reason
) -> None:
    assert reason(message) is expected


def test_the_edges_of_the_contract_are_inside() -> None:
    for event in (
        a_quest(id="x" * 128),
        a_quest(source="/" * 1024),
        a_quest(time=(NOW + timedelta(minutes=10)).isoformat()),
        a_quest(time="0001-01-01T00:00:00Z"),
        a_quest(data={"quest_id": "q", "rating": 5, "duration_s": 2**53 - 1}),
        a_quest(data={"quest_id": "\\u0000 as six characters"}),
        a_quest(datacontenttype="application/json; charset=utf-8"),
        a_quest(tenantid=None),
    ):
        assert isinstance(read(event), Event), event


def test_a_type_on_another_topic_is_a_dead_letter() -> None:
    """Who may send commands is the broker's access list of the topic for commands."""
    assert (
        reason(a_command("revoke", type_code="explorer", reason="x"), topic="quests")
        is Reason.WRONG_TOPIC
    )
    assert reason(a_quest(), topic="cities") is Reason.WRONG_TOPIC


@pytest.mark.parametrize(
    "declared", [b"application/cloudevents+json", b" Application/CloudEvents+JSON; charset=utf-8"]
)
def test_what_is_declared_as_an_event_is_one_also_where_headers_repeat_it(declared: bytes) -> None:
    """The Kafka binding allows it (section 3.3.3): whoever routes by headers reads no JSON."""
    event = a_quest()
    repeated = [(f"ce_{name}", str(event[name]).encode()) for name in event if name != "data"]
    assert read(event, headers=[*repeated, ("content-type", declared)]) == read(event)


@pytest.mark.parametrize("kind", ["cloudevents-batch+json", "cloudevents+avro", "cloudevents"])
def test_an_event_of_another_format_is_a_dead_letter_in_either_mode(kind: str) -> None:
    declared = ("Content-Type", f"application/{kind}".encode())
    assert reason(a_quest(), headers=[declared]) is Reason.CONTENT_TYPE
    assert reason(a_quest(), headers=[("ce_id", b"1"), declared]) is Reason.CONTENT_TYPE


def test_a_foreign_content_type_is_a_dead_letter() -> None:
    assert reason(a_quest(), headers=[("content-type", b"application/avro")]) is Reason.CONTENT_TYPE
    assert isinstance(
        read(a_quest(), headers=[("content-type", b"application/cloudevents+json"), ("x", None)]),
        Event,
    )


def test_events_whose_ids_may_be_forgotten_are_dead_letters_and_wallets_are_not() -> None:
    """Days are those of UTC, and an old event is old by the floor alone, never by the clock."""
    reader = a_reader(floor=date(2026, 5, 31))
    old, at_the_floor = "2026-05-31T00:59:59+01:00", "2026-05-31T01:00:00+01:00"
    assert reason(a_quest(time=old), reader=reader) is Reason.TOO_OLD
    assert isinstance(read(a_quest(time=at_the_floor), reader=reader), Event)
    long_ago = datetime(2001, 1, 1, tzinfo=UTC)
    assert isinstance(read(a_wallet(ALICE, an_address(1), long_ago), reader=reader), WalletChange)
    for lowest in (None, date.min):
        anybody = a_reader(floor=lowest)
        assert isinstance(read(a_quest(time="0001-01-01T00:00:00Z"), reader=anybody), Event)


def test_a_wallet_event_brings_one_form_of_the_address() -> None:
    # The same account three times: raw, bounceable, and test-only non-bounceable in the other
    # alphabet (TEP-2).
    account = bytes(range(32))

    def friendly(flags: int) -> str:
        from binascii import crc_hqx

        packed = bytes([flags, 0]) + account
        return base64.b64encode(packed + crc_hqx(packed, 0).to_bytes(2, "big")).decode()

    forms = [
        f"0:{account.hex().upper()}",
        friendly(0x11).replace("+", "-").replace("/", "_"),
        friendly(0x51 | 0x80),
    ]
    found = [read(a_wallet(ALICE, form, linked=False)) for form in forms]
    address = RawAddress(f"0:{account.hex()}")
    assert found == [
        WalletChange(WalletType.UNLINKED, ALICE, address, NOW, test_only=is_for_tests)
        for is_for_tests in (False, False, True)
    ]


def test_a_command_is_known_by_its_content_not_by_its_spelling() -> None:
    one = read(a_command("revoke", ALICE, "c1", type_code="explorer", reason="why"))
    assert isinstance(one, BadgeCommand)
    assert (one.type, one.type_code, one.actor) == (
        CommandType.REVOKE,
        "explorer",
        "connect_service",
    )
    turned = {"reason": "why", "type_code": "explorer", "external_id": "c1"}
    again = read(an_event("badge.revoke", ALICE, turned, source="/connect-service"))
    other = read(a_command("revoke", ALICE, "c1", type_code="explorer", reason="another"))
    assert isinstance(again, BadgeCommand)
    assert isinstance(other, BadgeCommand)
    assert again.content_hash == one.content_hash != other.content_hash


@pytest.mark.parametrize(
    ("source", "service"),
    [
        ("/connect-service/eu", "connect_service"),
        ("https://quests.example/quest-service/x", "quest_service"),
        ("https://quests.example", "quests.example"),
        ("//reviews.example/", "reviews.example"),
        ("urn:connect-service:eu", "connect_service"),
        ("quest-service", "quest_service"),
        ("https://[broken", "unknown"),
        ("/", "unknown"),
    ],
)
def test_the_service_is_read_from_the_source(source: str, service: str) -> None:
    assert service_of(source) == service


def a_catalog_of_amounts(**counter: Any) -> EventReader:
    spec = EventSpec(
        "trip.ended",
        "trips",
        (FieldSpec("km", FieldKind.NUMBER, required=True), FieldSpec("id", FieldKind.ID)),
    )
    total = CounterSpec(1, CounterName("x"), CounterKind.SUM, "trip.ended", "km")
    return a_reader(Catalog(1, (spec,), (replace(total, **counter),), ()))


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("0.1", Decimal("0.1")),
        ("12345678901234567890.0123456789", Decimal("12345678901234567890.0123456789")),
        ("1e30", Decimal("1e30")),
        ("7", 7),
        ("1e31", None),
        ("1" * 31, None),
        ("-1", None),
        ('"1.5"', None),
        ("null", None),
        ("1" * 5_000, None),
    ],
)
def test_an_amount_is_exact_or_a_dead_letter(token: str, expected: Decimal | None) -> None:
    body = json.dumps(an_event("trip.ended", ALICE, {"km": "@"})).replace('"@"', token).encode()
    parsed = read(body, topic="trips", reader=a_catalog_of_amounts())
    if expected is None:
        assert isinstance(parsed, Rejected)
        assert parsed.reason in (Reason.BAD_FIELD, Reason.NULL_FIELD)
    else:
        assert isinstance(parsed, Event)
        assert parsed.contributions == (Contribution(1, CounterOperation.ADD, amount=expected),)


def test_a_filter_decides_what_adds_but_not_what_is_processed() -> None:
    reader = a_catalog_of_amounts(filter={"km": {"gte": Decimal("1.5")}, "mode": {"eq": "walk"}})
    walk = read(
        an_event("trip.ended", ALICE, {"km": 1.5, "mode": "walk"}), topic="trips", reader=reader
    )
    drive = read(
        an_event("trip.ended", ALICE, {"km": 9, "mode": "car"}), topic="trips", reader=reader
    )
    assert isinstance(walk, Event)
    assert isinstance(drive, Event)
    assert (len(walk.contributions), len(drive.contributions)) == (1, 0)


@given(
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
        ),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode())
)
@example(b'{"specversion":"1.0","id":"\\ud800"}')
def test_no_message_makes_the_reader_fail(value: bytes) -> None:
    assert isinstance(read(value), Rejected)


@given(
    st.dictionaries(
        st.sampled_from(list(a_quest())),
        st.none() | st.text(max_size=8) | st.integers() | st.lists(st.none(), max_size=1),
    )
)
def test_no_mutation_of_an_event_makes_the_reader_fail(changes: dict[str, Any]) -> None:
    assert isinstance(read(json.dumps(a_quest() | changes).encode()), (Rejected, Event))


@given(records())
def test_no_record_at_all_makes_the_reader_fail(record: RawRecord) -> None:
    parsed = a_reader().at(NOW, record.topic)(record.at(0))
    assert isinstance(parsed, Event | WalletChange | BadgeCommand | Rejected)
    if isinstance(parsed, Event | WalletChange):
        assert parsed.time.tzinfo is UTC


@pytest.mark.parametrize("depth", [1_100, 100_000])
@pytest.mark.parametrize("place", ["data", "extension"])
def test_json_nested_too_deeply_is_a_dead_letter(depth: int, place: str) -> None:
    deep = b"[" * depth + b"]" * depth
    whole = encoded(a_quest(extra="@") if place == "extension" else a_quest())
    assert whole is not None
    nested = (
        whole.replace(b'"@"', deep)
        if place == "extension"
        else whole.replace(b'"quest_id"', b'"extra":' + deep + b',"quest_id"')
    )
    assert nested != whole
    rejected = a_reader().at(NOW, "quests")(PlainRecord(0, nested))
    assert isinstance(rejected, Rejected)
    assert (rejected.reason, rejected.detail) == (
        Reason.UNREADABLE,
        "its JSON is nested too deeply",
    )


@pytest.mark.parametrize("token", ["1e99999999999999999999", "-1.5e-99999999999999999999"])
@pytest.mark.parametrize("field", ["rating", "extra"])
def test_an_exponent_beyond_any_decimal_is_a_dead_letter(token: str, field: str) -> None:
    whole = encoded(a_visit())
    assert whole is not None
    value = whole.replace(b'"city_id"', f'"{field}":{token},"city_id"'.encode())
    rejected = a_reader().at(NOW, "cities")(PlainRecord(0, value))
    assert isinstance(rejected, Rejected)
    assert rejected.reason is Reason.BAD_FIELD
    assert "beyond any decimal" in rejected.detail


def test_base64_that_is_not_utf8_is_a_dead_letter() -> None:
    message = a_visit()
    del message["data"]
    message["data_base64"] = "/w=="
    rejected = a_reader().at(NOW, "cities")(PlainRecord(0, encoded(message)))
    assert isinstance(rejected, Rejected)
    assert rejected.reason is Reason.NOT_JSON


def test_time_is_utc_from_the_reader_on() -> None:
    event = a_reader().at(NOW, "cities")(
        PlainRecord(0, encoded(a_visit(time="2026-01-02T03:00:00+23:59")))
    )
    assert isinstance(event, Event)
    assert event.time.isoformat() == "2026-01-01T03:01:00+00:00"


def test_what_nobody_thought_of_is_one_records_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> bytes:
        raise ZeroDivisionError("so what")

    monkeypatch.setattr(identity, "sha256", broken)
    rejected = a_reader().at(NOW, "cities")(PlainRecord(0, encoded(a_visit())))
    assert rejected == Rejected(
        Reason.UNREADABLE, "ZeroDivisionError while reading: so what", "city.visited"
    )


@pytest.mark.parametrize(
    ("minutes_behind", "timestamp", "expected"),
    [
        (0, 0, True),
        (11, 0, False),
        (11, 12, True),
        (11, -5, False),
        (600, 600, True),
    ],
)
def test_a_host_whose_clock_is_behind_takes_nothing_on_time_for_the_future(
    minutes_behind: int, timestamp: int, expected: bool
) -> None:
    """Kafka's timestamp of the record vouches for the time, within the same tolerance."""
    now = NOW - timedelta(minutes=minutes_behind)
    stamped = round((now + timedelta(minutes=timestamp)).timestamp() * 1000)
    record = PlainRecord(0, encoded(a_visit(time=NOW.isoformat())), timestamp=stamped)
    parsed = a_reader().at(now, "cities")(record)
    if expected:
        assert isinstance(parsed, Event)
    else:
        assert isinstance(parsed, Rejected)
        assert parsed.reason is Reason.TOO_NEW


@pytest.mark.parametrize("timestamp", [-1, 0, 2**62, -(2**62)])
def test_a_timestamp_that_is_no_instant_vouches_for_nothing(timestamp: int) -> None:
    future = (NOW + timedelta(hours=1)).isoformat()
    record = PlainRecord(0, encoded(a_visit(time=future)), timestamp=timestamp)
    parsed = a_reader().at(NOW, "cities")(record)
    assert isinstance(parsed, Rejected)
    assert parsed.reason is Reason.TOO_NEW
