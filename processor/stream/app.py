"""The Faust application.

One ordinary agent over all topics, reading chunks while the batcher counts the ones before.

What Faust is trusted with, and what not, is docs/adr/0004-faust-guards.md. In short: it brings
chunks and forms the group; what counts is decided by the ledger; no exception leaves the agent; a
fatal error ends the process.
"""

import asyncio
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from typing import Any, cast

import faust
from faust.auth import OAuthCredentials, SASLCredentials, SSLCredentials
from faust.types.auth import CredentialsT
from mode import CrashingSupervisor

from ops.errors import InvariantBroken
from ops.settings import Settings
from processor.events.chunks import ChunkBounds
from processor.stream import kafka_access
from processor.stream.batcher import InFlight
from processor.stream.consumer_thread import FAUST_LOGGER, ConsumerOptions
from processor.stream.offset_store import OffsetStore
from processor.stream.pausing import Pausing
from processor.stream.positions import FetchedChunk
from processor.stream.transport import Consumer, Transport
from processor.stream.watchdog import StreamProgress
from processor.stream.writers import Writers
from store.values.names import Partition
from store.values.stream import LedgerEntry, PausedPartition, PauseReason

# Chunks that wait for the agent, in each partition's favour; with fewer, reading and fetching stop
# for each other.
_CHUNKS_BUFFERED = 32

# What is fetched ahead, in batches of the greatest size: one is counted, one waits, one is read.
_BATCHES_BUFFERED = 4

_METADATA_AGE_MAX_MS = 30_000

# Faust collects changes of its agents' topics for 45 s; here there is one agent.
_RESUBSCRIBE_AFTER_S = 0.5


class WorkerApp(faust.App):
    """A Faust app without Faust's directories: Laurel keeps no tables."""

    logger = FAUST_LOGGER

    async def on_first_start(self) -> None:
        """Create nothing."""


class Stream:
    """The Faust side of a worker, ready to be started.

    Args:
        settings: brokers, group, and how records are fetched.
        topics: what is read from the start.
        writers: read chunks, and count them.
        offsets: tells where to read on.
        pausing: told of partitions that cannot be read on.
    """

    def __init__(
        self,
        settings: Settings,
        topics: Iterable[str],
        writers: Writers,
        offsets: OffsetStore,
        pausing: Callable[[Callable[[], Consumer]], Pausing],
    ) -> None:
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.writers = writers
        self._offsets = offsets
        self.pausing = pausing(lambda: self.consumer)
        self._pauses: set[asyncio.Task[None]] = set()
        options = ConsumerOptions(
            ChunkBounds(
                settings.worker.chunk_records_max,
                settings.worker.chunk_bytes_max,
                settings.worker.record_bytes_max,
            ),
            settings.worker.batch_bytes_max,
            _BATCHES_BUFFERED * settings.worker.batch_bytes_max,
            round(settings.kafka.fetch_max_wait.total_seconds() * 1000),
            offsets.positions,
            offsets.strangers,
            self._pause,
            progressed=writers.progressed,
        )
        self.append_times = options.append_times
        self.app = faust_app(settings, options)
        self._first_topics = frozenset(topics)
        topic = self.app.topic(
            *sorted(self._first_topics), key_serializer="raw", value_serializer="raw"
        )
        self.app.agent(topic, name="laurel", supervisor_strategy=CrashingSupervisor)(self._read)
        self.app.on_partitions_revoked.connect(self._revoked)

    @property
    def consumer(self) -> Consumer:
        """Return the consumer; it exists once the app was asked for it."""
        return cast("Consumer", self.app.consumer)

    @property
    def topics(self) -> frozenset[str]:
        """Return the topics that the group was last asked for, or is about to be."""
        return frozenset(self.app.topics.acking_topics) or self._first_topics

    def subscribe(self, topics: Iterable[str]) -> None:
        """Have Faust ask the group for `topics`, which makes it form anew.

        While the group is forming anyway Faust does not hear it.
        """
        conductor = cast("Any", self.app.topics)
        for channel in conductor:
            channel.topics = sorted(topics)
        conductor._flag_changes()  # noqa: SLF001 - adding a channel would ask for an agent of its own

    def progress(self) -> StreamProgress:
        """Return how far each assigned partition is fetched and counted.

        No partition while there is no group yet.
        """
        in_group = self.app.started and not self.app.rebalancing
        return StreamProgress(
            positions=self.consumer.positions() if in_group else {},
            is_standby=in_group and self.consumer.is_standby(),
            counted_to=self.writers.counted_to,
            committed_at=self.writers.committed_at,
            paused=self.pausing.partitions,
            group_trouble=self.consumer.group_trouble,
            denied_topics=self.consumer.denied_topics() if in_group else (),
        )

    async def set_aside(self, partition: Partition, fault: Exception) -> None:
        """Pause a partition whose records cannot be counted, where the ledger stands."""
        entry = (await self._offsets.positions({partition: 0}))[partition]
        reason = (
            PauseReason.INVARIANT_BROKEN
            if isinstance(fault, InvariantBroken)
            else PauseReason.REFUSED_BY_DATABASE
        )
        found = PausedPartition(
            *partition, entry.next_offset, reason, str(fault), entry.next_offset + 1
        )
        await self.pausing.pause(found, drop_in_flight=True)

    async def pause_strangers(self) -> None:
        """Pause partitions whose topic was made anew; none while there is no group."""
        if self.app.started and not self.app.rebalancing:
            await self.consumer.pause_strangers()

    async def rewind(self, entries: Iterable[LedgerEntry]) -> None:
        """Seek the partitions of `entries` to where the ledger stands."""
        await self.consumer.seek_to_ledger(entries)

    def _pause(self, found: PausedPartition) -> None:
        task = asyncio.ensure_future(self.pausing.pause(found))
        self._pauses.add(task)  # a task that nobody holds may be collected
        task.add_done_callback(self._pauses.discard)

    def _fail(self, error: BaseException) -> None:
        """End the worker with `error`; the first one counts."""
        if not self.failed.done():
            self.failed.set_exception(error)

    async def _read(self, stream: Any) -> None:  # noqa: ANN401 - Faust is untyped
        """Read chunks as they come; acknowledge each when it is counted. No exception leaves.

        Faust would acknowledge, and go on.
        """
        events: AsyncIterable[Any] = stream.noack().events()
        async for event in events:
            fetched: FetchedChunk = event.value
            if not self.consumer.is_current(fetched):
                event.ack()
                continue
            try:
                in_flight = self._in_flight(fetched, event)
            except Exception as error:  # noqa: BLE001 - a main loop: whatever it is ends the worker, with its ledger as it was
                self._fail(error)
                return
            await self.writers.add(in_flight)

    def _in_flight(self, fetched: FetchedChunk, event: Any) -> InFlight:  # noqa: ANN401
        chunk = self.writers.read(fetched.chunk)
        return InFlight(chunk, lambda: self.consumer.is_current(fetched), event.ack, fetched.memory)

    async def _revoked(self, *args: Any, **_kwargs: Any) -> None:
        _, revoked = args  # the app, and the partitions
        partitions = [(tp.topic, tp.partition) for tp in revoked]
        self.writers.drop_partitions(partitions)
        self.pausing.forget(partitions)


