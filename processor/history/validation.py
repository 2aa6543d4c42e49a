"""Say of each line of a file of messages what a worker would say: the body of `laurel events`.

The very reader of the worker reads them, by the catalog in force or by another one, and its rules
look for what that does not know (processor/batch/forecast.py); nothing is counted, and no more than
a line is held. A file has no topic: what is taken is taken by its own topic, and rejected by any
other, unless it is said by which all of it will come.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from ops.errors import UsageError
from ops.settings import Settings
from processor.batch.forecast import Forecast
from processor.catalog import load
from processor.catalog.in_force import floor_in_force, in_force
from processor.catalog.spelling import did_you_mean
from processor.events import message_schema
from processor.events.event import Event
from processor.events.reader import (
    BadgeCommand,
    EventReader,
    Parsed,
    WalletChange,
)
from processor.events.records import Record
from processor.events.rejection import Rejected
from store.values.catalog import Catalog


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a worker says of line `line`: its type, and the reason where it rejects it.

    `heard` is False for an event that no counter listens to.
    """

    line: int
    type: str
    heard: bool = True
    reason: str | None = None
    detail: str | None = None


@dataclass(slots=True)
class Tally:
    """How many messages there were: by type those that are taken, by reason the others."""

    taken: Counter[str] = field(default_factory=Counter)
    unheard: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)

    def add(self, verdict: Verdict) -> None:
        """Take in the verdict on one more message."""
        if verdict.reason is not None:
            self.rejected[verdict.reason] += 1
            return
        self.taken[verdict.type] += 1
        if not verdict.heard:
            self.unheard[verdict.type] += 1


async def catalog_of(settings: Settings, directory: Path | None) -> Catalog:
    """Return the catalog in `directory`, which needs no database; without one that in force."""
    return await in_force(settings) if directory is None else load.load(directory)


async def forecast_of(settings: Settings, directory: Path | None) -> Forecast:
    """Return what a worker with these settings would say, by the catalog in `directory`."""
    reader = EventReader(
        await catalog_of(settings, directory),
        settings.tenant_id,
        settings.worker.future_tolerance,
        await floor_in_force(settings) if directory is None else None,
    )
    return Forecast(reader, settings.worker.record_bytes_max)


def topics_by_type(settings: Settings, catalog: Catalog) -> dict[str, str]:
    """Return the topic that messages of each type belong on, as Kafka calls it."""
    prefix = settings.kafka.topic_prefix
    names = {spec.type: spec.topic for spec in catalog.events} | dict(
        message_schema.BUILT_IN_TOPICS
    )
    return {kind: f"{prefix}.{topic}" for kind, topic in names.items()}


def contract_topic(settings: Settings, catalog: Catalog, topic: str) -> str:
    """Return the contract's name of `topic`, which may be written as Kafka calls it.

    Raises:
        UsageError: a worker reads no such topic.
    """
    read = message_schema.topics_of(settings.kafka.topic_prefix, catalog)
    for name in (topic, f"{settings.kafka.topic_prefix}.{topic}"):
        if name in read:
            return message_schema.topic_of(settings.kafka.topic_prefix, name)
    raise UsageError(
        f"No worker reads the topic {topic}.{did_you_mean(topic, read)} "
        f"Workers read: {', '.join(read)}."
    )


def verdicts(
    records: Iterable[Record],
    forecast: Forecast,
    now: Callable[[], datetime],
    topic: str | None = None,
) -> Iterator[Verdict]:
    """Yield the verdict on each of a file's records.

    `topic`: the contract's name of the one that they come by; None for each its own.
    """
    for record in records:
        # Each at its own time: a pipe may take hours. A file's lines have no timestamp.
        yield _verdict(record.offset + 1, forecast.of(record, now(), topic))


def _verdict(line: int, parsed: Parsed) -> Verdict:
    match parsed:
        case Rejected(reason, detail, kind):
            return Verdict(line, kind, reason=reason.value, detail=detail)
        case Event():
            return Verdict(line, parsed.type, heard=parsed.heard)
        case WalletChange() | BadgeCommand():
            return Verdict(line, str(parsed.type))
