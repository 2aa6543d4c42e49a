"""Whatever came before a counter and after it, in whatever sources it is filled from: at the end the
database holds what one holds that has had the counter from the beginning.

Catalogs of chance follow each other; the second one brings counters of every kind, and types that take
over others. Messages are counted by the pipeline before it and after it, between the slices of fills,
and between those in which they are closed; jobs of the catalog are worked off in between. What nobody
had counted, a backfill counts.
"""

import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from ops.errors import UsageError
from ops.lifecycle import Stop
from ops.settings import DEFAULT_TENANT
from processor.batch.pipeline import Pipeline
from processor.catalog.job import JobRunner
from processor.history import fill
from processor.history.fill_closing import ClosingOptions, FillCloser
from sandbox.postgres import PostgresServer
from store import catalog_jobs, catalogs, fills, migrations
from store.engine import Database
from store.exact_json import dumped
from store.fills import FillableCounter
from store.values.catalog import Catalog
from tests.builders.chance import CatalogTeller, MessageTeller, compiled
from tests.builders.clock import FakeClock
from tests.builders.databases import empty_database
from tests.builders.messages import NOW, Log, a_pipeline, open_ledger
from tests.builders.plain_rules import Level, Message, Rules
from tests.builders.sources import a_history
from tests.builders.sql import rows
from tests.builders.told_history import FixedSize

SEEDS = range(200) if "LONG_TESTS" in os.environ else range(12)

# By user, type and counter; a counter that a type has given up leaves no key.
COUNTERS = """
    SELECT user_id, code, counter, value::text::numeric
      FROM nft_progress JOIN nft_type ON nft_type.id = type_id
           CROSS JOIN jsonb_each(counters) AS each (counter, value)
"""
MEMBERS = """
    SELECT user_id, name, member, posted, undone
      FROM progress_member JOIN counter_definition AS counter ON counter.id = counter_id
"""
LEVELS = """
    SELECT user_id, code, current_level
      FROM nft_instance JOIN nft_type ON nft_type.id = type_id
"""


class Undone(Exception):
    """The process ends after a slice."""


@pytest.fixture
async def from_the_beginning(database_server: PostgresServer) -> AsyncIterator[Database]:
    async with empty_database(database_server) as url:
        await migrations.upgrade(url)
        async with Database(url) as database:
            yield database


# More than anybody has of a counter.
_OUT_OF_REACH = 9 * 10**29


def rising(rules: Rules, chance: random.Random, *, in_reach: bool) -> Rules:
    """The same with levels that only counting more can reach: nothing depends on the order."""
    types = {}
    for code, spec in rules.types.items():
        names = [name for name in spec.counters if rules.counters[name].undo is None]
        levels = tuple(
            Level(n, {chance.choice(names): {"gte": 2 * n if in_reach else _OUT_OF_REACH}})
            for n in range(1, len(spec.levels) + 1)
            if names
        )
        types[code] = replace(spec, levels=levels)
    return Rules(rules.counters, types)


def said_once(messages: Sequence[Message]) -> list[Message]:
    """The same messages; one that says an id again says what was said before."""
    first: dict[tuple[str, str, str], Message] = {}
    return [
        first.setdefault((each.get("tenantid", ""), each["source"], each["id"]), each)
        for each in messages
    ]


class World:
    """A database that gets its counters late."""

    def __init__(self, database: Database, chance: random.Random) -> None:
        self.database = database
        self.chance = chance
        self.log = Log()
        self.runner = JobRunner(database, DEFAULT_TENANT, FakeClock(NOW), FixedSize(2))
        self.pipeline: Pipeline | None = None

    async def put_in_force(self, catalog: Catalog) -> None:
        async with self.database.transaction() as conn:
            await catalogs.apply(conn, catalog, "admin")
        self.pipeline = await a_pipeline(self.database)

    async def count(self, messages: Sequence[Message], partition: int = 0) -> None:
        assert self.pipeline is not None
        lines = [dumped(each).encode() for each in messages]
        self.log.append(*lines, topic="laurel.things", partition=partition)
        chunks = self.log.chunks(records_max=7)
        await open_ledger(self.database, chunks)
        for chunk in chunks:
            await self.pipeline.run([chunk])

    async def some_of_the_job(self) -> None:
        for _ in range(self.chance.randrange(3)):
            await self.runner._next(only_counters=False, idle_for=None)

    async def fillable(self) -> list[FillableCounter]:
        async with self.database.transaction() as conn:
            found = []
            for name in await fills.names(conn):
                try:
                    found.append(await fill.fillable(conn, name))
                except UsageError:
                    continue
            return found

    async def untouched(self, names: Sequence[str]) -> Mapping[str, set[Any]]:
        """What there is beside the counters `names`, but for what types take over of each other."""
        async with self.database.transaction() as conn:
            is_taken_over = await catalog_jobs.adopting(conn) is not None
        looked_at = {"members": MEMBERS} | ({} if is_taken_over else {"counters": COUNTERS})
        return {
            name: {row for row in await rows(self.database, statement) if not set(names) & set(row)}
            for name, statement in looked_at.items()
        }


