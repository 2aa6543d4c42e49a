"""The publisher: what it sent, how far each partition then reaches, and a broker that is away."""

import pytest

from demo.records import Record
from demo.stack.publisher import PublishFailed, publishing
from sandbox.broker import Broker
from sandbox.ports import reserved


async def test_the_publisher_knows_how_far_each_partition_reaches(
    broker: Broker, topic_prefix: str
) -> None:
    async with publishing(broker.address, topic_prefix) as publisher:
        await publisher.send(
            Record(1, "quests", str(number % 8).encode(), (), b"{}") for number in range(100)
        )
        await publisher.send([Record(1, "quests", b"0", (("a", b"b"),), None)])
    assert publisher.sent == 101
    assert sum(publisher.ends.values()) == 101
    assert {topic for topic, _ in publisher.ends} == {f"{topic_prefix}.quests"}


async def test_a_broker_that_is_not_there_is_named() -> None:
    with (
        reserved() as port,
        pytest.raises(PublishFailed, match=f"Kafka does not answer at 127.0.0.1:{port}"),
    ):
        async with publishing(f"127.0.0.1:{port}", "laurel"):
            raise AssertionError("it was not there")
