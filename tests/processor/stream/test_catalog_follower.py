"""Which topics are asked for, and which are named as missing; the whole of it is in tests/e2e."""

from collections.abc import Iterable
from datetime import timedelta

import pytest

from ops.lifecycle import Part, Readiness
from processor.stream.catalog_follower import CatalogFollower
from processor.stream.kafka_access import KafkaUnreachable
from processor.stream.topics import Cluster
from store.engine import DatabaseUnreachable
from tests.builders.clock import FakeClock


class EnoughSeen(Exception):
    """The test has seen what it wants to see."""


class Faust:
    """The topics that are read; `deaf` while the group is forming."""

    def __init__(self, *topics: str) -> None:
        self.topics = frozenset(topics)
        self.asked: list[list[str]] = []
        self.deaf = False

    def subscribe(self, topics: Iterable[str]) -> None:
        self.asked.append(sorted(topics))
        if not self.deaf:
            self.topics = frozenset(topics)


class Bench:
    """A follower, a catalog and a cluster; `looks` has a step for each look after the first."""

    def __init__(self, faust: Faust, wanted: str, there: str) -> None:
        self.faust, self.wanted, self.there = faust, wanted, there
        self.readiness, self.clock = Readiness(), FakeClock()
        self.readiness.arrived(Part.START)
        self.looks: list[tuple[str, str] | None] = []
        self.seen: list[dict[Part, str]] = []
        self.absent: Exception | None = None

    async def follow(self) -> None:
        steps = iter(self.looks)

        async def sleep(duration: timedelta) -> None:
            assert duration == timedelta(seconds=3)
            self.seen.append(self.readiness.waits)
            step = next(steps, "end")
            if step == "end":
                raise EnoughSeen
            if isinstance(step, tuple):
                self.wanted, self.there = step

        self.clock.sleep = sleep  # type: ignore[method-assign]
        follower = CatalogFollower(
            self._wanted, self._cluster, self.faust, self.readiness, self.clock
        )
        with pytest.raises(EnoughSeen):
            await follower.follow()

    async def _wanted(self) -> list[str]:
        if self.absent is not None:
            raise self.absent
        return self.wanted.split()

    async def _cluster(self) -> Cluster:
        return Cluster("kafka", frozenset(self.there.split()))


async def test_while_nothing_is_new_nothing_is_asked() -> None:
    bench = Bench(Faust("a", "b"), "a b", "a b c")
    bench.looks = [None, None]
    await bench.follow()
    assert (bench.faust.asked, bench.seen) == ([], [{}, {}, {}])


async def test_a_topic_that_exists_is_read_and_one_that_does_not_is_named() -> None:
    bench = Bench(Faust("a"), "a b c", "a b")
    bench.looks = [None, ("a b c", "a b c"), None]
    await bench.follow()
    assert bench.faust.asked == [["a", "b"], ["a", "b", "c"]]
    missing = {
        Part.TOPICS: "Kafka has no topic c. Run `laurel topics create`. The other topics are read."
    }
    assert bench.seen == [missing, missing, {}, {}]


async def test_a_topic_that_no_catalog_names_any_more_is_not_waited_for() -> None:
    bench = Bench(Faust("a"), "a b", "a")
    bench.looks = [("a", "a")]
    await bench.follow()
    assert [list(waits) for waits in bench.seen] == [[Part.TOPICS], []]


async def test_what_a_forming_group_has_not_heard_is_asked_again() -> None:
    bench = Bench(Faust("a"), "a b", "a b")
    bench.faust.deaf = True
    bench.looks = [None]
    await bench.follow()
    assert bench.faust.asked == [["a", "b"], ["a", "b"]]


@pytest.mark.parametrize("absent", [DatabaseUnreachable("gone"), KafkaUnreachable("gone")])
async def test_what_is_absent_does_not_end_the_follower(absent: Exception) -> None:
    bench = Bench(Faust("a"), "a", "a")
    bench.absent = absent
    bench.looks = [None]
    await bench.follow()
    assert bench.seen == [{}, {}]
