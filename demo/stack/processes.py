"""Run the embedded parts, and beside them Laurel's own processes and commands.

The processes are those that an operator starts, by the same commands and the same environment
names; nothing here reaches into them. Everything ends with the process that started it, also by
kill -9 (sandbox/process.py).
"""

import asyncio
import os
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path

from demo.stack.threads import entered, to_its_end
from ops.errors import Permanent
from ops.kafka_settings import KafkaSettings
from ops.setting_types import PREFIX
from sandbox.broker import Broker, broker
from sandbox.kafka import kafka
from sandbox.ports import reserved
from sandbox.postgres import PostgresServer, client_program, postgres
from sandbox.process import Child, PartFailed, start
from sandbox.ton.process import TonProcess, ton_network

_ROOT = Path(__file__).parents[2]
# They end a run that hangs; a slow machine needs a fraction of it.
_COMMAND_BOUND = timedelta(minutes=3)
_READY_BOUND = timedelta(minutes=3)
_LOG_LINES = 15
_WORDS_NAME = "wallet.words"
# What a demo does not wait for: a killed worker's partitions are given away when its session is
# over, a killed minter's tasks when its lease is.
_IMPATIENT = {
    "KAFKA__SESSION_TIMEOUT": "PT6S",
    "MINTER__LEASE": "PT8S",
    "MINTER__SEND_TIMEOUT": "PT3S",
    "MINTER__POLL_INTERVAL": "PT0.2S",
    "LIFECYCLE__DRAIN_TIMEOUT": "PT8S",
}


