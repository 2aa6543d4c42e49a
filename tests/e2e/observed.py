"""All of Laurel on embedded parts, with a real Prometheus that scrapes it, and something to see.

tests/e2e/test_observability.py asks it what boards and alerts ask; docs/boards.py draws it.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from demo import wallets
from demo.stack.processes import Stack, stack
from demo.stack.setup import prepare, start_services
from demo.stack.threads import entered
from sandbox.directories import data_directory
from store import inspection, testing
from store.engine import Database
from tests.builders.messages import a_command, a_partner, a_wallet, user
from tests.builders.prometheus import Prometheus, prometheus
from tests.e2e.workers import Site, a_producer, produce, until

# By the catalog as it is shipped: an Ambassador III, whose badge is minted by itself.
_PARTNERS = 6


@dataclass(frozen=True, slots=True)
class Observed:
    """A running stack and the Prometheus that scrapes it; made by `observed`."""

    stack: Stack
    prometheus: Prometheus

    @property
    def site(self) -> Site:
        """Where its workers work."""
        running = self.stack
        return Site(running.broker.address, running.database_url, running.topic_prefix)

    async def earn(self, users: Iterable[int]) -> None:
        """Let each of `users` earn a badge that is minted: held until there is a wallet."""
        await self.send(a_partner(user(each)) for each in users for _ in range(_PARTNERS))

    async def link(self, users: Iterable[int]) -> None:
        """Link a wallet of each of `users`, now."""
        now = datetime.now(UTC)
        await self.send(a_wallet(user(each), wallets.address(each), now) for each in users)

    async def send(self, messages: Iterable[Mapping[str, Any]]) -> None:
        """Send messages to their topics."""
        await produce(self.site, messages)

    async def send_nonsense(self, count: int = 1) -> None:
        """Send what becomes a dead letter."""
        async with a_producer(self.site) as producer:
            for _ in range(count):
                await producer.send_and_wait(f"{self.site.prefix}.partners", b"no JSON")

    async def ask_too_early(self, users: Iterable[int]) -> None:
        """Ask for tokens of badges that are not there: commands that wait."""
        await self.send(a_command("mint", user(each), type_code="ambassador") for each in users)

    async def lose_token_id(self) -> bool:
        """Let a badge's row forget its token, which reconcile finds; False where there is none."""
        async with Database(self.stack.database_url) as database, database.transaction() as conn:
            found = await inspection.snapshot(conn)
            named = next((badge for badge in found.badges if badge.token_id), None)
            return named is not None and await testing.drop_token_id(conn, named.id)

    async def until(self, expression: str) -> None:
        """Wait until `expression` has data.

        Raises:
            PartFailed: a process ended meanwhile.
        """

        async def has_data() -> bool:
            self.stack.check()
            return bool(await asyncio.to_thread(self.prometheus.query, expression))

        await until(has_data, expression)

    @asynccontextmanager
    async def without_database(self) -> AsyncIterator[None]:
        """Let nobody into the database while the block runs, and end who is in it."""
        with psycopg.connect(self.stack.postgres.url_of("template1"), autocommit=True) as door:
            name = self.stack.database_url.rpartition("/")[2]
            closing = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
            door.execute(closing.format(sql.Identifier(name), sql.SQL("false")))
            try:
                door.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                    [name],
                )
                yield
            finally:
                door.execute(closing.format(sql.Identifier(name), sql.SQL("true")))

    @contextmanager
    def without_chain(self) -> Iterator[None]:
        """Let the TON network stand still while the block runs."""
        os.kill(self.stack.ton.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.stack.ton.pid, signal.SIGCONT)


@asynccontextmanager
async def observed(
    server: Path,
    *,
    workers: int = 1,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[Observed]:
    """Run the stack with a Prometheus while the block runs.

    Args:
        server: Prometheus' program.
        workers: how many there are.
        environment: settings beside those of the stack.

    Raises:
        PartMissing: a part is not installed here.
    """
    with data_directory("observed", None, keep=False) as directory:
        async with stack(directory) as running:
            running.environment |= environment or {}
            await prepare(running)
            await start_services(running, workers=workers)
            targets: dict[str, dict[str, str]] = {}
            for name, service in running.services.items():
                job = "laurel-minter" if name == "minter" else "laurel-worker"
                targets.setdefault(job, {})[name] = service.url.removeprefix("http://")
            async with entered(prometheus(server, directory / "prometheus", targets)) as scraping:
                made = Observed(running, scraping)
                # Prometheus takes seconds to begin: what happened before has no increase.
                for name in running.services:
                    await made.until(f'up{{instance="{name}"}} == 1')
                yield made
