"""How brokers keep topics, as they tell it themselves."""

import pytest
from aiokafka.admin import NewTopic

from ops.settings import Settings
from processor.stream import topics
from processor.stream.topic_states import survey
from sandbox.broker import Broker
from tests.e2e.workers import until


async def test_partitions_have_a_leader_and_their_copies(
    any_broker: Broker, topic_prefix: str
) -> None:
    settings = Settings(kafka_brokers=any_broker.address)
    name, other = f"{topic_prefix}.quests", f"{topic_prefix}.other"
    await topics.create(settings, [name, other])
    assert (await survey(settings, [])).topics == {}

    async def all_led() -> bool:
        found = (await survey(settings, [name, f"{topic_prefix}.missing"])).topics
        return set(found) == {name} and all(each.leader for each in found[name].partitions)

    await until(all_led, "a leader for each partition")
    seen = await survey(settings, [name])
    assert seen.brokers == (any_broker.address,)
    partitions = seen.topics[name].partitions
    assert [(each.number, each.copies, each.in_sync) for each in partitions] == [
        (number, 1, 1) for number in range(settings.kafka.partitions)
    ]


@pytest.mark.kafka
async def test_a_real_kafka_tells_of_sync_and_of_compaction(
    kafka_broker: Broker, topic_prefix: str
) -> None:
    settings = Settings(kafka_brokers=kafka_broker.address)
    kept, compacted = f"{topic_prefix}.quests", f"{topic_prefix}.compacted"
    await topics.create(settings, [kept])
    async with topics.administered(settings) as admin:
        options = {"cleanup.policy": "compact", "min.insync.replicas": "2"}
        await admin.create_topics([NewTopic(compacted, 1, 1, topic_configs=options)])

    async def both_there() -> bool:
        return set((await survey(settings, [kept, compacted])).topics) == {kept, compacted}

    await until(both_there, "both topics")
    found = (await survey(settings, [kept, compacted])).topics
    assert (found[kept].min_in_sync, found[kept].is_compacted) == (1, False)
    assert (found[compacted].min_in_sync, found[compacted].is_compacted) == (2, True)
