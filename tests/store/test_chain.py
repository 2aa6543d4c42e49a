"""Leases, signatures and settlements: whoever lost the lease changes nothing."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from ops.errors import LeaseLost
from store import chain, claiming, settling
from store.chain import MessageRecord, NewCollection, NewMessage, WalletIdentity
from store.engine import Connection, Database, StatementRefused
from store.settlement_effects import Settlement
from store.settling import TRANSITIONS, Assignment
from store.values import (
    Commitments,
    HoldReason,
    LeasedTask,
    LeaseToken,
    MessageKind,
    MessageStatus,
    RawAddress,
    TaskEvent,
    TaskOperation,
    TaskStatus,
    TokenEnd,
)
from tests.builders.world import Badge, World

pytestmark = pytest.mark.usefixtures("in_lock_order")

TTL = timedelta(minutes=1)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
TOKEN_ID = RawAddress("0:" + "ab" * 32)
IDENTITY = WalletIdentity(RawAddress("0:" + "11" * 32), b"k" * 32, 0x10AD, 300, b"z" * 32)


class Desk:
    """A wallet and a collection, and the minter's steps without a chain."""

    def __init__(self, world: World, wallet_id: UUID, collection_id: UUID) -> None:
        self.world = world
        self.wallet_id = wallet_id
        self.collection_id = collection_id

    async def claim(
        self, lease: LeaseToken, ttl: timedelta = TTL, limit: int = 10
    ) -> list[LeasedTask]:
        async with self.world.db.transaction() as conn:
            return await claiming.claim_due(conn, lease, ttl, limit, [])

    async def sign(
        self, lease: LeaseToken, leased: list[LeasedTask], first_index: int = 0
    ) -> MessageRecord:
        async with self.world.db.transaction() as conn:
            await chain.lock_collection(conn, self.collection_id)
            await claiming.take_reserved(conn, lease, TTL, self.collection_id)
            message = await chain.add_message(conn, await self.new_message(conn))
            given = [
                Assignment(work, first_index + number, RawAddress("0:cc"))
                for number, work in enumerate(leased)
            ]
            await settling.sign(conn, lease, message, given)
        return message

    async def new_message(self, conn: Connection) -> NewMessage:
        return NewMessage(
            self.wallet_id,
            self.collection_id,
            MessageKind.MINT,
            await chain.take_query_seq(conn, self.wallet_id),
            NOW,
            NOW + timedelta(minutes=5),
            b"boc",
            b"hash",
        )

    async def settle(self, lease: LeaseToken, *settlements: Settlement) -> None:
        async with self.world.db.transaction() as conn:
            await settling.settle(conn, lease, settlements, NOW)

    async def expire(self) -> None:
        await self.world.sql(
            "UPDATE nft_mint_queue SET lease_expires_at = clock_timestamp() - interval '1 second'"
        )


@pytest.fixture
async def desk(database: Database) -> Desk:
    world = World(database)
    type_id = await world.badge_type()
    async with database.transaction() as conn:
        wallet = await chain.register_wallet(conn, IDENTITY)
    async with database.transaction() as conn:
        collection = await chain.add_collection(
            conn, NewCollection(type_id, wallet.id, RawAddress("0:" + "22" * 32), "c", "p")
        )
    return Desk(world, wallet.id, collection.id)


async def sent(
    desk: Desk, lease: LeaseToken, count: int = 1
) -> tuple[list[Badge], list[LeasedTask], MessageRecord]:
    badges = await desk.world.to_mint(count)
    leased = await desk.claim(lease)
    message = await desk.sign(lease, leased)
    return (
        badges,
        [
            work.after_signing(message.id, number, RawAddress("0:cc"))
            for number, work in enumerate(leased)
        ],
        message,
    )


def confirmed(leased: LeasedTask) -> Settlement:
    return Settlement(leased, TaskStatus.CONFIRMED, TaskEvent.CONFIRMED, token_id=TOKEN_ID)


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


async def test_a_collection_has_one_unresolved_message_at_most(desk: Desk) -> None:
    await sent(desk, LeaseToken(uuid4()))
    with pytest.raises(StatementRefused) as refused:
        async with desk.world.db.transaction() as conn:
            await chain.add_message(conn, await desk.new_message(conn))
    assert refused.value.constraint == "chain_message_one_unresolved_key"


