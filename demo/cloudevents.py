"""Encode CloudEvents 1.0 as Kafka messages, in structured or binary mode, as a producer would."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from demo.records import Header, Record

STRUCTURED = b"application/cloudevents+json"
PLAIN_JSON = b"application/json"


@dataclass(frozen=True, slots=True)
class Event:
    """A CloudEvent before it is written.

    `topic` without prefix, `subject` a user, `tenant` None for the configured one.
    """

    topic: str
    type: str
    source: str
    id: str
    subject: str
    time: datetime
    data: Mapping[str, object]
    tenant: str | None = None

    def attributes(self) -> dict[str, str]:
        """Return the context attributes by their CloudEvents names."""
        found = {
            "specversion": "1.0",
            "id": self.id,
            "source": self.source,
            "type": self.type,
            "subject": self.subject,
            "time": self.time.isoformat().replace("+00:00", "Z"),
        }
        return found | ({"tenantid": self.tenant} if self.tenant else {})


def structured(event: Event, phase: int = 1, *, named: bool = True) -> Record:
    """Return `event` as one JSON document.

    A producer that is not `named` sends no headers at all.
    """
    document = event.attributes() | {"datacontenttype": "application/json", "data": event.data}
    headers = (("content-type", STRUCTURED),) if named else ()
    return Record(phase, event.topic, event.subject.encode(), headers, as_json(document))


def binary(event: Event, phase: int = 1) -> Record:
    """Return `event` with its attributes in `ce_` headers and its data alone as the value."""
    headers: list[Header] = [("content-type", PLAIN_JSON)]
    headers += [(f"ce_{name}", value.encode()) for name, value in event.attributes().items()]
    return Record(phase, event.topic, event.subject.encode(), tuple(headers), as_json(event.data))


def as_json(document: Mapping[str, object]) -> bytes:
    """Return `document` as compact UTF-8."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
