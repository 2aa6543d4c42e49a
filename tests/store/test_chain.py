"""Signatures and settlements: whoever lost the lease changes nothing."""

from dataclasses import replace
from uuid import uuid4

import pytest

from ops.errors import LeaseLost
from store import chain, chain_messages, claiming
from store.chain import RecordGone
from store.engine import StatementRefused
from store.settlement_effects import Settlement
from store.settling import TRANSITIONS
from store.values.minting import (
    Commitments,
    HoldReason,
    MessageStatus,
    TaskEvent,
    TaskOperation,
    TaskStatus,
    TokenEnd,
)
from store.values.names import LeaseToken, RawAddress
from tests.store.desk import IDENTITY, NOW, TOKEN_ID, TTL, Desk, confirmed, sent

pytestmark = pytest.mark.usefixtures("in_lock_order")


async def test_a_collection_has_one_unresolved_message_at_most(desk: Desk) -> None:
    await sent(desk, LeaseToken(uuid4()))
    with pytest.raises(StatementRefused) as refused:
        async with desk.world.db.transaction() as conn:
            await chain_messages.add(conn, await desk.new_message(conn))
    assert refused.value.constraint == "chain_message_one_unresolved_key"


@pytest.mark.parametrize("state", ["written down", "signed for", "on chain"])
async def test_a_collection_is_forgotten_only_while_nothing_of_it_can_be_on_chain(
    desk: Desk, state: str
) -> None:
    if state == "signed for":
        await sent(desk, LeaseToken(uuid4()))
    if state == "on chain":
        await desk.world.sql("UPDATE chain_collection SET deployed_at = clock_timestamp()")
    async with desk.world.db.transaction() as conn:
        (collection,) = await chain.collections(conn)
        forgotten = await chain.forget_unsigned(conn, [collection.id])
        left = await chain.collections(conn)
    if state == "written down":
        assert (set(forgotten), len(left)) == ({collection.id}, 0)
    else:
        assert (forgotten, left) == (frozenset(), [collection])


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
        assert await chain_messages.resolve(conn, message.id, MessageStatus.SETTLED)
        assert not await chain_messages.resolve(conn, message.id, MessageStatus.SETTLED)


async def test_a_message_stays_open_while_one_of_its_tasks_is(desk: Desk) -> None:
    lease = LeaseToken(uuid4())
    _, leased, message = await sent(desk, lease, 2)
    await desk.settle(lease, confirmed(leased[0]))
    async with desk.world.db.transaction() as conn:
        assert not await chain_messages.resolve(conn, message.id, MessageStatus.SETTLED)


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
        assert await chain_messages.commitments(conn, desk.wallet_id) == Commitments(2, 0, 0, 1)
    await desk.settle(lease, confirmed(leased[0]))
    async with desk.world.db.transaction() as conn:
        assert await chain_messages.commitments(conn, desk.wallet_id) == Commitments(1, 0, 0, 1)


async def test_a_row_that_was_worked_with_and_is_gone_says_that_the_database_went_back(
    desk: Desk,
) -> None:
    """A failover lost the message while it was sent."""
    nobody = uuid4()
    for ask in (
        lambda conn: chain_messages.sent(conn, nobody, NOW),
        lambda conn: chain_messages.one(conn, nobody),
        lambda conn: chain.lock_collection(conn, nobody),
        lambda conn: chain.seqno_seen(conn, nobody),
    ):
        with pytest.raises(RecordGone, match="the database went back"):
            async with desk.world.db.transaction() as conn:
                await ask(conn)
