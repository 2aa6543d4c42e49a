"""While a batch is read that is large when it is expanded, its consumer stays in the group.

What a take out of a fetch expands is bounded, and between two takes the loop that heartbeats go out
from is free. Here the reader does not go on before the broker has answered one; were the batch
expanded at once, there would be one take, and no heartbeat before its end.
"""

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.consumer import fetcher

from processor.stream import bounded_fetch, guarded_records
from processor.stream.room import ROOM, Room
from tests.builders.patience import PATIENCE_S
from tests.e2e.workers import Site, a_producer

if TYPE_CHECKING:
    from sandbox.broker import Broker

pytestmark = pytest.mark.kafka

MEGABYTE = 1_000_000
MESSAGES = 100
TAKE_BYTES_MAX = 10 * MEGABYTE


class CountedHeartbeats:
    """The heartbeats of a consumer that a broker has accepted."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._beat = asyncio.Condition()
        self._heartbeat = consumer._coordinator._do_heartbeat
        self.number = 0
        consumer._coordinator._do_heartbeat = self._counted

    async def _counted(self) -> bool:
        accepted = bool(await self._heartbeat())
        async with self._beat:
            self.number += accepted
            self._beat.notify_all()
        return accepted

    async def another(self) -> None:
        """Wait for the next one."""
        before = self.number
        async with asyncio.timeout(PATIENCE_S), self._beat:
            await self._beat.wait_for(lambda: self.number > before)


async def made(broker: "Broker", topic: str) -> None:
    """Make the topic, and send one batch of a hundred megabytes in a hundred kilobytes."""
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.address)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 1, 1)])
    finally:
        await admin.close()
    site = Site(broker.address, "", topic)
    async with a_producer(
        site, compression_type="gzip", max_batch_size=1 << 30, max_request_size=1 << 30
    ) as producer:
        batch = producer.create_batch()
        for _ in range(MESSAGES):
            assert batch.append(key=None, value=bytes(MEGABYTE), timestamp=None) is not None
        batch.close()
        await (await producer.send_batch(batch, topic, partition=0))


async def test_heartbeats_go_out_between_the_takes_of_one_batch(
    kafka_broker: "Broker", topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FetchResult", "MemoryRecords", "PartitionRecords"):
        monkeypatch.setattr(fetcher, name, getattr(fetcher, name))  # put back at the end
    bounded_fetch.install()
    guarded_records.install()
    await made(kafka_broker, topic_prefix)
    consumer = AIOKafkaConsumer(
        topic_prefix,
        bootstrap_servers=kafka_broker.address,
        group_id=topic_prefix,
        session_timeout_ms=60_000,
        heartbeat_interval_ms=100,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        isolation_level="read_committed",
    )
    await consumer.start()
    try:
        heartbeats = CountedHeartbeats(consumer)
        takes: list[int] = []
        while sum(takes) < MESSAGES:
            ROOM.set(Room(TAKE_BYTES_MAX, MEGABYTE))
            for records in (await consumer.getmany(timeout_ms=1_000)).values():
                takes.append(len(records))
                await heartbeats.another()
    finally:
        await consumer.stop()
    assert sum(takes) == MESSAGES
    assert max(takes) <= TAKE_BYTES_MAX // MEGABYTE + 1
