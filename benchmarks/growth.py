"""What an event costs as Laurel grows: with its users, with types that share a counter, with ids.

The pipeline alone, without Kafka: the CPU of its PostgreSQL backend and of Python for each event,
and what it writes to the WAL. No level is reached, so that every size does the same work. The
curves go to plots/.
"""

import asyncio
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import psycopg

from benchmarks import _plot
from benchmarks._counting import Counting
from benchmarks._database import database, hush
from benchmarks._events import (
    START,
    Message,
    NewId,
    messages,
    random_id,
    time_led_id,
    user_ids,
)
from benchmarks._filling import fill_keys, fill_progress
from benchmarks._plot import Axes
from benchmarks._processes import load
from benchmarks._table import Rate
from benchmarks.merge import BATCH, batches
from ops.garbage import collect_seldom
from processor.catalog.load import SHIPPED, type_id
from processor.catalog.load import load as loaded
from sandbox.postgres import PostgresServer, postgres
from store.engine import Database
from store.values.catalog import Catalog
from store.values.names import TypeCode

_FULL = os.environ.get("BENCH_FULL") == "1"


def _sizes(variable: str, quick: str, full: str) -> list[int]:
    said = os.environ.get(variable, full if _FULL else quick)
    return [int(size) for size in said.split(",")]


USERS = _sizes("BENCH_USERS", "10000,100000", "10000,100000,1000000")
TYPES = _sizes("BENCH_TYPES", "1,10,50", "1,10,50")
IDS = _sizes("BENCH_IDS", "100000,1000000", "100000,1000000,10000000")
BATCHES = int(os.environ.get("BENCH_BATCHES", "8" if _FULL else "4"))
# As on a server that is small for what it holds; no checkpoint falls into a measurement.
_SERVER = {"shared_buffers": "128MB", "max_wal_size": "8GB", "checkpoint_timeout": "1h"}
# 20 000 events of 50 types are half a million rows, which is minutes in one statement.
_TYPES_BATCH = 2_000
_FAR = 1_000_000_000
_EVERY_MS = 50  # between two known events, as between two new ones (_events.py)


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one event, at a size: microseconds of CPU, bytes of WAL, microseconds on the clock."""

    size: int
    backend_us: float
    python_us: float
    wal_bytes: float
    wall_us: float

    def print(self, name: str) -> None:
        """Print a line."""
        print(
            f"  {name:34}  {self.backend_us:10.1f}  {self.python_us:6.1f}  {self.wall_us:7.1f}"
            f"  {self.wal_bytes:6.0f}"
        )


async def cost(
    db: Database, url: str, size: int, made: Iterable[Message], batch_size: int = BATCH
) -> Cost:
    """Count one batch that is not measured, and then the others; return what an event took."""
    counting = await Counting.over(db)
    pipeline, backend = counting.pipeline, counting.backend
    rate, waiting = Rate("counting"), batches(made, batch_size)
    await pipeline.run(next(waiting))
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as conn:
        before = await _wal(conn)
        for batch in waiting:
            with rate.doing(sum(len(chunk.records) for chunk in batch), backend):
                await pipeline.run(batch)
        written = await _wal(conn) - before
    each = 1e6 / rate.units
    return Cost(
        size,
        rate.backend_seconds * each,
        rate.cpu_seconds * each,
        written / rate.units,
        rate.seconds * each,
    )


async def _wal(conn: psycopg.AsyncConnection[tuple[int]]) -> int:
    found = await (await conn.execute("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")).fetchone()
    return int(found[0]) if found else 0


def out_of_reach(catalog: Catalog) -> Catalog:
    """Return `catalog` with levels that nobody reaches."""
    types = []
    for each in catalog.types:
        levels = tuple(
            replace(level, conditions={each.counters[0]: {"gte": _FAR + level.order}})
            for level in each.levels
        )
        types.append(replace(each, levels=levels))
    return replace(catalog, types=tuple(types))


def sharing(number: int) -> Catalog:
    """Return a catalog of so many types, all of them of the explorer's two counters."""
    shipped = out_of_reach(loaded(SHIPPED))
    (explorer,) = (each for each in shipped.types if each.code == "explorer")
    codes = [TypeCode("explorer"), *(TypeCode(f"explorer_{copy}") for copy in range(1, number))]
    types = tuple(replace(explorer, id=type_id(code), code=code) for code in codes)
    return replace(shipped, types=types)


