"""`laurel worker` as an operator meets it.

It counts exactly over a kill, says what it waits for, and ends when asked.
"""

import asyncio
import math
import os
import random
import re
import signal
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from sqlalchemy import text

from ops.lifecycle import EXIT_FAILURE, EXIT_OK
from ops.settings import Settings
from processor.catalog import load
from processor.stream import topics
from sandbox.broker import Broker
from sandbox.broker import broker as tansu
from store import catalogs
from store.engine import Database
from store.values.catalog import EventSpec, FieldKind, FieldSpec
from tests.builders.messages import (
    a_partner,
    a_quest,
    a_visit,
    a_wallet,
    an_address,
    an_event,
    encoded,
    user,
    with_catalog,
)
from tests.e2e.workers import (
    Site,
    a_producer,
    a_worker,
    counted,
    produce,
    until,
    until_counted,
    until_read,
    until_ready,
    until_waits,
)


def some_events(number: int) -> list[dict[str, Any]]:
    chance = random.Random(7)
    return [
        a_quest(user(chance.randrange(50)))
        if chance.random() < 0.5
        else a_visit(user(chance.randrange(50)), f"c{chance.randrange(30)}")
        for _ in range(number)
    ]


async def counters(database: Database) -> dict[str, int]:
    async with database.transaction() as conn:
        rows = await conn.execute(
            text("""
                SELECT key, sum(value::int)::int
                  FROM nft_progress JOIN nft_type ON nft_type.id = type_id, jsonb_each(counters)
                 WHERE code = 'explorer' GROUP BY key
            """)
        )
        return {row[0]: row[1] for row in rows}


def truth(events: list[dict[str, Any]]) -> dict[str, int]:
    quests = sum(event["type"] == "quest.completed" for event in events)
    cities = {
        (event["subject"], event["data"]["city_id"])
        for event in events
        if event["type"] == "city.visited"
    }
    return {"quest_completed_count": quests, "unique_cities_visited": len(cities)}


async def test_a_worker_that_is_killed_and_started_again_counts_exactly(
    site: Site, database: Database, tmp_path: Path
) -> None:
    events = some_events(4_000)
    await produce(site, events[:2_000])
    with a_worker(site, tmp_path / "first.log", LAUREL_WORKER__BATCH_RECORDS_MAX="300") as first:
        await until_counted(database, 600, first)
        first.kill()
    await produce(site, events[2_000:])
    with a_worker(site, tmp_path / "second.log") as second:
        await until_counted(database, len(events), second)
        await until_read(database, len(events), second)
        assert second.stop() == EXIT_OK
    assert await counters(database) == truth(events)


async def test_two_workers_share_the_work_and_count_exactly(
    site: Site, database: Database, tmp_path: Path
) -> None:
    events = some_events(2_000)
    with a_worker(site, tmp_path / "one.log") as one:
        await produce(site, events[:500])
        await until_counted(database, 500, one)
        # It joins: a rebalance, and what was in flight is fetched again.
        with a_worker(site, tmp_path / "two.log") as two:
            await produce(site, events[500:])
            await until_counted(database, len(events), two)
            await until_ready(one, two)
            assert (one.stop(), two.stop()) == (EXIT_OK, EXIT_OK)
    assert await counted(database) == len(events)
    assert await counters(database) == truth(events)


async def test_a_wallet_and_a_badge_by_kafka_make_a_task(
    site: Site, database: Database, tmp_path: Path
) -> None:
    traveller = user(1)
    await produce(
        site, [*(a_partner(traveller) for _ in range(6)), a_wallet(traveller, an_address(1))]
    )
    with a_worker(site, tmp_path / "worker.log") as worker:
        await until_read(database, 7, worker)
        assert worker.stop() == EXIT_OK
    async with database.transaction() as conn:
        rows = await conn.execute(
            text("""
                SELECT current_level, onchain_status, operation, hold_reason
                  FROM nft_instance JOIN nft_mint_queue ON nft_instance_id = nft_instance.id
            """)
        )
        assert [tuple(row) for row in rows] == [(3, "pending", "mint", None)]


