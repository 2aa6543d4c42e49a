"""The mint queue as the processor uses it."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from ops.errors import LeaseLost
from store import claiming, mint_queue
from store.engine import Database
from store.mint_queue import NewTask
from store.values.minting import HoldReason, TaskOperation, TokenState
from store.values.names import LeaseToken, RawAddress
from tests.builders.world import Badge, World

MINT, BURN = TaskOperation.MINT, TaskOperation.BURN


@pytest.fixture
async def world(database: Database) -> World:
    return World(database)


async def enqueue(world: World, *tasks: NewTask) -> int:
    async with world.db.transaction() as conn:
        return await mint_queue.enqueue(conn, list(tasks))


async def cancel(world: World, badge: Badge) -> frozenset[UUID]:
    async with world.db.transaction() as conn:
        return await mint_queue.cancel_unsigned_mints(conn, [badge.id], "revoked")


async def token_state(world: World, badge: Badge) -> TokenState:
    async with world.db.transaction() as conn:
        return (await mint_queue.token_states(conn, [badge.id]))[badge.id]


async def pretend_signed(world: World, badge: Badge) -> None:
    """Give a badge's mint a message, as if the minter had signed it."""
    await world.sql(
        """
        WITH wallet AS (
             INSERT INTO chain_wallet (address, public_key, subwallet_id, timeout_s,
                                       zero_state_hash)
             VALUES ('0:aa', decode(repeat('00', 32), 'hex'), 1, 300,
                     decode(repeat('00', 32), 'hex'))
             RETURNING id),
             collection AS (
             INSERT INTO chain_collection (type_id, chain_wallet_id, address, content_uri,
                                           item_prefix)
             SELECT instance.type_id, wallet.id, '0:bb', '', ''
               FROM wallet, nft_instance AS instance WHERE instance.id = :id
             RETURNING id),
             message AS (
             INSERT INTO chain_message (chain_wallet_id, chain_collection_id, kind, query_seq,
                                        signed_at, valid_until, boc, message_hash)
             SELECT wallet.id, collection.id, 'mint', 0, now(), now(), '', ''
               FROM wallet, collection
             RETURNING id)
        UPDATE nft_mint_queue
           SET status = 'sent', chain_message_id = message.id, token_index = 0, recipient = '0:cc'
          FROM message WHERE nft_instance_id = :id AND operation = 'mint'
        """,
        id=badge.id,
    )


async def test_an_open_task_swallows_a_second_one(world: World) -> None:
    (badge,) = await world.badges()
    assert await enqueue(world, NewTask(badge.id, MINT), NewTask(badge.id, BURN)) == 2
    assert await enqueue(world, NewTask(badge.id, MINT), NewTask(badge.id, BURN)) == 0
    assert await world.tasks(badge) == ["mint pending", "burn pending"]


async def test_nothing_is_enqueued_from_nothing(world: World) -> None:
    assert await enqueue(world) == 0


async def test_a_free_mint_makes_the_badge_pending_and_a_held_one_does_not(world: World) -> None:
    free, held = await world.badges(2)
    await enqueue(world, NewTask(free.id, MINT), NewTask(held.id, MINT, HoldReason.NO_WALLET))
    assert await world.statuses([free, held]) == ["active/pending", "active/not_minted"]


async def test_a_failed_mint_can_be_enqueued_again(world: World) -> None:
    (badge,) = await world.badges()
    await enqueue(world, NewTask(badge.id, MINT))
    await cancel(world, badge)
    assert await world.statuses([badge]) == ["active/failed"]
    assert await enqueue(world, NewTask(badge.id, MINT)) == 1
    assert await world.statuses([badge]) == ["active/pending"]


@pytest.mark.parametrize(
    "change", ["status = 'revoked'", "status = 'burned_onchain'", "onchain_status = 'minted'"]
)
async def test_no_mint_for_a_badge_that_is_minted_or_gone(change: str, world: World) -> None:
    (badge,) = await world.badges()
    await world.sql(f"UPDATE nft_instance SET {change}")
    assert await enqueue(world, NewTask(badge.id, MINT)) == 0


async def test_linking_a_wallet_frees_that_users_held_mints_alone(world: World) -> None:
    mine, other = await world.badges(2, wallets=False)
    await enqueue(
        world, *(NewTask(badge.id, MINT, HoldReason.NO_WALLET) for badge in (mine, other))
    )
    await world.link([mine, other])
    async with world.db.transaction() as conn:
        assert await mint_queue.release_held(conn, [mine.user_id]) == 1
    assert await world.statuses([mine, other]) == ["active/pending", "active/not_minted"]
    async with world.db.transaction() as conn:
        assert await mint_queue.sweep_held(conn) == 1
        assert await mint_queue.sweep_held(conn) == 0
    assert await world.statuses([mine, other]) == ["active/pending", "active/pending"]


async def test_only_tasks_that_wait_for_a_wallet_are_freed(world: World) -> None:
    (badge,) = await world.badges()
    await enqueue(world, NewTask(badge.id, MINT, HoldReason.OPERATOR))
    async with world.db.transaction() as conn:
        assert await mint_queue.release_held(conn, [badge.user_id]) == 0
        assert await mint_queue.sweep_held(conn) == 0


