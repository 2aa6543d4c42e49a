"""The loop that one would write by hand: aiokafka, COPY and one merge, reading ahead."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import psycopg

from benchmarks import _peers
from benchmarks._arena import Arena
from benchmarks._broker import reader, start_at_zero
from benchmarks._events import Partition
from benchmarks._table import Rate

_BATCH = 20_000
_QUEUED = 2  # batches read ahead, as the worker reads ahead

Merge = Callable[[psycopg.AsyncConnection[Any], str, Mapping[Partition, int]], Awaitable[int]]


async def by_hand(
    name: str, merge: Merge, place: Arena, places: list[Partition], events: int
) -> Rate:
    """Count the topics, which are full; return the rate from the first fetch to the last commit.

    Reading and writing overlap, a batch is what is there.
    """
    rate = Rate(name)
    queue: asyncio.Queue[tuple[int, str, dict[Partition, int]]] = asyncio.Queue(_QUEUED)
    consumer = reader(place.broker.address)
    await consumer.start()

    async def read() -> None:
        start_at_zero(consumer, places)
        seen = 0
        while seen < events:
            found = await consumer.getmany(timeout_ms=1000, max_records=_BATCH)
            size = sum(map(len, found.values()))
            if not size:
                continue
            staged = "".join(
                _peers.lines(record.value for record in records) for records in found.values()
            )
            reached = {
                (tp.topic, tp.partition): records[-1].offset + 1 for tp, records in found.items()
            }
            await queue.put((size, staged, reached))
            seen += size

    async def write() -> None:
        counted = 0
        async with await psycopg.AsyncConnection.connect(place.url) as conn:
            while counted < events:
                size, staged, reached = await queue.get()
                while not queue.empty() and size < _BATCH:
                    more, lines, places_reached = queue.get_nowait()
                    size, staged, reached = size + more, staged + lines, reached | places_reached
                await merge(conn, staged, reached)
                counted += size

    try:
        before, began = place.used([os.getpid()], alone=True), time.perf_counter()
        await asyncio.gather(read(), write())
        used = place.used([os.getpid()], alone=True) - before
        rate.add(events, time.perf_counter() - began, used.client)
        rate.backend_seconds, rate.broker_seconds = used.database, used.broker
    finally:
        await consumer.stop()
    return rate
