"""Loads whose sources overlap, two runs of one of them, and the stream beside them: what each of
them brings counts once, and nobody is given anything twice.

How they interleave differs from run to run; what must come out does not.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import pytest

from processor.history.slice_transaction import Speech
from sandbox.postgres import PostgresServer
from store import migrations
from store.engine import Database
from tests.builders.databases import empty_database
from tests.builders.loads import SAID, loaded, read_of
from tests.builders.messages import (
    Log,
    a_partner,
    a_pipeline,
    a_quest,
    a_review,
    a_visit,
    open_ledger,
    user,
    with_catalog,
)
from tests.builders.sql import rows

EVENTS, USERS = 2_500, 25
BATCH = 40
FACTS = {
    "counters": "SELECT user_id, type_id, counters, last_event_at FROM nft_progress",
    "members": "SELECT user_id, counter_id, member, posted, undone FROM progress_member",
    "ids": "SELECT event_key, first_version, fingerprint, occurred_on FROM processed_event",
    "badges": "SELECT id, current_level FROM nft_instance",
    # Each level of a badge once, whoever gave it.
    "levels": "SELECT nft_instance_id, details->>'level' FROM nft_audit_log"
    " WHERE nft_instance_id IS NOT NULL",
    "messages": "SELECT DISTINCT user_id, seq FROM outbox_message WHERE seq = 1",
}


@pytest.fixture(scope="session")
def database_server(any_postgres: PostgresServer) -> PostgresServer:
    return any_postgres


def history(chance: random.Random) -> Iterator[dict[str, Any]]:
    for number in range(EVENTS):
        who, member, own = user(chance.randrange(USERS)), f"m-{chance.randrange(30)}", f"e-{number}"
        match chance.randrange(5):
            case 0:
                yield a_partner(who, id=own)
            case 1:
                yield a_quest(who, id=own)
            case 2:
                yield a_visit(who, member, id=own)
            case 3:
                yield a_review(who, member, id=own)
            case _:
                # Of reviews that nobody posts: a level that was reached stays, and so it would
                # matter when a counter falls.
                yield a_review(who, f"other-{member}", removed=True, id=own)


@pytest.fixture
async def plain(database_server: PostgresServer) -> AsyncIterator[Database]:
    """A database where one pipeline alone counts."""
    async with empty_database(database_server) as url:
        await migrations.upgrade(url)
        async with Database(url) as opened:
            await with_catalog(opened)
            yield opened


async def stream(url: str, messages: list[dict[str, Any]]) -> None:
    """Count messages in small batches."""
    async with Database(url) as database:
        pipeline, log = await a_pipeline(database, topic_prefix=None), Log()
        log.append(*messages, topic="laurel.any")
        chunks = log.chunks(records_max=BATCH)
        await open_ledger(database, chunks[:1])
        for chunk in chunks:
            assert not (await pipeline.run([chunk])).fenced


async def load(url: str, messages: list[dict[str, Any]], speech: Speech = SAID) -> int:
    """Load messages; return how many the job has counted."""
    async with Database(url) as database:
        read = await read_of(database, messages, slices=12)
        report = await loaded(database, read, speech)
        assert report.finished
        assert report.counted + report.known == len(messages)
        return report.counted


async def found(database: Database) -> Mapping[str, Any]:
    return {name: sorted(map(str, await rows(database, query))) for name, query in FACTS.items()}


@pytest.mark.parametrize("seed", range(2))
async def test_what_comes_from_several_sides_counts_once(
    database: Database, database_url: str, plain: Database, seed: int
) -> None:
    chance = random.Random(seed)
    messages = list(history(chance))
    shuffled = chance.sample(messages, len(messages))
    await with_catalog(database)
    first, second = messages[: EVENTS * 3 // 4], shuffled[: EVENTS * 3 // 4]
    counted = await asyncio.gather(
        load(database_url, first),
        # Another process with the same command: they share the slices.
        load(database_url, first),
        load(database_url, second),
        stream(database_url, messages[EVENTS // 3 :]),
    )
    assert counted[0] == counted[1]
    await load(database_url, messages)
    await load(str(plain.engine.url.render_as_string(hide_password=False)), messages)
    assert await found(database) == await found(plain)
