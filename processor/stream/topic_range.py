"""Which records of a topic lie between two offsets or times, partition by partition.

Asked without being in a group, and without a look at the ledger: who reads a range again reads the
same. What was asked for and is not there, or no longer, is refused: a range that is quietly shorter
would be history that is quietly missing.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndTimestamp

from ops.errors import UsageError
from ops.settings import Settings
from processor.catalog.spelling import did_you_mean
from processor.stream import extents, kafka_access, topics
from processor.stream.extents import Extent

_OF_PARTITIONS = re.compile(r"\d+:\d+(,\d+:\d+)*")
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Bound:
    """An end of a range: an offset of all partitions, one of each, or a time; or none of them."""

    offset: int | None = None
    offsets: Mapping[int, int] = field(default_factory=dict)
    time: datetime | None = None

    def of(self, partition: int) -> int | None:
        """Return the offset that is named for a partition."""
        return self.offsets.get(partition, self.offset)


@dataclass(frozen=True, slots=True)
class TopicRange:
    """Partition -> from this offset on, up to and without that one; none of them is empty."""

    topic: str
    partitions: Mapping[int, Extent]

    @property
    def offsets(self) -> int:
        """Return how many offsets it spans, of which not all need to be records."""
        return sum(each.end - each.begin for each in self.partitions.values())


def bound(text: str) -> Bound:
    """Return what `text` says: `5`, `0:5,1:7` or `2025-01-02T03:04:05Z`.

    Raises:
        UsageError: it is none of these.
    """
    if text.isascii() and text.isdecimal():
        return Bound(int(text))
    if _OF_PARTITIONS.fullmatch(text):
        pairs = (each.split(":") for each in text.split(","))
        return Bound(offsets={int(partition): int(offset) for partition, offset in pairs})
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise UsageError(
            f"{text}: give an offset (1000), one of each partition (0:1000,1:2000), or a time with "
            "its zone (2025-01-02T03:04:05Z)."
        )
    return Bound(time=time)


async def resolve(
    settings: Settings,
    topic: str,
    begin: Bound | None,
    end: Bound | None,
    partitions: Collection[int] = (),
) -> TopicRange:
    """Return the range from `begin` up to and without `end`, of `partitions`, else of all.

    None is the beginning of what there is, or its end now.

    Raises:
        KafkaUnreachable: no broker answers.
        UsageError: there is no such topic, partition or offset, or nothing in between.
    """
    if begin and end and begin.time and end.time and begin.time >= end.time:
        raise UsageError(f"{topic}: --from {begin.time} is not before --to {end.time}.")
    known = (await topics.cluster(settings)).partitions
    if topic not in known:
        raise UsageError(f"Kafka has no topic {topic}.{did_you_mean(topic, known)}")
    wanted = sorted(set(partitions)) or list(range(known[topic]))
    named = {*wanted, *(begin.offsets if begin else ()), *(end.offsets if end else ())}
    if strange := sorted(named - set(range(known[topic])) or named - set(wanted)):
        raise UsageError(
            f"{topic}/{strange[0]}: the topic has the partitions 0 to {known[topic] - 1}, and "
            f"{', '.join(map(str, wanted))} are to be read."
        )
    there = await extents.extents(settings, {topic: known[topic]})
    begins = await _at_time(settings, topic, wanted, begin)
    ends = await _at_time(settings, topic, wanted, end)
    found: dict[int, Extent] = {}
    for each in wanted:
        extent = there[topic, each]
        first = _first(topic, each, extent, begin, begins)
        last = _last(topic, each, extent, end, ends)
        if first >= last and begin is not None and begin.of(each) is not None:
            raise UsageError(f"{topic}/{each}: --from {first} is not below --to {last}.")
        if first < last:
            found[each] = Extent(first, last)
    if not found:
        raise UsageError(f"{topic}: there is no record between --from and --to.")
    return TopicRange(topic, found)


def _first(
    topic: str, partition: int, extent: Extent, begin: Bound | None, times: Mapping[int, int | None]
) -> int:
    if begin is None:
        return extent.begin
    if begin.time is not None:
        at = times[partition]
        return extent.end if at is None else max(at, extent.begin)
    offset = begin.of(partition)
    if offset is None:
        return extent.begin
    if offset < extent.begin:
        raise UsageError(
            f"{topic}/{partition}: --from {offset} lies before {extent.begin}, the first offset "
            "that Kafka still has. Older events have to come from files; give --from "
            f"{partition}:{extent.begin} for what is there."
        )
    return offset


def _last(
    topic: str, partition: int, extent: Extent, end: Bound | None, times: Mapping[int, int | None]
) -> int:
    if end is None:
        return extent.end
    if end.time is not None:
        at = times[partition]
        return extent.end if at is None else min(at, extent.end)
    offset = end.of(partition)
    if offset is None:
        return extent.end
    if offset > extent.end:
        raise UsageError(
            f"{topic}/{partition}: --to {offset} lies beyond {extent.end}, where what may be read "
            f"ends. Give --to {partition}:{extent.end}, or leave --to out."
        )
    return offset


async def _at_time(
    settings: Settings, topic: str, partitions: Collection[int], given: Bound | None
) -> dict[int, int | None]:
    """Return the first offset at or after a time; None where there is none."""
    if given is None or given.time is None:
        return {}
    since = datetime.fromtimestamp(0, given.time.tzinfo)
    # Kafka's times are whole milliseconds: the first that is not before the one asked for.
    milliseconds = -((since - given.time) // _MILLISECOND)
    listed = {TopicPartition(topic, each): max(0, milliseconds) for each in partitions}
    access = kafka_access.of(settings)
    consumer = AIOKafkaConsumer(group_id=None, enable_auto_commit=False, **access.arguments)
    try:
        try:
            await consumer.start()
            found = await consumer.offsets_for_times(listed)
        finally:
            await consumer.stop()
    except (KafkaError, OSError) as error:
        raise await access.refusal(error) from error
    return {tp.partition: _offset(found.get(tp)) for tp in listed}


def _offset(found: OffsetAndTimestamp | None) -> int | None:
    # Tansu says the first offset of a time that is none; and its times are when records came.
    return None if found is None or found.timestamp < 0 else int(found.offset)
