"""What memory a worker takes over many events: whether it stays flat.

One `laurel worker` on Tansu, which always has more to read. Tansu keeps all records in memory: 5
million of them are 3 GB of its own.
"""

import asyncio
import os
from itertools import islice

import psycopg

from benchmarks import _plot
from benchmarks._arena import arena, running, worker
from benchmarks._database import hush
from benchmarks._events import by_partition, messages
from benchmarks._plot import Axes
from benchmarks._processes import load, memory, peak_memory
from sandbox.broker import broker
from sandbox.postgres import postgres

_FULL = os.environ.get("BENCH_FULL") == "1"
EVENTS = int(os.environ.get("BENCH_MEMORY_EVENTS", "5000000" if _FULL else "500000"))
PORTION = min(100_000, EVENTS // 5)
_MIBIBYTE = 1024**2


async def main() -> None:
    """Send portion after portion, and look after each how large the worker is."""
    print(f"  {EVENTS} events, {load()}")
    print(f"  {'events counted':>15}  {'MiB now':>8}  {'at most':>8}")
    now, most = [], []
    with postgres() as server:
        async with arena(server, broker, "memory") as place, running(place, worker()) as found:
            (pid,) = found.pids
            waiting, sent = messages(EVENTS), 0
            async with await psycopg.AsyncConnection.connect(place.url, autocommit=True) as conn:
                while sent < EVENTS:
                    await place.fill(by_partition(islice(waiting, PORTION)))
                    await found.reach(conn, sent)  # the portion before this one
                    if sent:
                        now.append((float(sent), memory(pid) / _MIBIBYTE))
                        most.append((float(sent), peak_memory(pid) / _MIBIBYTE))
                        print(f"  {sent:15,}  {now[-1][1]:8.0f}  {most[-1][1]:8.0f}", flush=True)
                    sent += PORTION
                await found.reach(conn, EVENTS)
            last = peak_memory(pid) / _MIBIBYTE
    middle = most[len(most) // 2][1]
    print(f"  {'at the end':>15}  {'':8}  {last:8.0f}   (aim: under 300)")
    print(f"  at the end / after the first half: {last / middle:.2f}   (aim: 1.0, flat)")
    axes = Axes("A worker's memory", "events counted", "MiB", is_log=False)
    print(f"  {_plot.write('memory', axes, {'now': now, 'at most': most})}")


if __name__ == "__main__":
    hush()
    asyncio.run(main())
