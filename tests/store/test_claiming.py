"""Who may work on a task, in which order, and until when."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from ops.errors import LeaseLost
from store import chain, chain_messages, claiming, settling
from store.engine import Connection
from store.settlement_effects import Settlement
from store.settling import Assignment
from store.values.minting import HoldReason, LeasedTask, TaskEvent, TaskOperation, TaskStatus
from store.values.names import LeaseToken, RawAddress
from tests.builders.world import Badge
from tests.store.desk import NOW, TTL, Desk, confirmed, sent

pytestmark = pytest.mark.usefixtures("in_lock_order")


async def renew(desk: Desk, lease: LeaseToken, *leased: LeasedTask) -> None:
    async with desk.world.db.transaction() as conn:
        await claiming.renew(conn, lease, TTL, [each.id for each in leased])


async def release(
    desk: Desk, lease: LeaseToken, *leased: LeasedTask, delay: timedelta = timedelta()
) -> None:
    async with desk.world.db.transaction() as conn:
        await claiming.release(conn, lease, [each.id for each in leased], delay)


async def claim_sent(desk: Desk, *busy: UUID) -> list[LeasedTask]:
    async with desk.world.db.transaction() as conn:
        return await claiming.claim_sent(conn, LeaseToken(uuid4()), TTL, busy)


async def make_void(desk: Desk, lease: LeaseToken, leased: LeasedTask) -> None:
    """Settle a task as void, with its message."""
    await desk.settle(lease, Settlement(leased, TaskStatus.PENDING, TaskEvent.VOID, reason="late"))
    await desk.world.sql("UPDATE chain_message SET status = 'void' WHERE status = 'unresolved'")


async def due_since(desk: Desk, badge: Badge, ago: timedelta) -> None:
    await desk.world.sql(
        "UPDATE nft_mint_queue SET run_after = now() - :ago WHERE nft_instance_id = :id",
        ago=ago,
        id=badge.id,
    )


async def message(desk: Desk, kind: str) -> None:
    """Let the collection's last message be of `kind`, and over."""
    await desk.world.sql(
        """
        INSERT INTO chain_message (chain_wallet_id, chain_collection_id, kind, status, query_seq,
                                   signed_at, valid_until, boc, message_hash)
        SELECT chain_wallet_id, id, :kind, 'settled',
               (SELECT count(*) FROM chain_message), now(), now(), '', ''
          FROM chain_collection
        """,
        kind=kind,
    )


async def turns(desk: Desk, *kinds: str) -> list[list[TaskOperation]]:
    """Return what is leased, one task at a time, after a message of each of `kinds`."""
    found = []
    for kind in kinds:
        await message(desk, kind)
        found.append([work.operation for work in await desk.claim(LeaseToken(uuid4()), limit=1)])
    return found


async def test_a_task_is_leased_once(desk: Desk) -> None:
    await desk.world.to_mint(3)
    first, second = (
        await desk.claim(LeaseToken(uuid4()), limit=2),
        await desk.claim(LeaseToken(uuid4())),
    )
    assert len(first) == 2
    assert len(second) == 1
    assert await desk.claim(LeaseToken(uuid4())) == []


async def test_an_expired_lease_is_anybodys(desk: Desk) -> None:
    await desk.world.to_mint()
    await desk.claim(LeaseToken(uuid4()))
    await desk.expire()
    assert len(await desk.claim(LeaseToken(uuid4()))) == 1


@pytest.mark.parametrize(
    "change",
    ["hold_reason = 'operator'", "run_after = now() + interval '1 hour'", "status = 'failed'"],
)
async def test_what_is_held_early_or_over_is_not_claimed(change: str, desk: Desk) -> None:
    await desk.world.to_mint()
    await desk.world.sql(f"UPDATE nft_mint_queue SET {change}")
    assert await desk.claim(LeaseToken(uuid4())) == []


async def test_a_burn_waits_for_its_mint(desk: Desk) -> None:
    badges = await desk.world.to_mint()
    await desk.world.enqueue(badges, TaskOperation.BURN)
    claimed = await desk.claim(LeaseToken(uuid4()))
    assert [work.operation for work in claimed] == [TaskOperation.MINT]


async def test_a_collection_with_a_message_under_way_is_left_alone(desk: Desk) -> None:
    lease = LeaseToken(uuid4())
    await sent(desk, lease)
    await desk.world.to_mint()
    assert await desk.claim(LeaseToken(uuid4())) == []


