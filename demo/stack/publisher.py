"""Publish records to Kafka as fast as the client goes, and keep each partition's end offset."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from demo.records import Record
from ops.errors import Transient

# Messages handed to the client and not yet acknowledged: bounds memory, not speed.
_IN_FLIGHT = 5_000
# Producers choose their codec; each of Kafka's is met somewhere.
_CODECS = {
    "quests": None,
    "cities": "gzip",
    "reviews": "snappy",
    "partners": "lz4",
    "wallets": "zstd",
    "commands": "zstd",
}

Ends = dict[tuple[str, int], int]


class PublishFailed(Transient):
    """The broker did not take a message."""

    code = "publish_failed"


class Publisher:
    """Made by `publishing`; `prefix` is of the topics.

    `ends` is the offset behind the last message sent to each (topic, partition).
    """

    def __init__(self, producers: Mapping[str | None, Any], topic_prefix: str) -> None:
        """Take a running producer for each codec."""
        self.ends: Ends = {}
        self.sent = 0
        self._producers = producers
        self.prefix = topic_prefix

    async def send(self, records: Iterable[Record]) -> None:
        """Send `records`, those of one key in their order; return once the broker has them all.

        Raises:
            PublishFailed: it refused one.
        """
        waiting: list[asyncio.Future[Any]] = []
        try:
            for record in records:
                headers = list(record.headers)
                topic = f"{self.prefix}.{record.topic}"
                producer = self._producers[_CODECS.get(record.topic)]
                waiting.append(
                    await producer.send(topic, record.value, record.key, headers=headers)
                )
                if len(waiting) == _IN_FLIGHT:
                    await self._acknowledged(waiting)
                    waiting.clear()
            await self._acknowledged(waiting)
        except KafkaError as error:
            raise PublishFailed(f"Kafka did not take a message: {error!r}") from error

    async def _acknowledged(self, waiting: list[asyncio.Future[Any]]) -> None:
        for place in await asyncio.gather(*waiting):
            end = place.offset + 1
            self.ends[place.topic, place.partition] = max(
                end, self.ends.get((place.topic, place.partition), 0)
            )
        self.sent += len(waiting)


@asynccontextmanager
async def publishing(brokers: str, topic_prefix: str) -> AsyncIterator[Publisher]:
    """Yield a publisher to `brokers`; topics are `topic_prefix` and a dot before the record's own.

    Raises:
        PublishFailed: there is no broker.
    """
    # No idempotence: Tansu has none. One request in flight a broker keeps the order of a key, whose
    # topic has one producer.
    async with AsyncExitStack() as running:
        producers = {}
        for codec in set(_CODECS.values()):
            producer = producers[codec] = AIOKafkaProducer(
                bootstrap_servers=brokers,
                acks="all",
                linger_ms=5,
                max_batch_size=256 * 1024,
                compression_type=codec,
            )
            running.push_async_callback(producer.stop)
            try:
                await producer.start()
            except KafkaError as error:
                raise PublishFailed(f"Kafka does not answer at {brokers}: {error!r}") from error
        yield Publisher(producers, topic_prefix)
