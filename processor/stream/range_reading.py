"""Read a range of a topic once, beside all groups: the records that a worker would be given.

Read committed, decoded as a worker decodes (bounded_fetch.py, guarded_records.py). A partition ends
where its position has reached the end of the range: offsets have gaps, and the last ones before it
may be markers, or gone.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError, TopicAuthorizationFailedError

from ops.errors import UsageError
from ops.settings import Settings
from processor.events import message_schema
from processor.events.records import Record
from processor.stream import bounded_fetch, codecs, guarded_records, kafka_access
from processor.stream.kafka_access import KafkaAccess, KafkaAccessDenied
from processor.stream.room import ROOM, Room
from processor.stream.topic_range import TopicRange
from store.values.stream import PausedPartition

# Memory of what is taken at a time, about.
_TAKE_BYTES = 4 * 1024 * 1024
# Of a fetch of one broker's partitions, on the wire.
_FETCH_BYTES_MAX = 16 * 1024 * 1024
# How long a request to end may go unseen.
_LOOK_MS = 200


@dataclass(frozen=True, slots=True)
class RangePart:
    """Consecutive records of one partition, which may be none.

    Args:
        partition: which one.
        topic: the contract's name of the topic; None where it lies outside the prefix.
        records: with key and headers; too large ones cut.
        offsets: how many offsets of the range lie behind it; they add up to `TopicRange.offsets`.
    """

    partition: int
    topic: str | None
    records: Sequence[Record]
    offsets: int


def read(
    settings: Settings, asked: TopicRange, stopped: Callable[[], bool] = lambda: False
) -> Iterator[RangePart]:
    """Yield the records of a range, in the order of each partition; end early once `stopped`.

    For a thread without an event loop: it has one of its own.

    Raises:
        KafkaUnreachable: no broker answers, or the client may not read the topic.
        UsageError: a batch cannot be decoded, or the range is gone meanwhile.
    """
    with asyncio.Runner() as runner:
        parts = _parts(settings, asked, stopped)
        try:
            while (part := runner.run(anext(parts, None))) is not None:
                yield part
        finally:
            runner.run(parts.aclose())


async def _parts(
    settings: Settings, asked: TopicRange, stopped: Callable[[], bool]
) -> AsyncGenerator[RangePart, None]:
    access = kafka_access.of(settings)
    name = message_schema.topic_of(settings.kafka.topic_prefix, asked.topic) or None
    async with _consumer(settings, access, asked) as consumer:
        reached = {partition: each.begin for partition, each in asked.partitions.items()}
        left = {TopicPartition(asked.topic, partition) for partition in asked.partitions}
        loop = asyncio.get_running_loop()
        moved_at = loop.time()
        while left and not stopped():
            ROOM.set(Room(_TAKE_BYTES, settings.worker.record_bytes_max))
            fetched = await consumer.getmany(timeout_ms=_LOOK_MS)
            for tp in sorted(left):
                end = asked.partitions[tp.partition].end
                records = _within(fetched.get(tp, []), end)
                position = min(end, await consumer.position(tp))
                if records or position > reached[tp.partition]:
                    moved_at = loop.time()
                    offsets = position - reached[tp.partition]
                    reached[tp.partition] = position
                    yield RangePart(tp.partition, name, records, offsets)
                if position == end:
                    left.discard(tp)
                    consumer.pause(tp)
            if loop.time() - moved_at > settings.kafka.request_timeout.total_seconds():
                await consumer.end_offsets(list(left))  # raises where no broker answers
                moved_at = loop.time()


def _within(fetched: list[Any], end: int) -> list[Record]:
    """Return the records before `end`.

    Raises:
        UsageError: they go on with what cannot be decoded.
    """
    if fetched and isinstance(fetched[-1], PausedPartition):
        found = fetched.pop()
        if found.offset < end:
            after = "" if found.skip_to is None else f", then --from {found.key[1]}:{found.skip_to}"
            raise UsageError(
                f"{found.topic}/{found.partition}@{found.offset}: {found.detail}. Read up to it, "
                f"--to {found.partition}:{found.offset}{after}."
            )
    return [each for each in fetched if each.offset < end]


@asynccontextmanager
async def _consumer(
    settings: Settings, access: KafkaAccess, asked: TopicRange
) -> AsyncIterator[AIOKafkaConsumer]:
    codecs.check()
    bounded_fetch.install()
    guarded_records.install()
    consumer = AIOKafkaConsumer(
        group_id=None,
        enable_auto_commit=False,
        isolation_level="read_committed",
        auto_offset_reset="none",
        fetch_max_bytes=_FETCH_BYTES_MAX,
        **access.arguments,
    )
    try:
        try:
            await consumer.start()
            consumer.assign([TopicPartition(asked.topic, each) for each in asked.partitions])
            for partition, each in asked.partitions.items():
                consumer.seek(TopicPartition(asked.topic, partition), each.begin)
            yield consumer
        finally:
            await consumer.stop()
    except OffsetOutOfRangeError as error:
        gone = ", ".join(f"{tp.topic}/{tp.partition}@{at}" for tp, at in error.args[0].items())
        raise UsageError(
            f"{gone}: Kafka has dropped these records while they were read (retention.ms, "
            "retention.bytes). Older events have to come from files."
        ) from error
    except TopicAuthorizationFailedError as error:
        raise KafkaAccessDenied(
            f"Kafka does not let {kafka_access.principal(settings.kafka) or 'ANONYMOUS'} read "
            f"{asked.topic}. Grant READ on the topic (docs/runbook.md, Rights in Kafka)."
        ) from error
    except (KafkaError, OSError) as error:
        raise await access.refusal(error) from error
