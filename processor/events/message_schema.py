"""The contract with producers: decoders of the CloudEvents envelope and of each type's data.

docs/data-model.md, Events, has the table. The catalog declares the types that are counted; wallets
and commands are built in, because code acts on them. Decoding checks as it goes (msgspec): a
message that does not keep to the contract never becomes an event. Pure.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Annotated, Any, Literal, Self, assert_never, cast
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from processor.events.rejection import ContractViolation
from processor.rules.conditions import DIGITS_MAX, within_bounds
from store.values.catalog import Catalog, EventSpec, FieldKind, FieldSpec
from store.values.stream import CommandType, Reason

# Characters of an opaque id (docs/data-model.md, Events).
ID_LENGTH_MAX = 128
# And of a text that comes to stand beside every badge: what is kept for ever is not a megabyte.
TEXT_LENGTH_MAX = 1024
# RFC 8259, section 6: what every JSON reader agrees on.
INTEGER_MAX = 2**53 - 1
_JSON_NUMBER = re.compile(rb"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
# Far more than 30 digits and an exponent take; longer ones are not worth parsing.
_NUMBER_BYTES_MAX = 128

Identifier = Annotated[str, Meta(min_length=1, max_length=ID_LENGTH_MAX)]
Text = Annotated[str, Meta(min_length=1, max_length=TEXT_LENGTH_MAX)]
# RFC 4648, section 4; Python's decoder takes more padding than that.
BASE64 = "([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
# PostgreSQL's integer, as a catalog's levels.
Level = Annotated[int, Meta(ge=1, le=2**31 - 1)]
WALLETS_TOPIC = "wallets"
COMMANDS_TOPIC = "commands"


class WalletType(StrEnum):
    """What happens to a wallet."""

    LINKED = "wallet.linked"
    UNLINKED = "wallet.unlinked"


# Part of the contract, not yet carried out: rejected with a detail, so that nobody waits for them.
LATER_COMMANDS = frozenset({"achievement.grant", "achievement.revoke"})


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """The attributes of a CloudEvent (CloudEvents 1.0, section 3), and its data unread."""

    specversion: Literal["1.0"]
    id: Identifier
    source: Text
    type: Text
    subject: UUID
    time: Annotated[datetime, Meta(tz=True)]
    data: Raw = Raw(b"")
    datacontenttype: str | None = None
    data_base64: str | None = None
    tenantid: UUID | None = None


class WalletData(msgspec.Struct, frozen=True, gc=False):
    """The data of wallet.linked and wallet.unlinked."""

    address: str


class CommandData(msgspec.Struct, frozen=True, gc=False):
    """The data of badge.mint, badge.burn and badge.revoke.

    The badge is named by its type or by its own id.
    """

    external_id: Identifier
    type_code: Identifier | UnsetType = UNSET
    instance_id: UUID | UnsetType = UNSET
    reason: Text | UnsetType = UNSET


class AwardData(msgspec.Struct, frozen=True, gc=False):
    """The data of badge.award."""

    external_id: Identifier
    type_code: Identifier
    level: Level | UnsetType = UNSET
    reason: Text | UnsetType = UNSET


# Laurel's own types: the data of each, and the topic that it belongs on.
BUILT_IN_DATA: Mapping[str, type[msgspec.Struct]] = {
    **dict.fromkeys(WalletType, WalletData),
    **dict.fromkeys(CommandType, CommandData),
    CommandType.AWARD: AwardData,
}
BUILT_IN_TOPICS: Mapping[str, str] = {
    **dict.fromkeys(WalletType, WALLETS_TOPIC),
    **dict.fromkeys(CommandType, COMMANDS_TOPIC),
}

ENVELOPE = msgspec.json.Decoder(Envelope)


def exact(number: str) -> Decimal:
    """Return a JSON number with a fraction or an exponent.

    Raises:
        ValueError: its exponent is beyond what Decimal holds; msgspec says so in a
            ValidationError.
    """
    try:
        return Decimal(number)
    except InvalidOperation:
        raise ValueError("a number's exponent is beyond any decimal") from None


# Numbers of undeclared fields stay exact: filters compare them with what the catalog says.
ANY_DATA: Callable[[bytes], object] = msgspec.json.Decoder(float_hook=exact).decode
OBJECT: Callable[[bytes], dict[str, Any]] = msgspec.json.Decoder(
    dict[str, Any], float_hook=exact
).decode

_ATTRIBUTES = {
    "specversion": Reason.BAD_SPECVERSION,
    "subject": Reason.BAD_SUBJECT,
    "time": Reason.BAD_TIME,
    "tenantid": Reason.BAD_TENANT,
}
# msgspec names the place in its message alone; tests/processor/events/test_message_schema.py holds
# these two forms.
_MISSING = re.compile(r"missing required field `([^`]*)`")
_PLACE = re.compile(r"at `\$\.([^`.\[]*)")


def envelope_violation(error: msgspec.ValidationError) -> ContractViolation:
    """Return what is wrong with an envelope."""
    detail = str(error)
    found = _MISSING.search(detail) or _PLACE.search(detail)
    return ContractViolation(
        _ATTRIBUTES.get(found[1] if found else "", Reason.BAD_ENVELOPE), detail
    )


def data_violation(error: msgspec.DecodeError) -> ContractViolation:
    """Return what is wrong with the data of an event."""
    detail = str(error)
    if _MISSING.search(detail):
        return ContractViolation(Reason.MISSING_FIELD, detail)
    if not _PLACE.search(detail):
        return ContractViolation(Reason.BAD_DATA, detail)
    return ContractViolation(
        Reason.NULL_FIELD if "got `null`" in detail else Reason.BAD_FIELD, detail
    )


@dataclass(frozen=True, slots=True)
class DataType:
    """The data of one event type, as msgspec decodes it.

    `attributes` says by the name of a field what it is called in `struct`, where None is a field
    that is missing. Those of the kind number are Raw there, and msgspec checks nothing about them:
    `numbers` has the attribute of each.
    """

    struct: type[msgspec.Struct]
    attributes: Mapping[str, str]
    numbers: tuple[tuple[str, FieldSpec], ...]

    @classmethod
    def of(cls, spec: EventSpec, also: Iterable[str] = (), *, only: bool = False) -> Self:
        """Return the type for the declared fields of `spec`, and for the undeclared ones in `also`.

        The latter may hold anything, null too. `only`: there may be no others.
        """
        declared = [(each.name, _field_type(each), each.required) for each in spec.fields]
        names = {name for name, _, _ in declared}
        undeclared = [(name, Any, False) for name in also if name not in names]
        attributes: dict[str, str] = {}
        fields: list[tuple[str, Any, Any]] = []
        for position, (name, kind, required) in enumerate([*declared, *undeclared]):
            attributes[name] = attribute = f"field_{position}"
            info = msgspec.field(name=name) if required else msgspec.field(default=None, name=name)
            fields.append((attribute, kind, info))
        struct = msgspec.defstruct(
            "Data", fields, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=only
        )
        numbers = [each for each in spec.fields if each.kind is FieldKind.NUMBER]
        return cls(struct, attributes, tuple((attributes[each.name], each) for each in numbers))

    def check_numbers(self, decoded: msgspec.Struct) -> None:
        """Check the fields of the kind number.

        Raises:
            ContractViolation: one is no decimal of at most 30 digits, or out of its range.
        """
        for attribute, field in self.numbers:
            raw = getattr(decoded, attribute)
            if raw is not None:
                _check_number(field, bytes(raw))


def checker(spec: EventSpec) -> Callable[[bytes], None]:
    """Return the function that checks the data of one event type against its declared fields.

    It raises msgspec.ValidationError (missing, null, of another type, out of range), or
    ContractViolation for a number that is no decimal of at most 30 digits.
    """
    data_type = DataType.of(spec)
    decode = msgspec.json.Decoder(data_type.struct).decode
    if not data_type.numbers:
        return cast("Callable[[bytes], None]", decode)
    return lambda data: data_type.check_numbers(decode(data))


def integer_bounds(field: FieldSpec) -> tuple[int, int]:
    """Return the least and the greatest value of a field of whole numbers."""
    low = 0 if field.minimum is None else field.minimum
    high = INTEGER_MAX if field.maximum is None else min(field.maximum, INTEGER_MAX)
    return low, high


def _field_type(field: FieldSpec) -> Any:  # noqa: ANN401 - a type built at run time
    match field.kind:
        case FieldKind.ID:
            return Identifier
        case FieldKind.TEXT:
            return str
        case FieldKind.INTEGER:
            low, high = integer_bounds(field)
            return Annotated[int, Meta(ge=low, le=high)]
        case FieldKind.NUMBER:
            return Raw
        case unreachable:
            assert_never(unreachable)


def _check_number(field: FieldSpec, raw: bytes) -> None:
    if raw == b"null":
        raise ContractViolation(Reason.NULL_FIELD, f"`{field.name}` is null")
    number = None if len(raw) > _NUMBER_BYTES_MAX else _JSON_NUMBER.fullmatch(raw)
    if number is None:
        raise ContractViolation(Reason.BAD_FIELD, f"`{field.name}` is no number")
    try:
        value = exact(raw.decode())
    except ValueError as error:
        raise ContractViolation(Reason.BAD_FIELD, f"`{field.name}`: {error}") from None
    # A short one without an exponent keeps to the bounds; looking at digits takes long.
    if (len(raw) > DIGITS_MAX or number[3]) and not within_bounds(value):
        raise ContractViolation(
            Reason.BAD_FIELD, f"`{field.name}` has more than 30 digits, or an exponent beyond 30"
        )
    low = 0 if field.minimum is None else field.minimum
    if value < low or (field.maximum is not None and value > field.maximum):
        raise ContractViolation(Reason.BAD_FIELD, f"`{field.name}` is out of range")


def topic_of(prefix: str, topic: str) -> str:
    """Return the contract's name of `topic`: the part after the configured prefix.

    "" for a foreign topic.
    """
    head = f"{prefix}."
    return topic[len(head) :] if topic.startswith(head) else ""


def topics_of(prefix: str, catalog: Catalog) -> tuple[str, ...]:
    """Return every topic that a worker reads, with its prefix, sorted."""
    names = {spec.topic for spec in catalog.events} | {WALLETS_TOPIC, COMMANDS_TOPIC}
    return tuple(sorted(f"{prefix}.{name}" for name in names))
