"""What is signed, what is not and why, and what becomes of the tasks that are not."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text
from ton_core.boc.builder import Builder

from minter import message_signing, mint_signing, signing
from minter.budget import cost_nano, spendable_nano
from minter.context import MinterContext
from minter.message_signing import NothingSigned, Obstacle, SignedBatch
from minter.startup import minter_context
from minter.ton import global_config, tokens
from minter.ton.highload_wallet import Action, MessageHeader, sign_message
from ops.errors import LeaseLost
from ops.lifecycle import Readiness
from ops.quantities import NANOGRAMS
from ops.settings import Settings
from sandbox.ton.network import TonNetwork
from store import chain, mint_queue, reconciliation
from store.chain_messages import MessageRecord, commitments
from store.values.minting import MessageKind, TaskOperation, TaskStatus
from store.values.names import RawAddress
from tests.builders.metrics import Moved
from tests.builders.minters import claimed, collection_of, sign_due
from tests.builders.world import Badge, World, all_in, minting

ELSEWHERE = RawAddress("0:" + "5a" * 32)
# Whether it is under a lease, and due.
RELEASED_NOW = (False, True)


async def void(world: World, *, hold: str | None = None) -> None:
    """Let the message under way be void: its mints keep their indexes and are pending again."""
    await world.sql("UPDATE chain_message SET status = 'void' WHERE status = 'unresolved'")
    await world.sql(
        """
        UPDATE nft_mint_queue
           SET status = 'pending', hold_reason = :hold, lease_token = NULL, lease_expires_at = NULL
         WHERE status = 'sent'
        """,
        hold=hold,
    )


async def unexecuted(world: World) -> None:
    """Let the message under way be void, and proven never to be executed."""
    await void(world)
    await world.sql(
        """
        UPDATE nft_mint_queue SET chain_message_id = NULL, recipient = NULL
         WHERE status = 'pending' AND token_index IS NOT NULL
        """
    )


async def state(world: World, badge: Badge) -> tuple[Any, ...]:
    """Return whether the badge's open task is leased, and whether it is due."""
    (row,) = await world.sql(
        """
        SELECT lease_token IS NOT NULL, run_after <= clock_timestamp()
          FROM nft_mint_queue WHERE nft_instance_id = :id AND status = 'pending'
        """,
        id=badge.id,
    )
    return tuple(row)


def with_room_for(ctx: MinterContext, mints: int) -> MinterContext:
    """Return `ctx` with a reserve that leaves money for a message with that many mints."""
    _, account = ctx.view.current
    reserve_nano = account.balance_nano - cost_nano(MessageKind.MINT, mints, ctx.prices)
    settings = ctx.settings.model_copy(update={"balance_reserve": reserve_nano / NANOGRAMS})
    return replace(ctx, settings=settings)


async def test_a_message_carries_as_many_mints_as_the_wallet_can_pay_for(
    ctx: MinterContext, world: World
) -> None:
    badges = await world.to_mint(3)
    signed = await sign_due(with_room_for(ctx, 2))
    assert isinstance(signed, SignedBatch)
    assert [(task.status, task.token_index) for task in signed.tasks] == [
        (TaskStatus.SENT, 1),
        (TaskStatus.SENT, 2),
    ]
    carried = {task.nft_instance_id for task in signed.tasks}
    (left,) = [badge for badge in badges if badge.id not in carried]
    assert await state(world, left) == RELEASED_NOW
    assert await world.value("SELECT next_index FROM chain_collection") == 3


async def test_a_wallet_without_money_for_one_mint_signs_nothing(
    ctx: MinterContext, world: World
) -> None:
    (badge,) = await world.to_mint()
    nothing = await sign_due(with_room_for(ctx, 0))
    assert isinstance(nothing, NothingSigned)
    assert nothing.obstacle is Obstacle.INSUFFICIENT_FUNDS
    assert tokens.user_friendly(ctx.wallet.address, bounceable=True) in nothing.reason
    assert "send it 0.252 or more" in nothing.reason
    assert await state(world, badge) == RELEASED_NOW
    assert await world.value("SELECT next_index FROM chain_collection") == 1


