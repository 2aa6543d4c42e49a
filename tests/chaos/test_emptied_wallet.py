"""Somebody who has the words too sends the wallet's money away, while messages are under way.

Two minters work on; the operator pays again, asks for a repair and lets stopped collections go on.
Whenever that happened: one token a badge, and none is lost.
"""

import random
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from minter.context import MinterContext
from minter.queue_decisions import go_on, listed
from minter.ton.highload_wallet import Action, MessageHeader, sign_message
from sandbox.ton.network import TonNetwork, TonOptions
from store.engine import Database
from store.values.minting import TaskOperation
from tests.builders.minters import FUNDS_NANO, funded, minter_on
from tests.builders.went_back import (
    CODES,
    HURRY,
    Mempool,
    Stage,
    holds_nothing,
    is_open,
    one_token_each,
    repaired,
    signed,
    under_way,
    until,
)
from tests.builders.world import World, all_in, minting

pytestmark = pytest.mark.usefixtures("hurried")

# Not enough for a message to be accepted, or for what it carries, or enough for a few mints.
_LEFT_NANO = (100_000_000, 220_000_000)


@pytest.fixture
def ton_options(tmp_path: Path) -> TonOptions:
    return TonOptions(block_interval=timedelta(milliseconds=50), directory=tmp_path / "ton")


async def emptied(
    ton: TonNetwork, ctx: MinterContext, world: World, mempool: Mempool, left_nano: int
) -> None:
    """Send nearly all of the wallet's money away, past what the minters have under way."""
    # A contract that keeps what comes; an account without one would send it back.
    thief = await world.value("SELECT address FROM chain_collection LIMIT 1")
    for _ in range(3):
        await ton.next_block()  # what has arrived is paid for
    block = await ctx.gateway.newest_block()
    account = await ctx.gateway.account(ctx.wallet.address, block)
    theft = Action(thief, account.balance_nano - left_nano)
    header = MessageHeader(7_000, block.time, deploy=False)
    mempool.deliver(sign_message(ctx.wallet, ctx.signer, [theft], header).boc)
    for _ in range(3):
        await ton.next_block()
    account = await ctx.gateway.account(ctx.wallet.address, await ctx.gateway.newest_block())
    assert account.balance_nano <= left_nano


@pytest.mark.parametrize("seed", range(6))
async def test_a_wallet_that_is_emptied_under_its_minters_makes_one_token_a_badge(
    seed: int,
    ton: TonNetwork,
    database_url: str,
    database: Database,
    mnemonic_file: Path,
    mempool: Mempool,
    tmp_path: Path,
) -> None:
    chance = random.Random(seed)
    settings = await funded(minter_on(ton, database_url, mnemonic_file, HURRY), ton)
    world = World(database)
    stage = Stage(ton, settings, world, mempool, tmp_path)
    async with AsyncExitStack() as stack:
        ctx = await stack.enter_async_context(minting(settings))
        await stack.enter_async_context(minting(settings))
        for code in CODES:
            await all_in(world, await stage.earn(chance.randint(1, 3), code), "active/minted")
        mempool.holding = True
        last = await stage.earn(chance.choice((1, 4, 15)), chance.choice(CODES))
        await until(world, lambda: signed(world, last), "a message is signed")
        await until(world, under_way(mempool), "a message is under way")
        left_nano = chance.choice(_LEFT_NANO)
        if chance.random() < 0.3:
            mempool.release()
        await emptied(ton, ctx, world, mempool, left_nano)
        await stage.earn(chance.randint(0, 3), chance.choice(CODES))
        steps = ["deliver", "pay", "repair", "age"]
        chance.shuffle(steps)
        for step in steps:
            match step:
                case "deliver":
                    mempool.release()
                case "pay":
                    holding, mempool.holding = mempool.holding, False
                    await ton.fund(ctx.wallet.address, FUNDS_NANO)
                    mempool.holding = holding
                case "repair":
                    await repaired(world, ctx, settings)
                case "age":
                    ton.advance(timedelta(seconds=chance.randint(0, 400)))
                    for _ in range(2):
                        await ton.next_block()  # the faucet dates its message by the last one
        everybody = [badge for badges in stage.badges.values() for badge in badges]
        await until(world, lambda: is_open(stage, world), "minting is open")

        async def all_minted() -> bool:
            """As an operator sees to it: what is stopped is let go on, once there is money."""
            view = await listed(settings, hold=None, code=None, limit=10)
            for each in view.stopped:
                await go_on(settings, each.type_code, dry_run=False, reason="it was the money")
            return set(await world.statuses(everybody)) == {"active/minted"}

        await until(world, all_minted, "every badge has its token")
        await until(world, lambda: holds_nothing(world), "nothing is held any more")
        await one_token_each(stage, world, ctx)
        await world.enqueue(last[:1], TaskOperation.BURN)
        await all_in(world, last[:1], "burned_onchain/minted")
