"""How many tasks stand where, and how long the oldest waits there."""

from datetime import timedelta
from uuid import uuid4

import pytest

from store import claiming, mint_queue, queue_figures
from store.mint_queue import NewTask
from store.queue_figures import QueueFigures
from store.values.minting import HoldReason, TaskOperation, TaskStatus
from store.values.names import LeaseToken
from tests.builders.world import Badge
from tests.store.desk import TTL, Desk, confirmed, sent

MINT, BURN = TaskOperation.MINT, TaskOperation.BURN
PENDING, SENT = TaskStatus.PENDING, TaskStatus.SENT
HOUR = timedelta(hours=1)

Places = dict[tuple[TaskOperation, TaskStatus, HoldReason | None], tuple[int, int]]


async def open_tasks(desk: Desk) -> Places:
    """Return how many tasks stand where, and how many whole hours the oldest waits."""
    async with desk.world.db.transaction() as conn:
        found = await queue_figures.open_tasks(conn)
    return {
        (each.operation, each.status, each.hold_reason): (each.tasks, each.oldest // HOUR)
        for each in found
    }


async def aged(desk: Desk, badge: Badge, operation: TaskOperation, **hours: int) -> None:
    """Set instants of a badge's task back, each by so many hours."""
    for column, ago in hours.items():
        await desk.world.sql(
            f"UPDATE nft_mint_queue SET {column} = now() - :ago"
            " WHERE nft_instance_id = :id AND operation = :operation",
            ago=ago * HOUR,
            id=badge.id,
            operation=operation.value,
        )


async def test_an_empty_queue_has_no_places(desk: Desk) -> None:
    assert await open_tasks(desk) == {}


async def test_the_oldest_of_each_place_is_told(desk: Desk) -> None:
    ages = {None: (5, 3), HoldReason.NO_WALLET: (7, 1), HoldReason.OPERATOR: (2, 9)}
    for hold, hours in ages.items():
        for badge, ago in zip(await desk.world.badges(2), hours, strict=True):
            async with desk.world.db.transaction() as conn:
                await mint_queue.enqueue(conn, [NewTask(badge.id, MINT, hold)])
            await aged(desk, badge, MINT, created_at=20, run_after=ago, updated_at=ago)
    assert await open_tasks(desk) == {
        (MINT, PENDING, None): (2, 5),
        (MINT, PENDING, HoldReason.NO_WALLET): (2, 7),
        (MINT, PENDING, HoldReason.OPERATOR): (2, 9),
    }


async def test_a_held_task_is_as_old_as_its_hold_and_a_freed_one_as_its_being_free(
    desk: Desk,
) -> None:
    (badge,) = await desk.world.badges(wallets=False)
    async with desk.world.db.transaction() as conn:
        await mint_queue.enqueue(conn, [NewTask(badge.id, MINT, HoldReason.NO_WALLET)])
    await aged(desk, badge, MINT, created_at=90, run_after=90, updated_at=80)
    assert await open_tasks(desk) == {(MINT, PENDING, HoldReason.NO_WALLET): (1, 80)}
    await desk.world.link([badge])
    async with desk.world.db.transaction() as conn:
        await mint_queue.release_held(conn, [badge.user_id])
    assert await open_tasks(desk) == {(MINT, PENDING, None): (1, 0)}


async def test_a_signature_makes_a_task_no_younger(desk: Desk) -> None:
    """A chain that takes no messages has each signed again every few minutes."""
    (badge,) = await desk.world.to_mint()
    await aged(desk, badge, MINT, created_at=4, run_after=4, updated_at=4)
    lease = LeaseToken(uuid4())
    await desk.sign(lease, await desk.claim(lease))
    assert await open_tasks(desk) == {(MINT, SENT, None): (1, 4)}


async def test_a_burn_waits_from_the_end_of_its_mint_on(desk: Desk) -> None:
    lease = LeaseToken(uuid4())
    (badge,), (leased,), _ = await sent(desk, lease)
    await desk.world.enqueue([badge], BURN)
    await aged(desk, badge, BURN, created_at=9, run_after=9, updated_at=9)
    assert (await open_tasks(desk))[BURN, PENDING, None] == (1, 0)
    await desk.settle(lease, confirmed(leased))
    await aged(desk, badge, MINT, updated_at=3)
    assert await open_tasks(desk) == {(BURN, PENDING, None): (1, 3)}


async def test_a_delay_of_the_minters_own_makes_a_burn_no_younger(desk: Desk) -> None:
    """A token that no block shows is looked for every few seconds, for as long as it takes."""
    lease = LeaseToken(uuid4())
    (badge,), (leased,), _ = await sent(desk, lease)
    await desk.settle(lease, confirmed(leased))
    await desk.world.sql("UPDATE chain_message SET status = 'settled'")
    await aged(desk, badge, MINT, updated_at=9)
    await desk.world.enqueue([badge], BURN)
    await aged(desk, badge, BURN, created_at=5, run_after=5, updated_at=5)
    (burn,) = await desk.claim(lease)
    async with desk.world.db.transaction() as conn:
        await claiming.release(conn, lease, [burn.id], timedelta(microseconds=1))
    assert await open_tasks(desk) == {(BURN, PENDING, None): (1, 5)}
    (again,) = await desk.claim(LeaseToken(uuid4()))
    assert abs(again.ready_at - burn.ready_at) < HOUR / 60


async def test_what_is_over_is_counted_apart(desk: Desk) -> None:
    lease = LeaseToken(uuid4())
    _, (leased, _), _ = await sent(desk, lease, 2)
    await desk.settle(lease, confirmed(leased))
    async with desk.world.db.transaction() as conn:
        assert await queue_figures.settled_tasks(conn) == [
            QueueFigures(MINT, TaskStatus.CONFIRMED, None, 1)
        ]
    assert await open_tasks(desk) == {(MINT, SENT, None): (1, 0)}


@pytest.mark.parametrize(
    ("created", "linked", "freed", "waited"),
    [
        (9, 20, 9, 0),  # there was one
        (9, 6, 5, 3),  # linked, and counted an hour later
        (9, 1, 5, 4),  # freed by one wallet, and another is linked since
        (9, 20, 2, 0),  # there was one, and the breaker held it
    ],
)
async def test_a_mint_tells_how_long_it_had_no_wallet(
    created: int, linked: int, freed: int, waited: int, desk: Desk
) -> None:
    (badge,) = await desk.world.to_mint()
    await aged(desk, badge, MINT, created_at=created, run_after=freed, updated_at=freed)
    await desk.world.sql("UPDATE user_wallet SET linked_at = now() - :ago", ago=linked * HOUR)
    (leased,) = await desk.claim(LeaseToken(uuid4()), TTL)
    assert round(leased.wallet_wait / HOUR, 2) == waited
    assert round((leased.ready_at - await desk.world.value("SELECT now()")) / HOUR, 2) == -freed
