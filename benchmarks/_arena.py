"""Where processes that count are measured from outside: a broker, a database, who used the cores.

Each contender has a broker and a database of its own. It joins its group while the topics are
empty, is stopped (SIGSTOP) while they are filled, and is measured from there on: its start and the
group's take as long with a thousand events as with a million.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import LiteralString

import psycopg
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError
from pydantic import SecretStr

from benchmarks._broker import fill
from benchmarks._database import database
from benchmarks._events import PARTITIONS, Partition
from benchmarks._processes import Usage, cpu_seconds, peak_memory
from benchmarks._table import Rate
from ops.kafka_settings import KafkaSettings
from ops.settings import Settings
from processor.stream import topics
from sandbox.broker import Broker
from sandbox.postgres import PostgresServer

ROOT = Path(__file__).parents[1]
_POLL_S = 0.02
# A group that Tansu was asked about before it had a member never forms.
_START_S = 4.0
_JOIN_POLL_S = 0.5
_STOP_S = 30.0

# How many records are counted.
LEDGER: LiteralString = "SELECT coalesce(sum(next_offset), 0) FROM offset_ledger"
FAIR_OFFSETS: LiteralString = "SELECT coalesce(sum(next_offset), 0) FROM fair_offsets"
FAIR_SEEN: LiteralString = "SELECT count(*) FROM fair_seen"
Records = Mapping[Partition, Sequence[bytes]]


@dataclass(frozen=True, slots=True)
class Arena:
    """A broker with empty topics, and a database that nothing was counted into."""

    broker: Broker
    server: PostgresServer
    url: str

    def used(self, clients: Sequence[int], *, alone: bool = False) -> Usage:
        """Return what CPU was used until now; `alone`: see cpu_seconds."""
        return Usage(
            cpu_seconds(clients, alone=alone),
            cpu_seconds([self.server.pid]),
            cpu_seconds([self.broker.pid]),
        )

    async def fill(self, records: Records) -> None:
        """Write all records."""
        await fill(self.broker.address, records)


@asynccontextmanager
async def arena(
    server: PostgresServer, start: Callable[[], AbstractContextManager[Broker]], name: str
) -> AsyncIterator[Arena]:
    """Make an arena with a database called `name`."""
    with start() as found:
        async with database(server, name):
            url = server.url_of(name)
            settings = Settings(
                database_url=SecretStr(url),
                kafka_brokers=found.address,
                kafka=KafkaSettings(partitions=PARTITIONS),
            )
            await topics.prepare(settings, dry_run=False)
            async with await psycopg.AsyncConnection.connect(url, autocommit=True) as conn:
                # The writes of whoever came before are not this one's.
                await conn.execute("CHECKPOINT")
            yield Arena(found, server, url)


class Contender:
    """Processes that read the topics and count.

    Args:
        processes: all that share the work.
        progress: says how many records they have counted: LEDGER, FAIR_OFFSETS, FAIR_SEEN.
    """

    def __init__(
        self, processes: Sequence[asyncio.subprocess.Process], progress: LiteralString
    ) -> None:
        self._processes = processes
        self._progress = progress

    @property
    def pids(self) -> list[int]:
        """Return the pids of its processes."""
        return [process.pid for process in self._processes]

    def send(self, number: signal.Signals) -> None:
        """Send a signal to all."""
        for process in self._processes:
            process.send_signal(number)

    async def join(self, address: str, group: str) -> None:
        """Return once all of them are members of `group`, and the group has formed."""
        await asyncio.sleep(_START_S)
        admin = AIOKafkaAdminClient(bootstrap_servers=address)
        await admin.start()
        try:
            while True:
                self._check()
                with suppress(GroupCoordinatorNotAvailableError):  # Kafka's first group
                    (answer,) = await admin.describe_consumer_groups([group])
                    ((_error, _group, state, _type, _protocol, members, *_),) = answer.groups
                    if state == "Stable" and len(members) == len(self._processes):
                        return
                await asyncio.sleep(_JOIN_POLL_S)
        finally:
            await admin.close()

    async def reach(self, conn: psycopg.AsyncConnection[tuple[int]], counted: int) -> None:
        """Return once so many records are counted."""
        while True:
            (found,) = await (await conn.execute(self._progress)).fetchone() or (0,)
            if found >= counted:
                return
            self._check()
            await asyncio.sleep(_POLL_S)

    def _check(self) -> None:
        for process in self._processes:
            if process.returncode is not None:
                raise ChildProcessError(f"a contender ended with {process.returncode}")

    async def race(self, place: Arena, records: Records, rate: Rate, units: int) -> None:
        """Add to `rate` how the processes, which have joined their group, count `units` records."""
        async with await psycopg.AsyncConnection.connect(place.url, autocommit=True) as conn:
            self.send(signal.SIGSTOP)
            try:
                await place.fill(records)
            finally:
                self.send(signal.SIGCONT)
            before, began = place.used(self.pids), time.perf_counter()
            await self.reach(conn, units)
            used = place.used(self.pids) - before
            rate.add(units, time.perf_counter() - began, used.client)
            rate.backend_seconds += used.database
            rate.broker_seconds += used.broker

    def print_memory(self, name: str) -> None:
        """Print the most memory that each process had."""
        found = " and ".join(f"{peak_memory(pid) / 1024**2:.0f}" for pid in self.pids)
        print(f"  {name}: at most {found} MiB")


@dataclass(frozen=True, slots=True)
class Program:
    """How a contender is run: `command`, so many times, as members of `group`."""

    command: Sequence[str]
    group: str
    progress: LiteralString
    number: int = 1
    variables: Mapping[str, str] = field(default_factory=dict)


def worker(number: int = 1, **variables: str) -> Program:
    """Return `laurel worker`, with settings of its own (`worker__writers="1"`)."""
    own = {f"LAUREL_{name.upper()}": value for name, value in variables.items()}
    quiet = {"LAUREL_LOG__LEVEL": "ERROR", "LAUREL_HTTP__ENABLED": "false"}
    command = [sys.executable, "-m", "cli", "worker"]
    return Program(command, "laurel-worker", LEDGER, number, quiet | own)


@asynccontextmanager
async def running(
    place: Arena, program: Program, log: Path | None = None
) -> AsyncIterator[Contender]:
    """Run a program; yield once its group has formed. `log`: where its output goes."""
    own = {"LAUREL_DATABASE_URL": place.url, "LAUREL_KAFKA_BROKERS": place.broker.address}
    variables = {**os.environ, **own, **program.variables}
    processes: list[asyncio.subprocess.Process] = []
    output = None if log is None else log.open("ab")
    try:
        for _ in range(program.number):
            process = await asyncio.create_subprocess_exec(
                *program.command, cwd=ROOT, env=variables, stdout=output, stderr=output
            )
            processes.append(process)
        found = Contender(processes, program.progress)
        await found.join(place.broker.address, program.group)
        yield found
    finally:
        for process in processes:
            await _end(process)
        if output is not None:
            output.close()


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGCONT)
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _STOP_S)
    except TimeoutError:
        process.kill()
        await process.wait()
