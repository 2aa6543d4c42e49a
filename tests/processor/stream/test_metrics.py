"""What a worker's run does to each of its metrics: the table is tests/builders/metric_tables.py."""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from faust.types import TP
from pydantic import SecretStr

from ops.clock_reading import ClockReading
from ops.lifecycle import Part, Readiness
from ops.metric_roles import Role, registry_of
from ops.settings import Settings
from processor.batch.attempt import BatchOutcome
from processor.batch.pipeline import Pipeline
from processor.batch.staging import ReadChunk
from processor.catalog import load
from processor.events.chunks import Chunk, ChunkBounds, PlainRecord
from processor.stream.app import faust_app
from processor.stream.batcher import BatchBounds, Batcher, InFlight
from processor.stream.clock_watch import ClockWatch
from processor.stream.consumer_thread import ConsumerOptions
from processor.stream.database_figures import DatabaseFigures
from processor.stream.first_series import FirstSeries
from processor.stream.pausing import Pausing
from processor.stream.positions import PartitionPosition
from processor.stream.transport import Consumer
from processor.stream.waiting_sweep import WaitingSweep
from processor.stream.watchdog import StreamProgress, StreamWatchdog
from store import catalogs
from store.engine import Database, DatabaseUnreachable
from store.values.catalog import EventSpec, FieldKind, FieldSpec
from store.values.names import Partition
from store.values.stream import LedgerEntry, PausedPartition, PauseReason
from tests.builders.clock import FakeClock
from tests.builders.messages import (
    ALICE,
    BOB,
    CLUSTER,
    NOW,
    Log,
    a_command,
    a_partner,
    a_pipeline,
    a_wallet,
    an_address,
    an_event,
    open_ledger,
    terms,
)
from tests.builders.metric_tables import (
    COUNTED_BY_WORKER,
    HIKES,
    PARTNERS,
    SHOWN_BY_WORKER,
)
from tests.builders.metrics import Moved, shown
from tests.builders.sql import rows


