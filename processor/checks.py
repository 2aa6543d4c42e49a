"""What a worker needs of catalog and Kafka: checks of `laurel doctor`."""

from ops.checks import Check
from ops.errors import UsageError
from ops.settings import Settings
from processor.stream import codecs, topics
from processor.stream.topics import TopicsMissing
from store import catalogs, migrations
from store.engine import Database


async def _catalog(settings: Settings) -> str:
    async with (
        Database(settings.need("database_url"), settings.database) as db,
        db.transaction() as conn,
    ):
        await migrations.check(conn)
        found = await catalogs.current(conn)
    if found is None:
        raise UsageError(catalogs.NO_CATALOG)
    return f"version {found.version}: {len(found.types)} types, {len(found.counters)} counters"


async def _kafka(settings: Settings) -> str:
    codecs.check()
    found = await topics.cluster(settings)
    return f"cluster {found.id} at {settings.kafka_brokers}"


async def _topics(settings: Settings) -> str:
    missing, there = await topics.prepare(settings, dry_run=True)
    if missing:
        raise TopicsMissing(f"Kafka has no topic {', '.join(missing)}. Run `laurel topics create`.")
    found = await topics.cluster(settings)
    if refused := found.unreadable.intersection(there).difference(topics.outgoing(settings.kafka)):
        raise TopicsMissing(found.lack(refused))
    await topics.check_group(settings)
    return f"{len(there)} there"


CHECKS = (
    Check("catalog", ("database_url",), _catalog),
    Check("kafka", ("kafka_brokers",), _kafka),
    Check("topics", ("kafka_brokers",), _topics),
)
