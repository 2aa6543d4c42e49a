"""Read the topics that the catalog in force names, as they come.

A new catalog may name another topic, and a topic may be missing: the worker reads what there is,
says what is not, and takes it up when it appears. What a message means follows the catalog by
itself: a batch that was read by another one is read again (processor/batch/pipeline.py).
"""

from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from datetime import timedelta
from typing import Protocol

from ops.clock import SYSTEM_CLOCK, Clock
from ops.errors import Transient
from ops.lifecycle import Part, Readiness
from ops.logs import logger
from processor.stream.topics import Cluster

_LOOK_INTERVAL = timedelta(seconds=3)

log = logger("worker")


class Subscription(Protocol):
    """What is read, as Faust has it."""

    @property
    def topics(self) -> frozenset[str]:
        """Return the topics that the group was last asked for."""

    def subscribe(self, topics: Iterable[str]) -> None:
        """Ask the group for `topics`; it may come to nothing where the group is forming."""


class CatalogFollower:
    """Keeps what is read equal to what the catalog in force names.

    Args:
        wanted: returns the topics that the catalog in force names.
        cluster: returns the cluster, with its topics.
        subscription: what is read.
        readiness: told of topics that are missing.
        clock: the time between two looks.
    """

    def __init__(
        self,
        wanted: Callable[[], Awaitable[Iterable[str]]],
        cluster: Callable[[], Awaitable[Cluster]],
        subscription: Subscription,
        readiness: Readiness,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._wanted = wanted
        self._cluster = cluster
        self._subscription = subscription
        self._readiness = readiness
        self._clock = clock

    async def follow(self) -> None:
        """Look every few seconds, for as long as the worker runs."""
        while True:
            # The batcher waits for an absent database, the watchdog for brokers; both say so.
            with suppress(Transient):
                await self._look()
            await self._clock.sleep(_LOOK_INTERVAL)

    async def _look(self) -> None:
        unread = set(await self._wanted()) - self._subscription.topics
        there: set[str] = set()
        missing: set[str] = set()
        if unread:
            found = await self._cluster()
            there, missing = unread & found.readable, unread - found.readable
            if missing:
                reason = f"{found.lack(missing)} The other topics are read."
                self._readiness.wait_for(Part.TOPICS, reason)
        if not missing:
            self._readiness.arrived(Part.TOPICS)
        if there:
            log.info("topics_taken_up", topics=sorted(there))
            # Again at the next look, where the group was forming and has not heard it.
            self._subscription.subscribe(self._subscription.topics | there)
