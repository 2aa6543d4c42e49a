"""What Prometheus would read from workers that share a group: each partition at one of them."""

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from ops.lifecycle import EXIT_OK
from ops.settings import DEFAULT_TENANT
from store import outbox
from store.engine import Database
from store.values.outbox import OutboxEntry, OutboxType
from tests.builders.messages import NOW, a_quest, a_visit, user
from tests.e2e.workers import (
    RunningWorker,
    Site,
    a_worker,
    produce,
    until,
    until_counted,
    until_ready,
)

A_MESSAGE = OutboxEntry(user(1), DEFAULT_TENANT, OutboxType.BADGE_CREATED, {}, NOW)
Series = dict[tuple[tuple[str, str], ...], float]


async def scraped(worker: RunningWorker, sample: str) -> Series:
    """The series of one sample, by their labels."""
    text = "\n".join(await worker.metrics("")) + "\n"
    return {
        tuple(sorted(each.labels.items())): each.value
        for family in text_string_to_metric_families(text)
        for each in family.samples
        if each.name == sample
    }


async def total(sample: str, *workers: RunningWorker) -> float:
    return sum([sum((await scraped(each, sample)).values()) for each in workers])


async def test_workers_that_share_a_group_tell_of_each_event_and_partition_once(
    site: Site, database: Database, tmp_path: Path
) -> None:
    events = [make(user(number)) for number in range(60) for make in (a_quest, a_visit)]
    async with database.transaction() as conn:
        await outbox.append(conn, [A_MESSAGE])
    with a_worker(site, tmp_path / "one.log") as one:
        await until_ready(one)

        async def looked() -> bool:
            return await total("laurel_outbox_messages", one) == 1

        await until(looked, "a look at the outbox", one)
        alone = await total("laurel_partitions_assigned", one)
        ages = await scraped(one, "laurel_event_age_seconds_count")
        assert ages[("topic", f"{site.prefix}.quests"),] == 0, "before the first event"
        assert await total("laurel_events_total", one) == 0
        await produce(site, events[:40])
        await until_counted(database, 40, one)
        with a_worker(site, tmp_path / "two.log") as two:

            async def both_read() -> bool:
                readers = [
                    await scraped(each, "laurel_consumer_lag_records") for each in (one, two)
                ]
                return all(readers) and sum(map(len, readers)) == alone

            await until(both_read, "each partition at one worker", two)
            assert await total("laurel_partitions_assigned", one, two) == alone
            await produce(site, events[40:])
            await until_counted(database, len(events), two)

            async def told() -> bool:
                return await total("laurel_events_total", one, two) == len(events)

            await until(told, "each event told", two)
            assert await total("laurel_event_age_seconds_count", one, two) == len(events)
            for worker in (one, two):
                phases = await total("laurel_batch_phase_seconds_sum", worker)
                assert abs(phases - await total("laurel_batch_seconds_sum", worker)) < 0.001
            assert await total("laurel_rebalances_total", one) >= 2
            assert await total("laurel_rebalances_total", two) >= 1
            lagging = await scraped(one, "laurel_event_lag_seconds")
            read = await scraped(one, "laurel_consumer_lag_records")
            assert {dict(each)["topic"] for each in lagging} <= {
                dict(each)["topic"] for each in read
            }
            assert two.stop() == EXIT_OK

        async def takes_over() -> bool:
            return await total("laurel_partitions_assigned", one) == alone

        await until(takes_over, "all partitions at the one that is left", one)
        assert await total("laurel_catalog_version", one) == 1
        assert one.stop() == EXIT_OK
