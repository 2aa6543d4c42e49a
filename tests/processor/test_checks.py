"""What `laurel doctor` says of catalog, Kafka and topics."""

import socket
from collections.abc import Sequence
from pathlib import Path

import pytest
from pydantic import SecretStr

from ops.checks import CheckResult, CheckState, Said, examine
from ops.kafka_settings import KafkaSettings
from ops.settings import Settings
from processor.checks import CHECKS, copies_said, partitions_said, topics_said
from processor.stream import topics
from processor.stream.topic_states import PartitionState, TopicState
from processor.stream.topics import Cluster
from sandbox.broker import Broker
from store.engine import Database
from tests.builders.messages import with_catalog

OK, WARN, FAIL, SKIP = CheckState.OK, CheckState.WARN, CheckState.FAIL, CheckState.SKIP


async def said_of(settings: Settings) -> dict[str, CheckResult]:
    return {each.name: each for each in await examine(CHECKS, settings)}


async def test_before_and_after_the_set_up(
    database: Database, database_url: str, broker: Broker, topic_prefix: str
) -> None:
    settings = Settings(
        database_url=SecretStr(database_url),
        kafka_brokers=broker.address,
        kafka=KafkaSettings(topic_prefix=topic_prefix),
    )
    found = await said_of(settings)
    assert {name: each.state for name, each in found.items()} == {
        "catalog files": OK,
        "catalog": FAIL,
        "kafka": OK,
        f"broker {broker.address}": OK,
        "topics": FAIL,
        "partitions": WARN,
        "copies": WARN,
        "group": OK,
    }
    assert "laurel catalog apply" in found["catalog"].detail
    assert f"{topic_prefix}.quests" in found["topics"].detail
    assert "laurel topics create" in found["topics"].detail

    await with_catalog(database)
    await topics.prepare(settings, dry_run=False)
    found = await said_of(settings)
    assert {each.state for each in found.values()} == {OK}
    assert found["catalog"].detail.startswith("version ")
    assert found["topics"].detail == "8 there"
    assert found["partitions"].detail == "4 of each of 6 topics"
    assert found["copies"].detail.startswith("1 of each partition, all in sync; ")


async def test_a_broker_that_is_away_is_named() -> None:
    found = await said_of(Settings(kafka_brokers="127.0.0.1:9"))
    assert {name: each.state for name, each in found.items()} == {
        "catalog files": OK,
        "catalog": SKIP,
        "kafka": FAIL,
        "topics": SKIP,
        "partitions": SKIP,
        "copies": SKIP,
        "group": SKIP,
    }
    assert "127.0.0.1:9" in found["kafka"].detail


async def test_a_broker_that_hangs_hides_neither_the_other_ones_nor_the_catalog(
    counting: Database, database_url: str, broker: Broker, topic_prefix: str
) -> None:
    """It takes connections, and never answers."""
    del counting
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hung = f"127.0.0.1:{silent.getsockname()[1]}"
        settings = Settings(
            database_url=SecretStr(database_url),
            kafka_brokers=f"{broker.address},{hung}",
            kafka=KafkaSettings(topic_prefix=topic_prefix),
        )
        await topics.create(settings, [f"{topic_prefix}.quests"])
        found = await said_of(settings)
        alone = await said_of(settings.model_copy(update={"kafka_brokers": hung}))
    assert (found[f"broker {hung}"].state, found[f"broker {broker.address}"].state) == (WARN, OK)
    assert "does not answer in time" in found[f"broker {hung}"].detail
    assert (found["kafka"].state, found["partitions"].state) == (OK, OK)
    assert (alone["kafka"].state, alone["catalog"].state) == (FAIL, OK)
    assert hung in alone["kafka"].detail


async def test_without_the_database_topics_are_looked_at_all_the_same(
    broker: Broker, topic_prefix: str
) -> None:
    settings = Settings(
        database_url=SecretStr("postgresql://laurel@127.0.0.1:9/laurel"),
        kafka_brokers=broker.address,
        kafka=KafkaSettings(topic_prefix=topic_prefix, partitions=3),
    )
    await topics.create(settings, [f"{topic_prefix}.quests"])
    found = await said_of(settings)
    assert found["catalog"].state is FAIL
    assert found["topics"].state is WARN
    assert "127.0.0.1:9" in found["topics"].detail
    assert found["partitions"].detail == "3 of each of 1 topics"


