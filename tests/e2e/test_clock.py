"""A worker compares its host's clock with PostgreSQL's, and with a broker's where records tell it."""

from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from ops.lifecycle import EXIT_OK
from sandbox.broker import Broker
from store.engine import Database
from tests.builders.messages import a_quest, encoded, with_catalog
from tests.builders.patience import PATIENCE_S
from tests.e2e.workers import RunningWorker, Site, a_producer, a_worker, until, until_counted

pytestmark = pytest.mark.kafka

# What a producer makes up: it is not believed.
LONG_AGO_MS = 1_000_000_000_000


async def ahead(worker: RunningWorker, witness: str) -> float | None:
    """By how much the worker says its host is ahead."""
    lines = await worker.metrics(f'laurel_clock_ahead_seconds{{witness="{witness}"}}')
    return float(lines[0].rpartition(" ")[2]) if lines else None


async def test_the_time_of_appending_is_the_brokers_clock(
    kafka_broker: Broker, database: Database, database_url: str, topic_prefix: str, tmp_path: Path
) -> None:
    await with_catalog(database)
    site = Site(kafka_broker.address, database_url, topic_prefix)
    topic = f"{site.prefix}.quests"
    admin = AIOKafkaAdminClient(bootstrap_servers=site.brokers)
    await admin.start()
    appended = {"message.timestamp.type": "LogAppendTime"}
    await admin.create_topics([NewTopic(topic, 1, 1, topic_configs=appended)])
    await admin.close()
    await site.make_topics()
    async with a_producer(site) as producer:
        await producer.send_and_wait(topic, encoded(a_quest()), timestamp_ms=LONG_AGO_MS)
    with a_worker(site, tmp_path / "worker.log") as worker:
        await until_counted(database, 1, worker)

        async def shown() -> bool:
            return None not in [await ahead(worker, each) for each in ("postgresql", "kafka")]

        await until(shown, "both clocks", worker)
        for witness in ("postgresql", "kafka"):
            assert abs(await ahead(worker, witness) or 0.0) < PATIENCE_S
        assert "clock" not in (await worker.ready())["waits"]
        assert worker.stop() == EXIT_OK
