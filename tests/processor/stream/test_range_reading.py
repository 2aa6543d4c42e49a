"""A range of a topic is read as a worker reads it, once, up to its end."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from ops.errors import UsageError
from ops.settings import Settings
from processor.events.records import LargeRecord
from processor.stream import topics
from processor.stream.extents import Extent
from processor.stream.range_reading import RangePart, read
from processor.stream.topic_range import TopicRange, resolve
from sandbox.broker import Broker
from sandbox.kafka import kafka
from sandbox.process import PartMissing
from tests.e2e.test_corrupt_log import damage_second_batch, flipped
from tests.fixtures.parts import missing


def settings_of(broker: Broker, prefix: str) -> Settings:
    settings = Settings(kafka_brokers=broker.address)
    kafka = settings.kafka.model_copy(update={"topic_prefix": prefix})
    return settings.model_copy(update={"kafka": kafka})


async def parts(settings: Settings, asked: TopicRange) -> list[RangePart]:
    found = await asyncio.to_thread(lambda: list(read(settings, asked)))
    assert sum(each.offsets for each in found) == asked.offsets
    return found


def offsets(found: Sequence[RangePart], partition: int = 0) -> list[int]:
    return [each.offset for part in found if part.partition == partition for each in part.records]


@pytest.mark.parametrize("codec", [None, "gzip", "snappy", "lz4", "zstd"])
async def test_a_range_is_read_with_keys_and_headers(
    any_broker: Broker, topic_prefix: str, codec: str | None
) -> None:
    settings = settings_of(any_broker, topic_prefix)
    name = f"{topic_prefix}.quests"
    await topics.create(settings, [name])
    async with AIOKafkaProducer(
        bootstrap_servers=any_broker.address, compression_type=codec
    ) as producer:
        for number in range(20):
            await producer.send_and_wait(
                name, b"v%d" % number, b"key", partition=number % 2, headers=[("h", b"1")]
            )
        await producer.send_and_wait(name, b"x" * (900 << 10), partition=0)
    bounded = settings.worker.model_copy(update={"record_bytes_max": 64 << 10})
    settings = settings.model_copy(update={"worker": bounded})
    found = await parts(settings, TopicRange(name, {0: Extent(3, 11), 1: Extent(0, 7)}))
    assert offsets(found, 0) == list(range(3, 11))
    assert offsets(found, 1) == list(range(7))
    assert {each.topic for each in found} == {"quests"}
    first = next(each for each in found if each.partition == 0).records[0]
    assert (first.key, first.value, list(first.headers)) == (b"key", b"v6", [("h", b"1")])
    large = [each for each in found if each.partition == 0 and each.records][-1].records[-1]
    assert isinstance(large, LargeRecord)
    assert large.size == 900 << 10


@pytest.mark.kafka
async def test_a_range_ends_within_and_behind_aborted_transactions(
    kafka_broker: Broker, topic_prefix: str
) -> None:
    settings = settings_of(kafka_broker, "elsewhere")
    name = f"{topic_prefix}.quests"
    await topics.create(settings, [name])
    async with AIOKafkaProducer(
        bootstrap_servers=kafka_broker.address, transactional_id=topic_prefix
    ) as producer:
        for number, commits in ((3, True), (4, False), (2, True), (5, False)):
            await producer.begin_transaction()
            for _ in range(number):
                await producer.send_and_wait(name, b"any", partition=0)
            await (producer.commit_transaction() if commits else producer.abort_transaction())
    whole = await resolve(settings, name, None, None)
    assert dict(whole.partitions) == {0: Extent(0, 18)}
    found = await parts(settings, whole)
    assert offsets(found) == [0, 1, 2, 9, 10]
    assert {each.topic for each in found} == {None}
    for end in range(1, 18):
        found = await parts(settings, TopicRange(name, {0: Extent(0, end)}))
        assert offsets(found) == [each for each in (0, 1, 2, 9, 10) if each < end]


async def test_who_reads_may_be_asked_to_end(broker: Broker, topic_prefix: str) -> None:
    settings = settings_of(broker, topic_prefix)
    name = f"{topic_prefix}.quests"
    await topics.create(settings, [name])
    async with AIOKafkaProducer(bootstrap_servers=broker.address) as producer:
        await producer.send_and_wait(name, b"any", partition=0)
    asked = TopicRange(name, {0: Extent(0, 1000)})
    stop = asyncio.Event()

    def reading() -> list[RangePart]:
        found = []
        for part in read(settings, asked, stop.is_set):
            found.append(part)
            stop.set()
        return found

    assert offsets(await asyncio.to_thread(reading)) == [0]


@pytest.mark.kafka
async def test_a_batch_that_cannot_be_decoded_is_named(topic_prefix: str, tmp_path: Path) -> None:
    place = tmp_path / "kafka"
    name = f"{topic_prefix}.quests"
    try:
        with kafka(place, keep=True) as before:
            settings = settings_of(before, topic_prefix)
            await topics.create(settings, [name])
            async with AIOKafkaProducer(bootstrap_servers=before.address) as producer:
                for _ in range(3):
                    await producer.send_and_wait(name, b"x" * 500, partition=0)
    except PartMissing as error:
        missing(error.message)
    damage_second_batch(place / "data" / f"{name}-0" / f"{0:020}.log", flipped)
    with kafka(place, keep=True) as broker:
        settings = settings_of(broker, topic_prefix)
        with pytest.raises(UsageError, match=r"quests/0@1: .*--to 0:1, then --from 0:2\.$"):
            await parts(settings, TopicRange(name, {0: Extent(0, 3)}))
        assert offsets(await parts(settings, TopicRange(name, {0: Extent(0, 1)}))) == [0]
        assert offsets(await parts(settings, TopicRange(name, {0: Extent(2, 3)}))) == [2]
