"""What the wallet has sent, held against the database, on a local TON network."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from minter import signing
from minter.accounting import _moved
from minter.context import MinterContext
from minter.message_signing import NothingSigned, Obstacle, SignedBatch
from minter.startup import minter_context
from minter.ton.gateway import HistoryForgotten
from minter.ton.highload_wallet import Action, MessageHeader, sign_message
from minter.ton.liteserver import LiteServers
from minter.ton.values import AccountTransaction
from ops.lifecycle import Part, Readiness
from ops.settings import Settings
from sandbox.ton.network import TonNetwork
from store import fence
from store.chain import RecordGone
from store.fence import DatabaseIdentity, Fence, Shut
from store.values.names import RawAddress
from tests.builders.metrics import Moved, series
from tests.builders.minters import claimed, collection_of, sign_due
from tests.builders.world import World, all_in, eventually, minting

SOMEBODY = RawAddress("0:" + "5d" * 32)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
HERE = DatabaseIdentity("7/00000001/5/9", NOW)
STORED = Fence(HERE.epoch, NOW, 4, 11, None)


async def behind_the_back(ctx: MinterContext, ton: TonNetwork, query_seq: int = 700) -> None:
    """Let the wallet send something that the database does not know."""
    block = await ctx.gateway.newest_block()
    header = MessageHeader(query_seq, block.time, deploy=False)
    made = sign_message(ctx.wallet, ctx.signer, [Action(SOMEBODY, 1_000_000)], header)
    await ctx.gateway.send(made.boc)
    for _ in range(3):
        await ton.next_block()


async def looked(ctx: MinterContext, ton: TonNetwork) -> Shut | None:
    await ton.next_block()
    await ctx.view.refresh(ctx.db)
    return ctx.view.shut


async def test_what_this_database_signed_is_no_alarm_and_neither_is_what_comes_in(
    ctx: MinterContext, ton: TonNetwork
) -> None:
    await ton.fund(ctx.wallet.address, 5 * 10**9)
    assert await looked(ctx, ton) is None


async def test_what_left_the_wallet_is_counted_once_whoever_looks_and_whatever_comes_in(
    ctx: MinterContext, ton: TonNetwork, settings: Settings
) -> None:
    async with minter_context(settings, Readiness()) as other:
        await looked(ctx, ton)
        moved, before_nano = Moved(), ctx.view.current[1].balance_nano
        for number in (700, 701):
            await behind_the_back(ctx, ton, number)
        await ton.fund(ctx.wallet.address, 5 * 10**9)
        await looked(ctx, ton)
        await looked(other, ton)
        await looked(ctx, ton)
        left_nano = before_nano + 5 * 10**9 - ctx.view.current[1].balance_nano
    spent_nano = moved.by("laurel_wallet_spent_nanograms_total")[()]
    assert spent_nano == left_nano
    # Two payments of a thousandth and their fees: not what the wallet sends to itself.
    assert 2_000_000 < spent_nano < 50_000_000


async def test_what_comes_back_is_taken_off_what_is_spent_next(ctx: MinterContext) -> None:
    accounting, moved = ctx.view._accounting, Moved()
    for spent_nano in (50, -30, 20, 7):
        accounting._count_spent([AccountTransaction(1, b"", spent_nano)])
    assert moved.by("laurel_wallet_spent_nanograms_total") == {(): 50}
    accounting._count_spent([AccountTransaction(2, b"", 5), AccountTransaction(3, b"", 1)])
    assert moved.by("laurel_wallet_spent_nanograms_total") == {(): 53}


async def test_what_a_wallet_spent_before_its_first_look_is_nobodys(
    settings: Settings, ton: TonNetwork, world: World
) -> None:
    async with minting(settings) as ctx:
        await all_in(world, await world.to_mint(), "active/minted")
    await ton.next_block()
    await world.sql(
        "UPDATE chain_wallet SET database_epoch = NULL, server_started_at = NULL, accounted_lt = 0"
    )
    moved = Moved()
    async with minter_context(settings, Readiness()):
        pass
    assert ctx.view.shut is None
    assert moved.by("laurel_wallet_spent_nanograms_total") == {}


async def test_a_message_that_the_database_does_not_know_shuts_minting_until_a_repair(
    ctx: MinterContext, ton: TonNetwork, world: World
) -> None:
    await behind_the_back(ctx, ton)
    shut = await looked(ctx, ton)
    assert shut is not None
    assert shut.reason.startswith("the wallet has sent 1 messages that this database does not know")
    assert shut.needs_repair
    block, _ = ctx.view.current
    lives = ctx.settings.message_ttl + ctx.settings.expiry_margin
    assert timedelta() <= block.time + lives - shut.until < timedelta(seconds=30)
    assert series("laurel_minting_shut")[()] == 1
    await world.to_mint()
    nothing = await sign_due(ctx)
    assert nothing == NothingSigned(Obstacle.MINTING_SHUT, f"minting is shut: {shut.reason}")
    ton.advance(2 * lives)
    assert await looked(ctx, ton) == shut, "time alone opens nothing"


async def test_a_message_is_noticed_once(ctx: MinterContext, ton: TonNetwork) -> None:
    """A minter that starts anew does not shut minting for longer."""
    await behind_the_back(ctx, ton)
    shut = await looked(ctx, ton)
    ton.advance(timedelta(minutes=1))
    assert await looked(ctx, ton) == shut


async def test_a_shut_minter_says_so_and_a_repair_opens_it_once_nothing_can_be_under_way(
    ton: TonNetwork, world: World, settings: Settings
) -> None:
    readiness = Readiness()
    async with minting(settings, readiness) as ctx:
        await all_in(world, await world.to_mint(), "active/minted")
        await behind_the_back(ctx, ton)

        async def waits() -> bool:
            return "laurel reconcile --repair" in readiness.waits.get(Part.BREAKER, "")

        await eventually(world, waits, "/ready tells the way out")
        late = await world.to_mint()

        async def held() -> bool:
            return bool(await world.sql("SELECT 1 FROM nft_mint_queue WHERE hold_reason='breaker'"))

        await eventually(world, held, "the mint is held")
        async with world.db.transaction() as conn:
            await fence.ask_repair(conn, ctx.wallet_id)
        ton.advance(settings.minter.message_ttl + 2 * settings.minter.expiry_margin)
        await all_in(world, late, "active/minted")
        assert Part.BREAKER not in readiness.waits


async def test_the_number_of_a_message_lies_past_all_that_the_wallet_has_executed(
    ctx: MinterContext, ton: TonNetwork, world: World
) -> None:
    """A number that was used is refused, and its message would be taken for executed."""
    await behind_the_back(ctx, ton, query_seq=700)
    await looked(ctx, ton)
    await world.sql(
        """
        UPDATE chain_wallet SET shut_reason = NULL, shut_until = NULL, shut_needs_repair = false
        """
    )
    await world.to_mint()
    batch = await sign_due(ctx)
    assert isinstance(batch, SignedBatch)
    assert batch.message.query_seq == 701


async def test_nothing_is_signed_in_another_database_than_the_last_look_was_at(
    ctx: MinterContext, world: World
) -> None:
    """A failover between two looks."""
    (badge,) = await world.to_mint()
    await world.sql("UPDATE chain_wallet SET database_epoch = '1/00000001/2/3'")
    lease, tasks = await claimed(ctx)
    nothing = await signing.sign(ctx, lease, tasks, await collection_of(ctx))
    assert nothing == NothingSigned(
        Obstacle.OTHER_DATABASE, "this is another database, or its server was started again"
    )
    assert await world.tasks(badge) == ["mint pending"]


async def test_another_database_shuts_minting(
    ctx: MinterContext, ton: TonNetwork, world: World
) -> None:
    await world.sql("UPDATE chain_wallet SET database_epoch = '1/00000001/2/3'")
    ton.advance(timedelta(seconds=2))
    await ton.next_block()
    ctx.view._written_at = float("-inf")
    shut = await looked(ctx, ton)
    assert shut is not None
    assert shut.needs_repair
    assert "another server, timeline or database" in shut.reason


async def test_a_minter_that_meets_a_restarted_server_waits_and_opens_by_itself(
    ctx: MinterContext, ton: TonNetwork, world: World, settings: Settings
) -> None:
    """Files that were copied back look like the same server."""
    await world.sql("UPDATE chain_wallet SET server_started_at = now() - interval '9 days'")
    async with minter_context(settings, Readiness()) as late:
        shut = late.view.shut
        assert shut is not None
        assert not shut.needs_repair
        assert shut.reason.startswith("PostgreSQL was started at")
        ton.advance(settings.minter.message_ttl + 2 * settings.minter.expiry_margin)
        late.view._written_at = float("-inf")
        assert await looked(late, ton) is None


async def test_a_message_that_is_lost_before_the_next_look_is_remembered(
    ctx: MinterContext, ton: TonNetwork, world: World
) -> None:
    """A crash, and files of a second ago: by its looks alone the minter would know no better."""
    await world.to_mint()
    batch = await sign_due(ctx)
    assert isinstance(batch, SignedBatch)
    ctx.view.signed(batch.message.query_seq)
    await world.sql("DELETE FROM mint_task_event")
    await world.sql("UPDATE nft_mint_queue SET status = 'pending', chain_message_id = NULL")
    await world.sql("DELETE FROM chain_message WHERE id = :id", id=batch.message.id)
    seq = batch.message.query_seq
    await world.sql("UPDATE chain_wallet SET next_query_seq = :seq", seq=seq)
    ctx.view._written_at = float("-inf")
    shut = await looked(ctx, ton)
    assert shut is not None
    assert shut.reason == (
        f"the database went back: it had signed {seq + 1} messages, and knows of {seq}"
    )


async def test_a_database_without_the_wallet_ends_the_minter_which_starts_anew(
    ctx: MinterContext, ton: TonNetwork, world: World, settings: Settings
) -> None:
    """A backup of before the first minter, put in place under a running one."""
    await world.sql("TRUNCATE chain_wallet CASCADE")
    await ton.fund(ctx.wallet.address, 10**9)
    with pytest.raises(RecordGone, match="the wallet is in this database no more"):
        await looked(ctx, ton)
    async with minter_context(settings, Readiness()) as again:
        shut = again.view.shut
        assert shut is not None
        assert "messages that this database does not know" in shut.reason


async def test_a_database_whose_lite_servers_forgot_what_the_wallet_sent_is_shut(
    ctx: MinterContext, ton: TonNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forgotten(*_: object) -> list[object]:
        raise HistoryForgotten("no lite server has the transactions any more")

    monkeypatch.setattr(LiteServers, "transactions", forgotten)
    monkeypatch.setattr("minter.accounting._FORGOTTEN_AFTER", timedelta(seconds=-1))
    await ton.fund(ctx.wallet.address, 10**9)
    shut = await looked(ctx, ton)
    assert shut is not None
    assert "any more" in shut.reason


@pytest.mark.parametrize(
    ("here", "stored", "remembered", "reason"),
    [
        (HERE, replace(STORED, epoch=None), None, None),
        (HERE, STORED, None, None),
        (HERE, STORED, STORED, None),
        (replace(HERE, epoch="7/00000002/5/9"), STORED, STORED, "another server"),
        (replace(HERE, epoch="7/00000001/6/9"), STORED, STORED, "another server"),
        (replace(HERE, epoch="8/00000001/5/9"), STORED, STORED, "another server"),
        (replace(HERE, epoch="7/00000001/5/8"), STORED, STORED, "another server"),
        (replace(HERE, epoch="-/00000001/5/9"), STORED, STORED, None),
        (HERE, replace(STORED, next_query_seq=10), STORED, "went back"),
        (HERE, replace(STORED, next_query_seq=12), STORED, None),
        (replace(HERE, server_started_at=NOW + timedelta(1)), STORED, None, "was started"),
        # This process worked with the server before, and it has lost nothing.
        (replace(HERE, server_started_at=NOW + timedelta(1)), STORED, STORED, None),
    ],
)
def test_what_a_database_differs_in_is_noticed(
    here: DatabaseIdentity, stored: Fence, remembered: Fence | None, reason: str | None
) -> None:
    notices = _moved(here, stored, remembered)
    assert [reason is not None and reason in each.reason for each in notices] == (
        [] if reason is None else [True]
    )
