"""What a worker needs of catalog and Kafka: checks of `laurel doctor`."""

import asyncio
from collections.abc import Callable, Collection, Sequence

from ops.checks import Check, CheckResult, Lines, Said, attempt, fail, warn
from ops.errors import LaurelError
from ops.settings import Settings
from processor.catalog import load
from processor.catalog.in_force import in_force
from processor.stream import codecs, kafka_access, topics
from processor.stream.kafka_access import KafkaAccess
from processor.stream.topic_states import PartitionState, Survey, TopicState, survey
from processor.stream.topics import Cluster
from store import catalogs, migrations
from store.engine import Database


async def _files(settings: Settings) -> Lines:
    directory = settings.catalog_dir or load.SHIPPED
    found = load.load(directory)
    yield CheckResult.of("catalog files", f"{len(found.types)} types in {directory}")


async def _catalog(settings: Settings) -> Lines:
    async with Database(settings.need("database_url"), settings.database) as db:
        yield await attempt("catalog", _in_force(db))


async def _in_force(db: Database) -> Said:
    async with db.reading() as conn:
        await migrations.check(conn)
        found = await catalogs.current(conn)
    if found is None:
        return fail(catalogs.NO_CATALOG)
    return f"version {found.version}: {len(found.types)} types, {len(found.counters)} counters"


async def _kafka(settings: Settings) -> Lines:
    settings = kafka_access.hurried(settings)
    codecs.check()
    found = await topics.cluster(settings)
    yield CheckResult.of("kafka", f"cluster {found.id} at {settings.kafka_brokers}")
    wanted, unknown = await _wanted(settings, found)
    seen = await survey(settings, wanted)
    for line in await _brokers(kafka_access.of(settings), seen):
        yield line
    incoming = [
        state
        for name, state in sorted(seen.topics.items())
        if name not in topics.outgoing(settings.kafka)
    ]
    yield CheckResult.of("topics", unknown or topics_said(settings, found, wanted, incoming))
    yield CheckResult.of("partitions", partitions_said(incoming))
    yield CheckResult.of("copies", copies_said(incoming, len(seen.brokers)))
    yield await attempt("group", _group(settings))


async def _wanted(settings: Settings, found: Cluster) -> tuple[list[str], Said | None]:
    """Return which topics there must be; where that is not known, those there are and why."""
    try:
        definitions = await in_force(settings)
    except LaurelError as error:
        own = [name for name in found.topics if name.startswith(f"{settings.kafka.topic_prefix}.")]
        return own, warn(f"which topics there must be is not known: {error.message}")
    return [*topics.incoming(settings.kafka, definitions), *topics.outgoing(settings.kafka)], None


async def _brokers(access: KafkaAccess, seen: Survey) -> Sequence[CheckResult]:
    """Return a line a broker, each asked by itself: those that are named, and those led to."""
    named = [each.strip() for each in access.brokers.split(",")]
    return await asyncio.gather(
        *(
            attempt(f"broker {server}", _broker(access, server, is_led_to=server in seen.brokers))
            for server in dict.fromkeys([*named, *seen.brokers])
        )
    )


async def _broker(access: KafkaAccess, server: str, *, is_led_to: bool) -> Said:
    trouble = await access.trouble_at(server)
    if trouble is None:
        return "answers"
    if is_led_to:
        return fail(
            f"{trouble}. Clients are led there (advertised.listeners), so what it leads cannot be "
            "read from this host."
        )
    return warn(f"{trouble}. The other ones of LAUREL_KAFKA_BROKERS are asked in its place.")


async def _group(settings: Settings) -> Said:
    await topics.check_group(settings)
    return f"{settings.kafka.consumer_group} may be joined"


def topics_said(
    settings: Settings, found: Cluster, wanted: Collection[str], incoming: Sequence[TopicState]
) -> Said:
    """Return whether the topics `wanted` are there, and are read and kept as events need it."""
    missing = [name for name in wanted if name not in found.topics]
    if missing:
        return fail(f"Kafka has no topic {', '.join(missing)}. Run `laurel topics create`.")
    refused = found.unreadable.intersection(wanted).difference(topics.outgoing(settings.kafka))
    if refused:
        return fail(found.lack(refused))
    if compacted := [each.name for each in incoming if each.is_compacted]:
        return fail(
            f"{', '.join(compacted)}: cleanup.policy is compact, so of a key's events Kafka keeps "
            "the newest alone, and the others are not counted. Set it to delete."
        )
    return f"{len(wanted)} there"


def partitions_said(incoming: Sequence[TopicState]) -> Said:
    """Return whether each partition can be read, and by several writers."""
    if not incoming:
        return warn("there is no topic to read")
    dead = [
        f"{topic.name}/{each.number}"
        for topic in incoming
        for each in topic.partitions
        if each.leader is None
    ]
    if dead:
        return fail(
            f"{', '.join(dead)}: no leader, so nobody can write or read there. A broker with a "
            "copy in sync has to come back."
        )
    numbers = {topic.name: len(topic.partitions) for topic in incoming}
    if len(set(numbers.values())) > 1:
        listed = ", ".join(f"{name} {number}" for name, number in numbers.items())
        return warn(
            f"topics differ ({listed}), so a worker counts with one writer whatever "
            "LAUREL_WORKER__WRITERS says. Give all of them as many partitions."
        )
    return f"{next(iter(numbers.values()))} of each of {len(incoming)} topics"


def copies_said(incoming: Sequence[TopicState], brokers: int) -> Said:
    """Return whether events outlive a broker."""
    pairs = [(topic, each) for topic in incoming for each in topic.partitions]
    if not pairs:
        return warn("there is no topic to read")

    def where(fits: Callable[[TopicState, PartitionState], bool]) -> str:
        return ", ".join(dict.fromkeys(topic.name for topic, each in pairs if fits(topic, each)))

    if names := where(lambda topic, each: each.in_sync < (topic.min_in_sync or 1)):
        return fail(
            f"{names}: fewer copies in sync than min.insync.replicas, so producers with acks=all "
            "are refused. Bring the missing brokers back."
        )
    if names := where(lambda _, each: each.in_sync < each.copies):
        return warn(f"{names}: not all copies are in sync. A broker is away, or too slow.")
    if brokers > 1 and (names := where(lambda _, each: each.copies == 1)):
        return warn(
            f"{names}: one copy alone, and whoever loses that broker loses the events. Add some "
            "(kafka-reassign-partitions); of new topics LAUREL_KAFKA__REPLICATION_FACTOR says it."
        )
    if names := where(lambda topic, each: 1 < each.copies <= (topic.min_in_sync or 1)):
        return warn(
            f"{names}: min.insync.replicas is as many as there are copies, so one broker that is "
            "away stops producers with acks=all. Lower it by one, or add a copy."
        )
    if names := where(lambda topic, each: each.copies > 1 and topic.min_in_sync == 1):
        return warn(
            f"{names}: min.insync.replicas is 1, so an event that was acknowledged may be on one "
            "broker alone. Set it to 2."
        )
    told = sorted({topic.min_in_sync for topic in incoming if topic.min_in_sync is not None})
    sync = f"is {', '.join(map(str, told))}" if told else "is not told (DESCRIBE_CONFIGS tells it)"
    fewest = min(each.copies for _, each in pairs)
    return f"{fewest} of each partition, all in sync; min.insync.replicas {sync}"


CHECKS = (
    Check(("catalog files",), (), _files),
    Check(("catalog",), ("database_url",), _catalog),
    Check(("kafka", "topics", "partitions", "copies", "group"), ("kafka_brokers",), _kafka),
)
