"""Reading Kafka, and the whole way into PostgreSQL.

First the transport alone, against aiokafka's `getmany`. Then `laurel worker` from the first fetch
to the last commit, against what others would take: by hand, Quix Streams, Faust with SQLAlchemy;
and two of it against one.
"""

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from pathlib import Path

from benchmarks import _fair_peer, _peers
from benchmarks._arena import FAIR_OFFSETS, FAIR_SEEN, Arena, Program, arena, running, worker
from benchmarks._broker import BROKERS
from benchmarks._database import hush
from benchmarks._events import by_partition, messages
from benchmarks._hand import by_hand
from benchmarks._processes import load
from benchmarks._table import Rate, ratio, show
from benchmarks._transport import compare_reading
from sandbox.broker import Broker
from sandbox.postgres import PostgresServer, postgres
from sandbox.process import PartMissing

EVENTS = int(os.environ.get("BENCH_EVENTS", "200000"))
NAIVE_EVENTS = 3_000
# What was counted for one contender is not cleaned up while the next one counts.
_SERVER = {"autovacuum": "off", "max_wal_size": "8GB", "checkpoint_timeout": "1h"}
QUIX_PYTHON = Path(os.environ.get("BENCH_QUIX_PYTHON", ".cache/quix/bin/python"))
_HAS_QUIX = QUIX_PYTHON.exists()
_NAIVE = Program([sys.executable, "-m", "benchmarks._naive_faust"], "naive", FAIR_SEEN)
_QUIX = Program([str(QUIX_PYTHON), "-m", "benchmarks._quix"], "quix", FAIR_OFFSETS)


class Comparison:
    """All contenders on one kind of broker.

    Args:
        name: of the broker, as a part of a database's name.
        start: starts one.
        server: has a database for each contender.
    """

    def __init__(
        self,
        name: str,
        start: Callable[[], AbstractContextManager[Broker]],
        server: PostgresServer,
    ) -> None:
        self._name = name
        self._start = start
        self._server = server
        self._records = by_partition(messages(EVENTS))

    def _arena(self, name: str) -> AbstractAsyncContextManager[Arena]:
        return arena(self._server, self._start, f"{self._name}_{name}")

    async def by_hand(self) -> tuple[Rate, Rate]:
        """Compare reading, then count by hand: the least, and the fair peer."""
        places = list(self._records)
        async with self._arena("least") as place:
            await place.fill(self._records)
            await compare_reading(place.broker.address, places, EVENTS)
            least = await by_hand("by hand, the least", _peers.merge, place, places, EVENTS)
        async with self._arena("fair") as place:
            await place.fill(self._records)
            fair = await by_hand("by hand, fair", _fair_peer.merge, place, places, EVENTS)
        return least, fair

    async def processes(self, name: str, program: Program, events: int = EVENTS) -> Rate:
        """Count with processes of a program."""
        rate = Rate(name)
        records = self._records if events == EVENTS else by_partition(messages(events))
        # What is sent twice is one row where rows are looked at.
        units = (
            len({value for values in records.values() for value in values})
            if program.progress == FAIR_SEEN
            else events
        )
        async with (
            self._arena(name.replace(" ", "_")) as place,
            running(place, program) as found,
        ):
            await found.race(place, records, rate, units)
            if program.group == "laurel-worker":
                found.print_memory(name)
        return rate


async def on(
    name: str, start: Callable[[], AbstractContextManager[Broker]], server: PostgresServer
) -> None:
    """Compare on one kind of broker."""
    print(f" {name}, {EVENTS} events, {load()}")
    field = Comparison(name.partition(" ")[0].lower(), start, server)
    least, fair = await field.by_hand()
    ours = await field.processes("laurel worker", worker())
    one = await field.processes("one worker, one writer", worker(worker__writers="1"))
    two = await field.processes("two workers, one writer each", worker(2, worker__writers="1"))
    naive = await field.processes("naive Faust", _NAIVE, NAIVE_EVENTS)
    peers = [least, fair, naive]
    if _HAS_QUIX:
        peers.append(await field.processes("Quix Streams, same merge", _QUIX))
    else:
        print(f"  Quix Streams is left out: there is no {QUIX_PYTHON} (`make bench` makes it).")
    print(f"  afterwards {load()}")
    show([ours, one, two, *peers])
    ratio(ours, least, "0.5 at least, 0.9")
    ratio(ours, fair, "0.8 at least, 1.0")
    for peer in peers[2:]:
        ratio(ours, peer, "50 at least, 100" if peer is naive else "1.0 at least, 1.5")
    ratio(two, one, "1.5 at least, 1.8")
    ratio(ours, one)


async def main() -> None:
    """Compare on each broker."""
    for name, start in BROKERS.items():
        try:
            with postgres(settings=_SERVER) as server:
                await on(name, start, server)
        except PartMissing as error:
            print(f" {name} is left out: {error.message}")


if __name__ == "__main__":
    hush()
    asyncio.run(main())
