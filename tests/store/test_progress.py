"""The counters that an award is decided by stay as they were read until the badge is there."""

import asyncio
from uuid import UUID

from store import progress
from store.engine import Database
from tests.builders.world import World
from tests.store.locks import until_somebody_waits

ALICE, BOB, CAROL = UUID(int=1), UUID(int=2), UUID(int=3)


async def test_counters_are_read_of_those_who_have_some_and_held(database: Database) -> None:
    world = World(database)
    walker, explorer = await world.badge_type("walker"), await world.badge_type("explorer")
    add = """
        INSERT INTO nft_progress (user_id, type_id, counters, last_event_at)
        VALUES (:user, :type, jsonb_build_object('points', CAST(:points AS int)), now())
    """
    await world.sql(add, user=ALICE, type=walker, points=5)
    await world.sql(add, user=BOB, type=walker, points=7)
    await world.sql(add, user=ALICE, type=explorer, points=9)
    async with database.transaction() as conn:
        found = await progress.share(conn, {(ALICE, walker), (BOB, explorer), (CAROL, walker)})
        assert found == {(ALICE, walker): {"points": 5}}
        assert await progress.share(conn, set()) == {}
        change = "UPDATE nft_progress SET counters = '{}' WHERE user_id = :user"
        free = asyncio.create_task(world.sql(change, user=BOB))
        await free
        held = asyncio.create_task(world.sql(change, user=ALICE))
        await until_somebody_waits(conn)
        assert not held.done()
    await held