async def test_of_what_is_due_the_longest_waiting_comes_first(desk: Desk) -> None:
    badges = await desk.world.to_mint(3)
    for badge, hours in zip(badges, (2, 3, 1), strict=True):
        await due_since(desk, badge, timedelta(hours=hours))
    claimed = await desk.claim(LeaseToken(uuid4()), limit=2)
    assert [work.nft_instance_id for work in claimed] == [badges[1].id, badges[0].id]


async def test_burns_and_mints_of_a_type_take_turns(desk: Desk) -> None:
    """A burn behind a flood of mints waits for one message of them, and the other way round."""
    old = await desk.world.badges(2)
    await desk.world.to_mint(6)
    await desk.world.sql("UPDATE nft_mint_queue SET run_after = now() - interval '1 day'")
    await desk.world.enqueue(old, TaskOperation.BURN)
    mint, burn = [TaskOperation.MINT], [TaskOperation.BURN]
    assert await turns(desk, "deploy", "burn", "mint", "burn") == [burn, mint, burn, mint]
    # of one kind alone there is no turn to wait for
    await desk.world.sql("UPDATE nft_mint_queue SET hold_reason = 'operator'")
    await desk.world.enqueue(await desk.world.badges(), TaskOperation.BURN)
    assert [work.operation for work in await desk.claim(LeaseToken(uuid4()))] == burn


async def test_a_second_token_is_revoked_before_any_burn_and_in_turns_with_mints(
    desk: Desk,
) -> None:
    burned, *twins = await desk.world.badges(3)
    await desk.world.enqueue([burned], TaskOperation.BURN)
    await desk.world.enqueue(twins, TaskOperation.REVOKE_SECOND)
    await desk.world.to_mint(2)
    mint, burn = [TaskOperation.MINT], [TaskOperation.BURN]
    second = [TaskOperation.REVOKE_SECOND]
    after = ("deploy", "burn", "mint", "burn", "mint")
    assert await turns(desk, *after) == [second, mint, second, mint, burn]


async def test_a_second_token_is_revoked_once_its_badges_mint_is_over(desk: Desk) -> None:
    twins = await desk.world.to_mint(1)
    await desk.world.enqueue(twins, TaskOperation.REVOKE_SECOND)
    assert await turns(desk, "deploy", "mint") == [[TaskOperation.MINT], []]
    await desk.world.sql("UPDATE nft_mint_queue SET status = 'failed' WHERE operation = 'mint'")
    assert await turns(desk, "mint") == [[TaskOperation.REVOKE_SECOND]]


@pytest.mark.parametrize("revocation", [TaskOperation.BURN, TaskOperation.REVOKE_SECOND])
async def test_what_cannot_be_paid_keeps_nothing_waiting_that_can(
    revocation: TaskOperation, desk: Desk
) -> None:
    """Whoever's turn it is."""
    old = await desk.world.badges(2)
    await desk.world.enqueue(old, revocation)
    await desk.world.to_mint(2)
    poor = [await desk.world.value("SELECT id FROM nft_type")]

    async def claim(after: str, **without: list[UUID]) -> list[TaskOperation]:
        await message(desk, after)
        async with desk.world.db.transaction() as conn:
            lease = LeaseToken(uuid4())
            return [
                each.operation
                for each in await claiming.claim_due(conn, lease, TTL, 1, [], **without)
            ]

    assert await claim("burn", without_mints=poor) == [revocation]
    assert await claim("mint", without_burns=poor) == [TaskOperation.MINT]
    assert await claim("mint", without_mints=poor, without_burns=poor) == []


async def test_a_mint_that_is_signed_again_waits_since_it_waited_first(desk: Desk) -> None:
    lease = LeaseToken(uuid4())
    (badge,), (leased,), _ = await sent(desk, lease)
    await due_since(desk, badge, timedelta(days=30))
    await make_void(desk, lease, leased)
    (again,) = await desk.claim(LeaseToken(uuid4()))
    due = "SELECT run_after < now() - interval '29 days', run_after FROM nft_mint_queue"
    assert await desk.world.sql(due) == [(True, again.ready_at)]


async def test_of_each_type_as_much_is_claimed_as_a_message_carries(desk: Desk) -> None:
    await desk.world.to_mint(5)
    late = await desk.world.to_mint(1, "quest_author")
    claimed = await desk.claim(LeaseToken(uuid4()), limit=2)
    assert [work.type_code for work in claimed] == ["explorer", "explorer", "quest_author"]
    assert claimed[-1].nft_instance_id == late[0].id


