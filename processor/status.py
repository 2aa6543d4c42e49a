"""Counting, and what still lies in Kafka, for `laurel status`."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from ops.checks import Said, warn
from ops.clock import SYSTEM_CLOCK, Clock
from ops.errors import LaurelError
from ops.quantities import shown_age
from ops.settings import Settings
from ops.status import Look, Row, Section, StatusSource
from processor.catalog.in_force import in_force
from processor.stream import kafka_access, topics
from processor.stream.extents import Extent, extents
from store import live_state, migrations, paused_partitions
from store.engine import Database
from store.live_state import COUNTED_MAX, CountedTo, Ledger
from store.paused_partitions import PauseRow
from store.values.names import Partition
from store.values.stream import Reason

# Between the two looks at the ledger from which a single screen tells the rate.
_MEASURED = timedelta(seconds=1.5)
# Batches are committed several times a second where records wait.
_STANDS = timedelta(minutes=1)
# The paused partitions that are told one by one.
_PAUSED_MAX = 5


class RateMeter:
    """How many records a second are counted, from the ledger's way between two looks."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._before: tuple[float, Ledger] | None = None

    @property
    def is_new(self) -> bool:
        """Return whether there is nothing to compare with yet."""
        return self._before is None

    def rate(self, ledger: Ledger) -> tuple[float, float]:
        """Return records a second since the look before, and the seconds since then."""
        now = self._clock.monotonic()
        at, former = self._before or (now, ledger)
        self._before = (now, ledger)
        records = sum(
            max(0, counted.next_offset - former[cluster][partition].next_offset)
            for cluster, partitions in ledger.items()
            for partition, counted in partitions.items()
            if partition in former.get(cluster, {})
        )
        seconds = now - at
        return (records / seconds if seconds else 0.0), seconds


@asynccontextmanager
async def _counting(settings: Settings) -> AsyncIterator[Look]:
    async with Database(settings.need("database_url"), settings.database) as db:
        async with db.reading() as conn:
            await migrations.check(conn)
        meter = RateMeter()

        async def look() -> Sequence[Section]:
            if meter.is_new:
                async with db.reading() as conn:
                    meter.rate(await live_state.ledger(conn))
                await asyncio.sleep(_MEASURED.total_seconds())
            async with db.reading() as conn:
                await live_state.bound_statements(conn)
                rate, seconds = meter.rate(await live_state.ledger(conn))
                letters = await live_state.dead_letters(conn)
                paused = await paused_partitions.listed(conn)
            rows = (
                Row("counted", f"{rate:,.0f} records/s over the last {seconds:.1f} s"),
                Row("paused", paused_said(paused)),
                Row("dead letters", letters_said(letters)),
            )
            facts = {
                "records_per_second": round(rate, 1),
                "paused": [
                    {
                        "topic": each.paused.topic,
                        "partition": each.paused.partition,
                        "offset": each.paused.offset,
                        "reason": each.paused.reason.value,
                    }
                    for each in paused
                ],
                "dead_letters_last_hour": {reason.value: n for reason, n in letters.items()},
            }
            return [Section("counting", rows, facts)]

        yield look


def paused_said(paused: Sequence[PauseRow]) -> Said:
    """Return which partitions wait for an operator."""
    if not paused:
        return "none"
    named = [f"{each.paused.topic}/{each.paused.partition}" for each in paused[:_PAUSED_MAX]]
    if len(paused) > _PAUSED_MAX:
        named.append(f"and {len(paused) - _PAUSED_MAX} more")
    return warn(f"{', '.join(named)}: `laurel partitions list`")


def letters_said(letters: Mapping[Reason, int]) -> Said:
    """Return what became dead letters in the last hour."""
    total = sum(letters.values())
    if not total:
        return "none in the last hour"
    many = f"more than {COUNTED_MAX:,}" if total > COUNTED_MAX else f"{total:,}"
    reasons = ", ".join(f"{reason} {number:,}" for reason, number in letters.items())
    return warn(f"{many} in the last hour: {reasons}")


