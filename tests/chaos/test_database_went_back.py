"""A database that lost what the chain has: restored from a dump, or failed over to a late replica.

Minting goes on after the backup, and its last message may still be under way when the backup takes
over. Two minters work on it, the events are counted again, a person asks for a repair, each at some
moment. Whatever the order: one token a badge, and every token known.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from minter import maintenance
from minter.context import MinterContext
from minter.reconcile import Terms, reconcile
from ops.setting_parts import MinterSettings
from ops.settings import Settings
from sandbox.postgres import PostgresServer
from sandbox.ton.chain import Rejected
from sandbox.ton.network import TonNetwork, TonOptions
from store.engine import Database
from tests.builders.minters import funded, minter_on, new_wallet
from tests.builders.restoring import dump, replay, restored
from tests.builders.world import Badge, World, all_in, eventually, items_of, minting

HURRY = MinterSettings(poll_interval=timedelta(milliseconds=50))
CODES = ("explorer", "quest_author")


@pytest.fixture(scope="module")
def mnemonic_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_wallet(tmp_path_factory)


@pytest.fixture
def ton_options(tmp_path: Path) -> TonOptions:
    return TonOptions(block_interval=timedelta(milliseconds=50), directory=tmp_path / "ton")


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a minter does now and then, it does often."""
    monkeypatch.setattr(maintenance, "_SWEEP_EVERY", timedelta(milliseconds=300))
    monkeypatch.setattr(maintenance, "_REPAIR_EVERY", timedelta(seconds=1))


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


@pytest.fixture
def mempool(ton: TonNetwork, monkeypatch: pytest.MonkeyPatch) -> Mempool:
    made = Mempool(ton, ton.chain.submit)
    monkeypatch.setattr(ton.chain, "submit", made.submit)
    return made


@dataclass
class Stage:
    """A database that is about to be lost, and what others know of its badges."""

    ton: TonNetwork
    server: PostgresServer
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


@pytest.fixture
async def stage(
    ton: TonNetwork,
    database_server: PostgresServer,
    database_url: str,
    database: Database,
    mnemonic_file: Path,
    mempool: Mempool,
    tmp_path: Path,
) -> Stage:
    settings = await funded(minter_on(ton, database_url, mnemonic_file, HURRY), ton)
    return Stage(ton, database_server, settings, World(database), mempool, tmp_path)


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
    """Ask for a repair as `laurel reconcile --repair` does; return whether minting is open."""
    terms = Terms(settings.minter.expiry_margin, ctx.metadata_base_url)
    return (await reconcile(world.db, ctx.gateway, repair=True, terms=terms)).shut is None


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


async def lost_time(stage: Stage, chance: random.Random, code: str) -> Path:
    """Mint, back up, and go on until what was signed last is done or still under way."""
    minted = await stage.earn(chance.randint(1, 6), code)
    async with minting(stage.settings):
        await all_in(stage.world, minted, "active/minted")
    waiting = await stage.earn(chance.randint(1, 5), code)
    backup = await dump(stage.settings.need("database_url"), stage.directory / "backup")
    for _ in range(chance.randint(0, 2)):
        waiting += await stage.earn(chance.randint(1, 4), chance.choice(CODES))
    in_flight = chance.random() < 0.7
    settled = chance.random() < 0.5
    async with minting(stage.settings):
        if settled or not in_flight:
            await all_in(stage.world, waiting, "active/minted")
        if in_flight:
            stage.mempool.holding = True
            later = await stage.earn(chance.randint(1, 4), code) if settled else waiting
            await until(stage.world, lambda: signed(stage.world, later), "the last message")
            await until(stage.world, under_way(stage.mempool), "the last message is under way")
    stage.mempool.holding = False
    return backup


def under_way(mempool: Mempool) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return bool(mempool.held)

    return check


@pytest.mark.parametrize("seed", range(24))
async def test_a_backup_that_takes_over_makes_no_second_token(seed: int, stage: Stage) -> None:
    chance = random.Random(seed)
    code = chance.choice(CODES)
    backup = await lost_time(stage, chance, code)
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(restored(stage.server, backup))
        world = World(await stack.enter_async_context(Database(url)))
        settings = minter_on(
            stage.ton, url, Path(stage.settings.need("wallet_mnemonic_file")), HURRY
        )
        steps = ["replay", "repair", "deliver", "wait"]
        chance.shuffle(steps)
        # What is signed from now on waits behind what was under way: it must not be signed.
        stage.mempool.holding = chance.random() < 0.7
        ctx = await stack.enter_async_context(minting(settings))
        await stack.enter_async_context(minting(settings))
        for step in steps:
            match step:
                case "replay":
                    await stage.replay(world)
                case "repair":
                    await repaired(world, ctx, settings)
                case "deliver":
                    stage.mempool.release()
                case "wait":
                    await asyncio.sleep(2 * chance.random())
        stage.mempool.release()
        everybody = [badge for badges in stage.badges.values() for badge in badges]
        await until(world, lambda: is_open(stage, world), "minting is open")
        await all_in(world, everybody, "active/minted")
        after = await world.to_mint(2, code)
        stage.badges[code] += after
        await all_in(world, after, "active/minted")
        await until(world, lambda: holds_nothing(world), "nothing is held any more")
        await one_token_each(stage, world, ctx)
