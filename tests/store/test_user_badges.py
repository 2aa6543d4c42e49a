"""One user's counters and badge of every type, exact, whatever is there of them."""

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID, uuid4

import pytest

from ops.settings import DEFAULT_TENANT
from store import user_badges
from store.engine import Database
from store.user_badges import UserProgress
from store.values import CounterName, Instance, InstanceStatus, OnchainStatus
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
    )
    assert found == UserProgress(type_id, counters, NOON, instance)


async def test_the_active_badge_speaks_else_the_newest(world: World) -> None:
    (badge,) = await world.badges()
    copies = """
        INSERT INTO nft_instance (id, type_id, user_id, current_level, source_service, tenant_id,
               status, created_at)
        SELECT :id, type_id, user_id, 1, 's', tenant_id, 'revoked',
               created_at + CAST(:later AS interval)
          FROM nft_instance WHERE id = :of
    """
    older, newer = UUID(int=2), UUID(int=1)
    await world.sql(copies, id=older, later="-1 hour", of=badge.id)
    await world.sql(copies, id=newer, later="1 hour", of=badge.id)

    async def speaking() -> UUID | None:
        (found,) = await of_user(world, badge.user_id)
        return found.instance.id if found.instance else None

    assert await speaking() == badge.id
    await world.sql("UPDATE nft_instance SET status = 'revoked' WHERE id = :id", id=badge.id)
    assert await speaking() == newer
