"""Read at once what is certainly an event, and leave everything else to reader.py.

Nearly every record of a stream is an event as it should be. Here such a record is parsed once, its
data with its envelope, into types that are made from the catalog; contributions are taken from the
attributes of what was parsed, and whatever is the same for all events of a type or of a source is
worked out once. What is no such record is not judged here: the full reader says what it is.

The two never differ on a record that is taken here, for each of these is asked of it:

- It was not cut, for being too large, to its beginning.
- Its value is the whole event (structured mode): no header is an attribute of a CloudEvent, and a
  content type says JSON in its usual spelling.
- It is UTF-8, also where the decoder skips, and has no escape of NUL. NUL itself is no JSON.
- Its attributes are those of `Envelope` by narrower types: `data` and not `data_base64`, and JSON
  by its usual name.
- Its type is one of the catalog's that belong on the topic.
- Its time is in UTC, not before the floor, and not ahead of this host's clock.
- Its data has the declared fields by the same types as the full reader's check, and passes the same
  check of numbers.
- Where counters look at the data: no number in it, read or not, is beyond what the full reader's
  decoder of whole objects takes. Declared fields hold no such number, and an undeclared one has
  many digits in a row. To look for those costs as much as a tenth of the rest, so that a first
  decoder takes declared fields alone, and a second one the others too.

tests/processor/events/test_quick_reader.py holds the two together. Pure.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import MAX_EMAX
from functools import lru_cache, partial, reduce
from operator import attrgetter, or_
from typing import Annotated, Any, Literal, Self
from uuid import UUID

import msgspec
from msgspec import Meta

from processor.events.event import Event
from processor.events.identity import fingerprint_head, fingerprint_of, key_head, key_of
from processor.events.message_schema import ANY_DATA, DataType, Identifier, exact
from processor.events.records import Headers, LargeRecord, Record
from processor.rules.counters import AddingAll, Contribution, FieldGetter, Listeners
from store.values.catalog import EventSpec

# Returns the event; None for a record that is left to the full reader, and so is one that makes it
# raise anything.
QuickRead = Callable[[Record], Event | None]

_BACKSLASH = ord("\\")
NUL_ESCAPED = b"\\u0000"
_JSON_TYPES = (b"application/cloudevents+json", b"application/json")
# Sources that are kept with what is hashed for each, and characters of one: far more than a system
# has, and little memory where somebody invents them.
_SOURCES_MAX = 1024
_SOURCE_LENGTH_MAX = 256
# Every digit as 0, everything else as a blank.
ZEROS_FOR_DIGITS = bytes(ord("0") if chr(byte).isdecimal() else ord(" ") for byte in range(256))
# So many digits has the exponent of a number that no decimal holds, at least. An integer that is
# too long for Python has thousands.
MANY_DIGITS = b"0" * len(str(MAX_EMAX))


@dataclass(frozen=True, slots=True)
class EventKind:
    """What is known of an event type beforehand.

    Its data are decoded by `data_type`; `constant` has the contributions where they are the same
    for all its events, else `adding` says them.
    """

    type: str
    fingerprint_head: int
    data_type: DataType
    constant: tuple[Contribution, ...] | None
    adding: AddingAll
    heard: bool

    @classmethod
    def of(cls, spec: EventSpec, listeners: Listeners | None, *, strict: bool) -> Self:
        """Return the type; where counters look at its data, `strict` lets in no other fields."""
        head = fingerprint_head(spec.type)
        if listeners is None:
            return cls(spec.type, head, DataType.of(spec), (), _adds_nothing, heard=False)
        if listeners.constant is not None:
            data_type, constant = DataType.of(spec), listeners.constant
            return cls(spec.type, head, data_type, constant, _adds_nothing, heard=True)
        data_type = DataType.of(spec, sorted(listeners.reads), only=strict)
        adding = listeners.adding(_getter(data_type))
        return cls(spec.type, head, data_type, None, adding, heard=True)


class QuickReader:
    """Reads the events of one topic, or of all.

    Args:
        specs: the topic's event types, at least one.
        listeners: the counters, by event type.
        tenant_id: the tenant of an event without `tenantid`.
    """

    def __init__(
        self, specs: Collection[EventSpec], listeners: Mapping[str, Listeners], tenant_id: UUID
    ) -> None:
        self._tenant_id = tenant_id
        self._kinds: dict[type[msgspec.Struct], EventKind] = {}
        self._strictly = self._decoder(specs, listeners, strict=True)
        self._leniently = self._decoder(specs, listeners, strict=False)
        self._own_source = lru_cache(_SOURCES_MAX)(partial(_source, tenant_id))
        self._source = lru_cache(_SOURCES_MAX)(_source)

    def _decoder(
        self, specs: Collection[EventSpec], listeners: Mapping[str, Listeners], *, strict: bool
    ) -> Callable[[bytes], Any]:
        envelopes: list[Any] = []
        for kind in kinds_of(specs, listeners, strict=strict):
            envelopes.append(envelope := envelope_type(kind, UUID, _TIME))
            self._kinds[envelope] = kind
        return msgspec.json.Decoder(reduce(or_, envelopes, NoEvent), float_hook=exact).decode

    def at(self, earliest: datetime, latest: datetime) -> QuickRead:
        """Return the function that reads one record with a time in these bounds."""
        decode, leniently, kinds = self._strictly, self._leniently, self._kinds
        own_tenant, own_source, source_of = self._tenant_id, self._own_source, self._source

        def read(record: Record) -> Event | None:
            nonlocal decode
            value = record.value
            if (
                value is None
                or type(record) is LargeRecord
                or (record.headers and not _is_structured(record.headers))
                or (_BACKSLASH in value and NUL_ESCAPED in value)
            ):
                return None
            if not value.isascii():
                value.decode()
            try:
                envelope = decode(value)
            except msgspec.ValidationError:
                envelope = leniently(value)
                decode = leniently  # what comes next to one with undeclared fields has them too
            time, kind = envelope.time, kinds[type(envelope)]
            if time.tzinfo is not UTC or not earliest <= time <= latest:
                return None
            if kind.data_type.numbers:
                kind.data_type.check_numbers(envelope.data)
            contributions = kind.constant
            if contributions is None:
                if decode is leniently and MANY_DIGITS in value.translate(ZEROS_FOR_DIGITS):
                    return None
                contributions = kind.adding(envelope.data)
            event_id, subject, tenant_id = envelope.id, envelope.subject, envelope.tenantid
            if tenant_id is None:
                tenant_id, (source, head) = own_tenant, own_source(envelope.source)
            else:
                source, head = source_of(tenant_id, envelope.source)
            return Event(
                kind.type,
                record.offset,
                key_of(head, event_id),
                fingerprint_of(kind.fingerprint_head, subject),
                subject,
                time,
                source,
                event_id,
                tenant_id,
                contributions,
                kind.heard,
            )

        return read


def _source(tenant_id: UUID, source: str) -> tuple[str, bytes]:
    """Return the source, one text for all its events, and what is hashed for the key of each."""
    return source, key_head(tenant_id, source)


def _is_structured(headers: Headers) -> bool:
    """Return whether the headers leave no doubt that the value is the whole event."""
    for name, content in headers:
        lowered = name.lower()
        if lowered.startswith("ce_"):
            return False
        if lowered == "content-type" and not (content or b"").startswith(_JSON_TYPES):
            return False
    return True


_TIME = Annotated[datetime, Meta(tz=True)]


class NoEvent(msgspec.Struct, tag="", tag_field="type"):
    """Stands in the union beside the types of a topic: of one type alone msgspec asks no tag."""


def kinds_of(
    specs: Collection[EventSpec], listeners: Mapping[str, Listeners], *, strict: bool
) -> Iterator[EventKind]:
    """Give the kinds whose events can be read at once."""
    for spec in specs:
        try:
            yield EventKind.of(spec, listeners.get(spec.type), strict=strict)
        except ValueError:
            continue  # a counter reads a field by a name that msgspec refuses: `a"b`


def envelope_type(kind: EventKind, subject: Any, time: Any) -> type[msgspec.Struct]:  # noqa: ANN401 - types
    """Return the type of a whole event; its `type` tells it from the others of a union.

    `subject` and `time` are the types that these attributes are decoded as.
    """
    fields: list[Any] = [
        ("specversion", Literal["1.0"]),
        ("id", Identifier),
        ("source", Annotated[str, Meta(min_length=1, max_length=_SOURCE_LENGTH_MAX)]),
        ("subject", subject),
        ("time", time),
        ("data", kind.data_type.struct),
        ("datacontenttype", Literal["application/json"] | None, None),
        ("data_base64", None, None),
        ("tenantid", UUID | None, None),
    ]
    return msgspec.defstruct(
        "Event", fields, frozen=True, gc=False, tag=kind.type, tag_field="type"
    )


def _getter(data_type: DataType) -> Callable[[str], FieldGetter]:
    numbers = {attribute for attribute, _ in data_type.numbers}

    def getter(name: str) -> FieldGetter:
        attribute = data_type.attributes[name]
        get = attrgetter(attribute)
        return _parsing(get) if attribute in numbers else get

    return getter


def _parsing(get: FieldGetter) -> FieldGetter:
    """Return what takes a number that was checked, and left Raw."""

    def parsed(data: object) -> object:
        raw: Any = get(data)
        return None if raw is None else ANY_DATA(raw)

    return parsed


def _adds_nothing(_: object) -> tuple[Contribution, ...]:
    return ()
