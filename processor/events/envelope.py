"""Open a Kafka record: its CloudEvents envelope, and the bytes of its data.

CloudEvents 1.0 in JSON, structured or binary mode (CloudEvents Kafka protocol binding, section 3).
What is no text that PostgreSQL could keep is rejected here. Pure.
"""

import re
from base64 import b64decode
from datetime import UTC

import msgspec

from processor.events import message_schema
from processor.events.message_schema import Envelope
from processor.events.records import Headers, Record
from processor.events.rejection import ContractViolation
from store.values.stream import Reason

_BASE64 = re.compile(message_schema.BASE64)
# White space around a media type (RFC 9110, section 5.6.3).
_OWS = " \t"


def opened(record: Record) -> tuple[Envelope, bytes]:
    """Return the envelope and the bytes of its data ("{}" where it has none).

    Raises:
        ContractViolation: the record is no CloudEvent.
    """
    value = record.value
    if value is None:
        raise ContractViolation(Reason.NO_VALUE, "the record has no value")
    headers = record.headers
    try:
        if headers and _is_binary(headers):
            envelope, data = _binary(headers, value)
        else:
            if headers:
                _check_structured(headers)
            envelope = message_schema.ENVELOPE.decode(value)
            data = (
                bytes(envelope.data)
                if envelope.data_base64 is None
                else _from_base64(envelope.data_base64)
            )
    except msgspec.ValidationError as error:
        raise message_schema.envelope_violation(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ContractViolation(Reason.NOT_JSON, str(error)) from None
    if not value.isascii():
        _check_utf8(value)
    # PostgreSQL's text holds no NUL. Escapes of lone surrogates are rejected by msgspec as broken
    # JSON.
    if (
        b"\\u0000" in value
        or b"\\u0000" in data
        or "\x00" in envelope.id
        or "\x00" in envelope.source
    ):
        _check_text(envelope, data)
    if envelope.datacontenttype not in (None, "application/json"):
        _check_json_type(str(envelope.datacontenttype), "datacontenttype")
    return _in_utc(envelope), data or b"{}"


def _is_binary(headers: Headers) -> bool:
    """Return whether the attributes are in the headers, and the value is the data.

    What is declared as a CloudEvent is one, also where its attributes are repeated in headers for
    those who route by them (CloudEvents Kafka protocol binding, sections 3 and 3.3.3).
    """
    if not any(name[:3].lower() == "ce_" for name, _ in headers):
        return False
    declared = _content_type(headers)
    return declared is None or not declared.startswith(b"application/cloudevents")


def _content_type(headers: Headers) -> bytes | None:
    found = (content for name, content in headers if name.lower() == "content-type")
    return next((content.strip().lower() for content in found if content is not None), None)


def _binary(headers: Headers, value: bytes) -> tuple[Envelope, bytes]:
    attributes: dict[str, str] = {}
    for name, content in headers:
        if name.lower().startswith("ce_") and content is not None:
            attributes[name[3:].lower()] = content.decode()
        elif name.lower() == "content-type" and content is not None:
            attributes["datacontenttype"] = content.decode()
    attributes.pop("data", None)
    attributes.pop("data_base64", None)
    return msgspec.convert(attributes, Envelope), value


def _check_structured(headers: Headers) -> None:
    declared = _content_type(headers)
    if declared is not None and not declared.startswith(
        (b"application/cloudevents+json", b"application/json")
    ):
        raise ContractViolation(
            Reason.CONTENT_TYPE, f"content-type is {declared[:64]!r}: JSON was expected"
        )


def _check_json_type(declared: str, name: str) -> None:
    media_type = declared.partition(";")[0].strip(_OWS).lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise ContractViolation(
            Reason.CONTENT_TYPE, f"{name} is {declared[:64]!r}: JSON was expected"
        )


def _check_utf8(value: bytes) -> None:
    # msgspec checks the strings that it decodes; the ones it skips are kept to RFC 8259 here.
    try:
        value.decode()
    except UnicodeDecodeError as error:
        raise ContractViolation(Reason.NOT_JSON, str(error)) from None


def _check_text(envelope: Envelope, data: bytes) -> None:
    try:
        texts = [envelope.id, envelope.source, *_texts(message_schema.ANY_DATA(data or b"{}"))]
    except msgspec.DecodeError as error:
        raise ContractViolation(Reason.BAD_DATA, str(error)) from None
    if any("\x00" in text for text in texts):
        raise ContractViolation(Reason.BAD_TEXT, "a text holds the character NUL")


def _texts(value: object) -> list[str]:
    found: list[str] = []
    rest = [value]
    while rest:
        match rest.pop():
            case str(text):
                found.append(text)
            case dict(members):
                rest.extend(members)
                rest.extend(members.values())
            case list(items):
                rest.extend(items)
            case _:
                pass
    return found


def _in_utc(envelope: Envelope) -> Envelope:
    """Return the envelope with its time in UTC.

    PostgreSQL takes no offset beyond 15:59, RFC 3339 any up to 23:59.
    """
    if envelope.time.tzinfo is UTC:
        return envelope
    try:
        time = envelope.time.astimezone(UTC)
    except OverflowError:
        raise ContractViolation(Reason.BAD_TIME, "time lies outside the years 1 to 9999") from None
    return msgspec.structs.replace(envelope, time=time)


def _from_base64(text: str) -> bytes:
    if not _BASE64.fullmatch(text):
        raise ContractViolation(Reason.BAD_ENVELOPE, "data_base64 is no base64")
    data = b64decode(text)
    if not data.isascii():
        _check_utf8(data)
    return data
