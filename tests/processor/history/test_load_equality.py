"""Whatever is loaded, by whatever catalog, beside whatever the stream counts before and after: the
database holds, row by row, what the stream's pipeline makes of the same events.

Two databases are told the same. In one the history is loaded, out of DuckDB or of a plain list; in
the other a pipeline that is as silent counts it in one batch: that is how a load names the source
of a badge.
"""

import os
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from ops.settings import DEFAULT_TENANT
from processor.catalog.job import JobRunner
from processor.history.slice_transaction import Speech
from sandbox.postgres import PostgresServer
from store import catalogs, migrations
from store.catalogs import CountersPending
from store.engine import Database
from store.exact_json import dumped
from tests.builders.chance import USERS, CatalogTeller, MessageTeller, compiled
from tests.builders.clock import FakeClock
from tests.builders.databases import empty_database
from tests.builders.equality import found, only_in
from tests.builders.loads import loaded, read_of, table_of
from tests.builders.messages import NOW, Log, a_pipeline, a_wallet, an_address, count, open_ledger
from tests.builders.plain_rules import Message, Rules
from tests.builders.sql import column

SEEDS = range(300) if "LONG_TESTS" in os.environ else range(8)
STEPS = 12
SPEECHES = (Speech(), Speech(), Speech(publish=True), Speech(mint=True), Speech(True, True))
MARKED = "SELECT name FROM counter_definition WHERE has_counted ORDER BY name"
LATER = "SELECT count(*) FROM nft_mint_queue WHERE priority NOT IN (0, 100)"

_OPEN_JOB = "SELECT 1 FROM catalog_job WHERE state NOT IN ('done', 'superseded')"


@pytest.fixture(scope="session")
def database_server(any_postgres: PostgresServer) -> PostgresServer:
    return any_postgres


@pytest.fixture
async def other(database_server: PostgresServer) -> AsyncIterator[Database]:
    """Another database, where the stream counts what is loaded into the first."""
    async with empty_database(database_server) as url:
        await migrations.upgrade(url)
        async with Database(url) as opened:
            yield opened


class Twins:
    """Two databases that are told the same."""

    def __init__(self, loading: Database, streaming: Database, chance: random.Random) -> None:
        self._loading, self._streaming = loading, streaming
        self._both = (loading, streaming)
        self._logs = {each: Log() for each in self._both}
        self._chance = chance
        self._catalogs = CatalogTeller(chance)
        self._messages = MessageTeller(chance)
        self._rules = self._catalogs.first()

    async def begin(self) -> None:
        await self._apply(self._rules)
        for each in self._both:
            wallets = [a_wallet(user, an_address(n)) for n, user in enumerate(USERS[:2])]
            self._logs[each].append(*wallets)
            await count(each, self._logs[each])

    async def step(self) -> None:
        steps = (self.stream, self.load, self.catalog, self.work)
        (step,) = self._chance.choices(steps, (30, 50, 12, 8))
        await step()

    async def stream(self) -> None:
        if self._chance.random() < 0.3:
            self._messages.somebody_joins()
        messages = _encoded(self._messages.some(self._chance.randint(1, 12)))
        for each in self._both:
            self._logs[each].append(*messages, topic="laurel.any")
            await count(each, self._logs[each], await a_pipeline(each, topic_prefix=None))

    async def load(self) -> None:
        speech = self._chance.choice(SPEECHES)
        told = self._messages.some(self._chance.randint(1, 30))
        messages = _encoded(_without_contradictions(told))
        read = await read_of(self._loading, messages, self._chance.randint(1, 4))
        if self._chance.random() < 0.5:
            with table_of(read, slice_events=10) as table:
                report = await loaded(self._loading, table, speech)
        else:
            report = await loaded(self._loading, read, speech)
        log = self._logs[self._streaming]
        log.append(*messages, topic="laurel.file")
        options: dict[str, Any] = {"publish": speech.publish, "mint": speech.mint}
        pipeline = await a_pipeline(self._streaming, topic_prefix=None, **options)
        (chunk,) = log.chunks()
        await open_ledger(self._streaming, [chunk])
        outcome = await pipeline.run([chunk])
        assert (report.counted, report.levels.total()) == (outcome.counted, outcome.levels)
        # A repetition within the input is one also where what it repeats is refused.
        left_out = report.known + report.repeated + report.refused.total()
        assert left_out == outcome.duplicates + len(outcome.rejected)
        assert report.finished

    async def catalog(self) -> None:
        self._rules = self._catalogs.following(self._rules)
        await self._apply(self._rules)

    async def work(self) -> None:
        for each in self._both:
            await JobRunner(each, DEFAULT_TENANT, FakeClock(NOW)).work_off()

    async def differences(self) -> dict[str, tuple[Any, Any]]:
        held, wanted = [await found(each) for each in self._both]
        for each in (held, wanted):
            # The stream keeps what it rejects; a load names it.
            del each["dead letters"]
        return {
            name: (only_in(held[name], wanted[name]), only_in(wanted[name], held[name]))
            for name in wanted
            if held[name] != wanted[name]
        }

    async def _apply(self, rules: Rules) -> None:
        for each in self._both:
            try:
                await _applied(each, rules)
            except CountersPending:
                runner = JobRunner(each, DEFAULT_TENANT, FakeClock(NOW))
                await runner.work_off(only_counters=True)
                await _applied(each, rules)


async def _applied(database: Database, rules: Rules) -> None:
    async with database.transaction() as conn:
        await catalogs.apply(conn, compiled(rules), "admin")


def _encoded(messages: Sequence[Message]) -> list[bytes]:
    return [dumped(each).encode() for each in messages]


def _without_contradictions(messages: Sequence[Message]) -> list[Message]:
    """Return messages of which no two say different things under one identity.

    Of such two a load refuses the second, even where it repeats what was counted before.
    """
    firsts: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    kept = []
    for each in messages:
        identity = each.get("tenantid"), each["source"], each["id"]
        said = each["type"], each["subject"]
        if firsts.setdefault(identity, said) == said:
            kept.append(each)
    return kept


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_load_leaves_what_the_stream_leaves(
    database: Database, other: Database, seed: int
) -> None:
    twins = Twins(database, other, random.Random(seed))
    await twins.begin()
    for _ in range(STEPS):
        await twins.step()
        # A batch takes counters over for whoever it names, a load for those whom it gives something.
        if not await column(database, _OPEN_JOB):
            assert await twins.differences() == {}
    await twins.work()
    assert await twins.differences() == {}
    assert await column(database, MARKED) == await column(other, MARKED)
    assert await column(database, LATER) == [0]
