"""Of what is fetched, no more is taken at a time than there is room for, and nothing is lost."""

import inspect
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer import consumer, fetcher
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import CorruptRecordException
from aiokafka.structs import TopicPartition

from processor.events.records import LargeRecord, memory_of
from processor.stream import bounded_fetch
from processor.stream.bounded_fetch import BoundedFetcher, BoundedFetchResult, install
from processor.stream.guarded_records import GuardedRecords, WholeRecords
from processor.stream.lenient_headers import LenientRecords
from processor.stream.room import ROOM, STEP_BYTES, TAKE_STEPS_BYTES, Room
from store.values.stream import PausedPartition, PauseReason
from tests.processor.stream.test_large_batches import a_batch

QUESTS = TopicPartition("laurel.quests", 0)
CITIES = TopicPartition("laurel.cities", 0)
MEGABYTE = b"0123456789abcdef" * 65_536


def a_result(*values: bytes, codec: int = 1) -> BoundedFetchResult:
    """What was fetched of a partition that is read from its beginning."""
    state = SubscriptionState()
    state.assign_from_user([QUESTS])
    assignment = state.subscription.assignment
    assignment.state_value(QUESTS).seek(0)
    data = a_batch([(None, value, []) for value in values], codec)
    records = GuardedRecords(QUESTS, WholeRecords(data), None, 0, None, None, True, 1)
    return BoundedFetchResult(QUESTS, assignment=assignment, partition_records=records, backoff=0.1)


def taken(result: BoundedFetchResult, room: int, record_bytes_max: int = 1 << 30) -> list[int]:
    ROOM.set(Room(room, record_bytes_max))
    found = [record.offset for record in result.getall()]
    if found:
        state = result._assignment.state_value(QUESTS)
        assert state.position == found[-1] + 1
    return found


@pytest.mark.parametrize("codec", [1, 3, 4])
async def test_records_are_taken_as_far_as_there_is_room(codec: int) -> None:
    result = a_result(*[b"v" * 1_000] * 5, codec=codec)
    ROOM.set(Room(1, 1 << 30))
    (first,) = result.getall()
    assert first.offset == 0
    assert taken(result, 2 * memory_of(first)) == [1, 2]
    assert taken(result, 0) == []
    assert taken(result, 1 << 30) == [3, 4]
    assert not result.has_more()


@pytest.mark.parametrize("codec", [1, 3, 4])
async def test_a_batch_that_is_not_expanded_at_once_is_taken_in_parts_too(codec: int) -> None:
    result = a_result(*[MEGABYTE] * 20, codec=codec)
    assert taken(result, 3 * len(MEGABYTE)) == [0, 1, 2]
    assert taken(result, 10 * len(MEGABYTE)) == list(range(3, 13))
    assert taken(result, 1 << 30) == list(range(13, 20))
    assert not result.has_more()


@pytest.mark.parametrize("codec", [0, 1, 2, 3, 4])
async def test_of_records_that_are_too_large_only_what_identifies_them_is_taken(codec: int) -> None:
    """And that in parts: nobody reads, or expands, fifty megabytes in one go."""
    result = a_result(*[MEGABYTE] * 50, codec=codec)
    found: list[object] = []
    parts = 0
    while result.has_more():
        room = Room(1 << 30, 100_000)
        ROOM.set(room)
        found += result.getall()
        assert room.steps_left > -2 * STEP_BYTES
        assert room.is_left_unfinished is result.has_more()
        parts += 1
    assert [type(record) for record in found] == [LargeRecord] * 50
    assert {record.size for record in found if isinstance(record, LargeRecord)} == {len(MEGABYTE)}
    assert parts >= 50 * len(MEGABYTE) // TAKE_STEPS_BYTES


@pytest.mark.parametrize("codec", [0, 1, 4])
async def test_what_lies_before_the_place_to_read_from_is_passed_over_in_parts(codec: int) -> None:
    """A batch is fetched whole: after a restart, most of a large one may be counted already."""
    state = SubscriptionState()
    state.assign_from_user([QUESTS])
    assignment = state.subscription.assignment
    assignment.state_value(QUESTS).seek(39)
    data = a_batch([(None, MEGABYTE, []) for _ in range(40)], codec)
    records = GuardedRecords(QUESTS, WholeRecords(data), None, 39, None, None, True, 1)
    result = BoundedFetchResult(
        QUESTS, assignment=assignment, partition_records=records, backoff=0.1
    )
    found: list[Any] = []
    parts = 0
    while result.has_more():
        ROOM.set(Room(1 << 30, 1 << 30))
        found += result.getall()
        parts += 1
    assert [record.offset for record in found] == [39]
    assert parts >= 39 * len(MEGABYTE) // TAKE_STEPS_BYTES


