"""One user's counters and badge of every type, exact, whatever is there of them."""

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID, uuid4

import pytest

from ops.settings import DEFAULT_TENANT
from store import user_badges
from store.engine import Database
from store.user_badges import UserProgress
from store.values.badges import Instance, InstanceStatus, OnchainStatus
from store.values.names import CounterName
from tests.builders.world import World

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture
async def world(database: Database) -> World:
    return World(database)


async def of_user(world: World, user_id: UUID) -> list[UserProgress]:
    async with world.db.transaction() as conn:
        return await user_badges.of_user(conn, user_id)


async def test_of_a_stranger_every_type_is_said_by_its_code(world: World) -> None:
    walker, explorer = await world.badge_type("walker"), await world.badge_type("explorer")
    found = await of_user(world, uuid4())
    assert found == [UserProgress(type_id, {}, None, None) for type_id in (explorer, walker)]


async def test_counters_are_exact_and_beside_the_badge(world: World) -> None:
    (badge,) = await world.badges()
    type_id = await world.badge_type()
    await world.sql(
        """
        INSERT INTO nft_progress (user_id, type_id, counters, last_event_at)
        VALUES (:user, :type, '{"kilometres": 0.1, "walks": 3}', :at)
        """,
        user=badge.user_id,
        type=type_id,
        at=NOON,
    )
    (found,) = await of_user(world, badge.user_id)
    counters: dict[CounterName, int | Decimal] = {
        CounterName("kilometres"): Decimal("0.1"),
        CounterName("walks"): 3,
    }
    instance = Instance(
        badge.id,
        type_id,
        badge.user_id,
        DEFAULT_TENANT,
        1,
        InstanceStatus.ACTIVE,
        OnchainStatus.NOT_MINTED,
        None,
        1,
    )
    assert found == UserProgress(type_id, counters, NOON, instance)


async def test_the_latest_badge_speaks(world: World) -> None:
    (badge,) = await world.badges()
    await world.sql("UPDATE nft_instance SET status = 'revoked'")
    again = """
        INSERT INTO nft_instance (id, type_id, user_id, current_level, source_service, tenant_id,
               ordinal, status, created_at)
        SELECT :id, type_id, user_id, 1, 's', tenant_id, :ordinal, 'revoked', created_at
          FROM nft_instance WHERE id = :of
    """
    await world.sql(again, id=UUID(int=1), ordinal=3, of=badge.id)
    await world.sql(again, id=UUID(int=2), ordinal=2, of=badge.id)
    (found,) = await of_user(world, badge.user_id)
    assert found.instance is not None
    assert (found.instance.id, found.instance.ordinal) == (UUID(int=1), 3)
