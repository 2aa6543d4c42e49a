"""The daemon against a local TON network, through the real pytonlib."""

import os
import signal
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text

from minter.message_signing import SignedBatch
from minter.startup import minter_context
from ops.lifecycle import Part, Readiness
from ops.setting_parts import DatabaseSettings
from ops.settings import Settings
from ops.watchdog import Watchdog
from sandbox.ton.accounts import user_wallet
from sandbox.ton.network import TonNetwork
from store import mint_queue
from store.values.minting import TaskOperation
from store.values.names import RawAddress
from tests.builders.clock import FakeClock
from tests.builders.metrics import Moved
from tests.builders.minters import sign_due
from tests.builders.world import (
    World,
    all_in,
    destroy,
    eventually,
    has_task,
    is_value,
    items_of,
    minting,
)


async def test_a_badge_becomes_a_token_of_its_owner(world: World, settings: Settings) -> None:
    badges = await world.to_mint(3)
    async with minting(settings) as ctx:
        await all_in(world, badges, "active/minted")
        minted = await items_of(ctx)
    assert {(token.owner, token.content) for token in minted} == {
        (b.owner, f"{b.id}.json") for b in badges
    }
    assert {token.authority for token in minted} == {ctx.wallet.address}
    assert await world.audit(badges[0]) == ["submitted_onchain", "minted_onchain"]
    assert await world.published(badges[0]) == ["badge.minted"]


async def test_a_burn_revokes_the_token_and_the_badge_has_left(
    world: World, settings: Settings
) -> None:
    (badge,) = await world.to_mint()
    await world.enqueue([badge], TaskOperation.BURN)  # waits for the mint
    async with minting(settings) as ctx:
        await all_in(world, [badge], "burned_onchain/minted")
        (token,) = await items_of(ctx)
    assert token.owner == badge.owner
    assert token.revoked_at > 0
    assert await world.tasks(badge) == ["mint confirmed", "burn confirmed"]
    assert await world.audit(badge) == [
        "submitted_onchain",
        "minted_onchain",
        "submitted_onchain",
        "burned_onchain",
    ]
    assert await world.published(badge) == ["badge.minted", "badge.burned"]