async def test_a_worker_waits_for_topics_and_says_so(
    any_broker: Any, database: Database, database_url: str, topic_prefix: str, tmp_path: Path
) -> None:
    await with_catalog(database)
    site = Site(any_broker.address, database_url, topic_prefix)
    with a_worker(site, tmp_path / "worker.log") as worker:
        await until_waits(worker, "kafka", "laurel topics create", f"{topic_prefix}.quests")
        await site.make_topics()
        await produce(site, [a_quest()])
        await until_counted(database, 1, worker)


async def test_a_worker_without_servers_says_which_and_where(
    database_url: str, tmp_path: Path
) -> None:
    nowhere = Site("127.0.0.1:9", "postgresql://laurel:secret@127.0.0.1:9/laurel", "laurel")
    with a_worker(nowhere, tmp_path / "worker.log") as worker:
        await until_waits(worker, "postgresql", "127.0.0.1:9")
        assert "secret" not in worker.log_path.read_text()
        assert worker.stop() == EXIT_OK
    assert database_url


async def test_a_worker_without_a_broker_says_which_and_where(
    database: Database, database_url: str, topic_prefix: str, tmp_path: Path
) -> None:
    await with_catalog(database)
    with a_worker(
        Site("127.0.0.1:9", database_url, topic_prefix), tmp_path / "worker.log"
    ) as worker:
        await until_waits(worker, "kafka", "127.0.0.1:9")
        assert not (await worker.ready())["ready"]
        assert worker.stop() == EXIT_OK


async def test_sigterm_ends_a_worker_whose_broker_is_gone(
    database: Database, database_url: str, topic_prefix: str, tmp_path: Path
) -> None:
    """Faust by itself would wait for ever (docs/adr/0004-faust-guards.md)."""
    await with_catalog(database)
    with tansu() as running:
        site = Site(running.address, database_url, topic_prefix)
        await site.make_topics()
        await produce(site, [a_quest()])
        with a_worker(
            site, tmp_path / "worker.log", LAUREL_LIFECYCLE__DRAIN_TIMEOUT="PT3S"
        ) as worker:
            await until_counted(database, 1, worker)
            os.kill(running.pid, signal.SIGKILL)
            assert worker.stop() in (
                EXIT_OK,
                EXIT_FAILURE,
            )  # in order, or hard at the bound; never not at all


async def test_a_worker_that_makes_no_progress_ends(
    broker: Broker, database: Database, database_url: str, topic_prefix: str, tmp_path: Path
) -> None:
    """Somebody holds the ledger and does not let go: there is work, and it is not done.

    A restart may help, waiting does not.
    """
    await with_catalog(database)
    site = Site(broker.address, database_url, topic_prefix)
    await site.make_topics()
    await produce(site, [a_quest()])
    # This machine's own time for one event, from the start of a worker on, and ample room.
    begun = monotonic()
    with a_worker(site, tmp_path / "first.log") as first:
        await until_counted(database, 1, first)
        assert first.stop() == EXIT_OK
    bound = math.ceil(4 * (monotonic() - begun))
    patient = {  # so that it waits for the ledger when it ends, and not for the next attempt
        "LAUREL_WORKER__STALL_AFTER": f"{bound}s",
        "LAUREL_DATABASE__LOCK_TIMEOUT": f"{10 * bound}s",
        "LAUREL_DATABASE__STATEMENT_TIMEOUT": f"{11 * bound}s",
        "LAUREL_LIFECYCLE__STALL_AFTER": f"{23 * bound}s",
    }
    await produce(site, [a_quest()])
    with a_worker(site, tmp_path / "worker.log", **patient) as worker:
        await until_counted(database, 2, worker)
        async with database.transaction() as conn:
            await conn.execute(text("SELECT 1 FROM offset_ledger FOR UPDATE"))
            await produce(site, [a_quest()])

            async def ended() -> bool:
                return worker.process.poll() is not None

            await until(ended, "the end of a stalled worker")
        assert worker.process.returncode == EXIT_FAILURE
        assert [line["code"] for line in worker.logged("worker_failed")] == ["stalled"]
        (stuck,) = (
            line["stack"]
            for line in worker.logged("task_stack")
            if line["task"].startswith("writer ") and "pipeline.py" in line["stack"]
        )
        assert re.search(r"store/ledger\.py:\d+ lock\n", stuck)