async def test_two_mints_never_share_an_index(desk: Desk) -> None:
    lease = LeaseToken(uuid4())
    await sent(desk, lease)
    await desk.world.sql("UPDATE chain_message SET status = 'settled'")
    await desk.world.to_mint()
    leased = await desk.claim(lease)
    with pytest.raises(StatementRefused) as refused:
        await desk.sign(lease, leased, first_index=0)
    assert refused.value.constraint == "nft_mint_queue_token_index_key"


async def test_signing_needs_the_lease(desk: Desk) -> None:
    lease = LeaseToken(uuid4())
    await desk.world.to_mint(2)
    leased = await desk.claim(lease)
    await desk.expire()
    with pytest.raises(LeaseLost):
        await desk.sign(lease, leased)
    assert await desk.world.value("SELECT count(*) FROM chain_message") == 0


async def test_settling_needs_the_lease(desk: Desk) -> None:
    lease = LeaseToken(uuid4())
    badges, (leased,), _ = await sent(desk, lease)
    await desk.expire()
    with pytest.raises(LeaseLost):
        await desk.settle(lease, confirmed(leased))
    async with desk.world.db.transaction() as conn:
        (other,) = await claiming.claim_sent(conn, LeaseToken(uuid4()), TTL, [])
    assert other.id == leased.id
    with pytest.raises(LeaseLost):  # the former minter wakes up
        await desk.settle(lease, confirmed(leased))
    assert await desk.world.statuses(badges) == ["active/pending"]
    assert await desk.world.audit(badges[0]) == ["submitted_onchain"]


async def test_one_lost_task_undoes_the_whole_settlement(desk: Desk) -> None:
    lease = LeaseToken(uuid4())
    badges, leased, _ = await sent(desk, lease, 2)
    await desk.world.sql(
        "UPDATE nft_mint_queue SET lease_token = gen_random_uuid() WHERE id = :id",
        id=leased[1].id,
    )
    settlements = [
        Settlement(
            work, TaskStatus.CONFIRMED, TaskEvent.CONFIRMED, token_id=RawAddress(f"0:{number:064x}")
        )
        for number, work in enumerate(leased)
    ]
    with pytest.raises(LeaseLost):
        await desk.settle(lease, *settlements)
    assert await desk.world.statuses(badges) == ["active/pending", "active/pending"]


async def test_a_confirmed_mint_is_told_once_in_every_place(desk: Desk) -> None:
    lease = LeaseToken(uuid4())
    (badge,), (leased,), message = await sent(desk, lease)
    await desk.settle(lease, confirmed(leased))
    assert await desk.world.statuses([badge]) == ["active/minted"]
    assert await desk.world.value("SELECT onchain_token_id FROM nft_instance") == TOKEN_ID
    assert await desk.world.audit(badge) == ["submitted_onchain", "minted_onchain"]
    assert await desk.world.published(badge) == ["badge.minted"]
    with pytest.raises(LeaseLost):
        await desk.settle(lease, confirmed(leased))
    async with desk.world.db.transaction() as conn:
        assert await chain.resolve_message(conn, message.id, MessageStatus.SETTLED)
        assert not await chain.resolve_message(conn, message.id, MessageStatus.SETTLED)


async def test_a_message_stays_open_while_one_of_its_tasks_is(desk: Desk) -> None:
    lease = LeaseToken(uuid4())
    _, leased, message = await sent(desk, lease, 2)
    await desk.settle(lease, confirmed(leased[0]))
    async with desk.world.db.transaction() as conn:
        assert not await chain.resolve_message(conn, message.id, MessageStatus.SETTLED)


async def test_the_token_of_a_badge_revoked_meanwhile_gets_a_burn(desk: Desk) -> None:
    lease = LeaseToken(uuid4())
    (badge,), (leased,), _ = await sent(desk, lease)
    await desk.world.sql("UPDATE nft_instance SET status = 'revoked'")
    await desk.settle(lease, confirmed(leased))
    assert await desk.world.tasks(badge) == ["mint confirmed", "burn pending"]
    assert await desk.world.statuses([badge]) == ["revoked/minted"]