async def with_users(server: PostgresServer, size: int) -> Cost:
    """Return the cost where so many users have rows already."""
    name, catalog = f"users_{size}", out_of_reach(loaded(SHIPPED))
    async with database(server, name, catalog) as db:
        url = server.url_of(name)
        await fill_progress(url, user_ids(size), size)
        return await cost(db, url, size, messages((BATCHES + 1) * BATCH, users=size))


async def with_types(server: PostgresServer, size: int) -> Cost:
    """Return the cost where so many types share the counters."""
    name = f"types_{size}"
    async with database(server, name, sharing(size)) as db:
        made = messages((BATCHES + 1) * _TYPES_BATCH)
        return await cost(db, server.url_of(name), size, made, _TYPES_BATCH)


async def with_ids(server: PostgresServer, size: int, new_id: NewId) -> Cost:
    """Return the cost where so many events were counted before."""
    name, catalog = f"ids_{new_id.__name__}_{size}", out_of_reach(loaded(SHIPPED))
    async with database(server, name, catalog) as db:
        url, time_led = server.url_of(name), new_id is time_led_id
        last_ms = round(START.timestamp() * 1000)
        await fill_keys(url, size, time_led=time_led, last_ms=last_ms, every_ms=_EVERY_MS)
        return await cost(db, url, size, messages((BATCHES + 1) * BATCH, new_id=new_id))


def ratio(what: str, costs: Sequence[Cost], aim: str = "") -> None:
    """Print PostgreSQL's CPU of an event at the largest size by that at the smallest."""
    word = f"   (aim: {aim})" if aim else ""
    found = costs[-1].backend_us / costs[0].backend_us
    print(f"  {what}, at {costs[-1].size:,} / at {costs[0].size:,}: {found:.2f}{word}")


def plot(name: str, axes: Axes, series: dict[str, Sequence[Cost]]) -> None:
    """Write the curves of PostgreSQL's CPU and of Python's."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for each, costs in series.items():
        prefix = f"{each}: " if each else ""
        lines[f"{prefix}PostgreSQL"] = [(one.size, one.backend_us) for one in costs]
        lines[f"{prefix}Python"] = [(one.size, one.python_us) for one in costs]
    path = _plot.write(name, axes, lines)
    print(f"  {path}")


async def main() -> None:
    """Measure, and draw."""
    collect_seldom()
    print(f"  batches of {BATCH}, {BATCHES} at each size, {_SERVER}; {load()}")
    heads = f"{'PostgreSQL':>10}  {'Python':>6}  {'us each':>7}  {'WAL B':>6}"
    print(f"  {'us of CPU an event':34}  {heads}")
    with postgres(settings=_SERVER) as server:
        users = []
        for size in USERS:
            users.append(await with_users(server, size))
            users[-1].print(f"{size:,} users who have rows")
        types = []
        for size in TYPES:
            types.append(await with_types(server, size))
            types[-1].print(f"{size} types share the counters")
        ids: dict[str, Sequence[Cost]] = {}
        for kind, new_id in (("random ids", random_id), ("time-led ids", time_led_id)):
            found = []
            for size in IDS:
                found.append(await with_ids(server, size, new_id))
                found[-1].print(f"{size:,} known, {kind}")
            ids[kind] = found
    ratio("users", users)
    ratio("types", types)
    ratio("random ids", ids["random ids"])
    ratio("time-led ids", ids["time-led ids"], "at most 1.3, 1.1")
    us, title = "microseconds of CPU an event", "An event's cost by"
    plot("users", Axes(f"{title} users who have rows", "users", us), {"": users})
    axes = Axes(f"{title} types that share its counters", "types", us, is_log=False)
    plot("types", axes, {"": types})
    plot("ids", Axes(f"{title} known ids", "known ids, shared_buffers = 128 MB", us), ids)
    print(f"  afterwards {load()}")


if __name__ == "__main__":
    hush()
    asyncio.run(main())