async def held(database: Database) -> Mapping[str, set[Any]]:
    return {
        name: set(await rows(database, statement))
        for name, statement in (("counters", COUNTERS), ("members", MEMBERS), ("levels", LEVELS))
    }


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_counter_that_is_filled_is_one_that_was_there_from_the_beginning(
    database: Database, from_the_beginning: Database, seed: int
) -> None:
    chance = random.Random(seed)
    teller, messages = CatalogTeller(chance), MessageTeller(chance)
    old = teller.first()
    first = compiled(rising(old, chance, in_reach=False))
    second = compiled(rising(teller.following(old), chance, in_reach=True))
    told = said_once(messages.some(120))
    before, meanwhile = told[:50], told[50:]
    world = World(database, chance)
    await world.put_in_force(first)
    await world.count(before)
    await world.put_in_force(second)
    left = list(meanwhile)

    async def live() -> None:
        """What comes while somebody fills."""
        await world.count([left.pop(0) for _ in range(min(len(left), chance.randrange(6)))])
        await world.some_of_the_job()

    counters = await world.fillable()
    for counter in counters:
        await live()
        for _ in range(chance.randint(1, 3)):
            await taken(world, counter, chance.sample(told, chance.randint(0, len(told))), live)
        await taken(world, counter, told, live)
        others = await world.untouched([counter.name])
        if chance.random() < 0.5:
            await closed(world, counter, live)
        else:
            await closed(world, counter, world.some_of_the_job)
            assert (await world.untouched([counter.name])).items() >= others.items()
    await live()
    await world.count(left)
    await world.runner.work_off()
    await world.count(told, partition=1)

    other = World(from_the_beginning, chance)
    await other.put_in_force(second)
    await other.count(told)
    found, expected = await held(database), await held(from_the_beginning)
    assert {each: found[each] ^ expected[each] for each in found} == {each: set() for each in found}
    for table in ("fill_event", "fill_progress", "fill_member"):
        assert await rows(database, f"SELECT * FROM {table}") == []


async def taken(
    world: World,
    counter: FillableCounter,
    source: Sequence[Message],
    live: Callable[[], Awaitable[None]],
) -> None:
    """Take a source; at times the process ends after a slice, and another one goes on."""
    async with world.database.transaction() as conn:
        catalog = await catalogs.current(conn)
    assert catalog is not None
    stop = Stop()
    with a_history(source, fill.only(catalog, counter), world.chance.randint(5, 60)) as history:
        while True:
            if world.chance.random() < 0.5:
                await live()

            def end(_: object) -> None:
                if world.chance.random() < 0.4:
                    raise Undone

            try:
                found = await fill.take(world.database, counter, history, stop, end)
            except Undone:
                continue
            if found.finished:
                return


async def closed(
    world: World, counter: FillableCounter, between: Callable[[], Awaitable[None]]
) -> None:
    """Close a fill; the process ends after each slice, and another one goes on."""
    async with world.database.transaction() as conn:
        begun = await fills.read(conn, counter.id)
    if begun is None or not begun.events:
        return

    def end(_: object) -> None:
        raise Undone

    while True:
        closer = FillCloser(world.database, counter, DEFAULT_TENANT, FakeClock(NOW), FixedSize(1))
        try:
            await closer.close(ClosingOptions(), end)
        except Undone:
            await between()
        else:
            return
