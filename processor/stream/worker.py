"""`laurel worker`.

Wait for what is needed, count until asked to stop, and notice when counting stops by itself.
"""

import asyncio
import time
from collections.abc import Mapping
from datetime import timedelta

from ops import metrics
from ops.errors import LaurelError, Transient, UsageError
from ops.http import serving
from ops.lifecycle import (
    EXIT_FAILURE,
    EXIT_OK,
    EXIT_USAGE,
    Part,
    Readiness,
    Stop,
    exit_hard_after,
    until_available,
)
from ops.logs import logger
from ops.settings import Settings
from processor.batch.pipeline import Pipeline, PipelineOptions
from processor.stream import topics
from processor.stream.app import Navigation, Stream
from processor.stream.topics import Cluster, KafkaUnreachable, TopicsMissing
from processor.stream.transport import Standing
from store import catalogs
from store.engine import Database, DatabaseUnreachable
from store.ledger import Partition
from store.values import Catalog

_TICK = timedelta(seconds=1)
# Without an answer of any broker: not ready. Idle fetches are answered many times a second.
_SILENCE = timedelta(seconds=10)
_CATALOG_LOOKED_AT = timedelta(seconds=3)

log = logger("worker")


class CatalogMissing(Transient):
    """No catalog was applied yet: somebody will."""

    code = "catalog_missing"


class FaustStopped(LaurelError):
    """Faust ended by itself: its connection, its thread or its group is beyond repair."""

    code = "faust_stopped"


class Stalled(LaurelError):
    """There is work, nothing hinders it, and it is not done."""

    code = "stalled"


class TopicsChanged(LaurelError):
    """The catalog in force names a topic that this worker does not read."""

    code = "topics_changed"


async def run(settings: Settings, stop: Stop) -> int:
    """Count until `stop`; return the exit code.

    Raises:
        UsageError: a setting is missing, or the ledger and a topic do not fit each other.
    """
    settings.need("kafka_brokers")
    readiness = Readiness()
    async with Database(settings.need("database_url"), settings.database) as db:
        worker = Worker(settings, db, readiness)
        async with serving(settings.http, readiness, worker.is_live):
            return await worker.run(stop)