async def test_a_run_moves_every_metric_of_the_worker(
    counting: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await with_hikes(counting)
    moved = Moved()
    await run(counting)
    await looked_at(counting)
    await reassign(monkeypatch)
    registry_of(Role.WORKER)
    assert {sample: moved.by(sample) for sample in COUNTED_BY_WORKER} == COUNTED_BY_WORKER
    assert {
        sample: shown(sample, labels) for sample, labels in SHOWN_BY_WORKER.items()
    } == SHOWN_BY_WORKER


async def test_a_worker_that_waits_is_not_ready() -> None:
    readiness = Readiness()
    assert shown("laurel_ready", [()]) == {(): 0}
    readiness.arrived(Part.START)
    assert shown("laurel_ready", [()]) == {(): 1}
    readiness.wait_for(Part.KAFKA, "no broker answers")
    assert shown("laurel_ready", [()]) == {(): 0}


async def with_hikes(database: Database) -> None:
    """Declare an event that no counter listens to."""
    shipped = load.load(load.SHIPPED)
    hikes = EventSpec("hike.done", "hikes", (FieldSpec("hike_id", FieldKind.ID, required=True),))
    async with database.transaction() as conn:
        await catalogs.apply(conn, replace(shipped, events=(*shipped.events, hikes)), "admin")


async def run(database: Database) -> None:
    """Two batches, a database that is away for two attempts, a fenced chunk and a stale one."""
    first = a_partner()
    mint = a_command("mint", ALICE, "m1", type_code="ambassador")
    log = Log()
    log.append(first, first)
    log.append(an_event("hike.done", ALICE, {"hike_id": "h1"}), topic=HIKES)
    log.append(b"{", b"}", an_event("cake.baked"), topic="laurel.quests")
    log.append(a_wallet(ALICE, an_address(1)))
    log.append(mint, mint, a_command("revoke", ALICE, "m1", type_code="ambassador", reason="x"))
    log.append(*(a_command("burn", BOB, name, type_code="ambassador") for name in ("b1", "b2")))
    begun = log.chunks()
    await open_ledger(database, begun)

    clock, readiness = FakeClock(NOW), Readiness()
    pipeline = await a_pipeline(database)
    outages = [DatabaseUnreachable("nobody listens"), DatabaseUnreachable("nobody listens")]

    async def count(chunks: Sequence[ReadChunk]) -> BatchOutcome:
        if outages:
            raise outages.pop()
        return await pipeline.commit(chunks)

    batcher = Batcher(count, BatchBounds(100, 1 << 20), readiness, clock)
    acks, rewound = asyncio.Semaphore(0), asyncio.Event()

    async def rewind(entries: Iterable[LedgerEntry]) -> None:
        assert [entry.key for entry in entries] == [(PARTNERS, 0)]
        rewound.set()

    async def add(chunk: Chunk, *, is_current: bool = True) -> None:
        await batcher.add(InFlight(pipeline.read(chunk), lambda: is_current, acks.release))

    async def set_aside(partition: Partition, fault: Exception) -> None:
        raise AssertionError(f"{partition}: {fault}")

    running = asyncio.create_task(batcher.run(rewind, set_aside))

    async def commit(batch: Sequence[Chunk]) -> None:
        for chunk in batch:
            await add(chunk)
        for _ in batch:
            await acks.acquire()

    await commit(begun)
    log.append(a_wallet(ALICE, an_address(1)), first, a_partner(), a_partner(), a_partner())
    records = log.records[PARTNERS, 0]
    late = clock.now() - timedelta(seconds=90)
    records[-1] = replace(records[-1], timestamp=round(late.timestamp() * 1_000))
    await commit(log.chunks())
    # Somebody counted it already: it does not continue the ledger.
    await add(begun[0])
    await rewound.wait()
    stale = [PlainRecord(offset, b"") for offset in (1, 2, 3)]
    await add(Chunk(HIKES, 0, 1, stale), is_current=False)
    await acks.acquire()
    batcher.stop()
    await running
    await rows(database, "UPDATE waiting_command SET expires_at = now() WHERE external_id = 'b1'")
    await WaitingSweep(database, terms(), clock).turn()

    await rewound_by_hand(database, pipeline, begun)
    await Pausing(database, CLUSTER, readiness, Reading).pause(
        PausedPartition(PARTNERS, 0, 18, PauseReason.RECORDS_REMOVED, "gone")
    )

    await compared(clock, readiness)
    answered_at = clock.now().timestamp()
    StreamWatchdog(timedelta(minutes=5), "kafka:9092", readiness, clock).check(
        StreamProgress(
            {
                (PARTNERS, 0): PartitionPosition(18, 18, 0, 18, answered_at, withheld=5),
                (HIKES, 0): PartitionPosition(1, 1, 0, 1, answered_at),
            },
            batcher.counted_to,
            batcher.committed_at,
        )
    )


async def looked_at(database: Database) -> None:
    """Show the catalog in force, then what waits after the next one, and what is published."""
    async with database.transaction() as conn:
        found = await catalogs.current(conn)
    assert found is not None
    FirstSeries().show(found, [HIKES, PARTNERS])
    await rows(
        database,
        """
        UPDATE outbox_message
           SET published_at = CASE WHEN seq = 1 THEN to_timestamp(1780000000) END,
               occurred_at = now() - interval '1 hour'
        """,
    )
    (ambassador,) = (each for each in found.types if each.code == "ambassador")
    first, *others = ambassador.levels
    later = replace(first, conditions={"partners_invited": {"gte": 2}})
    types = (each for each in found.types if each is not ambassador)
    changed = replace(ambassador, levels=(later, *others))
    async with database.transaction() as conn:
        await catalogs.apply(conn, replace(found, types=(*types, changed)), "admin")
    await DatabaseFigures(database, FakeClock(NOW)).look()


async def compared(clock: FakeClock, readiness: Readiness) -> None:
    """Look at the clocks once: a quarter of a second, and two, is nothing."""
    now = clock.now()

    async def database() -> ClockReading:
        return ClockReading("PostgreSQL", now, now - timedelta(seconds=0.25))

    kafka = ClockReading("Kafka", now, now + timedelta(seconds=2), may_be_later=True)
    tolerance = timedelta(minutes=10)
    await ClockWatch(database, lambda: kafka, tolerance, readiness, clock).look()


class Reading:
    """A consumer that may be paused."""

    async def pause(self, partition: Partition, *, drop_in_flight: bool) -> None:
        """Do so."""

    async def read_on(self, partitions: Iterable[Partition]) -> None:
        """Do so."""


async def rewound_by_hand(database: Database, pipeline: Pipeline, chunks: Sequence[Chunk]) -> None:
    """Give a broken message once more, as after a ledger that somebody set back."""
    (broken,) = (chunk for chunk in chunks if chunk.topic == "laurel.quests")
    await rows(database, "UPDATE offset_ledger SET next_offset = 0 WHERE topic = 'laurel.quests'")
    await pipeline.run([Chunk(*broken.key, 0, broken.records[:1])])


async def reassign(monkeypatch: pytest.MonkeyPatch) -> None:
    """A consumer gets two partitions; of one, Kafka's committed offset is past the ledger."""
    settings = Settings(
        kafka_brokers="kafka:9092", database_url=SecretStr("postgresql://db/laurel")
    )
    entries = {
        (PARTNERS, 0): LedgerEntry(PARTNERS, 0, 6, 5, 1),
        (PARTNERS, 1): LedgerEntry(PARTNERS, 1, 4, 3, 1),
    }

    async def read_ledger(partitions: object) -> dict[Partition, LedgerEntry]:
        assert partitions == dict.fromkeys(entries, 0)
        return entries

    async def strangers(topic_ids: object) -> list[PausedPartition]:
        return []

    def fail(found: PausedPartition) -> None:
        raise AssertionError(found)

    consumer = faust_app(
        settings, ConsumerOptions(ChunkBounds(1, 1, 1), 1, 1, 1, read_ledger, strangers, fail)
    ).consumer
    assert isinstance(consumer, Consumer)
    thread = consumer._thread

    async def starts() -> dict[Partition, tuple[int, int | None]]:
        return {(PARTNERS, 0): (0, 7), (PARTNERS, 1): (0, 4)}

    async def topic_ids() -> dict[Partition, UUID]:
        return {}

    async def seek_to_ledger(
        entries: Iterable[LedgerEntry], paused: Collection[Partition]
    ) -> dict[TP, int]:
        return {TP(*entry.key): 1 for entry in entries}

    monkeypatch.setattr(thread, "starts", starts)
    monkeypatch.setattr(thread, "topic_ids", topic_ids)
    monkeypatch.setattr(thread, "seek_to_ledger", seek_to_ledger)
    await consumer.on_partitions_revoked(set())  # as aiokafka does whenever the group forms
    await consumer.perform_seek()
    thread.thread_loop.close()