@dataclass(frozen=True, slots=True)
class TopicLag:
    """What of a topic is not counted yet.

    Args:
        topic: with its prefix.
        records: that wait.
        idle_seconds: since the last of the topic was counted; None: none ever was.
    """

    topic: str
    records: int
    idle_seconds: float | None


@asynccontextmanager
async def _kafka(settings: Settings) -> AsyncIterator[Look]:
    hurried = kafka_access.hurried(settings)

    async def look() -> Sequence[Section]:
        cluster = await topics.cluster(hurried)
        names, ledger, trouble = await _database_says(settings)
        if names is None:
            prefix = f"{settings.kafka.topic_prefix}."
            own = [name for name in cluster.topics if name.startswith(prefix)]
            names = tuple(sorted(set(own) - set(topics.outgoing(settings.kafka))))
        read = {name: cluster.partitions[name] for name in names if name in cluster.readable}
        found = await extents(hurried, read)
        rows = [Row("cluster", f"{cluster.id} at {settings.kafka_brokers}")]
        if missing := [name for name in names if name not in read]:
            rows.append(Row("topics", warn(cluster.lack(missing))))
        if ledger is None:
            records = sum(extent.end - extent.begin for extent in found.values())
            rows.append(Row("lag", warn(f"unknown of {records:,} records: {trouble}")))
            return [Section("kafka", tuple(rows), {"cluster": cluster.id, "lag": None})]
        lags = topic_lags(found, ledger.get(cluster.id, {}))
        rows += lag_rows(lags)
        lag = {each.topic: each.records for each in lags}
        return [Section("kafka", tuple(rows), {"cluster": cluster.id, "lag": lag})]

    yield look


async def _database_says(
    settings: Settings,
) -> tuple[tuple[str, ...] | None, Ledger | None, str]:
    """Return which topics are read and how far; nothing and the reason where it does not say."""
    if settings.database_url is None:
        return None, None, "LAUREL_DATABASE_URL is not set"
    try:
        definitions = await in_force(settings)
        async with Database(settings.database_url, settings.database) as db, db.reading() as conn:
            ledger = await live_state.ledger(conn)
    except LaurelError as error:
        return None, None, error.message
    return topics.incoming(settings.kafka, definitions), ledger, ""


def topic_lags(
    found: Mapping[Partition, Extent], counted: Mapping[Partition, CountedTo]
) -> list[TopicLag]:
    """Return the lag of each topic, by name; what was never read waits from its begin on."""
    lags = dict[str, TopicLag]()
    for (topic, number), extent in sorted(found.items()):
        entry = counted.get((topic, number))
        before = lags.get(topic, TopicLag(topic, 0, None))
        start = max(extent.begin, entry.next_offset) if entry else extent.begin
        idles = [each for each in (before.idle_seconds, entry and entry.idle_seconds) if each]
        lags[topic] = TopicLag(
            topic, before.records + max(0, extent.end - start), min(idles, default=None)
        )
    return list(lags.values())


def lag_rows(lags: Sequence[TopicLag]) -> list[Row]:
    """Return a row for each topic of which records wait; one where there is none."""
    waiting = [each for each in lags if each.records]
    if not waiting:
        return [Row("lag", f"0 in {len(lags)} topics")]
    return [Row(f"lag {each.topic}", lag_said(each)) for each in waiting]


def lag_said(lag: TopicLag) -> Said:
    """Return how many records of a topic wait, and whether nobody seems to count them."""
    told = f"{lag.records:,}"
    if lag.idle_seconds is None:
        return warn(f"{told}, and none was ever counted: is a worker at work?")
    if lag.idle_seconds > _STANDS.total_seconds():
        idle = shown_age(lag.idle_seconds)
        return warn(f"{told}, and none was counted for {idle}: is a worker at work?")
    return told


SOURCES = (
    StatusSource(("counting",), ("database_url",), _counting),
    StatusSource(("kafka",), ("kafka_brokers",), _kafka),
)
