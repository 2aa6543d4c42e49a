"""What `laurel doctor` says of catalog, Kafka and topics."""

from pydantic import SecretStr

from ops.checks import CheckState, examine
from ops.kafka_settings import KafkaSettings
from ops.settings import Settings
from processor.checks import CHECKS
from processor.stream import topics
from sandbox.broker import Broker
from store.engine import Database
from tests.builders.messages import with_catalog


async def test_before_and_after_the_set_up(
    database: Database, database_url: str, broker: Broker, topic_prefix: str
) -> None:
    settings = Settings(
        database_url=SecretStr(database_url),
        kafka_brokers=broker.address,
        kafka=KafkaSettings(topic_prefix=topic_prefix),
    )
    catalog, kafka, found = await examine(CHECKS, settings)
    assert (catalog.state, kafka.state, found.state) == (
        CheckState.FAILED,
        CheckState.OK,
        CheckState.FAILED,
    )
    assert "laurel catalog apply" in catalog.detail
    assert f"{topic_prefix}.quests" in found.detail
    assert "laurel topics create" in found.detail

    await with_catalog(database)
    await topics.prepare(settings, dry_run=False)
    results = await examine(CHECKS, settings)
    assert [each.state for each in results] == [CheckState.OK] * 3
    assert results[0].detail.startswith("version ")


async def test_a_broker_that_is_away_is_named() -> None:
    results = await examine(CHECKS, Settings(kafka_brokers="127.0.0.1:9"))
    assert [each.state for each in results] == [
        CheckState.SKIPPED,
        CheckState.FAILED,
        CheckState.FAILED,
    ]
    assert "127.0.0.1:9" in results[1].detail
