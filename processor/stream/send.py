"""Send events that a person typed: the body of `laurel send`.

The contract is that of the catalog in force, or of the files, so that a stack without a database
can be tried, too. What a worker would reject is not sent: its own reader is asked first.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from uuid import uuid4

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError

from ops.clock import SYSTEM_CLOCK
from ops.errors import Transient, UsageError
from ops.settings import Settings
from processor.batch.forecast import Forecast
from processor.catalog.in_force import floor_in_force, in_force
from processor.catalog.spelling import did_you_mean, no_such_type
from processor.events.chunks import PlainRecord
from processor.events.json_schema import Schema, schemas
from processor.events.message_schema import BUILT_IN_TOPICS
from processor.events.reader import EventReader
from processor.events.rejection import Rejected
from processor.stream import kafka_access, topics
from processor.stream.topics import TopicsMissing
from store.values.catalog import Catalog

_SOURCE = "/laurel-cli"
_HEADERS = [("content-type", b"application/cloudevents+json")]
_ENCODER = msgspec.json.Encoder(decimal_format="number")


class PublishFailed(Transient):
    """The broker did not take a message."""

    code = "publish_failed"


@dataclass(frozen=True, slots=True)
class TypedEvent:
    """What a person typed: `user` is the subject, `data` holds `field=value` each."""

    type: str
    user: str
    data: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Prepared:
    """Messages that a worker takes.

    `undeclared` are fields that only a filter may read.
    """

    topic: str
    key: bytes
    values: Sequence[bytes]
    undeclared: Sequence[str] = ()


async def prepare(settings: Settings, event: TypedEvent, times: int) -> Prepared:
    """Return `event` some times as messages, each with an id of its own.

    Args:
        settings: of the catalog, the topics and what a worker holds messages against.
        event: of a type that the catalog declares, or one of Laurel's own.
        times: how many.

    Raises:
        UsageError: an unknown type, a misspelt field, or what a worker would reject.
        Transient: the database that has the catalog does not answer.
    """
    catalog = await in_force(settings)
    known = schemas(catalog)
    if event.type not in known:
        raise UsageError(no_such_type(event.type, known))
    expected = known[event.type]["properties"]["data"]
    data = _data(event, expected)
    values = [_cloud_event(event, data) for _ in range(times)]
    topic = _topic(catalog, event.type)
    reader = EventReader(
        catalog,
        settings.tenant_id,
        settings.worker.future_tolerance,
        await floor_in_force(settings),
    )
    key = event.user.encode()
    forecast = Forecast(reader, settings.worker.record_bytes_max)
    for place, value in enumerate(values):
        _check(forecast, topic, PlainRecord(place, value, key, _HEADERS), expected)
    return Prepared(
        f"{settings.kafka.topic_prefix}.{topic}",
        key,
        values,
        [name for name in data if name not in expected["properties"]],
    )


async def publish(settings: Settings, messages: Prepared) -> None:
    """Send `messages` in their order; return once every in-sync replica has them all.

    Raises:
        UsageError: the brokers' address cannot be read.
        KafkaUnreachable: no broker answers.
        TopicsMissing: the topic is not there; it is not made by the way.
        PublishFailed: the broker did not take a message.
    """
    if messages.topic not in (await topics.cluster(settings)).topics:
        raise TopicsMissing(
            f"There is no topic {messages.topic}. Make it by `laurel topics create`."
        )
    producer = AIOKafkaProducer(**kafka_access.of(settings).arguments, acks="all")
    try:
        await producer.start()
        waiting = [
            await producer.send(messages.topic, value, messages.key, headers=_HEADERS)
            for value in messages.values
        ]
        await asyncio.gather(*waiting)
    except TopicAuthorizationFailedError as error:
        who = kafka_access.principal(settings.kafka) or "ANONYMOUS"
        raise PublishFailed(
            f"Kafka does not let {who} write {messages.topic}. Grant WRITE on it."
        ) from error
    except KafkaError as error:
        raise PublishFailed(f"Kafka did not take a message: {error!r}") from error
    finally:
        await producer.stop()


def _topic(catalog: Catalog, kind: str) -> str:
    declared = (spec.topic for spec in catalog.events if spec.type == kind)
    return BUILT_IN_TOPICS.get(kind) or next(declared)


def _check(forecast: Forecast, topic: str, record: PlainRecord, expected: Schema) -> None:
    match forecast.of(record, SYSTEM_CLOCK.now(), topic):
        case Rejected(reason, detail):
            raise UsageError(
                f"Not sent, since a worker would reject it: {reason.value}: {detail}."
                f" {_fields(expected)}"
            )
        case _:
            pass


def _fields(expected: Schema) -> str:
    names = [name + "*" * (name in expected["required"]) for name in expected["properties"]]
    return f"Its fields (* required): {', '.join(names)}." if names else "It declares no field."


def _data(event: TypedEvent, expected: Schema) -> dict[str, object]:
    data: dict[str, object] = {}
    for written in event.data:
        try:
            written.encode()
        except UnicodeEncodeError:  # the shell gave bytes that are no text
            given = written.encode(errors="surrogateescape").decode(errors="backslashreplace")
            raise UsageError(f"{given}: this is no UTF-8.") from None
        name, value = _field(event.type, expected, written)
        if name in data:
            raise UsageError(f"{written}: {name} is given twice.")
        data[name] = value
    return data


def _field(kind: str, expected: Schema, written: str) -> tuple[str, object]:
    name, equals, value = written.partition("=")
    if not equals or not name:
        raise UsageError(f"{written}: data is written as FIELD=VALUE, for example city_id=2950159.")
    known = expected["properties"]
    if name not in known and (hint := did_you_mean(name, known)):
        raise UsageError(f"{written}: {kind} has no field {name}.{hint} {_fields(expected)}")
    match known.get(name, {}).get("type"):
        case "integer":
            return name, _number(int, written, f"{name} is a whole number")
        case "number":
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
