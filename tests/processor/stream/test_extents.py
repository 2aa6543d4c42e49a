"""Where partitions begin and end, asked by somebody who is in no group."""

import pytest
from aiokafka import AIOKafkaProducer

from ops.settings import Settings
from processor.stream import topics
from processor.stream.extents import Extent, extents
from processor.stream.kafka_access import KafkaUnreachable
from sandbox.broker import Broker


async def test_partitions_end_behind_their_last_record(broker: Broker, topic_prefix: str) -> None:
    settings = Settings(kafka_brokers=broker.address)
    name = f"{topic_prefix}.quests"
    await topics.create(settings, [name])
    assert await extents(settings, {}) == {}
    assert set((await extents(settings, {name: 4})).values()) == {Extent(0, 0)}
    async with AIOKafkaProducer(bootstrap_servers=broker.address) as producer:
        for partition in (2, 2, 0):
            await producer.send_and_wait(name, b"any", partition=partition)
    found = await extents(settings, {name: 4})
    assert [found[name, each] for each in range(4)] == [
        Extent(0, 1),
        Extent(0, 0),
        Extent(0, 2),
        Extent(0, 0),
    ]


async def test_a_broker_that_is_away_is_named() -> None:
    with pytest.raises(KafkaUnreachable, match=r"127\.0\.0\.1:9"):
        await extents(Settings(kafka_brokers="127.0.0.1:9"), {"quests": 1})
