"""Where partitions begin and end now, asked without being in a group.

Of transactions that are open the records do not count: nobody may read them yet.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from ops.settings import Settings
from processor.stream import kafka_access
from store.values.names import Partition


@dataclass(frozen=True, slots=True)
class Extent:
    """The first offset that there is, and the one after the last that may be read."""

    begin: int
    end: int


async def extents(settings: Settings, topics: Mapping[str, int]) -> dict[Partition, Extent]:
    """Return the extent of every partition of `topics`, given as topic -> partitions.

    The topics are there: some brokers make one that is only asked for.

    Raises:
        KafkaUnreachable: no broker answers, or not the one that leads a partition.
    """
    listed = [TopicPartition(name, each) for name, count in topics.items() for each in range(count)]
    if not listed:
        return {}
    access = kafka_access.of(settings)
    consumer = AIOKafkaConsumer(
        group_id=None,
        enable_auto_commit=False,
        isolation_level="read_committed",
        **access.arguments,
    )
    try:
        try:
            await consumer.start()
            begins = await consumer.beginning_offsets(listed)
            ends = await consumer.end_offsets(listed)
        finally:
            await consumer.stop()
    except (KafkaError, OSError) as error:
        raise await access.refusal(error) from error
    return {
        (each.topic, each.partition): Extent(begins[each], max(begins[each], ends[each]))
        for each in listed
    }
