"""Send events that a person typed: the body of `laurel send`."""

from collections.abc import Sequence
from datetime import UTC
from uuid import uuid4

from demo.catalog_files import directory
from demo.cloudevents import Event, structured
from demo.oracle.catalog import Badges, read_badges
from demo.oracle.decode import BUILT_IN
from demo.stack.publisher import publishing
from ops.clock import SYSTEM_CLOCK
from ops.errors import UsageError
from ops.settings import Settings

_SOURCE = "/laurel-cli"


async def send(
    settings: Settings, event_type: str, user: str, data: Sequence[str], times: int
) -> str:
    """Send `times` events of one type; return the topic they went to.

    Args:
        settings: of the broker, the topics and the catalog.
        event_type: a type that the catalog declares, or one of Laurel's own.
        user: the subject, a UUID.
        data: `field=value` each; whole numbers where the catalog says so.
        times: how many; each has an id of its own.

    Raises:
        UsageError: an unknown type, or a value that is no number where one is due.
        PublishFailed: the broker did not take it.
    """
    badges = read_badges(directory(settings))
    declared = BUILT_IN.get(event_type) or badges.events.get(event_type)
    if declared is None:
        raise UsageError(
            f"There is no event type {event_type}. There are: {', '.join(sorted({*badges.events, *BUILT_IN}))}."
        )
    content = dict(_field(badges, event_type, written) for written in data)
    moment = SYSTEM_CLOCK.now().astimezone(UTC).replace(microsecond=0)
    events = [
        Event(declared.topic, event_type, _SOURCE, str(uuid4()), user, moment, content)
        for _ in range(times)
    ]
    prefix = settings.kafka.topic_prefix
    async with publishing(settings.need("kafka_brokers"), prefix) as publisher:
        await publisher.send([structured(event) for event in events])
    return f"{prefix}.{declared.topic}"


def _field(badges: Badges, event_type: str, written: str) -> tuple[str, object]:
    name, equals, value = written.partition("=")
    if not equals or not name:
        raise UsageError(f"{written}: data is written as FIELD=VALUE, for example city_id=2950159.")
    declared = badges.events.get(event_type)
    kinds = {field.name: field.kind for field in declared.fields} if declared else {}
    if kinds.get(name) != "integer":
        return name, value
    try:
        return name, int(value)
    except ValueError:
        raise UsageError(f"{written}: {name} is a whole number.") from None
