"""A record at which PostgreSQL itself dies takes it down a few times, never for ever."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from sqlalchemy import text

from processor.batch import bisection
from processor.batch.pacing import STRIKES_MAX, Pace
from processor.events.chunks import Chunk
from sandbox.postgres import postgres
from sandbox.process import PartMissing
from store import migrations
from store.engine import Database, DatabaseUnreachable
from store.values.stream import Reason
from tests.builders.messages import (
    ALICE,
    BOB,
    Log,
    a_partner,
    a_pipeline,
    open_ledger,
    with_catalog,
)
from tests.builders.patience import PATIENCE_S
from tests.builders.sql import rows, value
from tests.fixtures.parts import missing

pytestmark = pytest.mark.integration

POISON = UUID(int=0xBAD)
RECORDS = 6

# What the kernel does to a backend that takes too much memory: all others restart with it.
CRASH = (
    """
    CREATE FUNCTION crash() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN
         EXECUTE format('COPY (SELECT 1) TO PROGRAM ''kill -9 %s''', pg_backend_pid());
         PERFORM pg_sleep(60);
         RETURN NEW;
       END $$
    """,
    f"""
    CREATE TRIGGER crash BEFORE INSERT ON nft_progress FOR EACH ROW
    WHEN (NEW.user_id = '{POISON}') EXECUTE FUNCTION crash()
    """,
)


@pytest.fixture
async def own_database() -> AsyncIterator[Database]:
    """A database on a server that nobody else uses."""
    try:
        with postgres() as server:
            await migrations.upgrade(server.url)
            async with Database(server.url) as opened:
                yield opened
    except PartMissing as error:
        missing(error.message)


async def there_again(database: Database) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await database.ping()
            except DatabaseUnreachable:
                await asyncio.sleep(0.05)


async def test_the_record_that_kills_its_backend_is_a_dead_letter_in_the_end(
    own_database: Database,
) -> None:
    await with_catalog(own_database)
    async with own_database.transaction() as conn:
        for statement in CRASH:
            await conn.execute(text(statement))
    log = Log()
    log.append(*(a_partner(ALICE) for _ in range(3)), a_partner(POISON))
    log.append(*(a_partner(BOB) for _ in range(2)))
    (whole,) = log.chunks(records_max=RECORDS)
    await open_ledger(own_database, [whole])
    pipeline, pace = await a_pipeline(own_database), Pace()

    crashes = reached = 0
    while reached < RECORDS:
        chunk = Chunk(*whole.key, reached, whole.records[reached:])
        try:
            await bisection.commit(pipeline, [pipeline.read(chunk)], pace)
        except DatabaseUnreachable:
            crashes += 1
            await there_again(own_database)
        reached = await value(own_database, "SELECT next_offset FROM offset_ledger")

    assert 0 < crashes <= STRIKES_MAX + 3
    letters = await rows(own_database, 'SELECT "offset", reason FROM dead_letter')
    assert letters == [(3, Reason.REFUSED_BY_DATABASE)]
    found = await rows(own_database, "SELECT user_id, counters FROM nft_progress ORDER BY user_id")
    assert found == [(ALICE, {"partners_invited": 3}), (BOB, {"partners_invited": 2})]
