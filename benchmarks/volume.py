"""What many events take: bytes of each table and index, WAL, and what an event costs as they grow.

The pipeline alone counts BENCH_EVENTS (2 000 000) events of BENCH_USERS (a twentieth of them) users
into a PostgreSQL with settings for long runs. docs/scale.md works with what this prints.
"""

import asyncio
import os
import random
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import psycopg
from sqlalchemy import text

from benchmarks._counting import Counting
from benchmarks._database import database, hush
from benchmarks._table import Rate
from ops.garbage import collect_seldom
from processor.events.chunks import Chunk, PlainRecord
from sandbox.postgres import postgres
from store.engine import Connection, Database

EVENTS = int(os.environ.get("BENCH_EVENTS", "2000000"))
USERS = int(os.environ.get("BENCH_USERS", str(max(1, EVENTS // 20))))
BATCH = 20_000
LINES = 20
_CITIES = 5_000
_START = datetime(2026, 3, 1, tzinfo=UTC)
_PLACES = (("laurel.quests", 0), ("laurel.cities", 0))
# Those that docs/scale.md recommends, and a reload takes.
_SETTINGS = ("max_wal_size = '16GB'", "checkpoint_timeout = '30min'")

WAL = text("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
# Bytes of each table and of its indexes, in the order of what they take.
SIZES = text("""
    SELECT relname AS name, reltuples::bigint AS rows, pg_table_size(oid) AS heap,
           pg_indexes_size(oid) AS indexes
      FROM pg_class
     WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
       AND pg_total_relation_size(oid) > 1000000
     ORDER BY pg_total_relation_size(oid) DESC
""")


def events() -> Iterator[tuple[int, bytes]]:
    """Yield events as (place, value): quests and cities by turns, of evenly many users.

    Their ids are UUIDs of version 7, which begin with the time.
    """
    chance, encode = random.Random(1), msgspec.json.Encoder().encode
    for number in range(EVENTS):
        moment = _START + timedelta(milliseconds=50 * number)
        user, city = chance.randrange(USERS), f"c-{int(_CITIES * chance.random() ** 3)}"
        stamp = int(moment.timestamp() * 1000)
        bits = stamp << 80 | 0x7 << 76 | chance.getrandbits(12) << 64 | 0b10 << 62
        is_city = number % 2
        event = {
            "specversion": "1.0",
            "id": str(uuid.UUID(int=bits | chance.getrandbits(62))),
            "source": "/city-service/eu" if is_city else "/quest-service/eu",
            "type": "city.visited" if is_city else "quest.completed",
            "subject": str(uuid.UUID(int=(user * 0x9E3779B97F4A7C15) % 2**128, version=4)),
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "data": {"city_id": city} if is_city else {"quest_id": f"q-{number % 20_000}"},
        }
        yield is_city, encode(event)


def batches() -> Iterator[list[Chunk]]:
    """Yield batches of a chunk of each place."""
    waiting: tuple[list[bytes], list[bytes]] = ([], [])
    reached = [0, 0]
    for place, value in events():
        waiting[place].append(value)
        if sum(map(len, waiting)) < BATCH:
            continue
        batch = []
        for number, values in enumerate(waiting):
            first = reached[number]
            records = [PlainRecord(offset, each) for offset, each in enumerate(values, first)]
            batch.append(Chunk(*_PLACES[number], first, records))
            reached[number] += len(values)
            values.clear()
        yield batch


async def count(db: Database) -> None:
    """Count all events, with a line for each twentieth of them."""
    counting = await Counting.over(db)
    async with db.transaction() as conn:
        wal = await _wal(conn)
    print(f"  {'events':>12}  {'us each':>8}  {'CPU us':>7}  {'backend':>7}  {'WAL bytes':>9}  MiB")
    rate, total = Rate("count"), 0
    for batch in batches():
        size = sum(len(chunk.records) for chunk in batch)
        with rate.doing(size, counting.backend):
            await counting.pipeline.run(batch)
        total += size
        if rate.units >= EVENTS // LINES:
            async with db.transaction() as conn:
                now = await _wal(conn)
            each = 1e6 / rate.units
            print(
                f"  {total:12,}  {rate.seconds * each:8.1f}  {rate.cpu_seconds * each:7.1f}  "
                f"{rate.backend_seconds * each:7.1f}  {(now - wal) / rate.units:9.0f}  {_memory()}",
                flush=True,
            )
            rate, wal = Rate("count"), now
    await _show_sizes(db, total)


async def _show_sizes(db: Database, total: int) -> None:
    async with db.transaction() as conn:
        await conn.execute(text("ANALYZE"))
        rows = (await conn.execute(SIZES)).all()
    print(f"\n  {'table':24}  {'rows':>12}  {'heap, bytes a row':>17}  {'indexes':>8}  an event")
    for row in rows:
        heap, indexes = row.heap / max(1, row.rows), row.indexes / max(1, row.rows)
        each = (row.heap + row.indexes) / total
        print(f"  {row.name:24}  {row.rows:12,}  {heap:17.0f}  {indexes:8.0f}  {each:8.1f}")


async def _wal(conn: Connection) -> int:
    return int((await conn.execute(WAL)).scalar_one())


def _memory() -> int:
    """Return this process's peak memory, in MiB (Linux; 0 elsewhere)."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")), 0)


async def main() -> None:
    """Count on a PostgreSQL of its own."""
    print(f"  {EVENTS:,} events of {USERS:,} users, batches of {BATCH}, PostgreSQL 18, fsync on")
    collect_seldom()
    with postgres() as server:
        async with await psycopg.AsyncConnection.connect(server.url, autocommit=True) as conn:
            for each in _SETTINGS:
                await conn.execute(f"ALTER SYSTEM SET {each}".encode())
            await conn.execute("SELECT pg_reload_conf()")
        async with database(server, "volume") as db:
            await count(db)


if __name__ == "__main__":
    hush()
    asyncio.run(main())