class Worker:
    """One process's counting."""

    def __init__(self, settings: Settings, db: Database, readiness: Readiness) -> None:
        self._settings = settings
        self._db = db
        self._readiness = readiness
        self._live = True

    def is_live(self) -> bool:
        """Return whether counting goes on; False asks for a restart."""
        return self._live

    async def run(self, stop: Stop) -> int:
        """Wait for database, catalog, brokers and topics; then count until `stop`.

        Raises:
            LaurelError: counting cannot go on.
        """
        preparing = asyncio.create_task(self._prepare(), name="prepare")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        await asyncio.wait({preparing, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not preparing.done():
            preparing.cancel()
            await asyncio.wait({preparing})
            return EXIT_OK
        stream = preparing.result()
        try:
            await self._count(stream, stopping)
        except BaseException as error:
            self._live = False
            # Nobody has asked for the end, so nobody has set its bound; Faust may never come to its
            # own (docs/adr/0004-faust-guards.md).
            exit_hard_after(
                self._settings.lifecycle.drain_timeout,
                code=EXIT_USAGE if isinstance(error, UsageError) else EXIT_FAILURE,
            )
            log.error("worker_failed", reason=str(error), code=getattr(error, "code", "unknown"))  # noqa: TRY400 - it is raised
            raise
        finally:
            await stream.app.stop()
        log.info("worker_stopped")
        return EXIT_OK

    async def _prepare(self) -> Stream:
        """Return the stream once there is everything that it needs, in the order in which a person
        sets things up.
        """
        await until_available(
            Part.POSTGRESQL, self._db.ping, DatabaseUnreachable, readiness=self._readiness
        )
        catalog = await until_available(
            Part.CATALOG,
            self._catalog,
            DatabaseUnreachable,
            CatalogMissing,
            readiness=self._readiness,
        )
        cluster = await until_available(
            Part.KAFKA,
            lambda: self._cluster(catalog),
            KafkaUnreachable,
            TopicsMissing,
            readiness=self._readiness,
        )
        pipeline = Pipeline(self._db, PipelineOptions.of(self._settings, cluster.id))
        await pipeline.load()
        failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        navigation = Navigation(self._settings, self._db, cluster.id, self._readiness, failed)
        log.info("worker_prepared", cluster_id=cluster.id, catalog=catalog.version)
        return Stream(
            self._settings,
            topics.incoming(self._settings.kafka, catalog),
            pipeline,
            navigation,
            self._readiness,
        )

    async def _catalog(self) -> Catalog:
        async with self._db.transaction() as conn:
            found = await catalogs.current(conn)
        if found is None:
            raise CatalogMissing(catalogs.NO_CATALOG)
        return found

    async def _cluster(self, catalog: Catalog) -> Cluster:
        found = await topics.cluster(self._settings)
        wanted = topics.incoming(self._settings.kafka, catalog)
        absent = [name for name in wanted if name not in found.topics]
        if absent:
            raise TopicsMissing(
                f"Kafka at {self._settings.kafka_brokers} has no topic {', '.join(absent)}. Run `laurel topics create`.",
                topics=absent,
            )
        return found

    async def _count(self, stream: Stream, stopping: "asyncio.Task[None]") -> None:
        """Run the parts of the stream until `stopping`, or until one of them fails."""
        writing = asyncio.create_task(stream.writer.run(), name="writer")
        watching = asyncio.create_task(self._watch(stream), name="watch")
        following = asyncio.create_task(self._follow(stream), name="follow")
        streaming = asyncio.create_task(_stream(stream), name="faust")
        own = (writing, watching, following, streaming)
        parts: set[asyncio.Future[None]] = {stopping, *own, stream.navigation.failed}
        try:
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for part in parts - {stopping}:
                if part.done():
                    part.result()
            stream.writer.stop()
            await writing
        finally:
            for part in own:
                part.cancel()
            await asyncio.gather(*own, return_exceptions=True)

    async def _follow(self, stream: Stream) -> None:
        """End the worker where a new catalog names topics that it does not read.

        A Faust app subscribes at its start, once.

        Raises:
            TopicsChanged: a restart reads them, too.
        """
        while True:
            await asyncio.sleep(_CATALOG_LOOKED_AT.total_seconds())
            try:
                wanted = topics.incoming(self._settings.kafka, await self._catalog())
            except Transient:
                continue  # the writer waits for the database, and says so
            unread = sorted(set(wanted) - stream.topics)
            if unread:
                raise TopicsChanged(
                    f"The catalog in force names topics that this worker does not read: {', '.join(unread)}. Start it again.",
                    topics=unread,
                )

    async def _watch(self, stream: Stream) -> None:
        """Publish the lag, and end the worker where there is some and nothing happens.

        Raises:
            Stalled: for `worker.stall_after` there was work, nothing in the way, and no progress.
        """
        idle_since = time.monotonic()
        while True:
            await asyncio.sleep(_TICK.total_seconds())
            standing = stream.standing()
            counted_to = stream.writer.counted_to
            lag = _published_lag(standing, counted_to)
            if standing:
                self._readiness.arrived(Part.START)
            self._check_answers(standing, counted_to)
            if not lag or Part.POSTGRESQL in self._readiness.waits:
                idle_since = time.monotonic()
                continue
            stalled = time.monotonic() - max(idle_since, stream.writer.committed_at)
            if stalled > self._settings.worker.stall_after.total_seconds():
                raise Stalled(
                    f"{lag} records wait, and none was counted for {stalled:.0f} s", lag=lag
                )

    def _check_answers(
        self, standing: Mapping[Partition, Standing], counted_to: Mapping[Partition, int]
    ) -> None:
        """Be unready where no broker answers.

        While chunks wait to be counted nobody may be asking.
        """
        silence = time.time() - max(
            (place.answered_at for place in standing.values()), default=time.time()
        )
        asking = not any(place.in_hand(counted_to.get(key, 0)) for key, place in standing.items())
        if standing and asking and silence > _SILENCE.total_seconds():
            word = f"Kafka at {self._settings.kafka_brokers} has not answered for {silence:.0f} s"
            self._readiness.wait_for(Part.KAFKA, word)
        else:
            self._readiness.arrived(Part.KAFKA)


def _published_lag(
    standing: Mapping[Partition, Standing], counted_to: Mapping[Partition, int]
) -> int:
    """Tell the metrics how many records wait in each partition; return the sum."""
    total = 0
    for (topic, partition), place in standing.items():
        lag = place.lag(counted_to.get((topic, partition), 0))
        metrics.CONSUMER_LAG_RECORDS.labels(topic, str(partition)).set(lag)
        total += lag
    return total


async def _stream(stream: Stream) -> None:
    """Run Faust until it stops; it is asked to from outside.

    Raises:
        FaustStopped: it stopped by itself.
    """
    await stream.app.start()
    await stream.app.wait_until_stopped()
    raise FaustStopped(f"Faust gave up: {stream.app.crash_reason!r}")
