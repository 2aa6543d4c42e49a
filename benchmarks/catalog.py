"""A catalog change beside counting, at a million rows of progress.

How long batches of 20 000 take, and wait for a lock, while `laurel catalog apply` makes and removes
a type that nobody uses, and while it lowers a level so that everybody reaches it. Beside it: the
same batches alone.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import islice
from pathlib import Path
from uuid import UUID

import msgspec
import psycopg

from benchmarks._counting import CLUSTER
from benchmarks._database import database, hush
from benchmarks._events import PARTITIONS, Message, Partition, messages
from benchmarks._filling import fill_progress
from benchmarks.merge import BATCH
from ops.setting_parts import DatabaseSettings
from ops.settings import DEFAULT_TENANT
from processor.batch import bisection
from processor.batch.options import PipelineOptions
from processor.batch.pacing import Pace
from processor.batch.pipeline import Pipeline
from processor.catalog import load
from processor.catalog.apply import apply_catalog
from processor.events.chunks import Chunk, PlainRecord
from sandbox.postgres import postgres
from store import ledger
from store.engine import Database
from store.values.catalog import Catalog
from store.values.names import CounterName, TypeCode

ROWS = int(os.environ.get("BENCH_ROWS", "1000000"))
WORKERS = PARTITIONS  # each has its own users, as partitions have
BATCHES = 2  # of each worker, in each measurement
MEASUREMENTS = 3
_BINARIES = os.environ.get("BENCH_POSTGRES")  # another installation's bin directory
_SAMPLE_S = 0.01

_WAITS = """
    SELECT pid, extract(epoch FROM clock_timestamp() - waitstart) FROM pg_locks WHERE NOT granted