def faust_app(settings: Settings, options: ConsumerOptions) -> WorkerApp:
    """Return an app that reads as `options` say, with all guards in place."""
    kafka = settings.kafka
    access = kafka_access.of(settings)
    app = WorkerApp(
        kafka.consumer_group,
        broker=[f"kafka://{broker}" for broker in access.arguments["bootstrap_servers"]],
        broker_credentials=_credentials(access.arguments),
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        stream_buffer_maxsize=_CHUNKS_BUFFERED,
        # what is in flight is fenced by the ledger; waiting for it only delays the others
        stream_wait_empty=False,
        broker_commit_interval=1.0,  # Kafka's own offsets are for lag dashboards
        broker_session_timeout=kafka.session_timeout.total_seconds(),
        broker_heartbeat_interval=kafka.session_timeout.total_seconds() / 4,
        # How late added partitions and topics made anew are noticed; by default after 5 minutes.
        consumer_metadata_max_age_ms=_METADATA_AGE_MAX_MS,
        broker_request_timeout=max(kafka.request_timeout, kafka.session_timeout).total_seconds(),
        agent_supervisor=CrashingSupervisor,
        loghandlers=[],
        logging_config=None,
    )
    app.transport = Transport(app.conf.broker_consumer, app, options)
    conductor = cast("Any", app.topics)
    conductor._resubscribe_sleep_lock_seconds = _RESUBSCRIBE_AFTER_S  # noqa: SLF001 - no setting of Faust's
    return app


def _credentials(given: Mapping[str, Any]) -> CredentialsT | None:
    """Return the arguments of every other client in Faust's words."""
    tls, mechanism = given.get("ssl_context"), given.get("sasl_mechanism")
    if mechanism == "OAUTHBEARER":
        return OAuthCredentials(oauth_cb=given["sasl_oauth_token_provider"], ssl_context=tls)
    if mechanism is not None:
        return SASLCredentials(
            mechanism=mechanism,
            username=given["sasl_plain_username"],
            password=given["sasl_plain_password"],
            ssl_context=tls,
        )
    return None if tls is None else SSLCredentials(tls)
