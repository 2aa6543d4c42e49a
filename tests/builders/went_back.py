"""A database that is about to lose what the chain has, and what must hold once it has.

Messages can be kept under way (`Mempool`), events can be counted again (`Stage.replay`), and time
can pass on the chain until minting is open.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from minter.context import MinterContext
from minter.reconcile import Terms, reconcile
from minter.ton.gateway import ChainUnreachable
from ops.setting_parts import MinterSettings
from ops.settings import Settings
from sandbox.ton.chain import Rejected
from sandbox.ton.network import TonNetwork
from tests.builders.restoring import replay
from tests.builders.world import Badge, World, all_in, eventually, items_of

HURRY = MinterSettings(poll_interval=timedelta(milliseconds=50))
CODES = ("explorer", "quest_author")


@dataclass
class Mempool:
    """What was sent to the network and is under way: it arrives when a test says so."""

    ton: TonNetwork
    deliver: Callable[[bytes], None]
    holding: bool = False
    held: list[bytes] = field(default_factory=list)

    def submit(self, boc: bytes) -> None:
        if self.holding:
            self.held.append(boc)
        else:
            self.deliver(boc)

    def release(self) -> None:
        """Let everything that is under way arrive in its order; what expired is refused."""
        self.holding = False
        for boc in dict.fromkeys(self.held):
            with suppress(Rejected):
                self.deliver(boc)


@dataclass
class Stage:
    """A database that is about to be lost, and what others know of its badges."""

    ton: TonNetwork
    settings: Settings
    world: World
    mempool: Mempool
    directory: Path
    badges: dict[str, list[Badge]] = field(default_factory=lambda: {code: [] for code in CODES})

    async def earn(self, count: int, code: str) -> list[Badge]:
        made = await self.world.to_mint(count, code)
        self.badges[code] += made
        return made

    async def replay(self, world: World) -> None:
        """Count all events again, in another order."""
        for code, badges in self.badges.items():
            missing = random.Random(len(badges)).sample(badges, len(badges))
            linked = {row.user_id for row in await world.sql("SELECT user_id FROM user_wallet")}
            await world.link([badge for badge in missing if badge.user_id not in linked])
            await replay(world, missing, code)


async def until(world: World, done: Callable[[], Awaitable[bool]], what: str) -> None:
    await eventually(world, done, what)


async def signed(world: World, badges: Sequence[Badge]) -> bool:
    """Return whether one of the badges' mints has a message."""
    (row,) = await world.sql(
        """
        SELECT count(*) FILTER (WHERE chain_message_id IS NOT NULL) AS n FROM nft_mint_queue
         WHERE nft_instance_id = ANY(CAST(:ids AS uuid[]))
        """,
        ids=[badge.id for badge in badges],
    )
    return int(row.n) > 0


async def repaired(world: World, ctx: MinterContext, settings: Settings) -> bool:
    """Ask for a repair as `laurel reconcile --repair` does; return whether minting is open.

    Where the network does not answer, the command says so and ends, and the operator asks again.
    """
    terms = Terms(settings.minter.expiry_margin, ctx.metadata_base_url)
    while True:
        try:
            report = await reconcile(world.db, ctx.gateway, repair=True, terms=terms)
        except ChainUnreachable:
            await asyncio.sleep(0.2)
        else:
            return report.shut is None


async def is_open(stage: Stage, world: World) -> bool:
    """Return whether minting is open; let time pass on the chain where it is not.

    What was noticed last keeps it shut for the time that a message lives, from then on.
    """
    if not await world.sql("SELECT 1 FROM chain_wallet WHERE shut_reason IS NOT NULL"):
        return True
    stage.ton.advance(timedelta(minutes=1))
    return False


async def holds_nothing(world: World) -> bool:
    return not await world.sql("SELECT 1 FROM nft_mint_queue WHERE hold_reason IS NOT NULL")


async def one_token_each(stage: Stage, world: World, ctx: MinterContext) -> None:
    for code, badges in stage.badges.items():
        minted = await items_of(ctx, code)
        assert sorted(token.content for token in minted) == sorted(
            f"{badge.id}.json" for badge in badges
        ), code
    report = await reconcile(world.db, ctx.gateway, repair=False)
    assert (report.findings, report.shut) == ((), None)


def under_way(mempool: Mempool) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return bool(mempool.held)

    return check


async def carried_on(stage: Stage, world: World, ctx: MinterContext, chance: random.Random) -> None:
    """Let all that follows happen in some order, and hold that each badge gets one token.

    Args:
        stage: knows every badge that was ever earned.
        world: the database that went back; minters work on it.
        ctx: one of them.
        chance: chooses the order.
    """
    steps = ["replay", "repair", "deliver", "age"]
    chance.shuffle(steps)
    for step in steps:
        match step:
            case "replay":
                await stage.replay(world)
            case "repair":
                await repaired(world, ctx, stage.settings)
            case "deliver":
                stage.mempool.release()
            case "age":
                await asyncio.sleep(chance.random())
                stage.ton.advance(timedelta(seconds=chance.randint(0, 200)))
    everybody = [badge for badges in stage.badges.values() for badge in badges]
    await until(world, lambda: is_open(stage, world), "minting is open")
    await all_in(world, everybody, "active/minted")
    await all_in(world, await stage.earn(2, CODES[0]), "active/minted")
    await until(world, lambda: holds_nothing(world), "nothing is held any more")
    await one_token_each(stage, world, ctx)
