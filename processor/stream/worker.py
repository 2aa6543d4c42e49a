"""`laurel worker`: wait for what is needed, then count until asked to stop."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from functools import partial
from typing import Any

from ops.clock import SYSTEM_CLOCK, Clock
from ops.errors import LaurelError, Transient, UsageError, code_of
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
from ops.metric_roles import Role
from ops.settings import Settings
from ops.watchdog import Watchdog
from processor.batch import bisection
from processor.batch.options import PipelineOptions
from processor.batch.pacing import Pace
from processor.batch.pipeline import Pipeline
from processor.catalog.job import JobRunner, take_up_idle_jobs
from processor.stream import codecs, kafka_access, topic_identity, topics
from processor.stream.app import Stream
from processor.stream.batch_summary import BatchSummary
from processor.stream.batcher import BatchBounds, Batcher
from processor.stream.catalog_follower import CatalogFollower
from processor.stream.clock_watch import ClockWatch
from processor.stream.database_figures import DatabaseFigures
from processor.stream.first_series import FirstSeries
from processor.stream.kafka_access import KafkaUnreachable
from processor.stream.offset_store import OffsetStore
from processor.stream.pausing import Pausing
from processor.stream.topics import Cluster, TopicsMissing
from processor.stream.transport import Consumer
from processor.stream.waiting_sweep import WaitingSweep
from processor.stream.watchdog import StreamWatchdog
from processor.stream.writers import Writer, Writers
from store import catalogs, migrations, rights
from store import clock as database_clock
from store.engine import Database, DatabaseUnreachable
from store.values.catalog import Catalog

_DRAIN_TICK = timedelta(milliseconds=200)

log = logger("worker")


class CatalogMissing(Transient):
    """No catalog is in force yet."""

    code = "catalog_missing"


class FaustStopped(LaurelError):
    """Faust ended by itself: its connection, its thread or its group is beyond repair."""

    code = "faust_stopped"


async def run(settings: Settings, stop: Stop) -> int:
    """Count until `stop`; return the exit code.

    Raises:
        UsageError: a setting is missing.
    """
    settings.require("database_url", "kafka_brokers")
    kafka_access.of(settings)  # refused before anything is waited for
    codecs.check()
    readiness = Readiness()
    async with Database(settings.need("database_url"), settings.database) as db:
        worker = Worker(settings, db, readiness)
        async with serving(settings.http, readiness, Role.WORKER, worker.is_live):
            return await worker.run(stop)


class Worker:
    """One process's counting.

    Args:
        settings: of the whole process.
        db: where it counts into.
        readiness: shows what is waited for.
        clock: the host's; tests bring their own.
    """

    def __init__(
        self, settings: Settings, db: Database, readiness: Readiness, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._settings = settings
        self._db = db
        self._readiness = readiness
        self._clock = clock
        self._live = True
        self._summary = BatchSummary(clock)
        self._series = FirstSeries()

    def is_live(self) -> bool:
        """Return whether counting goes on; False asks for a restart."""
        return self._live

    async def run(self, stop: Stop) -> int:
        """Wait for database, catalog, brokers and topics; then count until `stop`.

        Raises:
            LaurelError: counting cannot go on.
        """
        stall_after = self._settings.lifecycle.stall_after
        stopping = asyncio.create_task(stop.wait(), name="stop")
        with Watchdog(stall_after) as dog, dog.work("the worker's start"):
            preparing = asyncio.create_task(self._prepare(), name="prepare")
            await asyncio.wait({preparing, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not preparing.done():
            preparing.cancel()
            await asyncio.wait({preparing})
            return EXIT_OK
        stream = preparing.result()
        try:
            with Watchdog(stall_after) as dog, dog.work("the event loop"):
                await self._process(stream, stopping)
        except BaseException as error:
            self._live = False
            # Nobody has asked for the end, so nobody has set its bound; Faust may never come to its
            # own (docs/adr/0004-faust-guards.md).
            exit_hard_after(
                self._settings.lifecycle.drain_timeout,
                code=EXIT_USAGE if isinstance(error, UsageError) else EXIT_FAILURE,
            )
            log.error("worker_failed", reason=str(error), code=code_of(error))  # noqa: TRY400 - it is raised
            raise
        finally:
            self._summary.log()
            await stream.app.stop()
        log.info("worker_stopped")
        return EXIT_OK

    async def _prepare(self) -> Stream:
        """Return the stream once there is everything that it needs.

        Asked for in the order in which a person sets things up.
        """
        await until_available(
            Part.POSTGRESQL,
            self._rights,
            DatabaseUnreachable,
            readiness=self._readiness,
            clock=self._clock,
        )
        catalog = await until_available(
            Part.CATALOG,
            self._catalog,
            DatabaseUnreachable,
            CatalogMissing,
            readiness=self._readiness,
            clock=self._clock,
        )
        names = self._wanted_by(catalog)
        cluster = await until_available(
            Part.KAFKA,
            lambda: self._cluster(catalog),
            KafkaUnreachable,
            TopicsMissing,
            readiness=self._readiness,
            clock=self._clock,
        )
        offsets = OffsetStore(self._db, cluster.id, self._readiness, self._clock)
        wanted = cluster.readable.intersection(names)
        number = self._settings.worker.writers if cluster.co_partitioned(wanted) else 1
        writers = Writers([await self._writer(cluster.id) for _ in range(number)])
        log.info("worker_prepared", cluster_id=cluster.id, catalog=catalog.version, writers=number)
        pausing = partial(self._pausing, cluster.id)
        return Stream(self._settings, wanted, writers, offsets, pausing)

    async def _writer(self, cluster_id: str) -> Writer:
        options = PipelineOptions.of(self._settings, cluster_id)
        pipeline, pace = Pipeline(self._db, options, clock=self._clock), Pace()
        await until_available(
            Part.POSTGRESQL,
            pipeline.load,
            DatabaseUnreachable,
            readiness=self._readiness,
            clock=self._clock,
        )
        batcher = Batcher(
            self._summary.over(
                lambda chunks: bisection.commit(pipeline, chunks, pace, batcher.progressed)
            ),
            BatchBounds(
                self._settings.worker.batch_records_max, self._settings.worker.batch_bytes_max
            ),
            self._readiness,
            self._clock,
        )
        return Writer(pipeline.read, batcher)

    def _pausing(self, cluster_id: str, consumer: Callable[[], Consumer]) -> Pausing:
        return Pausing(self._db, cluster_id, self._readiness, consumer, self._clock)

    async def _rights(self) -> None:
        async with self._db.transaction() as conn:
            await rights.check(conn, temporary=True)

    async def _catalog(self) -> Catalog:
        async with self._db.transaction() as conn:
            await migrations.check(conn)
            found = await catalogs.current(conn)
        if found is None:
            raise CatalogMissing(catalogs.NO_CATALOG)
        return found

    async def _cluster(self, catalog: Catalog) -> Cluster:
        """Return the cluster once it has a topic to read; CatalogFollower waits for the others."""
        found = await topics.cluster(self._settings)
        wanted = topics.incoming(self._settings.kafka, catalog)
        if found.readable.isdisjoint(wanted):
            raise TopicsMissing(found.lack(wanted), topics=wanted)
        await topics.check_group(self._settings)
        return found

    async def _wanted(self) -> tuple[str, ...]:
        return self._wanted_by(await self._catalog())

    def _wanted_by(self, catalog: Catalog) -> tuple[str, ...]:
        """Return the topics that `catalog` names, and show what may be counted of them."""
        wanted = topics.incoming(self._settings.kafka, catalog)
        self._series.show(catalog, wanted)
        return wanted

    async def _seen_cluster(self) -> Cluster:
        return await topics.cluster(self._settings)

    async def _process(self, stream: Stream, stopping: "asyncio.Task[None]") -> None:
        """Run the parts of the stream until `stopping`, or until one of them fails."""
        batching = asyncio.create_task(
            stream.writers.run(stream.rewind, stream.set_aside), name="writers"
        )
        own = [batching]
        own += [asyncio.create_task(part, name=name) for name, part in self._beside(stream).items()]
        parts: set[asyncio.Future[None]] = {stopping, *own, stream.failed}
        try:
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for part in parts - {stopping}:
                if part.done():
                    part.result()
            stream.writers.stop()
            await self._drained(batching)
        finally:
            for part in own:
                part.cancel()
            await asyncio.gather(*own, return_exceptions=True)

    def _beside(self, stream: Stream) -> dict[str, Coroutine[Any, Any, None]]:
        """Return what runs beside the batcher, by name; each ends only by failing."""
        watchdog = StreamWatchdog(
            self._settings.worker.stall_after,
            self._settings.need("kafka_brokers"),
            self._readiness,
            self._clock,
        )
        follower = CatalogFollower(
            self._wanted, self._seen_cluster, stream, self._readiness, self._clock
        )
        jobs = JobRunner(self._db, self._settings.tenant_id, self._clock)
        sweep = WaitingSweep(
            self._db, PipelineOptions.of(self._settings, cluster_id="sweep"), self._clock
        )
        figures = DatabaseFigures(self._db, self._clock)
        clocks = ClockWatch(
            partial(database_clock.read, self._db, self._clock),
            stream.append_times.reading,
            self._settings.worker.future_tolerance,
            self._readiness,
            self._clock,
        )
        return {
            "watchdog": watchdog.watch(stream.progress),
            "catalog": follower.follow(),
            "catalog jobs": take_up_idle_jobs(jobs, self._clock),
            "pausing": stream.pausing.watch(),
            "waiting commands": sweep.watch(),
            "figures": figures.watch(),
            "clock": clocks.watch(),
            "topic identity": topic_identity.watch(stream.pause_strangers, self._clock),
            "summary": self._summary.tell(),
            "faust": _stream(stream),
        }

    async def _drained(self, batching: "asyncio.Task[None]") -> None:
        """Return once the batch in flight is committed; at once where PostgreSQL is away.

        What is not committed then is read again by whoever comes next.
        """
        while not batching.done() and Part.POSTGRESQL not in self._readiness.waits:
            await asyncio.wait({batching}, timeout=_DRAIN_TICK.total_seconds())
        if batching.done():
            batching.result()


async def _stream(stream: Stream) -> None:
    """Run Faust until it stops; it is asked to from outside.

    Raises:
        FaustStopped: it stopped by itself.
    """
    await stream.app.start()
    await stream.app.wait_until_stopped()
    raise FaustStopped(f"Faust gave up: {stream.app.crash_reason!r}")
