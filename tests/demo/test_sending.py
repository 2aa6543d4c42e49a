"""`laurel send`: an event as the worker reads it, and words about what is no event."""

from datetime import timedelta
from uuid import UUID

import pytest
from aiokafka import AIOKafkaConsumer

from demo import sending
from demo.records import Record
from demo.stack.publisher import PublishFailed, publishing
from ops.clock import SYSTEM_CLOCK
from ops.errors import UsageError
from ops.settings import Settings
from processor.catalog import load
from processor.events.reader import Event, EventReader
from sandbox.broker import Broker
from sandbox.ports import reserved

ANNA = "0b9e2c1e-7a54-4f36-9a55-0d0c9b7a4a10"


def settings_for(broker: Broker, topic_prefix: str) -> Settings:
    return Settings(kafka_brokers=broker.address, kafka={"topic_prefix": topic_prefix})


async def test_what_is_sent_is_read_by_the_worker(broker: Broker, topic_prefix: str) -> None:
    data = ["quest_id=q1", "rating=5"]
    topic = await sending.send(
        settings_for(broker, topic_prefix), "quest.completed", ANNA, data, times=3
    )
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=broker.address, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        records = [await consumer.getone() for _ in range(3)]
    finally:
        await consumer.stop()
    worker = EventReader(load.load(load.SHIPPED), UUID(int=1), timedelta(minutes=10), None)
    read = [worker.at(SYSTEM_CLOCK.now(), "quests")(record) for record in records]
    assert [str(each.user_id) if isinstance(each, Event) else each for each in read] == [ANNA] * 3
    assert len({record.value for record in records}) == 3  # ids of their own


@pytest.mark.parametrize(
    ("event_type", "data", "message"),
    [
        (
            "quest.dreamt",
            [],
            r"There is no event type quest\.dreamt\. There are: badge\.burn, .*, wallet\.unlinked\.",
        ),
        ("city.visited", ["city_id"], r"city_id: data is written as FIELD=VALUE"),
        ("review.posted", ["review_id=1", "stars=five"], r"stars=five: stars is a whole number"),
    ],
)
async def test_what_is_no_event_is_refused_with_the_way_out(
    event_type: str, data: list[str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        await sending.send(Settings(), event_type, ANNA, data, times=1)


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
