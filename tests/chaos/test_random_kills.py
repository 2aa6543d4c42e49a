"""kill -9 at places of chance, one life after the other, in histories of chance.

Two pipelines at once and a catalog's job die together, wherever one of them stands, and the next
process goes on by the ledger. What is left in the end is, row by row, what a plain model says:
nothing is lost, and nothing is there twice.
"""

import asyncio
import os
import random
import signal
from collections.abc import Mapping, Sequence
from functools import partial

import pytest

from ops.faults import Point
from store import ledger
from store.engine import Database
from tests.builders.commit_order import TOPIC, Told
from tests.builders.equality import differences
from tests.builders.forked import forked
from tests.builders.messages import CLUSTER, a_pipeline
from tests.builders.plain_rules import Message
from tests.builders.told_history import LOUD, SILENT, History, a_chunk

SEEDS = range(60 if "LONG_TESTS" in os.environ else 4)
LIVES = 6
# Of each partition, and each life.
MESSAGES = 10
SILENTLY = 4

BATCH_POINTS = [each for each in Point if each.startswith("batch.")]
# Metadata is rewritten in the end, beside no batch.
SLICE_POINTS = [
    each for each in Point if each.startswith("slice.") and each is not Point.SLICE_REWRITTEN
]


async def prepare(url: str, chance: random.Random) -> History:
    """Put a catalog in force, and tell what will be counted."""
    async with Database(url) as database:
        history = History(database, chance)
        await history.begin()
    for partition in (*LOUD[0], *LOUD[1], SILENTLY):
        history.tell(partition, LIVES * MESSAGES)
    return history


async def another_catalog(url: str, chance: random.Random, told: Told) -> None:
    """Put the next catalog in force, and leave its job to the lives that follow."""
    async with Database(url) as database:
        await History(database, chance, told).catalog(silent=False)


async def live(url: str, chance: random.Random, told: Told, number: int) -> None:
    """Count what is there by the life `number`: in silence, then in two pipelines beside a job."""
    there = {each: messages[: MESSAGES * number] for each, messages in told.messages.items()}
    async with Database(url) as database:
        await catch_up(database, chance, there, [SILENTLY])
        await asyncio.gather(
            *(catch_up(database, chance, there, partitions) for partitions in LOUD),
            History(database, chance, told).slices(20),
        )


async def catch_up(
    database: Database,
    chance: random.Random,
    there: Mapping[int, Sequence[Message]],
    partitions: Sequence[int],
) -> None:
    """Count batches of chance until the ledger stands at the end of `partitions`."""
    run = SILENT.get(partitions[0])
    options = {} if run is None else {"publish": run.publish, "mint": run.mint}
    pipeline = await a_pipeline(database, **options)
    while True:
        async with database.transaction() as conn:
            listed = {(TOPIC, each) for each in partitions}
            entries = await ledger.read(conn, CLUSTER, listed)
        standing = {each: entries[TOPIC, each].next_offset for each in partitions}
        left = [each for each in partitions if standing[each] < len(there[each])]
        if not left:
            return
        batch = []
        for each in left if chance.random() < 0.5 else left[:1]:
            start = standing[each]
            messages = there[each][start : start + chance.randint(1, 5)]
            batch.append(a_chunk(each, start, messages))
        await pipeline.run(batch)


@pytest.mark.parametrize("seed", SEEDS)
def test_kills_of_chance_leave_what_a_plain_model_counts(database_url: str, seed: int) -> None:
    chance = random.Random(seed)
    history = asyncio.run(prepare(database_url, chance))
    killed = 0
    for number in range(1, LIVES + 1):
        if number in (2, 4):
            asyncio.run(another_catalog(database_url, chance, history.told))
        points = SLICE_POINTS if number in (2, 4) and chance.random() < 0.5 else BATCH_POINTS
        point = f"{chance.choice(points)}:{chance.randint(1, 3)}"
        life = partial(live, database_url, random.Random(chance.random()), history.told, number)
        killed += forked(point, life) == signal.SIGKILL
    assert killed > 1
    assert asyncio.run(_end(database_url, chance, history)) == {}


async def _end(url: str, chance: random.Random, history: History) -> object:
    await live(url, chance, history.told, LIVES)
    async with Database(url) as database:
        await History(database, chance, history.told).end()
        return await differences(database, history.told, history.wallets)
