"""`laurel worker` as a process, and what a test asks of it and of the database."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from sqlalchemy import text

from ops.settings import Settings
from processor.stream import topics
from sandbox import ports
from store.engine import Database
from tests.builders.messages import encoded, topic_of
from tests.builders.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Site:
    """Where a worker works: a broker, a database, and topics under a prefix of their own."""

    brokers: str
    database_url: str
    prefix: str

    @property
    def environment(self) -> dict[str, str]:
        """The settings as a person would set them."""
        return {
            "LAUREL_DATABASE_URL": self.database_url,
            "LAUREL_KAFKA_BROKERS": self.brokers,
            "LAUREL_KAFKA__TOPIC_PREFIX": self.prefix,
            "LAUREL_KAFKA__CONSUMER_GROUP": self.prefix,
            "LAUREL_KAFKA__PARTITIONS": "2",
            "LAUREL_LOG__FORMAT": "json",
        }

    def topic(self, message: Mapping[str, Any]) -> str:
        """The topic of a message, under this site's prefix."""
        return topic_of(message).replace("laurel", self.prefix, 1)

    async def make_topics(self) -> None:
        """What `laurel topics create` does."""
        settings = Settings(
            kafka_brokers=self.brokers,
            kafka={"topic_prefix": self.prefix, "partitions": 2},
        )
        await topics.prepare(settings, dry_run=False)


@dataclass(frozen=True, slots=True)
class RunningWorker:
    """A worker process; its log is JSON lines."""

    process: subprocess.Popen[bytes]
    log_path: Path
    url: str

    def kill(self) -> None:
        """SIGKILL, and wait."""
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def stop(self) -> int:
        """SIGTERM, and wait; return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The log lines of one event."""
        lines = (line for line in self.log_path.read_text().splitlines() if line.startswith("{"))
        return [entry for entry in map(json.loads, lines) if entry["event"] == event]

    async def ready(self) -> dict[str, Any]:
        """What /ready says; empty while nobody listens."""
        return await asyncio.to_thread(self._get)

    async def metrics(self, prefix: str) -> list[str]:
        """The lines of /metrics that begin with `prefix`; none while nobody listens."""
        return [line for line in await asyncio.to_thread(self._lines) if line.startswith(prefix)]

    def _lines(self) -> list[str]:
        try:
            with urllib.request.urlopen(f"{self.url}/metrics", timeout=PATIENCE_S) as answer:
                return answer.read().decode().splitlines()  # type: ignore[no-any-return]
        except OSError:
            return []

    def _get(self) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(f"{self.url}/ready", timeout=PATIENCE_S) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            with error:
                return dict(json.load(error))
        except OSError:
            return {}


@contextmanager
def a_worker(site: Site, log_path: Path, **environment: str) -> Iterator[RunningWorker]:
    """Run `laurel worker`; it is killed at the end of the block if it still runs."""
    with ports.reserved() as port:
        variables = os.environ | site.environment | {"LAUREL_HTTP__PORT": str(port)} | environment
        with log_path.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "cli", "worker"],
                cwd=ROOT,
                env=variables,
                stdout=log,
                stderr=log,
            )
        worker = RunningWorker(process, log_path, f"http://127.0.0.1:{port}")
        try:
            yield worker
        finally:
            if process.poll() is None:
                worker.kill()


@asynccontextmanager
async def a_producer(site: Site, **options: Any) -> AsyncIterator[AIOKafkaProducer]:
    """A producer on the site's broker."""
    producer = AIOKafkaProducer(bootstrap_servers=site.brokers, linger_ms=5, **options)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def produce(site: Site, messages: Iterable[Mapping[str, Any]]) -> None:
    """Send messages to their topics, keyed by their users."""
    async with a_producer(site) as producer:
        sent = [
            await producer.send(
                site.topic(message), encoded(message), key=str(message["subject"]).encode()
            )
            for message in messages
        ]
        await asyncio.gather(*sent)


async def until(
    reached: Callable[[], Awaitable[bool]], word: str, worker: RunningWorker | None = None
) -> None:
    """Wait until `reached`.

    Fail with the worker's log after PATIENCE_S, or once the worker is gone.
    """
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not await reached():
                if worker is not None and worker.process.poll() is not None:
                    raise AssertionError(
                        f"the worker ended with {worker.process.returncode}\n{_tail(worker)}"
                    )
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"{word}: not reached\n{_tail(worker)}") from None


def _tail(worker: RunningWorker | None) -> str:
    return "" if worker is None else "\n".join(worker.log_path.read_text().splitlines()[-30:])


async def until_waits(worker: RunningWorker, part: str, *words: str) -> None:
    """Wait until /ready says that the worker waits for `part`, with all of `words`."""

    async def says() -> bool:
        reason = (await worker.ready()).get("waits", {}).get(part)
        return reason is not None and all(word in reason for word in words)

    await until(says, f"a wait for {part} that says {words}", worker)


async def until_ready(*workers: RunningWorker) -> None:
    """Wait until all of `workers` are ready at once."""

    async def ready() -> bool:
        return all([(await each.ready()).get("ready") for each in workers])

    await until(ready, "ready workers", workers[-1])


async def counted(database: Database) -> int:
    """How many events were counted."""
    async with database.transaction() as conn:
        return int((await conn.execute(text("SELECT count(*) FROM processed_event"))).scalar_one())


async def until_at_least(
    read: Callable[[], Awaitable[int]], number: int, what: str, worker: RunningWorker | None
) -> None:
    """Wait until `read` has grown to `number`.

    Fail as `until` does, where it does not grow for PATIENCE_S.
    """
    found = await read()
    while found < number:

        async def grown(before: int = found) -> bool:
            return await read() > before

        await until(grown, f"{number} {what}, after {found}", worker)
        found = await read()


async def until_counted(
    database: Database, number: int, worker: RunningWorker | None = None
) -> None:
    """Wait until that many events are counted."""
    await until_at_least(lambda: counted(database), number, "events counted", worker)


async def until_read(database: Database, number: int, worker: RunningWorker | None = None) -> None:
    """Wait until the ledger stands after that many records in all."""

    async def read() -> int:
        async with database.transaction() as conn:
            found = await conn.execute(
                text("SELECT coalesce(sum(next_offset), 0) FROM offset_ledger")
            )
            return int(found.scalar_one())

    await until_at_least(read, number, "records read", worker)


async def make_anew(site: Site) -> None:
    """Delete the topic of quests and make it again, as somebody who cleans up does."""
    admin = AIOKafkaAdminClient(bootstrap_servers=site.brokers)
    await admin.start()
    try:
        topic = f"{site.prefix}.quests"
        await admin.delete_topics([topic])

        async def made() -> bool:
            # A deletion goes on after its answer: until then the topic "exists".
            answer = await admin.create_topics([NewTopic(topic, 2, 1)])
            return all(code == 0 for _, code, *_ in answer.topic_errors)

        await until(made, "the topic made anew")
    finally:
        await admin.close()
