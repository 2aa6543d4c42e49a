import asyncio
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from store import outbox
from store.engine import Database
from store.outbox import OutboxEnds
from store.values.outbox import OutboxEntry, OutboxType
from tests.builders.sql import rows, somebody_waits

TENANT = UUID(int=1)


def message(user_id: UUID, number: int) -> OutboxEntry:
    payload = {"number": number, "user_id": str(user_id)}
    return OutboxEntry(
        user_id, TENANT, OutboxType.BADGE_CREATED, payload, datetime(2026, 1, 1, 12, tzinfo=UTC)
    )


async def sent(database: Database, user_id: UUID) -> list[tuple[int, int]]:
    """Return (seq, number) of the user's messages, by seq."""
    statement = """
        SELECT seq, CAST(payload->>'number' AS int)
          FROM outbox_message WHERE user_id = :user ORDER BY seq
    """
    return [(seq, number) for seq, number in await rows(database, statement, user=user_id)]


async def test_each_user_has_an_order_of_their_own(database: Database) -> None:
    one, other = uuid4(), uuid4()
    async with database.transaction() as conn:
        await outbox.append(conn, [])
        await outbox.append(conn, [message(one, 1), message(other, 2), message(one, 3)])
    async with database.transaction() as conn:
        await outbox.append(conn, [message(other, 4), message(one, 5)])
    assert await sent(database, one) == [(1, 1), (2, 3), (3, 5)]
    assert await sent(database, other) == [(1, 2), (2, 4)]


async def test_a_message_keeps_its_fields_and_waits_to_be_published(database: Database) -> None:
    user = uuid4()
    async with database.transaction() as conn:
        await outbox.append(conn, [message(user, 7)])
    statement = """
        SELECT tenant_id, user_id, event_type, payload, occurred_at, published_at
          FROM outbox_message
    """
    payload = {"number": 7, "user_id": str(user)}
    occurred_at = datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert await rows(database, statement) == [
        (TENANT, user, "badge.created", payload, occurred_at, None)
    ]


async def test_seq_is_in_the_order_of_commits(database: Database) -> None:
    # The second writer waits for the first one's end: a database sequence would have let it
    # overtake.
    user = uuid4()
    first_wrote = asyncio.Event()
    second_asked = asyncio.Event()

    async def first() -> None:
        async with database.transaction() as conn:
            await outbox.append(conn, [message(user, 1)])
            first_wrote.set()
            await second_asked.wait()
            await somebody_waits(database)

    async def second() -> None:
        await first_wrote.wait()
        async with database.transaction() as conn:
            second_asked.set()
            await outbox.append(conn, [message(user, 2)])

    await asyncio.gather(first(), second())
    assert await sent(database, user) == [(1, 1), (2, 2)]


async def test_a_rolled_back_message_leaves_no_gap(database: Database) -> None:
    user = uuid4()
    async with database.transaction() as conn:
        await outbox.append(conn, [message(user, 1)])
        await conn.rollback()
    async with database.transaction() as conn:
        await outbox.append(conn, [message(user, 2)])
    assert await sent(database, user) == [(1, 2)]


async def ends_of(database: Database) -> OutboxEnds:
    async with database.transaction() as conn:
        return await outbox.ends(conn)


async def unpublished(database: Database) -> int:
    async with database.transaction() as conn:
        return await outbox.unpublished(conn)


async def test_of_an_empty_outbox_nothing_is_old_and_nothing_went_out(database: Database) -> None:
    assert await ends_of(database) == OutboxEnds(0.0, 0.0)
    assert await unpublished(database) == 0


async def test_the_oldest_that_waits_and_the_last_that_went_out_are_told(
    database: Database,
) -> None:
    user = uuid4()
    async with database.transaction() as conn:
        await outbox.append(conn, [message(user, number) for number in range(1, 6)])
    # The oldest of all went out; so did the newest, first.
    await rows(
        database,
        """
        UPDATE outbox_message
           SET occurred_at = now() - (10 - seq) * interval '1 hour',
               published_at = CASE seq WHEN 1 THEN to_timestamp(1780000500)
                                       WHEN 5 THEN to_timestamp(1780000000.25) END
        """,
    )
    found = await ends_of(database)
    assert found.last_published_at == 1_780_000_500
    assert found.oldest_seconds == pytest.approx(8 * 3600, abs=600)
    assert await unpublished(database) == 3
    await rows(database, "UPDATE outbox_message SET published_at = to_timestamp(1780000000.25)")
    assert await ends_of(database) == OutboxEnds(0.0, 1_780_000_000.25)
    assert await unpublished(database) == 0


async def test_a_message_of_the_future_is_new(database: Database) -> None:
    """A worker's clock may be ahead of the database's."""
    async with database.transaction() as conn:
        await outbox.append(conn, [message(uuid4(), 1)])
    await rows(database, "UPDATE outbox_message SET occurred_at = now() + interval '1 hour'")
    assert (await ends_of(database)).oldest_seconds == 0
