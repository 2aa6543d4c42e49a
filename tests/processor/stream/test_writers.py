"""Several writers: each has partitions of its own, and none waits for another.

Nothing here waits: what is queued moves by turns of the loop, time by a clock that stands still.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from ops.errors import InvariantBroken
from processor.batch.staging import ReadChunk
from processor.events.chunks import Chunk
from processor.stream.batcher import InFlight
from processor.stream.topics import Cluster
from processor.stream.writers import Writer, Writers
from store.login import LoginRefused
from store.values.names import Partition
from store.values.stream import LedgerEntry
from tests.builders.batching import Bench, a_chunk, settle
from tests.builders.clock import FakeClock

QUESTS_0, QUESTS_1 = ("laurel.quests", 0), ("laurel.quests", 1)
CITIES_0, CITIES_2 = ("laurel.cities", 0), ("laurel.cities", 2)


class Two:
    """Two writers, whose catalogs are of version 1 and 2."""

    def __init__(self, records_max: int = 10) -> None:
        self.clock = FakeClock()
        self.benches = [Bench(records_max, clock=self.clock) for _ in range(2)]
        self.writers = Writers(
            [
                Writer(lambda chunk, version=version: ReadChunk(chunk, version), bench.batcher)  # type: ignore[misc]
                for version, bench in enumerate(self.benches, 1)
            ]
        )
        self.acked: list[tuple[Partition, int]] = []

    @property
    def counted(self) -> list[list[list[int]]]:
        return [bench.counted for bench in self.benches]

    async def add(self, chunk: Chunk) -> None:
        read = self.writers.read(chunk)
        await self.writers.add(
            InFlight(read, lambda: True, lambda: self.acked.append((chunk.key, chunk.position)))
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator["asyncio.Task[None]"]:
        first = self.benches[0]
        task = asyncio.create_task(self.writers.run(first.rewind, first.set_aside))
        await settle()
        yield task
        self.writers.stop()
        await task


async def test_partitions_of_one_number_go_to_one_writer_in_their_order() -> None:
    two = Two(records_max=100)
    for chunk in (
        a_chunk(0, 2, QUESTS_0),
        a_chunk(10, 2, QUESTS_1),
        a_chunk(20, 2, CITIES_0),
        a_chunk(30, 2, CITIES_2),
        a_chunk(2, 2, QUESTS_0),
        a_chunk(12, 2, QUESTS_1),
    ):
        await two.add(chunk)
    async with two.running():
        assert two.counted == [[[0, 20, 30, 2]], [[10, 12]]]
    assert two.writers.counted_to == {QUESTS_0: 4, QUESTS_1: 14, CITIES_0: 22, CITIES_2: 32}


def the_way(two: Two, number: int, topic: str = "laurel.quests") -> int:
    """Which writer a partition's chunk would go to, told by the version of its catalog."""
    return two.writers.read(a_chunk(0, 1, (topic, number))).version


@pytest.mark.parametrize("numbers", [(0, 1, 2, 3), (0, 2, 4, 6), (1, 3, 5, 7), (0, 3, 6, 9)])
async def test_each_writer_has_as_many_numbers_whichever_the_worker_was_given(
    numbers: tuple[int, ...],
) -> None:
    """Two workers that begin at once get every second partition each."""
    two = Two()
    ways = [the_way(two, number) for number in numbers]
    assert sorted(ways) == [1, 1, 2, 2]
    assert [the_way(two, number, "laurel.cities") for number in numbers] == ways
    assert [the_way(two, number) for number in numbers] == ways


async def test_a_number_is_given_out_anew_once_all_its_partitions_are_revoked() -> None:
    two = Two()
    assert [the_way(two, number) for number in (0, 1, 2)] == [1, 2, 1]
    two.writers.drop_partitions([("laurel.quests", 1)])
    assert the_way(two, 4) == 2
    assert the_way(two, 0, "laurel.cities") == 1
    two.writers.drop_partitions([("laurel.quests", 0), ("laurel.quests", 2)])
    assert the_way(two, 0) == 1  # a partition of that number is still read
    two.writers.drop_partitions([("laurel.quests", number) for number in (0, 4)])
    assert the_way(two, 6) == 2


