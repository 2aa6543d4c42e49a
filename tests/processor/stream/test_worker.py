"""The worker's waits and ends, without Kafka; the whole of it is in tests/e2e."""

from dataclasses import replace
from datetime import timedelta

import pytest
from pydantic import SecretStr

from ops.lifecycle import Readiness
from ops.settings import Settings
from processor.catalog import load
from processor.stream.topics import incoming
from processor.stream.worker import TopicsChanged, Worker
from store import catalogs
from store.engine import Database
from store.values import EventSpec, FieldKind, FieldSpec
from tests.builders.clock import FakeClock


class EnoughSeen(Exception):
    """The test has seen what it wants to see."""


async def test_a_catalog_that_names_another_topic_ends_the_worker(
    counting: Database, database_url: str
) -> None:
    settings = Settings(kafka_brokers="nowhere:9092", database_url=SecretStr(database_url))
    shipped = load.load(load.SHIPPED)
    read = incoming(settings.kafka, shipped)
    clock = FakeClock()
    worker = Worker(settings, counting, Readiness(), clock)
    hikes = EventSpec("hike.done", "hikes", (FieldSpec("hike_id", FieldKind.ID, required=True),))

    async def sleep(duration: timedelta) -> None:
        clock.slept.append(duration)
        if len(clock.slept) == 3:
            async with counting.transaction() as conn:
                changed = replace(shipped, events=(*shipped.events, hikes))
                await catalogs.apply(conn, changed, "admin")

    clock.sleep = sleep  # type: ignore[method-assign]
    with pytest.raises(TopicsChanged, match=r"laurel\.hikes\. Start it again"):
        await worker.follow_catalog(read)
    # The third look saw the change, the two before it saw nothing new.
    assert clock.slept == [timedelta(seconds=3)] * 3


async def test_an_absent_database_does_not_end_the_catalogs_follower() -> None:
    settings = Settings(kafka_brokers="nowhere:9092")
    clock = FakeClock()

    async def sleep(duration: timedelta) -> None:
        clock.slept.append(duration)
        if len(clock.slept) == 3:
            raise EnoughSeen

    clock.sleep = sleep  # type: ignore[method-assign]
    async with Database("postgresql://laurel@127.0.0.1:9/laurel") as absent:
        worker = Worker(settings, absent, Readiness(), clock)
        with pytest.raises(EnoughSeen):
            await worker.follow_catalog([])
