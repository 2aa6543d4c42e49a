"""Topics are compared every few seconds, whatever becomes of a look; e2e shows the whole of it."""

from datetime import timedelta

import pytest

from processor.stream import topic_identity
from processor.stream.kafka_access import KafkaUnreachable
from tests.builders.clock import FakeClock


class EnoughSeen(Exception):
    """The test has seen what it wants to see."""


async def test_a_look_that_fails_is_followed_by_another() -> None:
    clock, waits, looks = FakeClock(), [], 0

    async def sleep(duration: timedelta) -> None:
        waits.append(duration)

    async def look() -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise KafkaUnreachable("gone")
        raise EnoughSeen

    clock.sleep = sleep  # type: ignore[method-assign]
    with pytest.raises(EnoughSeen):
        await topic_identity.watch(look, clock)
    assert looks == 2
    assert waits == [topic_identity.LOOK_INTERVAL] * 2
    assert timedelta(seconds=30) >= topic_identity.LOOK_INTERVAL