async def test_a_void_mint_goes_back_first_in_line_with_its_index(desk: Desk) -> None:
    lease = LeaseToken(uuid4())
    _, (leased,), _ = await sent(desk, lease)
    await desk.settle(
        lease, Settlement(leased, TaskStatus.PENDING, TaskEvent.VOID, reason="expired")
    )
    await desk.world.sql("UPDATE chain_message SET status = 'void'")
    await desk.world.to_mint()
    first, second = await desk.claim(LeaseToken(uuid4()))
    assert (first.id, first.token_index, first.attempt) == (leased.id, 0, 1)
    assert second.token_index is None


async def test_a_taken_index_is_given_up(desk: Desk) -> None:
    lease = LeaseToken(uuid4())
    _, (leased,), _ = await sent(desk, lease)
    await desk.settle(
        lease, Settlement(leased, TaskStatus.PENDING, TaskEvent.INDEX_TAKEN, drop_index=True)
    )
    await desk.world.sql("UPDATE chain_message SET status = 'void'")
    (again,) = await desk.claim(LeaseToken(uuid4()))
    assert again.token_index is None


async def test_a_parked_task_waits_for_a_person(desk: Desk) -> None:
    lease = LeaseToken(uuid4())
    _, (leased,), _ = await sent(desk, lease)
    parked = Settlement(
        leased, TaskStatus.PENDING, TaskEvent.PARKED, reason="why", hold_reason=HoldReason.OPERATOR
    )
    await desk.settle(lease, parked)
    assert await desk.world.sql(
        "SELECT status, hold_reason, last_error, token_index FROM nft_mint_queue"
    ) == [("pending", "operator", "why", 0)]
    async with desk.world.db.transaction() as conn:
        (kept,) = await claiming.take_reserved(conn, LeaseToken(uuid4()), TTL, desk.collection_id)
    assert kept.lease is None


async def test_a_second_burn_of_a_badge_is_told_once(desk: Desk) -> None:
    lease = LeaseToken(uuid4())
    (badge,), (leased,), _ = await sent(desk, lease)
    await desk.settle(lease, replace(confirmed(leased), token_end=TokenEnd.DESTROYED))
    await desk.world.sql("UPDATE chain_message SET status = 'settled'")
    assert await desk.world.statuses([badge]) == ["burned_onchain/minted"]
    await desk.world.enqueue([badge], TaskOperation.BURN)
    (burn,) = await desk.claim(lease)
    await desk.settle(
        lease,
        Settlement(burn, TaskStatus.CONFIRMED, TaskEvent.CONFIRMED, token_end=TokenEnd.DESTROYED),
    )
    assert (await desk.world.audit(badge)).count("burned_onchain") == 1
    assert await desk.world.published(badge) == ["badge.minted", "badge.burned"]


async def test_every_transition_has_an_owner_and_the_end_states_have_none_but_repair() -> None:
    from_terminal = {
        owner for (before, _), owner in TRANSITIONS.items() if before is TaskStatus.CONFIRMED
    }
    assert from_terminal == set()
    assert {pair for pair in TRANSITIONS if pair[0] is TaskStatus.FAILED} == {
        (TaskStatus.FAILED, TaskStatus.CONFIRMED)
    }


async def test_the_newest_block_ever_seen_never_goes_back(desk: Desk) -> None:
    async with desk.world.db.transaction() as conn:
        assert await chain.saw_block(conn, desk.wallet_id, 7, deployed=False) == 7
        assert await chain.saw_block(conn, desk.wallet_id, 5, deployed=True) == 7
        wallet = await chain.wallet(conn)
    assert wallet is not None
    assert wallet.seqno_seen == 7
    assert wallet.deployed_at is not None


async def test_a_database_keeps_its_first_wallet(desk: Desk) -> None:
    async with desk.world.db.transaction() as conn:
        stored = await chain.register_wallet(conn, replace(IDENTITY, zero_state_hash=b"y" * 32))
    assert stored.identity == IDENTITY


async def test_what_messages_may_still_spend_is_counted_until_they_are_settled(desk: Desk) -> None:
    lease = LeaseToken(uuid4())
    _, leased, _ = await sent(desk, lease, 2)
    async with desk.world.db.transaction() as conn:
        assert await chain.commitments(conn, desk.wallet_id) == Commitments(2, 0, 0)
    await desk.settle(lease, confirmed(leased[0]))
    async with desk.world.db.transaction() as conn:
        assert await chain.commitments(conn, desk.wallet_id) == Commitments(1, 0, 0)