async def test_nothing_is_made_in_kafka(broker: Broker, topic_prefix: str) -> None:
    settings = Settings(
        kafka_brokers=broker.address,
        kafka=KafkaSettings(topic_prefix=topic_prefix, consumer_group=f"{topic_prefix}-group"),
    )

    async def seen() -> tuple[frozenset[str], set[str]]:
        async with topics.administered(settings) as admin:
            groups = {name for name, *_ in await admin.list_consumer_groups()}
        return (await topics.cluster(settings)).topics, groups

    before = await seen()
    found = await said_of(settings)
    assert found["topics"].state is FAIL
    assert await seen() == before


async def test_files_that_hold_no_sound_catalog_are_named(tmp_path: Path) -> None:
    found = (await said_of(Settings(catalog_dir=tmp_path)))["catalog files"]
    assert found.state is FAIL
    assert str(tmp_path) in found.detail


def a_topic(name: str = "quests", **changes: object) -> TopicState:
    fields: dict[str, object] = {"leader": 1, "copies": 3, "in_sync": 3, "partitions": 2}
    fields |= changes
    of_topic = {key: fields.pop(key) for key in ("min_in_sync", "is_compacted") if key in fields}
    count = fields.pop("partitions")
    assert isinstance(count, int)
    partitions = tuple(PartitionState(number, **fields) for number in range(count))  # type: ignore[arg-type]
    return TopicState(name, partitions, **of_topic)  # type: ignore[arg-type]


def read(said: Said) -> tuple[CheckState, str]:
    line = CheckResult.of("any", said)
    return line.state, line.detail


@pytest.mark.parametrize(
    ("incoming", "state", "words"),
    [
        ([], WARN, "no topic"),
        ([a_topic(), a_topic("cities")], OK, "2 of each of 2 topics"),
        ([a_topic(), a_topic("cities", partitions=3)], WARN, "quests 2, cities 3"),
        ([a_topic(), a_topic("cities", leader=None)], FAIL, "cities/0, cities/1: no leader"),
    ],
)
def test_partitions(incoming: Sequence[TopicState], state: CheckState, words: str) -> None:
    found = read(partitions_said(incoming))
    assert (found[0], words in found[1]) == (state, True), found


@pytest.mark.parametrize(
    ("topic", "brokers", "state", "words"),
    [
        (
            a_topic(min_in_sync=2),
            3,
            OK,
            "3 of each partition, all in sync; min.insync.replicas is 2",
        ),
        (a_topic(), 3, OK, "is not told"),
        (a_topic(copies=1, in_sync=1), 1, OK, "1 of each partition"),
        (a_topic(copies=1, in_sync=1, min_in_sync=1), 2, WARN, "quests: one copy alone"),
        (a_topic(in_sync=2, min_in_sync=2), 3, WARN, "not all copies are in sync"),
        (a_topic(in_sync=1, min_in_sync=2), 3, FAIL, "fewer copies in sync"),
        (a_topic(in_sync=0), 3, FAIL, "fewer copies in sync"),
        (a_topic(min_in_sync=3), 3, WARN, "as many as there are copies"),
        (a_topic(min_in_sync=1), 3, WARN, "Set it to 2"),
    ],
)
def test_copies(topic: TopicState, brokers: int, state: CheckState, words: str) -> None:
    found = read(copies_said([topic], brokers))
    assert (found[0], words in found[1]) == (state, True), found


def test_a_compacted_topic_loses_events() -> None:
    cluster = Cluster("k", frozenset({"quests"}))
    assert read(topics_said(Settings(), cluster, ["quests"], [a_topic()])) == (OK, "1 there")
    compacted = topics_said(Settings(), cluster, ["quests"], [a_topic(is_compacted=True)])
    assert read(compacted)[0] is FAIL
    assert "quests: cleanup.policy is compact" in read(compacted)[1]