async def test_a_badge_revoked_while_its_mint_is_under_way_is_minted_then_burned(
    ton: TonNetwork, world: World, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with minting(settings) as ctx:
        await all_in(world, await world.to_mint(), "active/minted")
        deliver = ton.chain.submit
        lost: list[bytes] = []
        monkeypatch.setattr(
            ton.chain, "submit", lost.append
        )  # signed and sent, and nothing happens yet
        (badge,) = await world.to_mint()
        await eventually(world, lambda: has_task(world, badge, "mint sent"), "the mint is signed")
        await world.sql("UPDATE nft_instance SET status = 'revoked' WHERE id = :id", id=badge.id)
        async with world.db.transaction() as conn:
            assert (
                await mint_queue.cancel_unsigned_mints(conn, [badge.id], "revoked") == frozenset()
            )
        monkeypatch.setattr(ton.chain, "submit", deliver)
        ton.advance(settings.minter.resend_after)
        await eventually(
            world, lambda: has_task(world, badge, "burn confirmed"), "the token is burned"
        )
        _, token = await items_of(ctx)
    assert token.revoked_at > 0
    assert await world.statuses([badge]) == ["revoked/minted"]


async def test_a_badge_without_a_wallet_is_minted_once_one_is_linked(
    world: World, settings: Settings
) -> None:
    (badge,) = await world.badges(wallets=False)
    await world.enqueue([badge])
    async with minting(settings):
        held = "SELECT hold_reason FROM nft_mint_queue"
        await eventually(world, lambda: is_value(world, held, "no_wallet"), "the mint is held")
        await world.link(
            [badge]
        )  # by a transaction that did not see the task: only the sweep can free it
        await all_in(world, [badge], "active/minted")
    assert await world.tasks(badge) == ["mint confirmed"]


async def test_neither_a_users_wait_for_a_wallet_nor_a_burns_for_its_mint_is_the_minters(
    world: World, settings: Settings
) -> None:
    (badge,) = await world.badges(wallets=False)
    await world.enqueue([badge])
    await world.enqueue([badge], TaskOperation.BURN)
    ago = "now() - interval '30 days'"
    await world.sql(f"UPDATE nft_mint_queue SET run_after = {ago}, created_at = {ago}")
    moved = Moved()
    async with minting(settings):
        held = "SELECT hold_reason FROM nft_mint_queue WHERE operation = 'mint'"
        await eventually(world, lambda: is_value(world, held, "no_wallet"), "the mint is held")
        await world.sql(
            "INSERT INTO user_wallet (user_id, address, linked_at)"
            " VALUES (:user, :address, now() - interval '1 day')",
            user=badge.user_id,
            address=badge.owner,
        )
        await all_in(world, [badge], "burned_onchain/minted")
    stages = {(word, stage) for word in ("mint", "burn") for stage in ("queued", "sent", "total")}
    assert moved.by("laurel_mint_stage_seconds_count") == dict.fromkeys(
        stages | {("mint", "wallet")}, 1
    )
    seconds = moved.by("laurel_mint_stage_seconds_sum")
    waited = seconds.pop(("mint", "wallet"))
    assert max(seconds.values()) < timedelta(days=1).total_seconds()
    assert waited == pytest.approx(timedelta(days=29).total_seconds(), abs=600)


async def test_a_message_that_another_minter_signed_is_measured_from_its_signature(
    world: World, settings: Settings
) -> None:
    async with minting(settings):
        await all_in(world, await world.to_mint(), "active/minted")
    async with minter_context(settings, Readiness()) as former:
        (badge,) = await world.to_mint()
        assert isinstance(await sign_due(former), SignedBatch)
    await world.sql(
        "UPDATE chain_message SET created_at = now() - interval '1 hour'"
        " WHERE status = 'unresolved'"
    )
    await world.sql("UPDATE nft_mint_queue SET lease_expires_at = now() WHERE status = 'sent'")
    moved = Moved()
    async with minting(settings):
        await all_in(world, [badge], "active/minted")
    assert moved.by("laurel_mint_stage_seconds_sum")["mint", "sent"] > 3600


async def test_every_type_has_a_collection_and_a_message_carries_many_mints(
    world: World, settings: Settings
) -> None:
    explorers, authors = (
        await world.to_mint(40, "explorer"),
        await world.to_mint(15, "quest_author"),
    )
    async with minting(settings) as ctx:
        await all_in(world, [*explorers, *authors], "active/minted")
        assert len(await items_of(ctx, "explorer")) == 40
        assert len(await items_of(ctx, "quest_author")) == 15
    messages = await world.sql(
        "SELECT kind, status, count(*) AS n FROM chain_message GROUP BY kind, status"
    )
    assert {(row.kind, row.status, row.n) for row in messages} == {
        ("deploy", "settled", 2),
        ("mint", "settled", 2),
    }


async def test_two_minters_side_by_side_mint_each_badge_once(
    world: World, settings: Settings
) -> None:
    badges = await world.to_mint(60)
    async with minting(settings) as ctx, minting(settings):
        await all_in(world, badges, "active/minted")
        minted = await items_of(ctx)
    assert sorted(token.content for token in minted) == sorted(
        f"{badge.id}.json" for badge in badges
    )
    assert (
        await world.value("SELECT count(*) FROM nft_audit_log WHERE action = 'minted_onchain'")
        == 60
    )


async def test_a_burn_of_a_token_that_its_owner_destroyed_is_confirmed(
    ton: TonNetwork, world: World, settings: Settings
) -> None:
    (badge,) = await world.badges(wallets=False)
    badge = replace(badge, owner=RawAddress(str(user_wallet(1).address)))
    await world.link([badge])
    await world.enqueue([badge])
    async with minting(settings) as ctx:
        await all_in(world, [badge], "active/minted")
        await destroy(ton, 1, await world.value("SELECT onchain_token_id FROM nft_instance"))
        destroyed_in = ton.chain.last.id.seqno

        async def is_seen() -> bool:
            return ctx.view.current[0].seqno >= destroyed_in

        await eventually(world, is_seen, "the minter sees the block without the token")
        await world.enqueue([badge], TaskOperation.BURN)
        await all_in(world, [badge], "burned_onchain/minted")
        (token,) = await items_of(ctx)
    assert token.destroyed
    details = await world.value(
        "SELECT details->>'how' FROM nft_audit_log WHERE action = 'burned_onchain'"
    )
    assert details == "destroyed"
    assert await world.value("SELECT count(*) FROM chain_message WHERE kind = 'burn'") == 0


async def test_a_turn_that_hangs_is_noticed_and_is_over_once_it_goes_on(
    world: World, settings: Settings
) -> None:
    """Its one backend is stopped as a process: PostgreSQL's own timeouts stand still with it."""
    clock, readiness, ended = FakeClock(), Readiness(), list[str]()
    bound = timedelta(minutes=5)
    dog = Watchdog(bound, readiness, clock, lambda name, _: ended.append(name))
    single = settings.model_copy(update={"database": DatabaseSettings(pool_size=1)})
    async with minting(single, readiness, dog) as ctx:
        async with ctx.db.transaction() as conn:
            pid = (await conn.execute(text("SELECT pg_backend_pid()"))).scalar_one()
        os.kill(pid, signal.SIGSTOP)
        try:

            async def said() -> bool:
                clock.advance(bound / 100)
                dog.check()
                return bool(ended)

            await eventually(world, said, "a turn that does not end")
            assert set(ended) == {"the minter's turn"}
            assert "the minter's turn" in readiness.waits[Part.PROGRESS]
        finally:
            os.kill(pid, signal.SIGCONT)

        async def goes_on() -> bool:
            dog.check()
            return Part.PROGRESS not in readiness.waits

        await eventually(world, goes_on, "a turn that goes on")
