"""A range of a topic is what was asked for, or is refused with a word."""

from datetime import UTC, datetime

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import RecordsToDelete

from ops.errors import UsageError
from ops.settings import Settings
from processor.stream import topics
from processor.stream.extents import Extent
from processor.stream.topic_range import Bound, TopicRange, bound, resolve
from sandbox.broker import Broker


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5", Bound(5)),
        ("0:5", Bound(offsets={0: 5})),
        ("0:5,12:7", Bound(offsets={0: 5, 12: 7})),
        ("2025-01-02T03:04:05Z", Bound(time=datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC))),
        ("2025-01-02T04:04:05+01:00", Bound(time=datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC))),
    ],
)
def test_an_end_is_an_offset_or_a_time(text: str, expected: Bound) -> None:
    assert bound(text) == expected


@pytest.mark.parametrize("text", ["", "-1", "x", "0:", "0:5,", "2025-01-02T03:04:05", "1.5", "²"])
def test_others_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"give an offset \(1000\), one of each partition"):
        bound(text)


async def a_topic(broker: Broker, topic_prefix: str) -> tuple[Settings, str]:
    """Ten records in the partitions 0 and 1, a second apart from 1 000 s on."""
    settings = Settings(kafka_brokers=broker.address)
    name = f"{topic_prefix}.quests"
    await topics.create(settings, [name])
    async with AIOKafkaProducer(bootstrap_servers=broker.address) as producer:
        for number in range(10):
            for partition in (0, 1):
                await producer.send_and_wait(
                    name, b"any", partition=partition, timestamp_ms=1_000_000 + 1000 * number
                )
    return settings, name


async def found(
    settings: Settings, name: str, begin: str | None, end: str | None, *only: int
) -> dict[int, Extent]:
    first, last = (None if each is None else bound(each) for each in (begin, end))
    resolved = await resolve(settings, name, first, last, only)
    assert resolved.topic == name
    return dict(resolved.partitions)


async def test_a_range_is_within_what_there_is(any_broker: Broker, topic_prefix: str) -> None:
    topic = await a_topic(any_broker, topic_prefix)
    assert await found(*topic, None, None) == {0: Extent(0, 10), 1: Extent(0, 10)}
    assert await found(*topic, "3", "7", 1) == {1: Extent(3, 7)}
    of_two = await found(*topic, "0:3", "1:7")
    assert of_two == {0: Extent(3, 10), 1: Extent(0, 7)}
    assert TopicRange(topic[1], of_two).offsets == 14


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("begin", "end", "expected"),
    [
        ("1970-01-01T00:16:42.5Z", "1970-01-01T00:16:44Z", Extent(3, 4)),
        ("1970-01-01T00:16:42Z", "2100-01-01T00:00:00Z", Extent(2, 10)),
        (None, "1970-01-01T00:16:40.0001Z", Extent(0, 1)),
        ("1960-01-01T00:00:00Z", "1970-01-01T00:16:41+00:00", Extent(0, 1)),
    ],
)
async def test_a_time_is_the_first_record_that_is_not_before_it(
    kafka_broker: Broker, topic_prefix: str, begin: str | None, end: str | None, expected: Extent
) -> None:
    topic = await a_topic(kafka_broker, topic_prefix)
    assert await found(*topic, begin, end, 0) == {0: expected}


async def test_what_is_not_there_is_refused(any_broker: Broker, topic_prefix: str) -> None:
    topic = await a_topic(any_broker, topic_prefix)
    for begin, end, only, word in [
        (None, "11", (0,), "quests/0: --to 11 lies beyond 10, where what may be read ends"),
        ("12", None, (0,), "quests/0: --from 12 is not below --to 10"),
        ("7", "7", (1,), "quests/1: --from 7 is not below --to 7"),
        ("0:1", None, (1,), "quests/0: the topic has the partitions 0 to "),
        (None, None, (99,), "quests/99: the topic has the partitions 0 to "),
        (None, None, (2,), "quests: there is no record between"),
        ("2100-01-01T00:00:00Z", None, (), "quests: there is no record between"),
        ("2025-01-02T00:00:00Z", "2025-01-01T00:00:00Z", (), "quests: --from .* is not before"),
    ]:
        with pytest.raises(UsageError, match=word):
            await found(*topic, begin, end, *only)
    with pytest.raises(UsageError, match=rf"no topic {topic_prefix}\.quest\."):
        await resolve(topic[0], f"{topic_prefix}.quest", None, None)


@pytest.mark.kafka
async def test_what_kafka_has_dropped_is_refused(kafka_broker: Broker, topic_prefix: str) -> None:
    settings, name = await a_topic(kafka_broker, topic_prefix)
    async with topics.administered(settings) as admin:
        await admin.delete_records({TopicPartition(name, 0): RecordsToDelete(before_offset=4)})
    with pytest.raises(UsageError, match="quests/0: --from 3 lies before 4, the first offset"):
        await found(settings, name, "3", None, 0)
    assert await found(settings, name, None, None, 0) == {0: Extent(4, 10)}
    assert await found(settings, name, "1970-01-01T00:00:00Z", None, 0) == {0: Extent(4, 10)}
