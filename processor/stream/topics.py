"""Kafka's topics: what a worker needs, what the cluster has, and creating what is missing.

Only whole-cluster metadata is asked for: a request that names a missing topic would create it on
some brokers (Tansu, or Kafka with auto.create.topics.enable), with the wrong number of partitions.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, for_code

from ops.errors import Permanent, Transient, UsageError
from ops.settings import KafkaSettings, Settings
from processor.catalog import load
from processor.catalog.in_force import applied, in_force
from processor.events.message_schema import topics_of
from store.values import Catalog

OUTGOING = ("badges", "dead-letters")  # written by the relay (docs/data-model.md, Events)
_TOPIC_ALREADY_EXISTS = 36  # Kafka protocol, error codes


class KafkaUnreachable(Transient):
    """No broker answers."""

    code = "kafka_unreachable"


class TopicsMissing(Transient):
    """Topics that a worker reads do not exist yet."""

    code = "topics_missing"


class TopicRejected(Permanent):
    """The broker declines to create a topic."""

    code = "topic_rejected"


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Kafka cluster: its id, under which the ledger keeps its offsets, and its topics."""

    id: str
    topics: frozenset[str]


def incoming(settings: KafkaSettings, definitions: Catalog) -> tuple[str, ...]:
    """Return the topics that a worker reads."""
    return topics_of(settings.topic_prefix, definitions)


def outgoing(settings: KafkaSettings) -> tuple[str, ...]:
    """Return the topics that Laurel writes."""
    return tuple(f"{settings.topic_prefix}.{name}" for name in OUTGOING)


async def cluster(settings: Settings) -> Cluster:
    """Return the id and the topics of the cluster.

    Raises:
        KafkaUnreachable: none answers.
    """
    async with _admin(settings) as admin:
        described = await admin.describe_cluster()
        return Cluster(str(described["cluster_id"]), frozenset(await admin.list_topics()))


async def create(settings: Settings, names: Iterable[str]) -> None:
    """Create topics; one that exists already is fine.

    Raises:
        KafkaUnreachable: no broker answers.
        TopicRejected: a broker says no; the message has its reason.
    """
    kafka = settings.kafka
    wanted = [NewTopic(name, kafka.partitions, kafka.replication_factor) for name in names]
    if not wanted:
        return
    async with _admin(settings) as admin:
        answer = await admin.create_topics(wanted)
        for name, code, *detail in answer.topic_errors:
            if code not in (0, _TOPIC_ALREADY_EXISTS):
                reason = next((str(each) for each in detail if each), for_code(code).description)
                raise TopicRejected(
                    f"Kafka does not make the topic {name}: {reason}", topic=name, error_code=code
                )


async def prepare(
    settings: Settings, *, dry_run: bool, directory: Path | None = None
) -> tuple[list[str], list[str]]:
    """Create the missing topics, or only look for them.

    Return those that were missing, and those that were there.

    The catalog in `directory` says which events there are; without one, that in force; without a
    database, or before the first `catalog apply`, the files do.

    Raises:
        KafkaUnreachable, TopicRejected, UsageError.
    """
    definitions = await in_force(settings) if directory is None else load.load(directory)
    return await _prepare(
        settings,
        [*incoming(settings.kafka, definitions), *outgoing(settings.kafka)],
        dry_run=dry_run,
    )


async def before_catalog(settings: Settings, definitions: Catalog, *, dry_run: bool) -> list[str]:
    """Create the topics that `definitions`, a catalog to be applied, needs; return those.

    With `dry_run` only look for them. Without LAUREL_KAFKA_BROKERS nothing is created.

    Raises:
        KafkaUnreachable, TopicRejected.
        UsageError: brokers are not set, and there would be topics that workers do not know.
    """
    wanted = incoming(settings.kafka, definitions)
    if settings.kafka_brokers is not None:
        made, _ = await _prepare(settings, wanted, dry_run=dry_run)
        return made
    before = await applied(settings)
    known = wanted if before is None else incoming(settings.kafka, before)
    new = sorted(set(wanted) - set(known))
    if new and not dry_run:
        raise UsageError(
            f"The catalog names topics that the one in force does not: {', '.join(new)}. Set "
            "LAUREL_KAFKA_BROKERS and they are made first, or run `laurel topics create DIRECTORY` "
            "where it is set, and then this with --no-topics."
        )
    return new


async def _prepare(
    settings: Settings, wanted: Sequence[str], *, dry_run: bool
) -> tuple[list[str], list[str]]:
    found = await cluster(settings)
    absent = [name for name in wanted if name not in found.topics]
    if not dry_run:
        await create(settings, absent)
    return absent, [name for name in wanted if name in found.topics]


@asynccontextmanager
async def _admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    brokers = settings.need("kafka_brokers")
    admin = AIOKafkaAdminClient(
        bootstrap_servers=brokers.split(","),
        request_timeout_ms=round(settings.kafka.request_timeout.total_seconds() * 1000),
    )
    try:
        try:
            await _start(admin, brokers)
            yield admin
        finally:
            await admin.close()
    except (KafkaError, OSError) as error:
        raise KafkaUnreachable(
            f"Kafka does not answer at {brokers}: {error}", brokers=brokers
        ) from error


async def _start(admin: AIOKafkaAdminClient, brokers: str) -> None:
    try:
        await admin.start()
    except ValueError as error:  # what aiokafka says of an address that it cannot read
        raise UsageError(
            f"LAUREL_KAFKA_BROKERS: {brokers} is no list of host:port: {error}."
        ) from None