async def test_workers_take_up_a_new_catalogs_topic_without_a_restart(
    site: Site, database: Database, tmp_path: Path
) -> None:
    """It is missing at first: named, while all the others are counted; then it appears."""
    shipped = load.load(load.SHIPPED)
    hikes = EventSpec("hike.done", "hikes", (FieldSpec("hike_id", FieldKind.ID, required=True),))
    topic = f"{site.prefix}.hikes"
    with (
        a_worker(site, tmp_path / "one.log") as one,
        a_worker(site, tmp_path / "two.log") as two,
    ):
        await until_ready(one, two)
        async with database.transaction() as conn:
            await catalogs.apply(conn, replace(shipped, events=(*shipped.events, hikes)), "admin")
        for each in (one, two):
            await until_waits(each, "topics", topic)
        await produce(site, [a_quest(user(number)) for number in range(20)])
        await until_counted(database, 20, one)

        settings = Settings(
            kafka_brokers=site.brokers, kafka={"topic_prefix": site.prefix, "partitions": 2}
        )
        await topics.create(settings, [topic])
        await until_ready(one, two)
        async with a_producer(site) as producer:
            for number in range(20):
                done = an_event("hike.done", user(number), {"hike_id": f"h{number}"})
                await producer.send_and_wait(topic, encoded(done), partition=number % 2)
        await produce(site, [a_quest(user(number)) for number in range(20)])
        # No type counts hikes: they are read, and the quests beside them counted.
        await until_counted(database, 40, one)
        await until_read(database, 60, one)
        assert (one.stop(), two.stop()) == (EXIT_OK, EXIT_OK)


async def test_a_worker_reads_what_there_is_at_its_start(
    broker: Broker, database: Database, database_url: str, topic_prefix: str, tmp_path: Path
) -> None:
    await with_catalog(database)
    site = Site(broker.address, database_url, topic_prefix)
    settings = Settings(
        kafka_brokers=site.brokers, kafka={"topic_prefix": topic_prefix, "partitions": 2}
    )
    await topics.create(settings, [f"{topic_prefix}.quests"])
    with a_worker(site, tmp_path / "worker.log") as worker:
        await produce(site, [a_quest()])
        await until_counted(database, 1, worker)
        await until_waits(worker, "topics", f"{topic_prefix}.cities")
        await site.make_topics()
        await produce(site, [a_visit()])
        await until_counted(database, 2, worker)
        assert worker.stop() == EXIT_OK


async def test_a_worker_that_gets_no_partition_is_ready_and_takes_over(
    site: Site, database: Database, tmp_path: Path
) -> None:
    """Three workers on topics of two partitions: one stands by, and a rollout can end."""
    await with_catalog(database)
    await site.make_topics()
    with ExitStack() as stack:
        workers = [
            stack.enter_context(a_worker(site, tmp_path / f"worker-{number}.log"))
            for number in range(3)
        ]
        await until_ready(*workers)
        for each in workers[:2]:
            each.kill()
        await produce(site, [a_quest(user(number)) for number in range(20)])
        await until_counted(database, 20, workers[2])
        assert workers[2].stop() == EXIT_OK


@pytest.mark.parametrize("later_s", [0.02, 0.04, 0.06])
async def test_sigterm_during_a_rebalance_ends_a_worker_in_time(
    later_s: float,
    broker: Broker,
    database: Database,
    database_url: str,
    topic_prefix: str,
    tmp_path: Path,
) -> None:
    """New topics begin a rebalance; it must not find its client closed under it."""
    await with_catalog(database)
    site = Site(broker.address, database_url, topic_prefix)
    settings = Settings(
        kafka_brokers=site.brokers, kafka={"topic_prefix": topic_prefix, "partitions": 2}
    )
    await topics.create(settings, [f"{topic_prefix}.quests"])
    with a_worker(site, tmp_path / "worker.log") as worker:
        await produce(site, [a_quest()])
        await until_counted(database, 1, worker)
        await site.make_topics()

        async def taken_up() -> bool:
            return bool(worker.logged("topics_taken_up"))

        await until(taken_up, "the new topics taken up", worker)
        await asyncio.sleep(later_s)
        assert worker.stop() == EXIT_OK
        assert not worker.logged("drain_timed_out")