async def test_two_collections_do_not_promise_the_same_money(
    world: World, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have counted it before either signs: the second is refused under the wallet's lock."""
    async with minting(settings):
        await all_in(
            world, [*await world.to_mint(), *await world.to_mint(1, "author")], "active/minted"
        )
    async with minter_context(settings, Readiness()) as ctx:
        poor = with_room_for(ctx, 2)
        await world.to_mint(2)
        await world.to_mint(2, "author")
        lease, tasks = await claimed(poor)
        async with poor.db.transaction() as conn:
            collections = await chain.collections(conn)
        commit, both = message_signing.commit, asyncio.Barrier(2)

        async def at_once(*given: Any) -> MessageRecord:
            await both.wait()
            return await commit(*given)

        monkeypatch.setattr(message_signing, "commit", at_once)
        signed = await asyncio.gather(
            *(
                signing.sign(
                    poor, lease, [task for task in tasks if task.type_id == each.type_id], each
                )
                for each in collections
            ),
            return_exceptions=True,
        )
        assert {type(each) for each in signed} == {SignedBatch, message_signing.MoneyTaken}
        async with poor.db.transaction() as conn:
            committed = await commitments(conn, poor.wallet_id)
        balance_nano = poor.view.current[1].balance_nano
        assert spendable_nano(balance_nano, committed, poor.prices) >= 0


async def test_no_message_carries_more_than_the_limit(ctx: MinterContext, world: World) -> None:
    await world.to_mint(3)
    limited = replace(ctx, settings=ctx.settings.model_copy(update={"claim_limit": 2}))
    signed = await sign_due(limited)
    assert isinstance(signed, SignedBatch)
    assert len(signed.tasks) == 2


async def test_a_second_message_waits_until_the_first_is_resolved(
    ctx: MinterContext, world: World
) -> None:
    await world.to_mint(2)
    collection = await collection_of(ctx)
    first, second = await claimed(ctx, 1), await claimed(ctx, 1)
    assert isinstance(await signing.sign(ctx, *first, collection), SignedBatch)
    nothing = await signing.sign(ctx, *second, collection)
    assert nothing == NothingSigned(Obstacle.MESSAGE_UNDER_WAY, "another message is under way")
    assert await world.sql(
        """
        SELECT lease_token, run_after <= clock_timestamp()
          FROM nft_mint_queue WHERE status = 'pending'
        """
    ) == [(None, True)]


async def test_nothing_is_signed_from_a_block_older_than_another_minter_has_seen(
    ctx: MinterContext, world: World
) -> None:
    (badge,) = await world.to_mint()
    await world.sql("UPDATE chain_wallet SET seqno_seen = 1000000")
    nothing = await sign_due(ctx)
    assert isinstance(nothing, NothingSigned)
    assert nothing.reason.startswith("another minter has seen block 1000000")
    assert await state(world, badge) == RELEASED_NOW


async def test_mints_that_hold_an_index_go_first_and_keep_it(
    ctx: MinterContext, world: World
) -> None:
    (early,) = await world.to_mint()
    assert isinstance(await sign_due(ctx), SignedBatch)
    await void(world)
    (late,) = await world.to_mint()
    await world.sql(  # due only later: it comes along for its index alone
        """
        UPDATE nft_mint_queue SET run_after = now() + interval '1 hour'
         WHERE nft_instance_id = :id
        """,
        id=early.id,
    )
    signed = await sign_due(ctx)
    assert isinstance(signed, SignedBatch)
    assert [(task.nft_instance_id, task.token_index, task.attempt) for task in signed.tasks] == [
        (early.id, 1, 2),
        (late.id, 2, 1),
    ]


async def test_a_mint_that_holds_an_index_and_has_no_room_is_free_for_the_next_message(
    ctx: MinterContext, world: World
) -> None:
    """Whoever signed leased it for its index: it must not wait until that lease runs out."""
    badges = await world.to_mint(2)
    assert isinstance(await sign_due(ctx), SignedBatch)
    await void(world)
    signed = await sign_due(with_room_for(ctx, 1))
    assert isinstance(signed, SignedBatch)
    assert [task.token_index for task in signed.tasks] == [1]
    (left,) = [badge for badge in badges if badge.id != signed.tasks[0].nft_instance_id]
    assert await state(world, left) == RELEASED_NOW


@pytest.mark.parametrize("due", [True, False])
async def test_what_was_signed_once_keeps_its_recipient(
    due: bool, ctx: MinterContext, world: World
) -> None:
    """The first message may still take effect: two owners of one index would be two tokens."""
    (badge,) = await world.to_mint()
    assert isinstance(await sign_due(ctx), SignedBatch)
    await void(world)
    if not due:
        # It comes along for its index, with another's mint.
        await world.sql(
            """
            UPDATE nft_mint_queue SET run_after = now() + interval '1 hour'
             WHERE nft_instance_id = :id
            """,
            id=badge.id,
        )
        await world.to_mint()
    await world.sql("DELETE FROM user_wallet WHERE user_id = :id", id=badge.user_id)
    await world.link([replace(badge, owner=ELSEWHERE)])
    signed = await sign_due(ctx)
    assert isinstance(signed, SignedBatch)
    assert (signed.tasks[0].nft_instance_id, signed.tasks[0].recipient) == (badge.id, badge.owner)
    assert badge.owner == await world.value(
        "SELECT recipient FROM nft_mint_queue WHERE nft_instance_id = :id", id=badge.id
    )


async def test_what_was_signed_once_keeps_its_recipient_beside_a_new_mint_of_its_user(
    ctx: MinterContext, world: World
) -> None:
    """The user has another wallet since: only the new token goes there."""
    (early,) = await world.to_mint()
    assert isinstance(await sign_due(ctx), SignedBatch)
    await void(world)
    (late,) = await world.to_mint()
    await world.sql("UPDATE nft_instance SET status = 'revoked' WHERE id = :id", id=early.id)
    statement = "UPDATE nft_instance SET user_id = :user, ordinal = 2 WHERE id = :id"
    await world.sql(statement, user=early.user_id, id=late.id)
    await world.sql("DELETE FROM user_wallet WHERE user_id = :id", id=early.user_id)
    await world.link([replace(early, owner=ELSEWHERE)])
    signed = await sign_due(ctx)
    assert isinstance(signed, SignedBatch)
    assert [(task.nft_instance_id, task.recipient) for task in signed.tasks] == [
        (early.id, early.owner),
        (late.id, ELSEWHERE),
    ]


async def test_the_wait_in_the_queue_is_measured_at_the_first_signature_only(
    ctx: MinterContext, world: World
) -> None:
    """Later ones come minutes after: they would pass for a queue that nobody works on."""
    moved = Moved()
    await world.to_mint(2)
    for _ in range(2):
        assert isinstance(await sign_due(ctx), SignedBatch)
        await void(world)
    assert moved.by("laurel_mint_stage_seconds_count") == {
        ("mint", "wallet"): 2,
        ("mint", "queued"): 2,
    }
    assert moved.by("laurel_mint_stage_seconds_sum").get(("mint", "wallet")) is None


async def test_a_parked_mint_goes_along_with_the_next_message_of_its_collection(
    ctx: MinterContext, world: World
) -> None:
    """With its own index: whatever became of the messages before, it is one token."""
    (parked,) = await world.to_mint()
    assert isinstance(await sign_due(ctx), SignedBatch)
    await void(world, hold="operator")
    (late,) = await world.to_mint()
    signed = await sign_due(ctx)
    assert isinstance(signed, SignedBatch)
    assert [(task.nft_instance_id, task.token_index) for task in signed.tasks] == [
        (parked.id, 1),
        (late.id, 2),
    ]
    (event,) = await world.sql("SELECT details FROM mint_task_event WHERE event = 'retried'")
    assert event.details == {"actor": "system"}


async def test_a_parked_mint_is_not_signed_with_those_that_have_no_recipient(
    ctx: MinterContext, world: World
) -> None:
    await world.to_mint()
    assert isinstance(await sign_due(ctx), SignedBatch)
    await void(world, hold="operator")
    (late,) = await world.badges(wallets=False)
    await world.enqueue([late])
    assert await sign_due(ctx) == NothingSigned(
        Obstacle.HEAD_OF_LINE, "the mint with index 1 is parked"
    )
    holds = await world.sql("SELECT hold_reason FROM nft_mint_queue WHERE status = 'pending'")
    assert {row.hold_reason for row in holds} == {"operator", "no_wallet"}


async def test_a_link_frees_a_mint_that_is_held_at_that_moment(
    ctx: MinterContext, world: World
) -> None:
    """In either order: the minter looks at the wallet, and the link is written meanwhile."""
    (badge,) = await world.to_mint()
    await world.sql("UPDATE user_wallet SET address = :it", it="0:" + "0" * 64)
    lease, tasks = await claimed(ctx)
    looked, linked = asyncio.Event(), asyncio.Event()

    async def link() -> int:
        await looked.wait()
        async with world.db.transaction() as conn:
            await conn.execute(
                text("INSERT INTO user_wallet VALUES (:user, :address, now())"),
                {"user": badge.user_id, "address": badge.owner},
            )
            linked.set()
            return await mint_queue.release_held(conn, [badge.user_id])

    recipients_of = mint_signing._recipients_of

    async def slowly(*given: Any, **more: Any) -> Any:
        found = await recipients_of(*given, **more)
        looked.set()
        await linked.wait()
        return found

    linking = asyncio.create_task(link())
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(mint_signing, "_recipients_of", slowly)
        assert isinstance(
            await signing.sign(ctx, lease, tasks, await collection_of(ctx)), NothingSigned
        )
    assert await linking == 1
    assert isinstance(await sign_due(ctx), SignedBatch)


async def test_a_form_for_test_networks_only_is_refused_on_the_main_network(
    ctx: MinterContext, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (badge,) = await world.to_mint()
    await world.sql("UPDATE user_wallet SET test_only = true")
    local = ctx.gateway.zero_state_hash
    with monkeypatch.context() as main:
        main.setattr(global_config, "MAIN_NETWORK", local)
        assert isinstance(await sign_due(ctx), NothingSigned)
    (row,) = await world.sql(
        "SELECT hold_reason, last_error FROM nft_mint_queue WHERE nft_instance_id = :id",
        id=badge.id,
    )
    assert (row.hold_reason, row.last_error) == (
        "recipient",
        "the linked wallet is an address for test networks only, and this is the main one",
    )
    await world.sql("UPDATE nft_mint_queue SET hold_reason = NULL")
    assert isinstance(await sign_due(ctx), SignedBatch), "elsewhere it is as good as another"


async def test_where_chain_and_database_count_differently_new_mints_are_held(
    ctx: MinterContext, world: World
) -> None:
    (badge,) = await world.to_mint()
    await world.sql("UPDATE chain_collection SET next_index = 0")
    nothing = await sign_due(ctx)
    assert nothing == NothingSigned(
        Obstacle.INDEX_MISMATCH, "the chain has minted up to 1, this database assigned up to 0"
    )
    holds = "SELECT hold_reason FROM nft_mint_queue WHERE nft_instance_id = :id"
    assert await world.value(holds, id=badge.id) == "breaker"


async def test_a_mint_that_holds_an_index_is_not_held_where_the_counts_differ(
    ctx: MinterContext, world: World
) -> None:
    """It waits for reconcile in its place; a held one would block the indexes behind it."""
    (early,) = await world.to_mint()
    assert isinstance(await sign_due(ctx), SignedBatch)
    await void(world)
    (late,) = await world.to_mint()
    await world.sql("UPDATE chain_collection SET next_index = 5")
    assert isinstance(await sign_due(ctx), NothingSigned)
    holds = "SELECT hold_reason FROM nft_mint_queue WHERE nft_instance_id = :id"
    assert await world.value(holds, id=early.id) is None
    assert await state(world, early) == RELEASED_NOW
    assert await world.value(holds, id=late.id) == "breaker"


async def test_a_mint_to_no_address_is_held_and_the_others_are_signed(
    ctx: MinterContext, world: World
) -> None:
    bad, good = await world.to_mint(2)
    await world.sql(
        "UPDATE user_wallet SET address = 'nonsense' WHERE user_id = :id", id=bad.user_id
    )
    signed = await sign_due(ctx)
    assert isinstance(signed, SignedBatch)
    assert [(task.nft_instance_id, task.recipient) for task in signed.tasks] == [
        (good.id, good.owner)
    ]
    holds = "SELECT hold_reason FROM nft_mint_queue WHERE nft_instance_id = :id"
    assert await world.value(holds, id=bad.id) == "recipient"


async def test_a_wallet_is_not_blamed_where_every_mint_is_held(
    ctx: MinterContext, world: World
) -> None:
    await world.to_mint()
    await world.sql("UPDATE user_wallet SET address = 'nonsense'")
    assert await sign_due(ctx) == NothingSigned(Obstacle.NOTHING_LEFT, "no mint is left to sign")


async def test_a_lease_lost_meanwhile_leaves_nothing_behind(
    ctx: MinterContext, world: World
) -> None:
    await world.to_mint(2)
    lease, tasks = await claimed(ctx)
    await world.sql(
        "UPDATE nft_mint_queue SET lease_token = gen_random_uuid() WHERE id = :id", id=tasks[1].id
    )
    with pytest.raises(LeaseLost):
        await signing.sign(ctx, lease, tasks, await collection_of(ctx))
    assert await world.value("SELECT count(*) FROM chain_message WHERE status = 'unresolved'") == 0
    assert await world.value("SELECT next_index FROM chain_collection") == 1


async def test_only_standing_tokens_are_revoked(ctx: MinterContext, world: World) -> None:
    (minted,) = await world.sql("SELECT id, user_id FROM nft_instance")
    standing = Badge(minted.id, minted.user_id, ELSEWHERE)
    (bare,) = await world.badges()
    await world.enqueue([standing, bare], TaskOperation.BURN)
    signed = await sign_due(ctx)
    assert isinstance(signed, SignedBatch)
    assert [(task.nft_instance_id, task.token_index) for task in signed.tasks] == [(standing.id, 0)]
    assert await world.tasks(bare) == ["burn failed"]
    assert signed.message.kind is MessageKind.BURN


async def test_a_token_of_another_authority_cannot_be_revoked(
    ctx: MinterContext, world: World
) -> None:
    (minted,) = await world.sql("SELECT id, user_id FROM nft_instance")
    badge = Badge(minted.id, minted.user_id, ELSEWHERE)
    await world.enqueue([badge], TaskOperation.BURN)
    contract = replace(ctx.wallet.contract, address=ELSEWHERE)
    other = replace(ctx, wallet=replace(ctx.wallet, contract=contract))
    assert await sign_due(other) == NothingSigned(Obstacle.NOTHING_LEFT, "nothing to burn")
    assert await world.tasks(badge) == ["mint confirmed", "burn failed"]
    assert await world.statuses([badge]) == ["active/minted"]


async def test_a_collection_of_another_wallet_is_not_deployed(ctx: MinterContext) -> None:
    foreign = replace(await collection_of(ctx), address=ELSEWHERE)
    nothing = await signing.sign_deploy(ctx, foreign)
    assert nothing == NothingSigned(
        Obstacle.FOREIGN_COLLECTION, "collection explorer is not of this wallet"
    )


async def test_a_collection_that_obeys_another_wallet_now_gets_no_message(
    ton: TonNetwork, ctx: MinterContext, world: World
) -> None:
    """It would refuse every mint and keep its fees; so nothing is spent, and the task waits."""
    collection = await collection_of(ctx)
    change_owner = Builder().store_uint(3, 32).store_uint(0, 64).store_address(ELSEWHERE)
    handed_over = sign_message(
        ctx.wallet,
        ctx.signer,
        [Action(collection.address, 10**8, change_owner.end_cell())],
        MessageHeader(5_000, ctx.view.current[0].time, deploy=False),
    )
    ton.chain.submit(handed_over.boc)
    for _ in range(3):
        await ton.next_block()
    await ctx.view.refresh(ctx.db)
    balance_nano = ctx.view.current[1].balance_nano
    (badge,) = await world.to_mint()
    nothing = await sign_due(ctx)
    assert isinstance(nothing, NothingSigned)
    assert f"obeys {ELSEWHERE}, and this wallet is {ctx.wallet.address}" in nothing.reason
    assert nothing.obstacle is Obstacle.FOREIGN_COLLECTION
    assert await state(world, badge) == RELEASED_NOW
    assert await world.value("SELECT count(*) FROM chain_message WHERE status = 'unresolved'") == 0
    await ton.next_block()
    await ctx.view.refresh(ctx.db)
    assert ctx.view.current[1].balance_nano == balance_nano


async def test_a_deployment_that_the_wallet_cannot_pay_for_is_not_signed(
    ctx: MinterContext, world: World
) -> None:
    nothing = await signing.sign_deploy(with_room_for(ctx, 0), await collection_of(ctx))
    assert isinstance(nothing, NothingSigned)
    assert nothing.obstacle is Obstacle.INSUFFICIENT_FUNDS
    assert await world.value("SELECT count(*) FROM chain_message WHERE status = 'unresolved'") == 0


async def test_a_burn_that_has_to_wait_does_not_keep_the_head_of_the_queue(
    world: World, settings: Settings
) -> None:
    """Its token is on no block yet; the burns behind it fill the next message."""
    badges = await world.to_mint(4)
    async with minting(settings):
        await all_in(world, badges, "active/minted")
    nowhere = f"0:{'ab' * 32}"
    statement = "UPDATE nft_instance SET onchain_token_id = :token WHERE id = :id"
    await world.sql(statement, token=nowhere, id=badges[0].id)
    for badge in badges:
        await world.enqueue([badge], TaskOperation.BURN)
    async with minter_context(settings, Readiness()) as tools:
        ctx = replace(tools, settings=tools.settings.model_copy(update={"claim_limit": 2}))
        carried = []
        for _ in range(2):
            lease, tasks = await claimed(ctx, 2)
            signed = await signing.sign(ctx, lease, tasks, await collection_of(ctx))
            assert isinstance(signed, SignedBatch)
            carried.append(len(signed.tasks))
            await world.sql(
                "UPDATE nft_mint_queue SET status = 'confirmed', lease_token = NULL, "
                "lease_expires_at = NULL WHERE status = 'sent'"
            )
            await world.sql(
                "UPDATE chain_message SET status = 'settled' WHERE status = 'unresolved'"
            )
    assert carried == [1, 2]


async def test_a_message_carries_as_many_burns_as_there_is_room_for(
    world: World, settings: Settings
) -> None:
    badges = await world.to_mint(3)
    async with minting(settings):
        await all_in(world, badges, "active/minted")
    await world.enqueue(badges, TaskOperation.BURN)
    async with minter_context(settings, Readiness()) as ctx:
        _, account = ctx.view.current
        reserve_nano = account.balance_nano - cost_nano(MessageKind.BURN, 2, ctx.prices)
        poor = ctx.settings.model_copy(update={"balance_reserve": reserve_nano / NANOGRAMS})
        signed = await sign_due(replace(ctx, settings=poor))
    assert isinstance(signed, SignedBatch)
    assert len(signed.tasks) == 2
    carried = {task.nft_instance_id for task in signed.tasks}
    (left,) = [badge for badge in badges if badge.id not in carried]
    assert await state(world, left) == RELEASED_NOW, "it keeps its place"


MINTED = (
    "UPDATE nft_instance SET onchain_status = 'minted', onchain_token_id = :token WHERE id = :id"
)


async def test_a_badge_that_has_its_token_is_not_signed_for(
    ctx: MinterContext, world: World
) -> None:
    first, second = await world.to_mint(2)
    await world.sql(MINTED, id=first.id, token=f"0:{'ab' * 32}")
    signed = await sign_due(ctx)
    assert isinstance(signed, SignedBatch)
    assert [task.nft_instance_id for task in signed.tasks] == [second.id]
    assert await world.tasks(first) == ["mint failed"]
    assert await world.statuses([first]) == ["active/minted"]


async def test_a_badge_that_got_its_token_after_the_claim_is_not_signed_for(
    ctx: MinterContext, world: World
) -> None:
    (badge,) = await world.to_mint()
    lease, tasks = await claimed(ctx)
    await world.sql(MINTED, id=badge.id, token=f"0:{'ab' * 32}")
    with pytest.raises(LeaseLost):
        await signing.sign(ctx, lease, tasks, await collection_of(ctx))
    assert await world.value("SELECT count(*) FROM chain_message WHERE status = 'unresolved'") == 0


async def test_an_index_of_a_badge_that_has_its_token_is_given_up(
    ctx: MinterContext, world: World
) -> None:
    """Its hole is the breaker's: reconcile agrees on the count, and the next mint takes it."""
    (badge,) = await world.to_mint()
    assert isinstance(await sign_due(ctx), SignedBatch)
    await void(world)
    await world.sql(MINTED, id=badge.id, token=f"0:{'ab' * 32}")
    (late,) = await world.to_mint()
    assert isinstance(await sign_due(ctx), NothingSigned)
    assert await world.tasks(badge) == ["mint failed"]
    assert await world.value("SELECT breaker FROM chain_collection") is not None
    collection, block = await collection_of(ctx), ctx.view.current[0]
    async with world.db.transaction() as conn:
        assert await reconciliation.agree_on_index(conn, collection.id, 1, dead_before=block.time)
    signed = await sign_due(ctx)
    assert isinstance(signed, SignedBatch)
    assert [(task.nft_instance_id, task.token_index) for task in signed.tasks] == [(late.id, 1)]


async def test_a_mint_that_was_never_executed_goes_to_the_wallet_linked_by_now(
    ctx: MinterContext, world: World
) -> None:
    badge, other = await world.to_mint(2)
    before = await sign_due(ctx)
    assert isinstance(before, SignedBatch)
    await unexecuted(world)
    await world.sql(
        "UPDATE user_wallet SET unlinked_at = now() WHERE user_id = :id", id=badge.user_id
    )
    await world.sql(
        "INSERT INTO user_wallet (user_id, address, linked_at) VALUES (:id, :address, now())",
        id=badge.user_id,
        address=ELSEWHERE,
    )
    signed = await sign_due(ctx)
    assert isinstance(signed, SignedBatch)
    assert {task.nft_instance_id: (task.recipient, task.attempt) for task in signed.tasks} == {
        badge.id: (ELSEWHERE, 1),
        other.id: (other.owner, 1),
    }
    indexes = [
        [(task.nft_instance_id, task.token_index) for task in batch.tasks]
        for batch in (before, signed)
    ]
    assert indexes[0] == indexes[1]


async def test_a_mint_whose_wallet_is_gone_stops_nobody_behind_it(
    ctx: MinterContext, world: World
) -> None:
    (gone,) = await world.to_mint()
    assert isinstance(await sign_due(ctx), SignedBatch)
    await unexecuted(world)
    await world.sql(
        "UPDATE user_wallet SET unlinked_at = now() WHERE user_id = :id", id=gone.user_id
    )
    (late,) = await world.to_mint()
    signed = await sign_due(ctx)
    assert isinstance(signed, SignedBatch)
    assert [(task.nft_instance_id, task.token_index) for task in signed.tasks] == [(late.id, 1)]
    (held,) = await world.sql(
        "SELECT hold_reason, token_index FROM nft_mint_queue WHERE nft_instance_id = :id",
        id=gone.id,
    )
    assert tuple(held) == ("no_wallet", None)
    assert await world.value("SELECT next_index FROM chain_collection") == 2


async def test_nothing_is_signed_for_a_collection_that_is_stopped(
    ctx: MinterContext, world: World
) -> None:
    (badge,) = await world.to_mint()
    await world.sql("UPDATE chain_collection SET stopped_reason = 'it costs and mints nothing'")
    assert await sign_due(ctx) == NothingSigned(
        Obstacle.STOPPED, "stopped: it costs and mints nothing"
    )
    assert await state(world, badge) == RELEASED_NOW


@pytest.mark.parametrize(
    ("whose", "refusal"),
    [
        ("nobody", "the linked wallet is the zero address, which is nobody's"),
        ("masterchain", "the linked wallet is not in the basechain, where the tokens are"),
        ("wallet", "the linked wallet is a contract of Laurel's own"),
        ("collection", "the linked wallet is a contract of Laurel's own"),
        ("token", "the linked wallet is a contract of Laurel's own"),
    ],
)
async def test_no_token_goes_where_nobody_could_hold_it(
    whose: str, refusal: str, ctx: MinterContext, world: World
) -> None:
    addresses = {
        "nobody": "0:" + "0" * 64,
        "masterchain": "-1:" + "5" * 64,
        "wallet": ctx.wallet.address,
        "collection": (await collection_of(ctx)).address,
        "token": await world.value(
            "SELECT onchain_token_id FROM nft_instance WHERE onchain_token_id IS NOT NULL"
        ),
    }
    (badge,) = await world.to_mint()
    await world.sql(
        "UPDATE user_wallet SET address = :address WHERE user_id = :id",
        address=addresses[whose],
        id=badge.user_id,
    )
    assert isinstance(await sign_due(ctx), NothingSigned)
    (held,) = await world.sql(
        "SELECT hold_reason, last_error FROM nft_mint_queue WHERE nft_instance_id = :id",
        id=badge.id,
    )
    assert tuple(held) == ("recipient", refusal)
