"""History at file speed: what adding up a file costs, beside a scan of it and beside others.

One file of events for all. DuckDB's bare scan parses each line into typed columns, and checks
nothing that the contract asks for: it is the limit of what an engine of SQL could do. Polars and
plain Python add up the same counters, drop repetitions by source and id, and check nothing either.
"""

import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import psycopg

from benchmarks._database import database, hush
from benchmarks._events import messages
from benchmarks._table import Rate, ratio, show
from ops.lifecycle import Stop
from ops.settings import DEFAULT_TENANT, Settings
from processor.catalog import load
from processor.history import scan
from processor.history.backfill import BackfillOptions, ProgressLines, backfill
from processor.history.inputs.reading import inputs_of
from processor.history.pieces import Piece
from processor.history.reading import ReadBy, Readers
from sandbox.postgres import postgres
from store.values.catalog import Catalog

EVENTS = int(os.environ.get("BENCH_HISTORY_EVENTS", "1000000"))
MEMORY = 1024 * 2**20
_FIELDS = ("quest_id", "city_id", "author_id", "country", "rating", "duration_s")


class Silent:
    """Is told of progress and says nothing."""

    def reached(self, records: int, read_bytes: int) -> None:
        """Take it in."""


def catalog() -> Catalog:
    """Return the shipped catalog with ids of counters, as the store gives it."""
    shipped = load.load(load.SHIPPED)
    counters = tuple(replace(each, id=n) for n, each in enumerate(shipped.counters, 1))
    return replace(shipped, counters=counters, version=1)


def pieces(path: Path) -> Iterator[Piece]:
    """Yield a file's pieces."""
    first, rest = 0, b""
    with path.open("rb") as file:
        while block := file.read(2**20):
            whole = block.rfind(b"\n") + 1
            lines, rest = rest + block[:whole], block[whole:]
            yield Piece(0, first, lines, read_bytes=len(block))
            first += lines.count(b"\n")


