"""A worker shows what it reads, and nothing that another one reads."""

from dataclasses import replace
from datetime import timedelta

import pytest

from ops import metrics
from processor.stream.watchdog import StreamProgress
from tests.builders.metrics import series, value
from tests.processor.stream.test_watchdog import CITIES, DENIED, FORMING, QUESTS, SECOND, Bench

BOTH = {"laurel.quests/0", "laurel.cities/1", "laurel.quests", "laurel.cities"}


def shown_partitions() -> set[str]:
    """The partitions that the gauges of a partition show, and the topics of those of a topic."""
    of_partition = [
        {f"{topic}/{partition}" for topic, partition in series(name)}
        for name in ("laurel_consumer_lag_records", "laurel_withheld_records")
    ]
    assert of_partition[0] == of_partition[1]
    assert value("laurel_partitions_assigned") == len(of_partition[0])
    return of_partition[0] | {topic for (topic,) in series("laurel_event_lag_seconds")}


@pytest.fixture
def both() -> tuple[Bench, StreamProgress]:
    """A worker that reads two partitions, and has counted of each."""
    bench = Bench()
    for gauge in (metrics.CONSUMER_LAG_RECORDS, metrics.WITHHELD_RECORDS):
        gauge.clear()  # of other tests
    metrics.EVENT_LAG_SECONDS.clear()
    for topic, _ in (QUESTS, CITIES):
        metrics.EVENT_LAG_SECONDS.labels(topic).set(3)
    positions = {QUESTS: bench.position(), CITIES: bench.position()}
    progress = StreamProgress(positions, dict.fromkeys(positions, 100), 0.0)
    bench.watchdog.check(progress)
    assert shown_partitions() == BOTH
    return bench, progress


async def test_what_another_worker_reads_is_no_longer_shown_here(
    both: tuple[Bench, StreamProgress],
) -> None:
    bench, progress = both
    rest = {CITIES: bench.position()}
    bench.watchdog.check(replace(progress, positions=rest))
    assert shown_partitions() == {"laurel.cities/1", "laurel.cities"}
    bench.watchdog.check(replace(progress, positions={}, is_standby=True))
    assert shown_partitions() == set()
    bench.watchdog.check(progress)
    assert shown_partitions() == {"laurel.quests/0", "laurel.cities/1"}


async def test_while_the_group_forms_all_stay_and_without_one_none(
    both: tuple[Bench, StreamProgress],
) -> None:
    bench, _ = both
    bench.clock.advance(timedelta(seconds=10))
    bench.watchdog.check(FORMING)
    assert shown_partitions() == BOTH
    bench.clock.advance(SECOND)
    bench.watchdog.check(FORMING)
    assert shown_partitions() == set()


async def test_who_is_kept_out_of_the_group_shows_nothing_in_the_end(
    both: tuple[Bench, StreamProgress],
) -> None:
    bench, progress = both
    bench.clock.advance(timedelta(seconds=11))
    bench.watchdog.check(replace(progress, group_trouble=DENIED))
    assert shown_partitions() == set()
