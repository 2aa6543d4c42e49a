"""The decoders of the contract: what they let through, and which reason they give otherwise.

The reasons are read out of msgspec's messages. The first tests hold the two forms of message that
this leans on: an upgrade of msgspec that words them otherwise fails here.
"""

import json
from typing import Any

import msgspec
import pytest

from processor.catalog import load
from processor.events.message_schema import (
    ENVELOPE,
    ID_LENGTH_MAX,
    INTEGER_MAX,
    checker,
    data_violation,
    envelope_violation,
    topic_of,
    topics_of,
)
from processor.events.rejection import ContractViolation
from store.values.catalog import EventSpec, FieldKind, FieldSpec
from store.values.stream import Reason
from tests.builders.catalogs import a_catalog, an_event

# What a producer would send, less what the envelope may leave out.
ENVELOPE_FIELDS: dict[str, object] = {
    "specversion": "1.0",
    "id": "e1",
    "source": "/quest-service",
    "type": "quest.completed",
    "subject": "11111111-1111-4111-8111-111111111111",
    "time": "2026-06-01T12:00:00Z",
}


def envelope_error(**changes: object) -> msgspec.ValidationError:
    """Return what msgspec says of an envelope with `changes`; a field of ... is left out."""
    document = {
        name: value for name, value in (ENVELOPE_FIELDS | changes).items() if value is not ...
    }
    with pytest.raises(msgspec.ValidationError) as found:
        ENVELOPE.decode(json.dumps(document))
    return found.value


def spec_of(*fields: FieldSpec) -> EventSpec:
    return EventSpec("trip.ended", "trips", fields)


def violation(field: FieldSpec, data: object) -> ContractViolation:
    """Return the violation of `data` (JSON text as it is) against an event with one field."""
    text = data if isinstance(data, bytes) else json.dumps(data).encode()
    try:
        checker(spec_of(field))(text)
    except ContractViolation as found:
        return found
    except msgspec.DecodeError as error:
        return data_violation(error)
    raise AssertionError(f"{text!r} keeps to the contract")


def keeps_to(field: FieldSpec, data: object) -> bool:
    text = data if isinstance(data, bytes) else json.dumps(data).encode()
    checker(spec_of(field))(text)
    return True


class TestTheMessagesOfMsgspec:
    def test_a_missing_field_is_named_between_backticks(self) -> None:
        assert str(envelope_error(subject=...)) == "Object missing required field `subject`"

    def test_a_wrong_value_is_named_by_its_path(self) -> None:
        assert str(envelope_error(subject="alice")) == "Invalid UUID - at `$.subject`"

    def test_null_says_so(self) -> None:
        assert str(envelope_error(subject=None)).endswith("got `null` - at `$.subject`")


class TestEnvelopes:
    @pytest.mark.parametrize(
        ("attribute", "reason"),
        [
            ("specversion", Reason.BAD_SPECVERSION),
            ("subject", Reason.BAD_SUBJECT),
            ("time", Reason.BAD_TIME),
            ("id", Reason.BAD_ENVELOPE),
            ("source", Reason.BAD_ENVELOPE),
            ("type", Reason.BAD_ENVELOPE),
        ],
    )
    @pytest.mark.parametrize("value", [..., None, 7], ids=["missing", "null", "a number"])
    def test_each_required_attribute_has_its_reason(
        self, attribute: str, value: object, reason: Reason
    ) -> None:
        error = envelope_error(**{attribute: value})
        found = envelope_violation(error)
        assert (found.reason, found.detail) == (reason, str(error))

    def test_a_tenant_may_be_missing_but_not_wrong(self) -> None:
        assert ENVELOPE.decode(json.dumps(ENVELOPE_FIELDS)).tenantid is None
        assert envelope_violation(envelope_error(tenantid="mine")).reason is Reason.BAD_TENANT

    def test_a_document_that_is_no_object_has_no_place_to_name(self) -> None:
        with pytest.raises(msgspec.ValidationError) as found:
            ENVELOPE.decode(b"[]")
        assert envelope_violation(found.value).reason is Reason.BAD_ENVELOPE


class TestReasonsOfData:
    FIELD = FieldSpec("city", FieldKind.ID, required=True)

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            ({}, Reason.MISSING_FIELD),
            ({"city": None}, Reason.NULL_FIELD),
            ({"city": 7}, Reason.BAD_FIELD),
            ({"city": ""}, Reason.BAD_FIELD),
            ([], Reason.BAD_DATA),
            ("city", Reason.BAD_DATA),
            (b"{broken", Reason.BAD_DATA),
        ],
    )
    def test_what_is_wrong_decides_the_reason(self, data: object, reason: Reason) -> None:
        assert violation(self.FIELD, data).reason is reason

    def test_the_detail_is_what_msgspec_says(self) -> None:
        with pytest.raises(msgspec.ValidationError) as found:
            checker(spec_of(self.FIELD))(b"{}")
        assert data_violation(found.value).detail == str(found.value)

    def test_a_field_with_a_dot_in_its_name_keeps_its_reason(self) -> None:
        odd = FieldSpec("a.b[0]", FieldKind.ID, required=True)
        assert violation(odd, {"a.b[0]": 7}).reason is Reason.BAD_FIELD
        assert violation(odd, {"a": 7}).reason is Reason.MISSING_FIELD

    def test_undeclared_fields_may_hold_anything(self) -> None:
        assert keeps_to(self.FIELD, {"city": "berlin", "more": [None, {"deep": 1.5}]})


