"""From an event to its committed level, at a trickle and at a thousand events a second.

A badge's commit timestamp less the `time` of the event that raised it, which is written when the
event is sent; where the time goes; and who used the cores meanwhile. At the lower rate the cores
are idle: what it takes there, no core more would take away.

Tansu lets a fetch that found nothing wait to its end (kafka.fetch_max_wait, 50 ms) also where a
record comes meanwhile; Apache Kafka answers at once.
"""

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import psycopg
from aiokafka import AIOKafkaProducer

from benchmarks._arena import Arena, Contender, arena, running, worker
from benchmarks._broker import BROKERS
from benchmarks._database import hush
from benchmarks._events import messages
from benchmarks._processes import Usage, load, machine_seconds
from sandbox.broker import Broker
from sandbox.postgres import postgres
from sandbox.process import PartMissing

RATES = [int(rate) for rate in os.environ.get("BENCH_RATES", "100,1000").split(",")]
SECONDS = float(os.environ.get("BENCH_SECONDS", "20"))
AIM_MS = 100
_USERS = 2  # for each event a second: few enough that many of them rise
_TICK_S = 0.005
_WARM_S = 5.0
_SAMPLED = 20  # of so many events, one's acknowledgment is waited for
_COMMITTED = """
    SELECT source_event_id, extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8
      FROM nft_instance
"""
_BATCHES = """
    SELECT extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8, count(*)
      FROM processed_event GROUP BY xmin::text, 1 ORDER BY 1
"""
# As a reader of a table of latencies expects them.
_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}


@dataclass(slots=True)
class Sent:
    """What was sent: when each event was, by id, and how long the broker took to take some."""

    at: dict[str, float] = field(default_factory=dict)
    taken_s: list[float] = field(default_factory=list)
    began: float = 0.0

    async def note(self, taken: "asyncio.Future[object]") -> None:
        """Wait until the broker has an event."""
        began = time.perf_counter()
        await taken
        self.taken_s.append(time.perf_counter() - began)


async def send(address: str, rate: int) -> Sent:
    """Send events of now, as many a second as `rate`, for the time of the measurement."""
    sent, encode = Sent(), msgspec.json.Encoder().encode
    waiting = [
        (message, msgspec.json.decode(message.value))
        for message in messages(round(rate * (_WARM_S + SECONDS)), users=_USERS * rate)
    ]
    producer = AIOKafkaProducer(bootstrap_servers=address, acks="all")
    await producer.start()
    try:
        began, noted = time.perf_counter(), []
        sent.began = time.time()
        for number, (message, event) in enumerate(waiting):
            due = began + number / rate
            if due - time.perf_counter() > _TICK_S:
                await asyncio.sleep(_TICK_S)
            now = datetime.now(UTC)
            event["time"] = now.isoformat()
            taken = await producer.send(message.topic, encode(event), partition=message.partition)
            sent.at.setdefault(event["id"], now.timestamp())
            if number % _SAMPLED == 0:
                noted.append(asyncio.create_task(sent.note(taken)))
        await asyncio.gather(*noted)
    finally:
        await producer.stop()
    return sent


def quantiles(values: Sequence[float]) -> str:
    """Return the quantiles of seconds, in milliseconds."""
    ordered = sorted(values)
    if not ordered:
        return "nothing was measured"
    found = {name: ordered[int(part * (len(ordered) - 1))] for name, part in _QUANTILES.items()}
    return "  ".join(f"{name} {1000 * value:6.1f}" for name, value in found.items())


def transactions(log: Path) -> list[float]:
    """Return the seconds of each batch's transaction, as the worker wrote them down."""
    lines = (line for line in log.read_bytes().splitlines() if b"batch_committed" in line)
    return [float(msgspec.json.decode(line)["seconds"]) for line in lines]


async def measure(place: Arena, rate: int, log: Path) -> None:
    """Let one worker count at `rate`, and print what it took."""
    program = worker(log__level="DEBUG", log__format="json")
    async with running(place, program, log) as found:
        busy, before = machine_seconds(), place.used(found.pids)
        began, own = time.perf_counter(), time.process_time()
        sent = await send(place.broker.address, rate)
        seconds = time.perf_counter() - began
        used = place.used(found.pids) - before
        own = time.process_time() - own
        after = machine_seconds()
        await counted(place, found, rate)
    async with await psycopg.AsyncConnection.connect(place.url) as conn:
        levels = await (await conn.execute(_COMMITTED)).fetchall()
        batches = await (await conn.execute(_BATCHES)).fetchall()
    print_latency(rate, sent, dict(levels))
    print_way(sent, batches, transactions(log))
    print_cores(used, own, seconds, busy=after[0] - busy[0])


async def counted(place: Arena, found: Contender, rate: int) -> None:
    """Return once the last event is counted."""
    async with await psycopg.AsyncConnection.connect(place.url, autocommit=True) as conn:
        await found.reach(conn, round(rate * (_WARM_S + SECONDS)))


def print_latency(rate: int, sent: Sent, levels: Mapping[str, float]) -> None:
    """Print the quantiles of those that were sent once everything was warm."""
    found = [
        committed - sent.at[event]
        for event, committed in levels.items()
        if sent.at[event] >= sent.began + _WARM_S
    ]
    print(f"  {rate} events/s: {quantiles(found)} ms, {len(found)} badges (aim: p99 {AIM_MS} ms)")


def print_way(sent: Sent, batches: Sequence[tuple[float, int]], seconds: Sequence[float]) -> None:
    """Print the parts of the way that can be seen from outside."""
    moments = [moment for moment, _ in batches if moment >= sent.began + _WARM_S]
    sizes = sorted(size for moment, size in batches if moment >= sent.began + _WARM_S)
    between = [later - earlier for earlier, later in pairwise(moments)]
    print(f"    until the broker has it   {quantiles(sent.taken_s)}")
    print(f"    the transaction           {quantiles(seconds)}")
    print(f"    between two commits       {quantiles(between)}")
    print(f"    records of a batch: median {sizes[len(sizes) // 2] if sizes else 0}")


def print_cores(used: Usage, own: float, seconds: float, *, busy: float) -> None:
    """Print how many cores everybody had."""
    print(
        f"    cores: worker {used.client / seconds:.2f}, PostgreSQL {used.database / seconds:.2f}, "
        f"broker {used.broker / seconds:.2f}, the sender {own / seconds:.2f}; "
        f"of the machine {busy / seconds:.2f} were busy of {os.cpu_count()}"
    )


async def on(name: str, start: Callable[[], AbstractContextManager[Broker]]) -> None:
    """Measure at each rate, on one kind of broker."""
    print(f" {name}, one worker, PostgreSQL with fsync, {SECONDS:.0f} s each; {load()}")
    with postgres(settings={"track_commit_timestamp": "on"}) as server, TemporaryDirectory() as at:
        for rate in RATES:
            async with arena(server, start, f"at_{rate}") as place:
                await measure(place, rate, Path(at) / f"{rate}.log")


async def main() -> None:
    """Measure on each broker."""
    for name, start in BROKERS.items():
        try:
            await on(name, start)
        except PartMissing as error:
            print(f" {name} is left out: {error.message}")


if __name__ == "__main__":
    hush()
    asyncio.run(main())
