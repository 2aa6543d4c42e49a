"""Kafka's topics: what a worker needs, what the cluster has, and creating what is missing.

Only whole-cluster metadata is asked for: a request that names a missing topic would create it on
some brokers (Tansu, or Kafka with auto.create.topics.enable), with the wrong number of partitions.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError, for_code

from ops.errors import Permanent, Transient, UsageError
from ops.kafka_settings import KafkaSettings
from ops.settings import Settings
from processor.catalog import load
from processor.catalog.in_force import applied, in_force
from processor.events.message_schema import topics_of
from processor.stream import kafka_access, kafka_rights
from processor.stream.kafka_access import KafkaAccessDenied
from store.values.catalog import Catalog

OUTGOING = ("badges", "dead-letters")  # written by the relay (docs/data-model.md, Events)
_TOPIC_ALREADY_EXISTS = 36  # Kafka protocol, error codes


class TopicsMissing(Transient):
    """Topics that a worker reads do not exist yet."""

    code = "topics_missing"


class TopicRejected(Permanent):
    """The broker declines to create a topic."""

    code = "topic_rejected"


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Kafka cluster, as one client sees it.

    Args:
        id: under which the ledger keeps its offsets.
        topics: those that the client may see.
        unreadable: those of them that it may not read.
        principal: who the client is to the brokers; empty where all are alike.
        partitions: how many of them each topic has.
    """

    id: str
    topics: frozenset[str]
    unreadable: frozenset[str] = frozenset()
    principal: str = ""
    partitions: Mapping[str, int] = field(default_factory=dict)

    def co_partitioned(self, names: Iterable[str]) -> bool:
        """Return whether the topics `names` have as many partitions as each other.

        Then a key lies in partitions of the same number in all of them.
        """
        return len({self.partitions.get(name) for name in names}) == 1

    @property
    def readable(self) -> frozenset[str]:
        """Return the topics that the client may read."""
        return self.topics - self.unreadable

    def lack(self, wanted: Iterable[str]) -> str:
        """Return what is in the way of reading `wanted`, of which none is readable."""
        names = sorted(wanted)
        refused = [name for name in names if name in self.unreadable]
        missing = [name for name in names if name not in self.unreadable]
        words = []
        if missing and self.principal:
            words.append(
                f"Kafka has no topic {', '.join(missing)} that {self.principal} may see. Run "
                "`laurel topics create`, or grant READ on them where they are there."
            )
        elif missing:
            words.append(f"Kafka has no topic {', '.join(missing)}. Run `laurel topics create`.")
        if refused:
            words.append(
                f"Kafka does not let {self.principal} read {', '.join(refused)}. Grant READ on "
                "them (docs/runbook.md, Rights in Kafka)."
            )
        return " ".join(words)


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
    async with administered(settings) as admin:
        described = await admin.describe_cluster()
        partitions = {
            str(topic["topic"]): len(topic["partitions"]) for topic in await admin.describe_topics()
        }
        found = Cluster(str(described["cluster_id"]), frozenset(partitions), partitions=partitions)
        if settings.kafka.security_protocol == "PLAINTEXT":
            return found  # everybody is ANONYMOUS there
        refused = await kafka_rights.unreadable(admin)
        return replace(found, unreadable=refused, principal=kafka_access.principal(settings.kafka))


async def check_group(settings: Settings) -> None:
    """Return where the client may be in the workers' group.

    Raises:
        KafkaAccessDenied: it may not.
        KafkaUnreachable: no broker answers.
    """
    if settings.kafka.security_protocol == "PLAINTEXT":
        return
    group = settings.kafka.consumer_group
    async with administered(settings) as admin:
        if not await kafka_rights.may_join(admin, group):
            raise KafkaAccessDenied(
                f"Kafka does not let {kafka_access.principal(settings.kafka)} join the group "
                f"{group}. Grant READ on the group (docs/runbook.md, Rights in Kafka).",
                group=group,
            )


async def create(settings: Settings, names: Iterable[str]) -> None:
    """Create topics; one that exists already is fine.

    Raises:
        KafkaUnreachable: no broker answers.
        TopicRejected: a broker says no; the message has its reason.
    """
    kafka = settings.kafka
    wanted = [_new(name, kafka) for name in names]
    if not wanted:
        return
    async with administered(settings) as admin:
        answer = await admin.create_topics(wanted)
        for name, code, *detail in answer.topic_errors:
            if code not in (0, _TOPIC_ALREADY_EXISTS):
                reason = next((str(each) for each in detail if each), for_code(code).description)
                if code == TopicAuthorizationFailedError.errno:
                    reason = (
                        f"{kafka_access.principal(kafka) or 'ANONYMOUS'} may not. Grant CREATE and "
                        "DESCRIBE on it, or have an administrator make it."
                    )
                raise TopicRejected(
                    f"Kafka does not make the topic {name}: {reason}", topic=name, error_code=code
                )


def _new(name: str, kafka: KafkaSettings) -> NewTopic:
    made = NewTopic(name, kafka.partitions, 1)
    made.replication_factor = kafka.replication_factor  # its constructor does not take Kafka's -1
    return made


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
async def administered(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """Yield a client that asks about the cluster as a whole.

    Raises:
        KafkaUnreachable: no broker answers.
    """
    access = kafka_access.of(settings)
    admin = AIOKafkaAdminClient(**access.arguments)
    try:
        try:
            await admin.start()
            yield admin
        finally:
            await admin.close()
    except (KafkaError, OSError) as error:
        raise await access.refusal(error) from error