async def test_a_mint_to_be_signed_again_comes_before_all_that_waited_longer(desk: Desk) -> None:
    """The indexes behind its own cannot be minted before it."""
    lease = LeaseToken(uuid4())
    _, (leased,), _ = await sent(desk, lease)
    await make_void(desk, lease, leased)
    others = await desk.world.to_mint(2)
    for badge in others:
        await due_since(desk, badge, timedelta(days=1))
    claimed = await desk.claim(LeaseToken(uuid4()), limit=2)
    assert claimed[0].id == leased.id
    assert claimed[1].nft_instance_id in {badge.id for badge in others}
    assert settling.PRIORITY_AGAIN == -1
    assert await desk.world.sql(
        "SELECT token_index, priority FROM nft_mint_queue ORDER BY priority, token_index"
    ) == [(0, settling.PRIORITY_AGAIN), (None, 0), (None, 0)]


async def test_a_mint_that_was_held_before_it_got_an_index_overtakes_nobody(desk: Desk) -> None:
    await desk.world.to_mint()
    lease = LeaseToken(uuid4())
    (leased,) = await desk.claim(lease)
    held = Settlement(leased, TaskStatus.PENDING, TaskEvent.HELD, hold_reason=HoldReason.NO_WALLET)
    await desk.settle(lease, held)
    assert await desk.world.sql("SELECT hold_reason, priority FROM nft_mint_queue") == [
        ("no_wallet", 0)
    ]


async def test_a_type_that_is_worked_on_already_is_left_alone(desk: Desk) -> None:
    await desk.world.to_mint()
    (author,) = await desk.world.to_mint(1, "author")
    busy = await desk.world.badge_type("explorer")
    async with desk.world.db.transaction() as conn:
        claimed = await claiming.claim_due(conn, LeaseToken(uuid4()), TTL, 10, [busy])
    assert [work.nft_instance_id for work in claimed] == [author.id]


async def test_a_sent_task_is_taken_over_once_its_lease_has_run_out(desk: Desk) -> None:
    lease = LeaseToken(uuid4())
    _, leased, message = await sent(desk, lease, 2)
    assert await claim_sent(desk) == [], "its minter is alive"
    await renew(desk, lease, *leased)
    await desk.expire()
    taken = await claim_sent(desk)
    assert [(work.id, work.token_index) for work in taken] == [
        (work.id, number) for number, work in enumerate(leased)
    ]
    assert {work.chain_message_id for work in taken} == {message.id}
    assert await claim_sent(desk) == [], "it is the other's now"
    with pytest.raises(LeaseLost):
        await renew(desk, lease, *leased)


async def test_a_sent_task_of_a_type_that_is_worked_on_already_is_left_alone(desk: Desk) -> None:
    """A second watch in one process would settle what the first one waits for."""
    lease = LeaseToken(uuid4())
    _, leased, _ = await sent(desk, lease)
    await desk.expire()
    assert await claim_sent(desk, leased[0].type_id) == []
    assert [work.id for work in await claim_sent(desk, uuid4())] == [leased[0].id]


async def test_a_pending_task_of_an_unresolved_message_is_no_sent_one(desk: Desk) -> None:
    lease = LeaseToken(uuid4())
    _, leased, _ = await sent(desk, lease, 2)
    await desk.settle(lease, Settlement(leased[0], TaskStatus.PENDING, TaskEvent.VOID))
    await desk.expire()
    assert [work.id for work in await claim_sent(desk)] == [leased[1].id]


async def test_a_renewal_prolongs_the_lease_of_all_its_tasks(desk: Desk) -> None:
    await desk.world.to_mint(2)
    lease = LeaseToken(uuid4())
    leased = await desk.claim(lease, ttl=timedelta(seconds=20))
    await renew(desk, lease, *leased)
    assert await desk.world.value(
        "SELECT min(lease_expires_at) > now() + interval '40 seconds' FROM nft_mint_queue"
    )


async def test_an_expired_lease_cannot_be_renewed(desk: Desk) -> None:
    """Another minter may be claiming its tasks at this moment."""
    await desk.world.to_mint(2)
    lease = LeaseToken(uuid4())
    leased = await desk.claim(lease)
    await desk.world.sql(
        "UPDATE nft_mint_queue SET lease_expires_at = clock_timestamp() - interval '1 second'"
        " WHERE id = :id",
        id=leased[1].id,
    )
    with pytest.raises(LeaseLost):
        await renew(desk, lease, *leased)
    taken = await desk.claim(LeaseToken(uuid4()))
    assert [work.id for work in taken] == [leased[1].id]


async def test_the_lease_of_another_minter_cannot_be_renewed(desk: Desk) -> None:
    await desk.world.to_mint()
    leased = await desk.claim(LeaseToken(uuid4()))
    with pytest.raises(LeaseLost):
        await renew(desk, LeaseToken(uuid4()), *leased)