class CommandFailed(Permanent):
    """A command of Laurel's own failed; the message ends with what it said."""

    code = "command_failed"


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a finished command said: its exit code and its standard output.

    The rest is in the log.
    """

    exit_code: int
    output: str


class Service:
    """A process of Laurel that runs until it is ended: a worker or the minter.

    It can be killed and started again.
    """

    def __init__(
        self,
        name: str,
        words: Sequence[str],
        environment: Mapping[str, str],
        port: int,
        log_path: Path,
    ) -> None:
        self.name = name
        self.url = f"http://127.0.0.1:{port}"
        self.log_path = log_path
        self.starts = 0
        self._words = words
        self._environment = environment
        self._port = port
        self._child: Child | None = None

    @property
    def pid(self) -> int | None:
        """Return the process id, None unless it runs."""
        return (
            self._child.pid if self._child is not None and self._child.exit_code() is None else None
        )

    def start(self) -> None:
        """Start it, the first time or again."""
        self._child = start(
            self.name,
            _python(self._words),
            log_path=self.log_path,
            env={**self._environment, f"{PREFIX}HTTP__PORT": str(self._port)},
            cwd=_ROOT,
        )
        self.starts += 1

    async def wait_until_ready(self) -> None:
        """Return once /ready says so.

        Raises:
            PartFailed: it ended, or is not ready in time; the message ends with its log's last
                lines.
        """
        child = self._running()
        await to_its_end(child.wait_until_ready, self._ready, _READY_BOUND)

    async def kill(self) -> None:
        """End it by SIGKILL, as an out-of-memory kill would."""
        await to_its_end(self._running().kill)

    def check(self) -> None:
        """Do nothing while it runs, or after `stop`.

        Raises:
            PartFailed: it ended by itself; the message ends with its log's last lines.
        """
        if self._child is None:
            return
        code = self._child.exit_code()
        if code is not None:
            raise PartFailed(
                f"{self.name} ended with {code}. The end of {self.log_path}:\n"
                f"{self._child.log_tail()}"
            )

    def stop(self) -> None:
        """End it in order, or by force after a bound; one that does not run is fine."""
        if self._child is not None:
            self._child.stop()
            self._child = None

    def _running(self) -> Child:
        if self._child is None:
            raise PartFailed(f"{self.name} was never started")
        return self._child

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/ready", timeout=1) as answer:  # noqa: S310 - our own http URL
                return bool(answer.status == 200)
        except OSError:
            return False


class Stack:
    """Running parts, and the processes and commands that work on them; made by `stack`."""

    def __init__(
        self, directory: Path, parts: "Parts", ports: ExitStack, catalog: Path | None
    ) -> None:
        self.directory = directory
        self.postgres = parts.postgres
        self.broker = parts.broker
        self.ton = parts.ton
        self.services: dict[str, Service] = {}
        self.words_path = directory / _WORDS_NAME
        self.commands_log = directory / "commands.log"
        self.database_url = parts.postgres.url
        self.cluster_id = parts.broker.cluster_id
        self.topic_prefix = KafkaSettings().topic_prefix
        self._ports = ports
        self._commands = count(1)
        self.environment = _clean() | {
            f"{PREFIX}{name}": value
            for name, value in {
                "DATABASE_URL": self.database_url,
                "KAFKA_BROKERS": parts.broker.address,
                "TON_CONFIG": str(parts.ton.config_path),
                "WALLET_MNEMONIC_FILE": str(self.words_path),
                "LOG__FORMAT": "json",
                **({"CATALOG_DIR": str(catalog.absolute())} if catalog else {}),
                **_IMPATIENT,
            }.items()
        }

    def add(self, name: str, *words: str) -> Service:
        """Prepare the service `laurel *words` under `name`; it is started by its own `start`."""
        port = self._ports.enter_context(reserved())
        service = Service(name, words, self.environment, port, self.directory / f"{name}.log")
        self.services[name] = service
        return service

    def check(self) -> None:
        """Do nothing while every service runs.

        Raises:
            PartFailed: one ended by itself.
        """
        for service in self.services.values():
            service.check()

    def use(self, database_url: str) -> None:
        """Let commands, and services that are started from now on, work in another database."""
        self.database_url = database_url
        self.environment[f"{PREFIX}DATABASE_URL"] = database_url

    async def run(self, *words: str) -> CommandResult:
        """Run `laurel *words` to its end.

        Raises:
            CommandFailed: it takes too long.
        """
        return await to_its_end(self._run, f"laurel {' '.join(words)}", _python(words))

    async def client(self, program: str, *words: str) -> None:
        """Run a client program of PostgreSQL to its end, in the server's version.

        Raises:
            CommandFailed: it failed, or takes too long.
        """
        said = await to_its_end(self._run, program, [client_program(program), *words])
        if said.exit_code != 0:
            raise CommandFailed(f"{program} ended with {said.exit_code}:\n{self.talk()}")

    async def must(self, *words: str) -> str:
        """Run `laurel *words` and return what it printed.

        Raises:
            CommandFailed: its exit code is not 0.
        """
        said = await self.run(*words)
        if said.exit_code != 0:
            raise CommandFailed(
                f"laurel {' '.join(words)} ended with {said.exit_code}:\n{said.output}{self.talk()}"
            )
        return said.output

    def talk(self) -> str:
        """Return the last lines of what the commands said beside their results."""
        lines = self.commands_log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_LOG_LINES:])

    def _run(self, said: str, command: Sequence[str | Path]) -> CommandResult:
        output = self.directory / f"command-{next(self._commands)}.out"
        child = start(
            said,
            command,
            log_path=self.commands_log,
            env=self.environment,
            cwd=_ROOT,
            output_path=output,
        )
        try:
            code = child.wait(_COMMAND_BOUND)
        finally:
            child.kill()
        if code is None:
            raise CommandFailed(
                f"{said} takes longer than {_COMMAND_BOUND.total_seconds():g} s:\n{self.talk()}"
            )
        return CommandResult(code, output.read_text(encoding="utf-8"))


@dataclass(frozen=True, slots=True)
class Parts:
    """The embedded parts, running."""

    postgres: PostgresServer
    broker: Broker
    ton: TonProcess


@asynccontextmanager
async def stack(
    directory: Path,
    *,
    real_kafka: bool = False,
    keep_data: bool = False,
    catalog: Path | None = None,
) -> AsyncIterator[Stack]:
    """Run the parts while the block runs; its services are ended first, in order.

    Args:
        directory: for logs and data; every user may pass it, PostgreSQL does not run as root.
        real_kafka: a real Apache Kafka instead of Tansu.
        keep_data: leave what the database and the broker wrote.
        catalog: another one than the shipped.

    Raises:
        PartMissing: a part is not installed here.
        PartFailed: a part did not start.
    """
    opened = _parts(directory, real_kafka=real_kafka, keep_data=keep_data)
    with ExitStack() as ports:
        async with entered(opened) as parts:
            running_stack = Stack(directory, parts, ports, catalog)
            try:
                yield running_stack
            finally:
                await asyncio.gather(
                    *(to_its_end(service.stop) for service in running_stack.services.values())
                )


@contextmanager
def _parts(directory: Path, *, real_kafka: bool, keep_data: bool) -> Iterator[Parts]:
    with ExitStack() as parts:
        database = parts.enter_context(postgres(directory / "postgresql", keep=keep_data))
        kind = kafka if real_kafka else broker
        running_broker = parts.enter_context(kind(directory / "broker", keep=keep_data))
        yield Parts(database, running_broker, parts.enter_context(ton_network(directory / "ton")))


def _clean() -> dict[str, str]:
    """Return the environment without settings of the user's own Laurel.

    Nothing here may reach their servers.
    """
    return {
        name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)
    }


def _python(words: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "cli", *words]