async def test_what_was_fetched_before_a_seek_is_not_taken() -> None:
    result = a_result(*[b"v"] * 5)
    result._assignment.state_value(QUESTS).seek(3)
    assert taken(result, 1 << 30) == []
    assert not result.has_more()


async def test_a_batch_that_cannot_be_decoded_ends_what_is_taken_and_is_said() -> None:
    state = SubscriptionState()
    state.assign_from_user([QUESTS])
    state.subscription.assignment.state_value(QUESTS).seek(0)
    broken = bytearray(a_batch([(None, b"v", [])], 1))
    broken[-1] ^= 1
    records = GuardedRecords(QUESTS, WholeRecords(bytes(broken)), None, 0, None, None, True, 1)
    result = BoundedFetchResult(
        QUESTS,
        assignment=state.subscription.assignment,
        partition_records=records,
        backoff=0.1,
    )
    ROOM.set(Room(1 << 30, 1 << 30))
    (found,) = result.getall()
    assert (found.key, found.offset, found.skip_to) == (("laurel.quests", 0), 0, 1)
    assert state.subscription.assignment.state_value(QUESTS).position == 0


class NoWaiting(BoundedFetcher):
    """A fetcher that asks for all partitions of which nothing waits, and never runs."""

    def __init__(self, waiting: Mapping[TopicPartition, BoundedFetchResult]) -> None:
        self._records = dict(waiting)


async def test_no_more_is_fetched_while_much_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Partitions are many, and each may have a batch of megabytes."""
    monkeypatch.setattr(
        Fetcher, "_get_actions_per_node", lambda *_: (["a request"], {}, 0.1, False, [])
    )
    result = a_result(*[MEGABYTE] * 3, codec=0)
    made = NoWaiting({QUESTS: result})
    assert made._get_actions_per_node(None) == (["a request"], {}, 0.1, False, [])
    monkeypatch.setattr(bounded_fetch, "HELD_BYTES_MAX", 2 * len(MEGABYTE))
    assert made._get_actions_per_node(None) == ([], {}, 0.1, False, [])
    ROOM.set(Room(1 << 30, 1 << 30))
    assert len(result.getall()) == 3
    assert made._get_actions_per_node(None) == (["a request"], {}, 0.1, False, [])


async def test_what_the_broker_says_is_corrupt_pauses_its_partition_alone() -> None:
    """aiokafka logs it and asks again, for ever."""
    state = SubscriptionState()
    state.assign_from_user([QUESTS, CITIES])
    assignment = state.subscription.assignment
    for tp in (QUESTS, CITIES):
        assignment.state_value(tp).seek(7)
    made = NoWaiting({})
    made._subscriptions, made._prefetch_backoff = state, 0.1
    request = SimpleNamespace(topics=[("laurel.quests", [(0, 7, 1)]), (CITIES.topic, [(0, 7, 1)])])
    code = CorruptRecordException.errno
    made._look(
        request,
        SimpleNamespace(topics=[("laurel.quests", [(0, code, -1)]), (CITIES.topic, [(0, 0, 9)])]),
    )
    assert list(made._records) == [QUESTS]
    ROOM.set(Room(1 << 30, 1 << 30))
    (found,) = made._records[QUESTS].getall()
    assert isinstance(found, PausedPartition)
    assert (found.key, found.offset, found.skip_to) == (tuple(QUESTS), 7, None)
    assert found.reason is PauseReason.UNDECODABLE_BATCH
    assert assignment.state_value(QUESTS).position == 7
    assert made.bytes_held == 0


def test_tripwire_a_consumer_makes_its_fetcher_by_that_name() -> None:
    install()
    assert consumer.Fetcher is BoundedFetcher
    assert "self._fetcher = Fetcher(" in inspect.getsource(consumer.AIOKafkaConsumer)
    assert "await self._client.send(node_id, request)" in inspect.getsource(
        Fetcher._proc_fetch_request
    )
    routine = inspect.getsource(Fetcher._fetch_requests_routine)
    assert "self._get_actions_per_node(assignment)" in routine
    # What is taken makes it look again.
    assert "self._notify(self._wait_consume_future)" in inspect.getsource(Fetcher.fetched_records)
    assert "other_futs = [self._wait_consume_future" in routine


def test_tripwire_the_fetcher_makes_its_results_by_that_name() -> None:
    """aiokafka 0.14 has no seam; a release that changes this needs another one."""
    install()
    assert fetcher.FetchResult is BoundedFetchResult
    assert fetcher.MemoryRecords is LenientRecords
    assert "self._records[tp] = FetchResult(" in inspect.getsource(Fetcher)
    assert "type(res_or_error) is FetchResult" in inspect.getsource(Fetcher.fetched_records)
    assert ".getall(max_records)" in inspect.getsource(Fetcher.fetched_records)