async def test_how_far_a_partition_is_counted_is_said_by_the_writer_that_has_it_now() -> None:
    """Its batch was in flight when it was revoked, and it came back to another writer."""
    two = Two()
    two.benches[0].gate.clear()
    async with two.running():
        await two.add(a_chunk(0, 2, QUESTS_0))
        await settle()
        two.writers.drop_partitions([QUESTS_0])
        await two.add(a_chunk(0, 1, QUESTS_1))  # takes the first writer
        await two.add(a_chunk(2, 3, QUESTS_0))
        await settle()
        two.benches[0].gate.set()
        await settle()
        assert two.benches[0].batcher.counted_to == {QUESTS_0: 2, QUESTS_1: 1}
        assert two.benches[1].batcher.counted_to == {QUESTS_0: 5}
        assert two.writers.counted_to == {QUESTS_0: 5, QUESTS_1: 1}


async def test_a_writer_goes_on_while_another_waits_for_the_database() -> None:
    two = Two()
    two.benches[0].gate.clear()
    async with two.running():
        for chunk in (a_chunk(0, 1, QUESTS_0), a_chunk(5, 1, QUESTS_1), a_chunk(6, 1, QUESTS_1)):
            await two.add(chunk)
            await settle()
        assert two.acked == [(QUESTS_1, 5), (QUESTS_1, 6)]
        two.benches[0].gate.set()
        await settle()
        assert two.acked[2:] == [(QUESTS_0, 0)]


async def test_a_chunk_is_read_by_the_catalog_of_the_writer_that_counts_it() -> None:
    two = Two()
    assert two.writers.read(a_chunk(0, 1, QUESTS_0)).version == 1
    assert two.writers.read(a_chunk(0, 1, QUESTS_1)).version == 2


async def test_a_writer_that_stands_still_shows_beside_one_that_commits() -> None:
    two = Two()
    began = two.writers.committed_at
    two.benches[0].gate.clear()
    async with two.running():
        await two.add(a_chunk(0, 1, QUESTS_0))
        two.clock.advance(timedelta(seconds=30))
        await two.add(a_chunk(0, 1, QUESTS_1))
        await settle()
        assert two.benches[1].batcher.committed_at == began + 30
        assert two.writers.committed_at == began
        two.benches[0].gate.set()
        await settle()
        assert two.writers.committed_at == began + 30


async def test_a_writer_that_had_nothing_to_do_has_not_stood_still() -> None:
    two = Two()
    began = two.writers.committed_at
    async with two.running():
        await two.add(a_chunk(0, 1, QUESTS_1))
        await settle()
        two.clock.advance(timedelta(hours=1))
        two.benches[0].gate.clear()
        await two.add(a_chunk(0, 1, QUESTS_0))
        await settle()
        assert two.writers.committed_at == began + 3600
        two.benches[0].gate.set()


async def test_the_error_of_one_writer_ends_all() -> None:
    two = Two()
    two.benches[0].gate.clear()
    two.benches[1].errors = [LoginRefused("no longer")]
    for partition in (QUESTS_0, QUESTS_1):
        await two.add(a_chunk(0, 1, partition))
    first = two.benches[0]
    with pytest.raises(LoginRefused):
        await two.writers.run(first.rewind, first.set_aside)
    two.benches[0].gate.set()
    await settle()
    assert (two.acked, two.writers.counted_to) == ([], {})


async def test_revoked_partitions_leave_their_writers() -> None:
    two = Two()
    for partition in (QUESTS_0, QUESTS_1, CITIES_0):
        await two.add(a_chunk(0, 1, partition))
    two.writers.drop_partitions([QUESTS_0, QUESTS_1])
    async with two.running():
        pass
    assert two.acked == [(CITIES_0, 0)]


async def test_what_is_set_aside_or_rewound_by_a_writer_is_heard() -> None:
    two = Two()
    two.benches[1].bad = {QUESTS_1: InvariantBroken("it is")}
    two.benches[0].fenced = {QUESTS_0: LedgerEntry(*QUESTS_0, 7)}
    async with two.running():
        await two.add(a_chunk(0, 1, QUESTS_0))
        await two.add(a_chunk(0, 1, QUESTS_1))
        await settle()
    first = two.benches[0]
    assert first.aside == [(QUESTS_1, "it is")]
    assert first.rewound == [LedgerEntry(*QUESTS_0, 7)]


def test_topics_are_co_partitioned_where_they_have_as_many_partitions() -> None:
    cluster = Cluster("c", frozenset("abc"), partitions={"a": 2, "b": 2, "c": 3})
    assert cluster.co_partitioned(["a", "b"])
    assert cluster.co_partitioned(["c"])
    assert not cluster.co_partitioned(["a", "b", "c"])
