"""What aiokafka's coordinator keeps to itself is taken, told with the way out, and forgotten.

The coordinator here is aiokafka's own, with nobody to talk to. That Kafka's denials come out of it,
and are over once they are allowed, is in tests/e2e/test_group.py.
"""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    InconsistentGroupProtocolError,
    InvalidSessionTimeoutError,
    KafkaError,
)
from aiokafka.structs import TopicPartition

from processor.stream.group_watch import DeniedTopics, GroupWatch
from processor.stream.positions import PartitionPosition

GROUP = "laurel-worker"
TOPICS = {"laurel.quests"}


@pytest.fixture
async def consumer() -> AsyncIterator[Any]:
    """As much of a consumer as is looked at; nothing is subscribed to yet."""
    client = AIOKafkaClient(bootstrap_servers="127.0.0.1:1")
    subscription = SubscriptionState()
    subscription.register_fetch_waiters(set())
    coordinator = GroupCoordinator(client, subscription, group_id=GROUP)
    yield SimpleNamespace(_coordinator=coordinator, _subscription=subscription, _closed=False)
    coordinator._closing.set_result(None)
    await asyncio.gather(coordinator._coordination_task, return_exceptions=True)
    await client.close()


def assign(consumer: Any) -> None:
    """What the coordinator does with each new generation of the group."""
    consumer._subscription.assign_from_subscribed({TopicPartition("laurel.quests", 0)})


async def push(consumer: Any, error: KafkaError) -> "asyncio.Task[object]":
    """The coordinator meets an error, and waits until somebody has taken it."""
    waits: asyncio.Task[object] = asyncio.ensure_future(
        consumer._coordinator._push_error_to_user(error)
    )
    await asyncio.sleep(0)
    assert not waits.done()
    return waits


async def test_an_error_is_taken_so_that_the_coordinator_goes_on(consumer: Any) -> None:
    watch = GroupWatch(GROUP)
    assert watch.look(consumer) is None
    waits = await push(consumer, GroupAuthorizationFailedError(GROUP))
    trouble = watch.look(consumer)
    assert trouble is not None
    assert not trouble.is_final
    await waits
    assert consumer._coordinator._rejoin_needed_fut.done(), "it joins again"


async def test_trouble_is_over_with_the_next_assignment_and_not_before(consumer: Any) -> None:
    watch = GroupWatch(GROUP)
    consumer._subscription.subscribe(TOPICS)
    assign(consumer)
    await push(consumer, GroupAuthorizationFailedError(GROUP))
    assert watch.look(consumer) is not None
    assert watch.look(consumer) is not None, "the assignment of before is still there"
    assign(consumer)
    assert watch.look(consumer) is None


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (GroupAuthorizationFailedError(GROUP), "allow it the operation Read on the group"),
        (InconsistentGroupProtocolError(), "LAUREL_KAFKA__CONSUMER_GROUP"),
        (InvalidSessionTimeoutError(), "LAUREL_KAFKA__SESSION_TIMEOUT"),
        (KafkaError("GroupMaxSizeReached()"), "GroupMaxSizeReached()"),
    ],
)
async def test_the_reason_names_the_way_out(consumer: Any, error: KafkaError, words: str) -> None:
    watch = GroupWatch(GROUP)
    await push(consumer, error)
    trouble = watch.look(consumer)
    assert trouble is not None
    assert words in trouble.reason


async def test_a_coordinator_that_died_is_final(consumer: Any) -> None:
    watch = GroupWatch(GROUP)
    del consumer._coordinator._subscription  # whatever kills it
    consumer._coordinator._coordination_task.cancel()
    await asyncio.gather(consumer._coordinator._coordination_task, return_exceptions=True)

    async def dies() -> None:
        raise KafkaError("Unexpected error during coordination ValueError()")

    consumer._coordinator._coordination_task = asyncio.ensure_future(dies())
    await asyncio.sleep(0)
    trouble = watch.look(consumer)
    assert trouble is not None
    assert trouble.is_final
    assert "ValueError()" in trouble.reason


async def test_a_consumer_that_is_closed_has_no_trouble(consumer: Any) -> None:
    await push(consumer, GroupAuthorizationFailedError(GROUP))
    consumer._closed = True
    assert GroupWatch(GROUP).look(consumer) is None


def answered(at: float) -> PartitionPosition:
    return PartitionPosition(0, 0, 0, 0, at)


def test_a_topic_is_denied_until_one_of_its_partitions_is_answered() -> None:
    denied = DeniedTopics()
    denied.deny("laurel.quests", 100.0)
    before = {("laurel.quests", 0): answered(99.0), ("laurel.cities", 0): answered(200.0)}
    assert set(denied.among(before)) == {"laurel.quests"}
    assert not denied.among(before | {("laurel.quests", 1): answered(101.0)})


def test_a_topic_that_is_no_longer_read_is_not_named() -> None:
    denied = DeniedTopics()
    denied.deny("laurel.quests", 100.0)
    assert not denied.among({("laurel.cities", 0): answered(99.0)})
