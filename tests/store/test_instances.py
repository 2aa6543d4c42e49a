"""Badges in sets: who is locked, what is created and raised, and who speaks for a holder."""

import asyncio
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest

from store import instances
from store.engine import Database
from store.instances import NewInstance, Provenance, RaisedInstance
from store.values.badges import Instance, InstanceStatus, OnchainStatus
from tests.builders.catalogs import TENANT, an_instance
from tests.builders.world import World
from tests.store.locks import until_somebody_waits

OTHER_TENANT = UUID(int=9)
SOURCE = Provenance("quest_service", "event-7", TENANT)


@pytest.fixture
async def world(database: Database) -> World:
    return World(database)


async def locked(world: World, *holders: tuple[UUID, UUID], ids: tuple[UUID, ...] = ()) -> Any:
    async with world.db.transaction() as conn:
        return await instances.lock(conn, holders, ids)


async def test_a_badge_is_found_by_its_holder_by_its_id_and_once_by_both(world: World) -> None:
    one, two, _ = await world.badges(3)
    type_id = await world.badge_type()
    holder = (one.user_id, type_id)
    both = await locked(world, holder, ids=(one.id, two.id))
    assert [each.id for each in both] == sorted([one.id, two.id])
    assert [each.id for each in await locked(world, holder)] == [one.id]
    assert [each.id for each in await locked(world, ids=(two.id,))] == [two.id]
    assert await locked(world, (one.user_id, uuid4()), ids=(uuid4(),)) == []
    assert await locked(world) == []


async def test_what_is_locked_is_read_as_it_stands(world: World) -> None:
    (badge,) = await world.badges()
    await world.sql(
        """
        UPDATE nft_instance SET status = 'revoked', onchain_status = 'minted',
               onchain_token_id = :token, tenant_id = :tenant
        """,
        token="0:" + "a" * 64,
        tenant=OTHER_TENANT,
    )
    (found,) = await locked(world, ids=(badge.id,))
    assert found == Instance(
        badge.id,
        await world.badge_type(),
        badge.user_id,
        OTHER_TENANT,
        1,
        InstanceStatus.REVOKED,
        OnchainStatus.MINTED,
        found.onchain_token_id,
        1,
    )
    assert found.onchain_token_id == "0:" + "a" * 64


async def test_a_lock_is_held_until_the_transaction_ends(world: World) -> None:
    (badge,) = await world.badges()
    async with world.db.transaction() as conn:
        await instances.lock(conn, [], [badge.id])
        other = asyncio.create_task(locked(world, ids=(badge.id,)))
        await until_somebody_waits(conn)
        assert not other.done()
    assert [each.id for each in await other] == [badge.id]


def test_the_latest_badge_speaks_for_its_holder() -> None:
    first = an_instance(status=InstanceStatus.REVOKED)
    second = an_instance(id=UUID(int=2), ordinal=2, status=InstanceStatus.BURNED_ONCHAIN)
    third = an_instance(id=UUID(int=1), ordinal=3)
    holder = (first.user_id, first.type_id)
    assert instances.by_holder([first, third, second]) == {holder: third}
    assert instances.by_holder([second, first]) == {holder: second}
    other = an_instance(user_id=UUID(int=4))
    assert len(instances.by_holder([third, other])) == 2


async def row(world: World, badge_id: UUID) -> tuple[Any, ...]:
    (found,) = await world.sql(
        """
        SELECT current_level, CAST(metadata AS text) AS metadata, source_service, source_event_id,
               tenant_id, status, onchain_status, ordinal
          FROM nft_instance WHERE id = :id
        """,
        id=badge_id,
    )
    return tuple(found)


async def test_a_created_badge_is_active_and_its_metadata_exact(world: World) -> None:
    type_id, badge_id, user_id = await world.badge_type(), uuid4(), uuid4()
    exact = {"points": Decimal("0.30")}
    async with world.db.transaction() as conn:
        await instances.create(conn, [NewInstance(badge_id, type_id, user_id, 2, 1, exact, SOURCE)])
        await instances.create(conn, [])
    assert await row(world, badge_id) == (
        1,
        '{"points": 0.30}',
        "quest_service",
        "event-7",
        TENANT,
        "active",
        "not_minted",
        2,
    )


async def test_a_raised_badge_names_its_new_source_and_keeps_its_tenant(world: World) -> None:
    one, two = await world.badges(2)
    before = await row(world, two.id)
    tenant = (await row(world, one.id))[4]
    await world.sql(
        """
        INSERT INTO nft_level_rule (type_id, level, title, description, rarity, conditions,
               auto_mint_onchain, "order")
        SELECT type_id, 2, 't', 'd', 'rare', conditions, false, 20 FROM nft_level_rule
        """
    )
    source = Provenance("review_service", None, OTHER_TENANT)
    async with world.db.transaction() as conn:
        await instances.raise_levels(conn, [RaisedInstance(one.id, 2, {"level": 2}, source)])
        await instances.raise_levels(conn, [])
    assert await row(world, one.id) == (
        2,
        '{"level": 2}',
        "review_service",
        None,
        tenant,
        "active",
        "not_minted",
        1,
    )
    assert await row(world, two.id) == before


async def test_only_an_active_badge_is_revoked(world: World) -> None:
    one, two = await world.badges(2)
    await world.sql("UPDATE nft_instance SET status = 'burned_onchain' WHERE id = :id", id=two.id)
    async with world.db.transaction() as conn:
        await instances.revoke(conn, [one.id, two.id])
        await instances.revoke(conn, [])
    assert await world.statuses([one, two]) == [
        "revoked/not_minted",
        "burned_onchain/not_minted",
    ]