"""


@dataclass(slots=True)
class Seen:
    """What batches met: how long each took, and the longest that one waited for a lock."""

    name: str
    seconds: list[float] = field(default_factory=list)
    waited_s: float = 0.0

    def print(self) -> None:
        """Print a line."""
        ordered = sorted(self.seconds)
        print(
            f"  {self.name:42}  {len(ordered):7}  {ordered[len(ordered) // 2]:8.2f}"
            f"  {ordered[-1]:9.2f}  {self.waited_s:14.2f}"
        )


@asynccontextmanager
async def lock_waits(url: str, pids: Sequence[int], seen: Seen) -> AsyncIterator[None]:
    """Look all the time how long the backends `pids` have waited for a lock."""

    async def look() -> None:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as conn:
            while True:
                found = await (await conn.execute(_WAITS)).fetchall()
                own = [float(waited or 0) for pid, waited in found if pid in pids]
                seen.waited_s = max([seen.waited_s, *own])
                await asyncio.sleep(_SAMPLE_S)

    looking = asyncio.create_task(look())
    try:
        yield
    finally:
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking


class Worker:
    """Counts batches without Kafka, under a cluster of its own."""

    def __init__(self, db: Database, number: int, share: Iterator[Message]) -> None:
        self.db = db
        self.pid = 0
        self._cluster = f"{CLUSTER}-{number}"
        self._pipeline = Pipeline(
            db, PipelineOptions(self._cluster, "laurel", DEFAULT_TENANT, timedelta(days=3650))
        )
        self._share = share
        self._pace = Pace()
        self._reached: dict[Partition, int] = {}

    async def prepare(self, topics: Iterable[str]) -> None:
        """Open the ledger."""
        self._reached = dict.fromkeys(((topic, 0) for topic in topics), 0)
        await self._pipeline.load()
        async with self.db.transaction() as conn:
            await ledger.open_partitions(conn, self._cluster, self._reached)
            raw = await conn.get_raw_connection()
            if raw.driver_connection is not None:
                self.pid = raw.driver_connection.info.backend_pid

    async def count(self, seen: Seen) -> None:
        """Count the next batches."""
        for _ in range(BATCHES):
            chunks = [self._pipeline.read(chunk) for chunk in self._next()]
            started = time.perf_counter()
            await bisection.commit(self._pipeline, chunks, self._pace)
            seen.seconds.append(time.perf_counter() - started)

    def _next(self) -> list[Chunk]:
        by_topic: dict[str, list[bytes]] = {}
        for message in islice(self._share, BATCH):
            by_topic.setdefault(message.topic, []).append(message.value)
        chunks = []
        for topic, values in by_topic.items():
            first = self._reached[topic, 0]
            records = [PlainRecord(offset, value) for offset, value in enumerate(values, first)]
            chunks.append(Chunk(topic, 0, first, records))
            self._reached[topic, 0] = first + len(values)
        return chunks


def with_idle_type(catalog: Catalog) -> Catalog:
    """Return `catalog` with another ambassador and a counter of its own, which nobody has."""
    (ambassador,) = (each for each in catalog.types if each.code == "ambassador")
    (invited,) = (each for each in catalog.counters if each.name == ambassador.counters[0])
    counter = replace(invited, name=CounterName("idle_count"))
    idle = replace(
        ambassador,
        id=load.type_id(TypeCode("idle")),
        code=TypeCode("idle"),
        counters=(counter.name,),
        metadata_fields={},
        levels=(replace(ambassador.levels[0], conditions={counter.name: {"gte": 1}}),),
    )
    return replace(catalog, types=(*catalog.types, idle), counters=(*catalog.counters, counter))


def lowered(catalog: Catalog) -> Catalog:
    """Return `catalog` with an explorer whose first level everybody reaches."""
    levels = {"quest_completed_count": {"gte": 1}}
    types = tuple(
        replace(each, levels=(replace(each.levels[0], conditions=levels), *each.levels[1:]))
        if each.code == "explorer"
        else each
        for each in catalog.types
    )
    return replace(catalog, types=types)


async def apply(db: Database, catalogs: Iterable[Catalog]) -> None:
    """Put one catalog after the other in force, and say how long each took to be."""
    for catalog in catalogs:
        started = time.perf_counter()
        await apply_catalog(db, catalog, tenant_id=DEFAULT_TENANT)
        print(f"    applied in {time.perf_counter() - started:.2f} s")


async def measure(
    name: str, url: str, workers: Sequence[Worker], changes: Iterable[Catalog] = ()
) -> Seen:
    """Count batches with all workers while `changes` are applied one after the other."""
    seen = Seen(name)
    async with Database(url) as db, lock_waits(url, [each.pid for each in workers], seen):
        applying = asyncio.create_task(apply(db, changes))
        await asyncio.gather(*(each.count(seen) for each in workers))
        applying.cancel()
        with suppress(asyncio.CancelledError):
            await applying
    return seen


async def main() -> None:
    """Fill a database, and measure."""
    number = WORKERS * BATCHES * MEASUREMENTS * BATCH
    made = list(messages(number))
    users = {UUID(msgspec.json.decode(each.value)["subject"]) for each in made}
    binaries = None if _BINARIES is None else Path(_BINARIES)
    with postgres(binaries=binaries) as server:
        url = server.url_of("catalog")
        shipped = load.load(load.SHIPPED)
        async with database(server, "catalog"), AsyncExitStack() as stack:
            await fill_progress(url, users, ROWS // 2)
            workers = []
            for worker in range(WORKERS):
                db = await stack.enter_async_context(Database(url, DatabaseSettings(pool_size=1)))
                workers.append(
                    Worker(db, worker, iter([each for each in made if each.partition == worker]))
                )
                await workers[-1].prepare({each.topic for each in made})
            print(f"  {ROWS} rows of progress, {WORKERS} workers, batches of {BATCH}")
            print(
                f"  {'seconds':42}  {'batches':>7}  {'median':>8}  {'longest':>9}"
                f"  {'wait of a lock':>14}"
            )
            (await measure("batches alone", url, workers)).print()
            changes = [with_idle_type(shipped), shipped] * 2
            name = "an idle type made and removed, twice"
            (await measure(name, url, workers, changes)).print()
            name = "a level that all reach"
            (await measure(name, url, workers, [lowered(shipped)])).print()


if __name__ == "__main__":
    hush()
    asyncio.run(main())
