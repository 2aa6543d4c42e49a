"""Decode and validate a message by the contract with producers (docs/data-model.md, Events).

Nothing of the product's code.
"""

import json
import re
from base64 import b64decode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from demo import wallets
from demo.cloudevents import PLAIN_JSON, STRUCTURED, Event
from demo.oracle.catalog import Badges, EventType, Field
from demo.records import Record

# Characters.
_ID_MAX = 128
_LEVEL_MAX = 2**31 - 1
_TOO_NEW = timedelta(minutes=10)
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
# Half a character, which JSON's escapes can write and UTF-8 cannot carry.
_HALF = re.compile("[\ud800-\udfff]")


def _ids(*names: str, required: tuple[str, ...]) -> tuple[Field, ...]:
    return tuple(Field(name, "id", name in required, 0, 0) for name in names)


# Part of every contract, whatever the catalog declares.
BUILT_IN = {
    "wallet.linked": EventType("wallets", _ids("address", required=("address",))),
    "wallet.unlinked": EventType("wallets", _ids("address", required=("address",))),
} | {
    command: EventType(
        "commands", _ids("external_id", "type_code", "reason", required=("external_id", *more))
    )
    for command, more in {"badge.mint": (), "badge.burn": (), "badge.revoke": ("reason",)}.items()
}
_AWARD = _ids("external_id", "type_code", "reason", required=("external_id", "type_code"))
BUILT_IN["badge.award"] = EventType(
    "commands", (*_AWARD, Field("level", "integer", False, 1, _LEVEL_MAX))
)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that is a dead letter; `reason` is the code it should have."""

    reason: str


class _ContractViolation(Exception):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def read_event(record: Record, badges: Badges, now: datetime) -> Event | Rejected:
    """Return the event that `record` carries, or why it carries none.

    Args:
        record: as it was sent.
        badges: says which types belong on which topic, and what their data holds.
        now: an event more than ten minutes later than this is too new.
    """
    try:
        attributes, data = _opened(record)
        return _event(record.topic, attributes, data, badges, now)
    except _ContractViolation as violation:
        return Rejected(violation.reason)


def _opened(record: Record) -> tuple[dict[str, Any], Any]:
    """Return context attributes and data, whichever mode they came in."""
    if record.value is None:
        raise _ContractViolation("no_value")
    headers = {name.lower(): value for name, value in record.headers}
    if "ce_specversion" in headers:
        attributes = {
            name[3:]: value.decode() for name, value in headers.items() if name.startswith("ce_")
        }
        return attributes, _parsed(record.value)
    if headers.get("content-type", STRUCTURED) not in (STRUCTURED, PLAIN_JSON):
        raise _ContractViolation("content_type")
    document = _parsed(record.value)
    if not isinstance(document, dict):
        raise _ContractViolation("bad_envelope")
    if "data_base64" in document:
        return document, _parsed(b64decode(document["data_base64"]))
    return document, document.get("data", {})


def _parsed(value: bytes) -> Any:  # noqa: ANN401 - any JSON
    try:
        return json.loads(value.decode(), parse_float=Decimal)
    except RecursionError:
        raise _ContractViolation("unreadable") from None
    except InvalidOperation:
        raise _ContractViolation("bad_field") from None
    except ValueError:
        raise _ContractViolation("not_json") from None


def _check_text(text: str) -> None:
    if "\x00" in text:
        raise _ContractViolation("bad_text")
    if _HALF.search(text):
        raise _ContractViolation("not_json")


def _event(
    topic: str,
    attributes: dict[str, Any],
    data: Any,  # noqa: ANN401 - whatever JSON holds
    badges: Badges,
    now: datetime,
) -> Event:
    if attributes.get("specversion") != "1.0":
        raise _ContractViolation("bad_specversion")
    for name in ("id", "source", "type"):
        found = attributes.get(name)
        if not isinstance(found, str) or not found:
            raise _ContractViolation("bad_envelope")
        _check_text(found)
    time = _time(attributes.get("time"))
    subject = _uuid(attributes.get("subject"), "bad_subject")
    tenant = _uuid(attributes["tenantid"], "bad_tenant") if "tenantid" in attributes else None
    declared = BUILT_IN.get(attributes["type"]) or badges.events.get(attributes["type"])
    if declared is None:
        raise _ContractViolation("unknown_type")
    if declared.topic != topic:
        raise _ContractViolation("wrong_topic")
    if time > now + _TOO_NEW:
        raise _ContractViolation("too_new")
    if not isinstance(data, dict):
        raise _ContractViolation("bad_data")
    for field in declared.fields:
        _check(field, data)
    if topic == "wallets" and wallets.raw(data["address"]) is None:
        raise _ContractViolation("bad_address")
    return Event(
        topic,
        attributes["type"],
        attributes["source"],
        attributes["id"],
        subject,
        time,
        data,
        tenant,
    )


def _check(field: Field, data: dict[str, Any]) -> None:
    if field.name not in data:
        if field.required:
            raise _ContractViolation("missing_field")
        return
    value = data[field.name]
    if value is None:
        raise _ContractViolation("null_field")
    if field.kind == "integer":
        if (
            not isinstance(value, int)
            or isinstance(value, bool)
            or not field.minimum <= value <= field.maximum
        ):
            raise _ContractViolation("bad_field")
        return
    if not isinstance(value, str) or (field.kind == "id" and not 1 <= len(value) <= _ID_MAX):
        raise _ContractViolation("bad_field")
    _check_text(value)


def _uuid(text: object, reason: str) -> str:
    try:
        return str(UUID(str(text)))
    except ValueError:
        raise _ContractViolation(reason) from None


def _time(text: object) -> datetime:
    if not isinstance(text, str) or not _TIME.fullmatch(text):
        raise _ContractViolation("bad_time")
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except ValueError:
        raise _ContractViolation("bad_time") from None
