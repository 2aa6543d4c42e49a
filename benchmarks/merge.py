"""Counting batches into PostgreSQL.

Laurel's pipeline beside the least that one could write by hand (_peers.py), the same tables by hand
(_fair_peer.py), a bare COPY, and a transaction an event. The peers give out no badges: Laurel
counts a second time by a catalog whose levels nobody reaches.

The contenders take turns batch by batch on one server, each in tables of its own, so that a
neighbour's load or a checkpoint meets them all. No Kafka here: benchmarks/ingestion.py has it.
"""

import asyncio
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import psycopg

from benchmarks import _fair_peer, _peers
from benchmarks._counting import Counting
from benchmarks._database import database, hush
from benchmarks._events import Message, by_partition, messages
from benchmarks._naive_peer import NaivePeer
from benchmarks._table import Rate, backend_ratio, ratio, show
from ops.garbage import collect_seldom
from processor.catalog import load
from processor.events.chunks import Chunk, PlainRecord
from sandbox.postgres import PostgresServer, postgres
from store.engine import Database
from store.values.catalog import Catalog, LevelSpec

EVENTS = int(os.environ.get("BENCH_EVENTS", "200000"))
BATCH = 20_000
NAIVE_SAMPLE = 400


def batches(made: Iterable[Message], size: int = BATCH) -> Iterator[list[Chunk]]:
    """Return the events as a worker under load meets them.

    A chunk of each partition, batch after batch.
    """
    waiting = by_partition(made)
    share = size // len(waiting)
    reached = dict.fromkeys(waiting, 0)
    while any(waiting.values()):
        batch = []
        for (topic, partition), values in waiting.items():
            first = reached[topic, partition]
            taken = values[:share]
            if taken:
                del values[:share]
                records = [PlainRecord(offset, value) for offset, value in enumerate(taken, first)]
                batch.append(Chunk(topic, partition, first, records))
                reached[topic, partition] = first + len(taken)
        yield batch


class Round:
    """The rates of all contenders over some batches."""

    def __init__(self) -> None:
        self.read = Rate("read")
        self.count = Rate("count")
        self.unearned = Rate("count, no level reached")
        self.hand_read = Rate("read by hand")
        self.hand_count = Rate("count by hand")
        self.fair_count = Rate("count by hand, same tables")
        self.bare = Rate("COPY alone")
        self.levels = 0

    def print(self) -> None:
        """Print the table."""
        both, by_hand = self.read + self.count, self.hand_read + self.hand_count
        fair = self.hand_read + self.fair_count
        counts = [self.count, self.unearned, self.fair_count, self.hand_count, self.bare]
        show([self.read, self.hand_read, *counts, both, fair, by_hand])
        print(
            f"  Laurel has also given out {self.levels} levels, with audit, outbox and mint tasks; "
            "the others have none, and nor has it where the levels are out of reach."
        )
        backend_ratio(self.count, self.fair_count, "1.6 cold")
        backend_ratio(self.unearned, self.fair_count)
        backend_ratio(self.count, self.hand_count)
        ratio(self.count, self.fair_count, "1.0")
        ratio(self.unearned, self.fair_count)
        ratio(self.count, self.hand_count)
        ratio(self.read, self.hand_read)
        ratio(both, fair)
        ratio(both, by_hand, "0.9 one worker end to end, where the two overlap")


def out_of_reach() -> Catalog:
    """Return the shipped catalog, with a thousand million in place of each number of a level."""
    shipped = load.load(load.SHIPPED)
    types = tuple(
        replace(
            each, levels=tuple(replace(level, conditions=_raised(level)) for level in each.levels)
        )
        for each in shipped.types
    )
    return replace(shipped, types=types)


def _raised(level: LevelSpec) -> dict[str, object]:
    return {name: {"gte": 10**9 + level.level} for name in level.conditions}


@dataclass(frozen=True, slots=True)
class Contestants:
    """Who counts: Laurel, Laurel with levels that nobody reaches, and by hand."""

    laurel: Counting
    unearned: Counting
    by_hand: "psycopg.AsyncConnection[object]"

    async def turn(self, batch: list[Chunk], result: Round) -> None:
        """Let everybody count the same events, one after the other."""
        size, hand = sum(len(chunk.records) for chunk in batch), self.by_hand
        with result.read.doing(size):
            chunks = [self.laurel.pipeline.read(chunk) for chunk in batch]
        with result.count.doing(size, self.laurel.backend):
            outcome = await self.laurel.pipeline.commit(chunks)
        result.levels += outcome.levels
        with result.unearned.doing(size, self.unearned.backend):
            await self.unearned.pipeline.commit(chunks)
        with result.hand_read.doing(size):
            staged = "".join(
                _peers.lines(record.value or b"" for record in chunk.records) for chunk in batch
            )
        reached = {chunk.key: chunk.reached.next_offset for chunk in batch}
        with result.hand_count.doing(size, hand.info.backend_pid):
            await _peers.merge(hand, staged, reached)
        with result.fair_count.doing(size, hand.info.backend_pid):
            await _fair_peer.merge(hand, staged, reached)
        with result.bare.doing(size, hand.info.backend_pid):
            await _peers.copy(hand, staged.encode(), table=_peers.STAGING, statement=_peers.COPY)


async def naively(server: PostgresServer) -> Rate:
    """Count a few events in a transaction each."""
    rate = Rate("a transaction an event")
    sample = [message.value for message in messages(NAIVE_SAMPLE)]
    async with database(server, "naive") as db:
        peer = NaivePeer(db.engine)
        with rate.doing(NAIVE_SAMPLE):
            await peer.count(sample)
    return rate


async def contest(db: Database, other: Database, server: PostgresServer) -> None:
    """Count twice EVENTS: the first half meets an empty database, the second one a used one.

    `other` has the catalog whose levels are out of reach.
    """
    laurel, unearned = await Counting.over(db), await Counting.over(other)
    cold, steady = Round(), Round()
    async with await psycopg.AsyncConnection.connect(server.url_of("merge")) as by_hand:
        everybody = Contestants(laurel, unearned, by_hand)
        for batch in batches(messages(2 * EVENTS)):
            await everybody.turn(batch, cold if cold.count.units < EVENTS else steady)
    for name, result in (("from cold", cold), ("then, on what is there", steady)):
        print(f"\n  {name}: {result.count.units} events")
        result.print()
    naive = await naively(server)
    print()
    show([naive])
    ratio(cold.read + cold.count, naive, "100")


async def main() -> None:
    """Run the contest on a PostgreSQL of its own."""
    print(f"  batches of {BATCH}, PostgreSQL 18, fsync on")
    collect_seldom()  # as a worker does
    with postgres() as server:
        async with (
            database(server, "merge") as db,
            database(server, "unearned", out_of_reach()) as other,
        ):
            await contest(db, other, server)


if __name__ == "__main__":
    hush()
    asyncio.run(main())