def ours(path: Path, processes: int) -> int:
    """Add up a file; return how many users' counters there are."""
    by = ReadBy(catalog(), DEFAULT_TENANT, timedelta(days=3650), None, 2**20)
    with scan.opened(None, MEMORY // 2, 2) as found:
        found.read(pieces(path), Readers(by, processes), Stop(), Silent())
        slices = range(found.table.slices)
        return sum(len(found.table.slice(number).totals) for number in slices)


def bare_scan(path: Path) -> int:
    """Parse each line into typed columns."""
    types = dict.fromkeys(_FIELDS[:4], "VARCHAR") | dict.fromkeys(_FIELDS[4:], "BIGINT")
    data = ", ".join(f"{name} {kind}" for name, kind in types.items())
    columns = dict.fromkeys(("specversion", "id", "source", "type"), "VARCHAR")
    columns |= {"subject": "UUID", "time": "TIMESTAMP", "data": f"STRUCT({data})"}
    looked = ", ".join(
        [
            *(f"count({name})" for name in columns if name != "data"),
            *(f"count(data.{name})" for name in _FIELDS),
        ]
    )
    with duckdb.connect(config={"threads": 2, "memory_limit": "512MiB"}) as db:
        row = db.execute(
            f"SELECT {looked} FROM read_json(?, columns = {columns}, format = 'newline_delimited')",
            [str(path)],
        ).fetchone()
    return int(row[1]) if row else 0


def by_polars(path: Path) -> int:
    """Add up the same counters by Polars' lazy frames."""
    import polars as pl

    schema: Any = {
        "id": pl.String, "source": pl.String, "type": pl.String, "subject": pl.String,
        "time": pl.String, "data": pl.Struct({"city_id": pl.String}),
    }  # fmt: skip
    events = pl.scan_ndjson(path, schema=schema).unique(["source", "id"], keep="any")
    city = pl.when(pl.col("type") == "city.visited").then(pl.col("data").struct.field("city_id"))
    counted = events.group_by("subject").agg(
        (pl.col("type") == "quest.completed").sum().alias("quests"),
        city.drop_nulls().unique().alias("cities"),
        pl.col("time").max(),
    )
    return len(counted.collect(engine="streaming"))


def by_python(path: Path) -> int:
    """Add up the same counters by a loop."""
    seen: set[tuple[str, str]] = set()
    quests: dict[str, int] = {}
    cities: dict[str, set[str]] = {}
    latest: dict[str, str] = {}
    with path.open("rb") as lines:
        for line in lines:
            event = json.loads(line)
            if (identity := (event["source"], event["id"])) in seen:
                continue
            seen.add(identity)
            user = event["subject"]
            if event["type"] == "quest.completed":
                quests[user] = quests.get(user, 0) + 1
            elif event["type"] == "city.visited":
                cities.setdefault(user, set()).add(event["data"]["city_id"])
            latest[user] = max(latest.get(user, ""), event["time"])
    return len(latest)


CONTENDERS: dict[str, Callable[[Path], int]] = {
    "DuckDB's bare scan": bare_scan,
    "ours, two readers": lambda path: ours(path, 2),
    "ours, in one process": lambda path: ours(path, 0),
    "Polars": by_polars,
    "plain Python": by_python,
}


def measured(name: str, path: Path, events: int) -> tuple[Rate, int] | None:
    """Have a contender work in a process of its own; return its rate and its most MiB."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.history", name, str(path)],
        stdout=subprocess.PIPE,
        check=False,
    )
    if done.returncode:
        print(f"  ({name}: not here)")
        return None
    seconds, cpu_seconds, kilobytes = json.loads(done.stdout)
    return Rate(name, events, seconds, cpu_seconds), kilobytes // 1024


def work(name: str, path: Path) -> None:
    """Do what one contender does, and print seconds, seconds of CPU and KiB."""
    started = time.perf_counter()
    CONTENDERS[name](path)
    seconds = time.perf_counter() - started
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu_seconds = sum(each.ru_utime + each.ru_stime for each in used)
    # The greatest of the children stands for each of the two readers.
    kilobytes = used[0].ru_maxrss + 2 * used[1].ru_maxrss
    print(json.dumps([seconds, cpu_seconds, kilobytes]))


def compute(path: Path, events: int) -> None:
    """Print what adding up costs."""
    bare_scan(path)  # into the page cache
    measurements = {name: measured(name, path, events) for name in CONTENDERS}
    found = {name: each for name, each in measurements.items() if each is not None}
    show([rate for rate, _ in found.values()])
    for name, (_, memory) in found.items():
        print(f"  {name}: {memory:,} MiB at most")
    mine, _ = found["ours, two readers"]
    for name, (rate, _) in found.items():
        if rate is not mine:
            ratio(mine, rate, "0.6" if name == "DuckDB's bare scan" else "")


TABLES = ("processed_event", "progress_member", "nft_progress")


async def loading(path: Path, events: int) -> None:
    """Print what the load into PostgreSQL costs, beside a COPY of the rows that it leaves."""
    with postgres() as server:
        async with database(server, "history"):
            pass
        url = server.url_of("history")
        whole = Rate("ours, whole")
        with whole.doing(events):
            report = await backfill(
                Settings(database_url=url),
                inputs_of([str(path)]),
                BackfillOptions(),
                Stop(),
                ProgressLines(lambda _: None),
            )
        load_alone = Rate("ours, the load", events, report.load.seconds)
        bare = Rate("COPY of the same rows")
        async with await psycopg.AsyncConnection.connect(url) as conn:
            rows = {name: await _copied_out(conn, name) for name in TABLES}
            with bare.doing(events):
                for name in TABLES:
                    await _copied_in(conn, name, rows[name])
                await conn.commit()
        show([whole, load_alone, bare])
        print(f"  {report.load.levels.total():,} levels, with badges and audit, which COPY has not")
        ratio(load_alone, bare, "0.5")


async def _copied_out(conn: psycopg.AsyncConnection[Any], name: str) -> list[bytes]:
    async with (
        conn.cursor() as cursor,
        cursor.copy(f"COPY {name} TO STDOUT (FORMAT binary)".encode()) as copy,
    ):
        return [bytes(part) async for part in copy]


async def _copied_in(conn: psycopg.AsyncConnection[Any], name: str, parts: list[bytes]) -> None:
    await conn.execute(f"CREATE TABLE bare_{name} (LIKE {name} INCLUDING ALL)".encode())
    statement = f"COPY bare_{name} FROM STDIN (FORMAT binary)".encode()
    async with conn.cursor() as cursor, cursor.copy(statement) as copy:
        for part in parts:
            await copy.write(part)


def main() -> None:
    """Print the tables; with a name and a path, do that contender's part."""
    if len(sys.argv) > 1:
        work(sys.argv[1], Path(sys.argv[2]))
        return
    hush()
    with tempfile.TemporaryDirectory(prefix="laurel-history-") as place:
        path = Path(place) / "events.jsonl"
        with path.open("wb") as file:
            file.writelines(message.value + b"\n" for message in messages(EVENTS))
        print(f"{EVENTS:,} events, {path.stat().st_size // 2**20:,} MiB of JSON lines")
        compute(path, EVENTS)
        asyncio.run(loading(path, EVENTS))


if __name__ == "__main__":
    main()
