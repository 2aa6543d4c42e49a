"""Send events that a person typed: the body of `laurel send`.

The contract is that of the catalog's files, so that a stack without a database can be tried, too.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from uuid import uuid4

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError

from ops.clock import SYSTEM_CLOCK
from ops.errors import Transient, UsageError
from ops.settings import Settings
from processor.catalog import load
from processor.events.message_schema import (
    COMMANDS_TOPIC,
    WALLETS_TOPIC,
    WalletType,
)
from store.values import Catalog, CommandType, EventSpec, FieldKind, FieldSpec

_SOURCE = "/laurel-cli"
_HEADERS = [("content-type", b"application/cloudevents+json")]
_ENCODER = msgspec.json.Encoder(decimal_format="number")
_LEVEL = FieldSpec("level", FieldKind.INTEGER)
# Part of every contract, whatever the catalog declares; their data is text, but for a level.
_BUILT_IN = {
    **{str(kind): EventSpec(kind, WALLETS_TOPIC, ()) for kind in WalletType},
    **{str(kind): EventSpec(kind, COMMANDS_TOPIC, (_LEVEL,)) for kind in CommandType},
}


class PublishFailed(Transient):
    """The broker did not take a message."""

    code = "publish_failed"


@dataclass(frozen=True, slots=True)
class TypedEvent:
    """What a person typed: `user` is the subject, `data` holds `field=value` each."""

    type: str
    user: str
    data: Sequence[str] = ()


async def send(settings: Settings, event: TypedEvent, times: int) -> str:
    """Send `event` some times, each under an id of its own; return the topic it went to.

    Args:
        settings: of the broker, the topics and the catalog.
        event: of a type that the catalog declares, or one of Laurel's own.
        times: how many.

    Raises:
        UsageError: an unknown type, or a value that is no number where one is due.
        PublishFailed: the broker did not take it.
    """
    spec = _spec(load.load(settings.catalog_dir or load.SHIPPED), event.type)
    data = dict(_field(spec, written) for written in event.data)
    topic = f"{settings.kafka.topic_prefix}.{spec.topic}"
    values = [_cloud_event(event, data) for _ in range(times)]
    await _publish(settings, topic, event.user.encode(), values)
    return topic


def _spec(catalog: Catalog, event_type: str) -> EventSpec:
    known = {**{spec.type: spec for spec in catalog.events}, **_BUILT_IN}
    if event_type not in known:
        raise UsageError(
            f"There is no event type {event_type}. There are: {', '.join(sorted(known))}."
        )
    return known[event_type]


def _field(spec: EventSpec, written: str) -> tuple[str, object]:
    name, equals, value = written.partition("=")
    if not equals or not name:
        raise UsageError(f"{written}: data is written as FIELD=VALUE, for example city_id=2950159.")
    kinds = {field.name: field.kind for field in spec.fields}
    match kinds.get(name):
        case FieldKind.INTEGER:
            return name, _number(int, written, f"{name} is a whole number")
        case FieldKind.NUMBER:
            return name, _number(_finite, written, f"{name} is a number")
        case _:
            return name, value


def _number(parse: Callable[[str], object], written: str, expected: str) -> object:
    try:
        return parse(written.partition("=")[2])
    except (ValueError, InvalidOperation):
        raise UsageError(f"{written}: {expected}.") from None


def _finite(text: str) -> Decimal:
    value = Decimal(text)
    # JSON has no NaN.
    if not value.is_finite():
        raise ValueError(text)
    return value


def _cloud_event(event: TypedEvent, data: Mapping[str, object]) -> bytes:
    """Return a CloudEvent in structured mode, with a new id."""
    return _ENCODER.encode(
        {
            "specversion": "1.0",
            "id": str(uuid4()),
            "source": _SOURCE,
            "type": event.type,
            "subject": event.user,
            "time": SYSTEM_CLOCK.now().replace(microsecond=0),
            "datacontenttype": "application/json",
            "data": data,
        }
    )


async def _publish(settings: Settings, topic: str, key: bytes, values: Sequence[bytes]) -> None:
    """Send `values` in their order; return once every in-sync replica has them all."""
    brokers = settings.need("kafka_brokers")
    producer = AIOKafkaProducer(
        bootstrap_servers=brokers,
        acks="all",
        request_timeout_ms=round(settings.kafka.request_timeout.total_seconds() * 1000),
    )
    try:
        await producer.start()
        waiting = [await producer.send(topic, value, key, headers=_HEADERS) for value in values]
        await asyncio.gather(*waiting)
    except KafkaConnectionError as error:
        raise PublishFailed(f"Kafka does not answer at {brokers}: {error!r}") from error
    except KafkaError as error:
        raise PublishFailed(f"Kafka did not take a message: {error!r}") from error
    finally:
        await producer.stop()