class TestFields:
    @pytest.mark.parametrize("kind", FieldKind)
    def test_an_optional_field_may_be_missing_but_not_null(self, kind: FieldKind) -> None:
        field = FieldSpec("x", kind)
        assert keeps_to(field, {})
        assert violation(field, {"x": None}).reason is Reason.NULL_FIELD

    @pytest.mark.parametrize("kind", FieldKind)
    def test_a_required_field_may_not_be_missing(self, kind: FieldKind) -> None:
        assert violation(FieldSpec("x", kind, required=True), {}).reason is Reason.MISSING_FIELD

    @pytest.mark.parametrize(
        ("kind", "values"),
        [
            (FieldKind.ID, ["a", "x" * ID_LENGTH_MAX]),
            (FieldKind.TEXT, ["", "x" * 10_000]),
            (FieldKind.INTEGER, [0, INTEGER_MAX]),
            (FieldKind.NUMBER, [0, 0.5, 10**30 - 1, b"1e30", b"1E-30", b"0.10"]),
        ],
    )
    def test_the_edges_of_each_kind_are_inside(self, kind: FieldKind, values: list[Any]) -> None:
        for value in values:
            text = value if isinstance(value, bytes) else json.dumps(value).encode()
            assert keeps_to(FieldSpec("x", kind, required=True), b'{"x":' + text + b"}")

    @pytest.mark.parametrize(
        ("kind", "values"),
        [
            (FieldKind.ID, ["", "x" * (ID_LENGTH_MAX + 1), 7, True]),
            (FieldKind.TEXT, [7, True, []]),
            (FieldKind.INTEGER, [-1, INTEGER_MAX + 1, 1.5, "1", True]),
            (FieldKind.NUMBER, [-1, 10**30, "1", True, [], b"1e31", b"1" * 129, b"-0.1"]),
        ],
    )
    def test_what_lies_beyond_is_a_bad_field(self, kind: FieldKind, values: list[Any]) -> None:
        for value in values:
            text = value if isinstance(value, bytes) else json.dumps(value).encode()
            found = violation(FieldSpec("x", kind), b'{"x":' + text + b"}")
            assert found.reason is Reason.BAD_FIELD, value

    @pytest.mark.parametrize("kind", [FieldKind.INTEGER, FieldKind.NUMBER])
    def test_declared_bounds_take_the_place_of_the_contracts(self, kind: FieldKind) -> None:
        field = FieldSpec("x", kind, minimum=-5, maximum=5)
        assert keeps_to(field, {"x": -5})
        assert keeps_to(field, {"x": 5})
        for value in (-6, 6):
            assert violation(field, {"x": value}).reason is Reason.BAD_FIELD

    def test_no_declared_maximum_reaches_beyond_what_every_reader_agrees_on(self) -> None:
        field = FieldSpec("x", FieldKind.INTEGER, maximum=2**60)
        assert violation(field, {"x": INTEGER_MAX + 1}).reason is Reason.BAD_FIELD

    @pytest.mark.parametrize(
        ("value", "detail"),
        [
            (b"null", "`x` is null"),
            (b'"1"', "`x` is no number"),
            (b"1" * 129, "`x` is no number"),
            (b"1" * 31, "`x` has more than 30 digits, or an exponent beyond 30"),
            (b"-1", "`x` is out of range"),
        ],
    )
    def test_a_number_is_told_what_is_wrong_with_it(self, value: bytes, detail: str) -> None:
        assert violation(FieldSpec("x", FieldKind.NUMBER), b'{"x":' + value + b"}").detail == detail

    def test_each_number_of_several_is_checked(self) -> None:
        names = ("a", "b", "c")
        check = checker(spec_of(*(FieldSpec(name, FieldKind.NUMBER) for name in names)))
        check(b'{"a":1,"c":2}')
        for name in names:
            with pytest.raises(ContractViolation, match=f"`{name}` is out of range"):
                check(json.dumps({"a": 1, "b": 1, "c": 1} | {name: -1}).encode())


class TestTopics:
    @pytest.mark.parametrize(
        ("topic", "name"),
        [("laurel.quests", "quests"), ("laurel.a.b", "a.b"), ("other.quests", ""), ("laurel", "")],
    )
    def test_a_topic_is_known_by_what_follows_the_prefix(self, topic: str, name: str) -> None:
        assert topic_of("laurel", topic) == name

    def test_a_worker_reads_the_catalogs_topics_and_its_own(self) -> None:
        events = (an_event("a.b", topic="quests"), an_event("c.d", topic="cities"))
        assert topics_of("laurel", a_catalog(events=events)) == (
            "laurel.cities",
            "laurel.commands",
            "laurel.quests",
            "laurel.wallets",
        )


def test_every_event_of_the_shipped_catalog_has_a_decoder() -> None:
    for spec in load.load(load.SHIPPED).events:
        with pytest.raises(msgspec.ValidationError, match="missing required field"):
            checker(spec)(b"{}")
