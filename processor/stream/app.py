"""The Faust application.

One ordinary agent over all topics, reading chunks while the writer counts the ones before.

What Faust is trusted with, and what not, is docs/adr/0004-faust-guards.md. In short: it brings
chunks and forms the group; what counts is decided by the ledger; no exception leaves the agent; a
fatal error ends the process.
"""

import asyncio
from collections.abc import AsyncIterable, Iterable, Mapping
from typing import Any, cast

import faust
from faust.transport.drivers import TRANSPORTS
from mode import CrashingSupervisor

from ops.lifecycle import Part, Readiness, until_available
from ops.logs import logger
from ops.settings import Settings
from processor.batch.pipeline import Pipeline
from processor.stream import transport
from processor.stream.batcher import Delivery, Writer
from processor.stream.transport import FAUST_LOGGER, Consumer, Fetched, Standing
from store import ledger
from store.engine import Database, DatabaseUnreachable
from store.ledger import LedgerEntry, Partition

log = logger("app")

# Here, where it is used, rather than as an entry point: those need an installed distribution.
TRANSPORTS.aliases[transport.URL_SCHEME] = "processor.stream.transport:Transport"
# Chunks that wait for the agent, in each partition's favour; with fewer, reading and fetching stop
# for each other.
_CHUNKS_BUFFERED = 32


class WorkerApp(faust.App):
    """A Faust app without Faust's directories: Laurel keeps no tables."""

    logger = FAUST_LOGGER

    navigator: transport.Navigator

    async def on_first_start(self) -> None:
        """Create nothing."""


class Navigation:
    """What the transport asks of the worker: where to read, and whom to tell when it cannot."""

    def __init__(
        self,
        settings: Settings,
        db: Database,
        cluster_id: str,
        readiness: Readiness,
        failed: "asyncio.Future[None]",
    ) -> None:
        self.chunk_records_max = settings.worker.chunk_records_max
        self.fetch_max_wait_ms = round(settings.kafka.fetch_max_wait.total_seconds() * 1000)
        self._db = db
        self._cluster_id = cluster_id
        self._readiness = readiness
        self.failed = failed

    async def positions(
        self, partitions: Mapping[Partition, int]
    ) -> Mapping[Partition, LedgerEntry]:
        """Return the ledger of `partitions`, opened where it has no entry.

        Wait for an absent database.
        """
        return await until_available(
            Part.POSTGRESQL,
            lambda: self._positions(partitions),
            DatabaseUnreachable,
            readiness=self._readiness,
        )

    async def _positions(
        self, partitions: Mapping[Partition, int]
    ) -> Mapping[Partition, LedgerEntry]:
        async with self._db.transaction() as conn:
            await ledger.open_partitions(conn, self._cluster_id, partitions)
            return await ledger.read(conn, self._cluster_id, partitions)

    def fail(self, error: BaseException) -> None:
        """End the worker with `error`; the first one counts."""
        if not self.failed.done():
            self.failed.set_exception(error)


class Stream:
    """The Faust side of a worker, ready to be started."""

    def __init__(
        self,
        settings: Settings,
        topics: Iterable[str],
        pipeline: Pipeline,
        navigation: Navigation,
        readiness: Readiness,
    ) -> None:
        self.app = _faust_app(settings)
        self.app.navigator = self.navigation = navigation
        self.writer = Writer(pipeline, readiness, settings.worker.batch_records_max, self._seek)
        self.topics = frozenset(topics)
        self._pipeline = pipeline
        topic = self.app.topic(*sorted(self.topics), key_serializer="raw", value_serializer="raw")
        self.app.agent(topic, name="laurel", supervisor_strategy=CrashingSupervisor)(self._read)
        self.app.on_partitions_revoked.connect(self._revoked)

    @property
    def consumer(self) -> Consumer:
        """Return the consumer; it exists once the app was asked for it."""
        return cast("Consumer", self.app.consumer)

    async def _read(self, stream: Any) -> None:  # noqa: ANN401 - Faust is untyped
        """Read chunks as they come; acknowledge each when it is counted. No exception leaves.

        Faust would acknowledge, and go on.
        """
        events: AsyncIterable[Any] = stream.noack().events()
        async for event in events:
            fetched: Fetched = event.value
            if not self.consumer.is_current(fetched):
                event.ack()
                continue
            try:
                delivery = self._delivery(fetched, event)
            except Exception as error:  # noqa: BLE001 - a main loop: whatever it is ends the worker, with its ledger as it was
                self.navigation.fail(error)
                return
            await self.writer.deliver(delivery)

    def _delivery(self, fetched: Fetched, event: Any) -> Delivery:  # noqa: ANN401
        chunk = self._pipeline.read(fetched.chunk)
        return Delivery(chunk, lambda: self.consumer.is_current(fetched), event.ack)

    def standing(self) -> Mapping[Partition, Standing]:
        """Return how far each assigned partition is fetched.

        Nothing while there is no group yet.
        """
        if not self.app.started or self.app.rebalancing:
            return {}
        return self.consumer.standing()

    async def _seek(self, entries: Iterable[LedgerEntry]) -> None:
        await self.consumer.seek_ledger(entries)

    async def _revoked(self, *args: Any, **_kwargs: Any) -> None:
        _, revoked = args  # the app, and the partitions
        self.writer.forget((tp.topic, tp.partition) for tp in revoked)


def _faust_app(settings: Settings) -> WorkerApp:
    kafka = settings.kafka
    brokers = settings.need("kafka_brokers").split(",")
    return WorkerApp(
        kafka.consumer_group,
        broker=[f"{transport.URL_SCHEME}://{broker.strip()}" for broker in brokers],
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        stream_buffer_maxsize=_CHUNKS_BUFFERED,
        # what is in hand is fenced by the ledger; waiting for it only delays the others
        stream_wait_empty=False,
        broker_commit_interval=1.0,  # Kafka's own offsets are for lag dashboards
        broker_session_timeout=kafka.session_timeout.total_seconds(),
        broker_heartbeat_interval=kafka.session_timeout.total_seconds() / 4,
        broker_request_timeout=max(kafka.request_timeout, kafka.session_timeout).total_seconds(),
        agent_supervisor=CrashingSupervisor,
        loghandlers=[],
        logging_config=None,
    )
