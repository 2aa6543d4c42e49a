"""Counting batches into PostgreSQL.

Laurel's pipeline beside a hand-written COPY and merge, a bare COPY, and a transaction an event.

The contenders take turns batch by batch on one server, each in tables of its own, so that a
neighbour's load or a checkpoint meets them all. No Kafka here: benchmarks/ingestion.py has it.
"""

import asyncio
import os
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice

import psycopg

from benchmarks import _peers
from benchmarks._database import database, hush
from benchmarks._events import Partition, by_partition
from benchmarks._table import Rate, ratio, show
from ops.settings import DEFAULT_TENANT
from processor.batch.options import PipelineOptions
from processor.batch.pipeline import Pipeline
from processor.events.chunks import Chunk, PlainRecord
from sandbox.postgres import postgres
from store import ledger
from store.engine import Database

EVENTS = int(os.environ.get("BENCH_EVENTS", "200000"))
BATCH = 20_000
CHUNK = BATCH // 4
NAIVE_SAMPLE = 400
CLUSTER = "benchmark"


def batches(number: int) -> Iterator[list[Chunk]]:
    """Return the events as a worker under load meets them.

    A chunk of each partition, batch after batch.
    """
    waiting = by_partition(number)
    reached = dict.fromkeys(waiting, 0)
    while any(waiting.values()):
        batch = []
        for (topic, partition), values in waiting.items():
            first = reached[topic, partition]
            taken = values[:CHUNK]
            if taken:
                del values[:CHUNK]
                records = [PlainRecord(offset, value) for offset, value in enumerate(taken, first)]
                batch.append(Chunk(topic, partition, first, records))
                reached[topic, partition] = first + len(taken)
        yield batch


class Contest:
    """The rates of all contenders."""

    def __init__(self) -> None:
        self.read = Rate("read")
        self.count = Rate("count")
        self.hand_read = Rate("read by hand")
        self.hand_count = Rate("count by hand")
        self.bare = Rate("COPY alone")
        self.naive = Rate("a transaction an event")
        self.levels = 0

    async def run(self, db: Database, url: str) -> None:
        """Let everybody count the same events."""
        pipeline = Pipeline(
            db, PipelineOptions(CLUSTER, "laurel", DEFAULT_TENANT, timedelta(days=3650))
        )
        await pipeline.load()
        partitions: dict[Partition, int] = dict.fromkeys(by_partition(0), 0)
        async with db.transaction() as conn:
            await ledger.open_partitions(conn, CLUSTER, partitions)
        async with await psycopg.AsyncConnection.connect(url) as conn:
            for batch in batches(EVENTS):
                await self._turn(pipeline, conn, batch)
        await _peers.create_naive(db.engine)
        sample = [
            record.value or b""
            for chunk in islice(batches(EVENTS), 1)
            for record in chunk[0].records
        ]
        with self.naive.doing(NAIVE_SAMPLE):
            await _peers.count_naively(db.engine, sample[:NAIVE_SAMPLE])

    async def _turn(
        self, pipeline: Pipeline, conn: "psycopg.AsyncConnection[object]", batch: list[Chunk]
    ) -> None:
        size = sum(len(chunk.records) for chunk in batch)
        with self.read.doing(size):
            chunks = [pipeline.read(chunk) for chunk in batch]
        with self.count.doing(size):
            outcome = await pipeline.commit(chunks)
        self.levels += outcome.levels
        with self.hand_read.doing(size):
            staged = "".join(
                _peers.lines(record.value or b"" for record in chunk.records) for chunk in batch
            )
        reached = {chunk.key: chunk.reached.next_offset for chunk in batch}
        with self.hand_count.doing(size):
            await _peers.merge(conn, staged, reached)
        with self.bare.doing(size):
            await _peers.copy(conn, staged.encode(), table=_peers.STAGING, statement=_peers.COPY)

    def print(self) -> None:
        """Print the table."""
        both, by_hand = self.read + self.count, self.hand_read + self.hand_count
        show(
            [
                self.read,
                self.count,
                both,
                self.hand_read,
                self.hand_count,
                by_hand,
                self.bare,
                self.naive,
            ]
        )
        print(
            f"  Laurel has also given out {self.levels} levels, with audit, outbox and mint tasks; "
            "the others have none."
        )
        ratio(self.read, self.hand_read)
        ratio(self.count, self.hand_count)
        ratio(both, by_hand, "0.9 one worker end to end, where the two overlap")
        ratio(both, self.bare)
        ratio(both, self.naive, "100")


async def main() -> None:
    """Run the contest on a PostgreSQL of its own."""
    contest = Contest()
    with postgres() as server:
        async with database(server, "merge") as db:
            await contest.run(db, server.url_of("merge"))
    print(f"  {EVENTS} events in batches of {BATCH}, PostgreSQL 18, fsync on")
    contest.print()


if __name__ == "__main__":
    hush()
    asyncio.run(main())
