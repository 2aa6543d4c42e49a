"""A worker that its Kafka keeps out of the group, or denies a topic: it says why, and comes back.

Each client here is User:ANONYMOUS, and an ACL on a resource denies it to all whom it does not name.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ops.lifecycle import EXIT_FAILURE, EXIT_OK
from ops.settings import Settings
from processor.stream import topics
from sandbox.broker import Broker
from store.engine import Database
from tests.builders.messages import a_quest, a_visit, with_catalog
from tests.builders.patience import PATIENCE_S
from tests.e2e.workers import (
    RunningWorker,
    Site,
    a_worker,
    produce,
    until,
    until_counted,
    until_ready,
    until_waits,
)

pytest.importorskip("confluent_kafka", reason="confluent-kafka is one of the `dev` extra")

from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
)
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType

pytestmark = pytest.mark.kafka


class Denial:
    """An ACL by which nobody may read a group or a topic, while it stands."""

    def __init__(self, site: Site, kind: ResourceType, name: str) -> None:
        self._admin = AdminClient({"bootstrap.servers": site.brokers})
        self._of = (kind, name, ResourcePatternType.LITERAL, "User:ANONYMOUS", "*")

    async def stand(self) -> None:
        """Deny."""
        binding = AclBinding(*self._of, AclOperation.READ, AclPermissionType.DENY)
        for done in self._admin.create_acls([binding]).values():
            await asyncio.to_thread(done.result, PATIENCE_S)

    async def fall(self) -> None:
        """Allow again."""
        chosen = AclBindingFilter(*self._of, AclOperation.ANY, AclPermissionType.ANY)
        for done in self._admin.delete_acls([chosen]).values():
            await asyncio.to_thread(done.result, PATIENCE_S)


@asynccontextmanager
async def denied(site: Site, kind: ResourceType, name: str) -> AsyncIterator[Denial]:
    """Deny a resource for the block; `fall` allows it before."""
    denial = Denial(site, kind, name)
    await denial.stand()
    try:
        yield denial
    finally:
        await denial.fall()


def logged_once(worker: RunningWorker, word: str) -> None:
    """The loss is in the log once, with its reason, and so is its end."""
    (lost,) = [line for line in worker.logged("kafka_lost") if word in line["reason"]]
    assert [line["after"] for line in worker.logged("kafka_back")] == [lost["reason"]]


async def test_a_group_that_is_denied_ends_the_worker(kafka_site: Site, tmp_path: Path) -> None:
    """With which reason is in tests/processor/stream/test_watchdog.py: the bound is very short."""
    async with denied(kafka_site, ResourceType.GROUP, kafka_site.prefix):
        with a_worker(
            kafka_site, tmp_path / "worker.log", LAUREL_WORKER__STALL_AFTER="PT1S"
        ) as worker:
            code = await asyncio.to_thread(worker.process.wait, PATIENCE_S)
    assert code == EXIT_FAILURE
    (failure,) = worker.logged("worker_failed")
    assert failure["code"] == "group_missing"
    assert worker.logged("task_stack")


async def test_a_group_that_is_denied_at_first_and_allowed_then_is_joined(
    kafka_site: Site, database: Database, tmp_path: Path
) -> None:
    async with denied(kafka_site, ResourceType.GROUP, kafka_site.prefix) as denial:
        await produce(kafka_site, [a_quest()])
        with a_worker(kafka_site, tmp_path / "worker.log") as worker:
            await until_waits(worker, "kafka", kafka_site.prefix, "GroupAuthorizationFailed")
            await denial.fall()
            await until_counted(database, 1, worker)
            await until_ready(worker)
            logged_once(worker, "GroupAuthorizationFailed")
            assert worker.stop() == EXIT_OK


async def test_a_group_that_is_denied_while_counting_is_noticed_and_joined_again(
    kafka_site: Site, database: Database, tmp_path: Path
) -> None:
    await produce(kafka_site, [a_quest()])
    with a_worker(kafka_site, tmp_path / "worker.log") as worker:
        await until_counted(database, 1, worker)
        async with denied(kafka_site, ResourceType.GROUP, kafka_site.prefix) as denial:
            await until_waits(worker, "kafka", "GroupAuthorizationFailed")
            await produce(kafka_site, [a_quest()])
            await denial.fall()
            await until_counted(database, 2, worker)
            await until_ready(worker)
        logged_once(worker, "GroupAuthorizationFailed")
        assert worker.stop() == EXIT_OK


async def test_a_group_with_members_of_another_kind_is_named_and_joined_once_they_are_gone(
    kafka_site: Site, database: Database, tmp_path: Path
) -> None:
    stranger = Consumer(
        {
            "bootstrap.servers": kafka_site.brokers,
            "group.id": kafka_site.prefix,
            "partition.assignment.strategy": "range",
        }
    )
    stranger.subscribe([f"{kafka_site.prefix}.quests"])
    await produce(kafka_site, [a_quest()])

    async def joined() -> bool:
        await asyncio.to_thread(stranger.poll, 0.1)
        return bool(stranger.assignment())

    await until(joined, "a stranger in the group")
    with a_worker(kafka_site, tmp_path / "worker.log") as worker:
        await until_waits(
            worker, "kafka", "another protocol or assignor", "LAUREL_KAFKA__CONSUMER_GROUP"
        )
        await asyncio.to_thread(stranger.close)
        await until_counted(database, 1, worker)
        await until_ready(worker)
        logged_once(worker, "another protocol or assignor")
        assert worker.stop() == EXIT_OK


async def test_a_denied_topic_is_named_while_the_others_are_counted(
    kafka_site: Site, database: Database, tmp_path: Path
) -> None:
    quests = f"{kafka_site.prefix}.quests"
    await produce(kafka_site, [a_quest(), a_visit()])
    with a_worker(kafka_site, tmp_path / "worker.log") as worker:
        await until_counted(database, 2, worker)
        async with denied(kafka_site, ResourceType.TOPIC, quests) as denial:
            await until_waits(worker, "kafka", quests, "allow it the operation Read")
            await produce(kafka_site, [a_visit()])
            await until_counted(database, 3, worker)
            await denial.fall()
            await produce(kafka_site, [a_quest()])
            await until_counted(database, 4, worker)
            await until_ready(worker)
        logged_once(worker, quests)
        assert worker.stop() == EXIT_OK


async def test_a_standby_waits_for_nothing_but_the_missing_topics(
    kafka_broker: Broker, database: Database, database_url: str, topic_prefix: str, tmp_path: Path
) -> None:
    """One partition in all: the second worker finds nothing left."""
    await with_catalog(database)
    site = Site(kafka_broker.address, database_url, topic_prefix)
    one = Settings(kafka_brokers=site.brokers, kafka={"partitions": 1})
    await topics.create(one, [f"{site.prefix}.quests"])
    with (
        a_worker(site, tmp_path / "1.log") as first,
        a_worker(site, tmp_path / "2.log") as second,
    ):
        for worker in (first, second):

            async def in_its_group(worker: RunningWorker = worker) -> bool:
                return set((await worker.ready()).get("waits", ())) == {"topics"}

            await until(in_its_group, "a worker in its group", worker)
        readers = [await each.metrics("laurel_consumer_lag_records{") for each in (first, second)]
        assert sorted(map(len, readers)) == [0, 1]
        assert [first.stop(), second.stop()] == [EXIT_OK, EXIT_OK]