async def out_since_the_start(desk: Desk, conn: Connection) -> None:
    """Let every lease run out a microsecond after the start of the transaction `conn`.

    By now(), which is that of the start, it still holds.
    """
    started = (await conn.execute(text("SELECT now()"))).scalar_one()
    await desk.world.sql(
        "UPDATE nft_mint_queue SET lease_expires_at = :started + interval '1 microsecond'",
        started=started,
    )


async def test_a_lease_that_ran_out_while_the_transaction_was_open_is_not_renewed(
    desk: Desk,
) -> None:
    await desk.world.to_mint()
    lease = LeaseToken(uuid4())
    (leased,) = await desk.claim(lease)
    async with desk.world.db.transaction() as conn:
        await out_since_the_start(desk, conn)
        with pytest.raises(LeaseLost):
            await claiming.renew(conn, lease, TTL, [leased.id])


async def test_nothing_is_settled_under_a_lease_that_ran_out_while_the_transaction_was_open(
    desk: Desk,
) -> None:
    lease = LeaseToken(uuid4())
    _, (leased,), _ = await sent(desk, lease)
    async with desk.world.db.transaction() as conn:
        await out_since_the_start(desk, conn)
        with pytest.raises(LeaseLost):
            await settling.settle(conn, lease, [confirmed(leased)], NOW)


async def test_nothing_is_signed_under_a_lease_that_ran_out_while_the_transaction_was_open(
    desk: Desk,
) -> None:
    lease = LeaseToken(uuid4())
    await desk.world.to_mint()
    (leased,) = await desk.claim(lease)
    async with desk.world.db.transaction() as conn:
        await out_since_the_start(desk, conn)
        await chain.lock_collection(conn, desk.collection_id)
        await claiming.lock_references(conn, [leased.id], desk.collection_id)
        await claiming.take_reserved(conn, lease, TTL, desk.collection_id)
        message = await chain_messages.add(conn, await desk.new_message(conn))
        with pytest.raises(LeaseLost):
            await settling.sign(conn, lease, message, [Assignment(leased, 0, RawAddress("0:cc"))])


async def test_a_released_task_is_anybodys_at_once_and_in_its_old_place(desk: Desk) -> None:
    first, second = await desk.world.to_mint(2)
    await due_since(desk, first, timedelta(hours=2))
    await due_since(desk, second, timedelta(hours=1))
    places = "SELECT id, run_after FROM nft_mint_queue ORDER BY id"
    before = await desk.world.sql(places)
    lease = LeaseToken(uuid4())
    await release(desk, lease, *await desk.claim(lease))
    assert await desk.world.sql(places) == before
    claimed = await desk.claim(LeaseToken(uuid4()))
    assert [work.nft_instance_id for work in claimed] == [first.id, second.id]


async def test_a_task_released_for_later_is_not_due_before(desk: Desk) -> None:
    await desk.world.to_mint()
    lease = LeaseToken(uuid4())
    await release(desk, lease, *await desk.claim(lease), delay=timedelta(hours=1))
    assert await desk.claim(LeaseToken(uuid4())) == []
    assert await desk.world.value(
        "SELECT run_after > now() + interval '59 minutes' FROM nft_mint_queue"
    )


async def test_releasing_what_another_minter_took_over_changes_nothing(desk: Desk) -> None:
    """A minter that wakes up late must not put the other's work back in the queue."""
    await desk.world.to_mint()
    former, present = LeaseToken(uuid4()), LeaseToken(uuid4())
    leased = await desk.claim(former)
    await desk.expire()
    taken = await desk.claim(present)
    what = "SELECT lease_token, lease_expires_at, run_after FROM nft_mint_queue"
    before = await desk.world.sql(what)
    assert before[0].lease_token == present
    await release(desk, former, *leased, delay=timedelta(hours=1))
    assert await desk.world.sql(what) == before
    await renew(desk, present, *taken)


async def test_the_queue_counts_signatures_beyond_the_first(desk: Desk) -> None:
    lease = LeaseToken(uuid4())
    _, (leased,), _ = await sent(desk, lease)
    counted = [await desk.world.value("SELECT retry_count FROM nft_mint_queue")]
    for _ in range(2):
        await make_void(desk, lease, leased)
        again = await desk.claim(lease)
        message = await desk.sign(lease, again)
        leased = again[0].after_signing(message.id, 0, RawAddress("0:cc"))
        counted.append(await desk.world.value("SELECT retry_count FROM nft_mint_queue"))
        assert leased.retry_count == counted[-1]
    assert counted == [0, 1, 2]
    assert await desk.world.sql(
        "SELECT details->'attempt' FROM mint_task_event WHERE event = 'signed' ORDER BY id"
    ) == [(1,), (2,), (3,)]
