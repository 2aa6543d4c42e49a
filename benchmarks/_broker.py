"""Brokers of the benchmarks, and a topic filled once and read by everybody."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from benchmarks._events import Partition
from sandbox.broker import Broker, broker
from sandbox.kafka import kafka

BROKERS: Mapping[str, Callable[[], AbstractContextManager[Broker]]] = {
    "Tansu": broker,
    "Apache Kafka": kafka,
}
_BATCH_BYTES = 512 * 1024


async def fill(address: str, records: Mapping[Partition, Sequence[bytes]]) -> None:
    """Write the records of each partition, in their order."""
    producer = AIOKafkaProducer(bootstrap_servers=address, acks="all", max_batch_size=_BATCH_BYTES)
    await producer.start()
    try:
        await asyncio.gather(*(_fill(producer, place, values) for place, values in records.items()))
    finally:
        await producer.stop()


async def _fill(producer: AIOKafkaProducer, place: Partition, values: Sequence[bytes]) -> None:
    # Batches built by hand: a future for each record would take longer than everything that is
    # measured.
    topic, partition = place
    batch = producer.create_batch()
    for value in values:
        if batch.append(key=None, value=value, timestamp=None) is None:
            await (await producer.send_batch(batch, topic, partition=partition))
            batch = producer.create_batch()
            batch.append(key=None, value=value, timestamp=None)
    if batch.record_count():
        await (await producer.send_batch(batch, topic, partition=partition))


def reader(address: str) -> AIOKafkaConsumer:
    """Return a plain consumer without a group, as Laurel's transport sets up its own."""
    return AIOKafkaConsumer(
        bootstrap_servers=address,
        enable_auto_commit=False,
        isolation_level="read_committed",
        auto_offset_reset="none",
        fetch_max_wait_ms=50,
    )


def start_at_zero(consumer: AIOKafkaConsumer, places: Sequence[Partition]) -> None:
    """Assign `places` to `consumer`, from their first record on."""
    assigned = [TopicPartition(*place) for place in places]
    if not consumer.assignment():
        consumer.assign(assigned)
    for place in assigned:
        consumer.seek(place, 0)
