"""silenced_badge: what is left unsaid is kept, a row a badge, and taken once."""

from uuid import UUID

from store import silenced_badges
from store.engine import Database
from store.silenced_badges import Silenced
from store.values.outbox import OutboxType
from tests.builders.world import World

CREATED, RAISED = OutboxType.BADGE_CREATED, OutboxType.BADGE_LEVELED_UP


async def keep(database: Database, *left_out: Silenced) -> None:
    async with database.transaction() as conn:
        await silenced_badges.keep(conn, left_out)


async def end(database: Database, *badges: UUID) -> list[Silenced]:
    async with database.transaction() as conn:
        return await silenced_badges.end(conn, badges)


async def test_what_is_left_out_is_taken_once(database: Database) -> None:
    one, two, three = sorted(badge.id for badge in await World(database).badges(3))
    await keep(database, Silenced(two, None, True), Silenced(one, CREATED, False))
    assert await end(database, three, two, one) == [
        Silenced(one, CREATED, False),
        Silenced(two, None, True),
    ]
    assert await end(database, three, two, one) == []


async def test_a_badge_that_was_created_and_raised_in_silence_is_still_news(
    database: Database,
) -> None:
    one, two = sorted(badge.id for badge in await World(database).badges(2))
    await keep(database, Silenced(one, CREATED, True), Silenced(two, None, True))
    await keep(database, Silenced(one, RAISED, False), Silenced(two, RAISED, False))
    assert await end(database, one, two) == [
        Silenced(one, CREATED, True),
        Silenced(two, RAISED, True),
    ]


async def test_nothing_is_asked_about_no_badges(database: Database) -> None:
    await keep(database)
    assert await end(database) == []