async def test_a_sweep_goes_slice_by_slice_through_what_is_held(world: World) -> None:
    badges = await world.badges(5, wallets=False)
    for badge in badges:
        await enqueue(world, NewTask(badge.id, MINT, HoldReason.NO_WALLET))
    await world.link([badges[1], badges[4]])
    place, freed = mint_queue.BEFORE_ALL, list[int]()
    for _ in range(3):
        async with world.db.transaction() as conn:
            swept = await mint_queue.sweep_some(conn, place, 2)
        place = swept.reached
        freed.append(swept.freed)
    assert freed == [1, 0, 1]  # two and two and one of them
    assert place == mint_queue.BEFORE_ALL, "and from the start again"


JANUARY = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("rows", "receiver"),
    [
        ([("0:a", JANUARY, None)], "0:a"),
        ([("0:a", JANUARY, None), ("0:b", JANUARY + DAY, None)], "0:b"),
        ([("0:a", JANUARY, JANUARY + DAY)], None),
        (
            [("0:a", JANUARY, JANUARY)],
            None,
        ),  # unlinked at the same instant: not later is not enough
        ([("0:a", JANUARY + DAY, JANUARY)], "0:a"),  # linked again since
        (
            [("0:a", JANUARY, None), ("0:b", JANUARY + DAY, JANUARY + 2 * DAY)],
            None,
        ),  # the latest link decides
        ([("0:a", None, JANUARY)], None),
        ([], None),
    ],
)
async def test_the_latest_standing_link_receives(
    rows: list[tuple[str, datetime | None, datetime | None]], receiver: str | None, world: World
) -> None:
    (badge,) = await world.badges(wallets=False)
    await enqueue(world, NewTask(badge.id, MINT, HoldReason.NO_WALLET))
    for address, linked_at, unlinked_at in rows:
        await world.sql(
            "INSERT INTO user_wallet (user_id, address, linked_at, unlinked_at)"
            " VALUES (:user, :address, :linked, :unlinked)",
            user=badge.user_id,
            address=address,
            linked=linked_at,
            unlinked=unlinked_at,
        )
    expected = {} if receiver is None else {badge.user_id: RawAddress(receiver)}
    async with world.db.transaction() as conn:
        assert await mint_queue.recipients(conn, [badge.user_id]) == expected
        assert await mint_queue.sweep_held(conn) == len(expected)


async def test_cancelling_ends_an_unsigned_mint_and_the_burn_that_waits_for_it(
    world: World,
) -> None:
    (badge,) = await world.badges()
    await enqueue(world, NewTask(badge.id, MINT), NewTask(badge.id, BURN))
    assert await cancel(world, badge) == {badge.id}
    assert await world.tasks(badge) == ["mint failed", "burn failed"]
    assert await world.statuses([badge]) == ["active/failed"]
    events = await world.sql("SELECT event, from_status, to_status, details FROM mint_task_event")
    assert [tuple(row) for row in events] == [
        ("cancelled", "pending", "failed", {"reason": "revoked"})
    ] * 2
    assert await cancel(world, badge) == frozenset()


async def test_cancelling_a_held_mint_leaves_the_badge_not_minted(world: World) -> None:
    (badge,) = await world.badges()
    await enqueue(world, NewTask(badge.id, MINT, HoldReason.NO_WALLET))
    assert await cancel(world, badge) == {badge.id}
    assert await world.statuses([badge]) == ["active/not_minted"]


async def test_cancelling_leaves_a_signed_mint_alone(world: World) -> None:
    (badge,) = await world.badges()
    await enqueue(world, NewTask(badge.id, MINT))
    await pretend_signed(world, badge)
    assert await cancel(world, badge) == frozenset()
    # Also where its message turned out void: the token of an earlier one may come to exist.
    await world.sql("UPDATE nft_mint_queue SET status = 'pending'")
    assert await cancel(world, badge) == frozenset()


async def test_cancelling_takes_the_task_out_of_a_minters_hands(world: World) -> None:
    (badge,) = await world.badges()
    await enqueue(world, NewTask(badge.id, MINT))
    lease = LeaseToken(uuid4())
    async with world.db.transaction() as conn:
        (leased,) = await claiming.claim_due(conn, lease, timedelta(minutes=1), 10, [])
    await cancel(world, badge)
    with pytest.raises(LeaseLost):
        async with world.db.transaction() as conn:
            await claiming.renew(conn, lease, timedelta(minutes=1), [leased.id])


async def test_what_the_queue_says_of_a_token(world: World) -> None:
    (badge,) = await world.badges()
    assert await token_state(world, badge) == TokenState()
    await enqueue(world, NewTask(badge.id, MINT))
    assert await token_state(world, badge) == TokenState(mint_open=True)
    await pretend_signed(world, badge)
    assert await token_state(world, badge) == TokenState(mint_open=True)
    await world.sql("UPDATE nft_mint_queue SET status = 'confirmed'")
    assert await token_state(world, badge) == TokenState()
    await enqueue(world, NewTask(badge.id, BURN))
    assert await token_state(world, badge) == TokenState(burn_open=True)
    await world.sql("UPDATE nft_mint_queue SET status = 'failed' WHERE operation = 'burn'")
    assert await token_state(world, badge) == TokenState()
    await enqueue(world, NewTask(badge.id, BURN))
    await world.sql("UPDATE nft_mint_queue SET status = 'confirmed' WHERE status = 'pending'")
    assert await token_state(world, badge) == TokenState(burned=True)


async def test_of_a_badge_that_does_not_exist_nothing_is_said(world: World) -> None:
    async with world.db.transaction() as conn:
        assert await mint_queue.token_states(conn, [uuid4()]) == {}
        assert await mint_queue.token_states(conn, []) == {}
