"""A database that lost what the chain has: restored from a dump, or failed over to a late replica.

Minting goes on after the backup, and its last message may still be under way when the backup takes
over. Two minters work on it, the events are counted again, a person asks for a repair, each at some
moment. Whatever the order: one token a badge, and every token known.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from minter.reconcile import Terms, reconcile
from minter.startup import minter_context
from ops.lifecycle import Readiness
from sandbox.postgres import PostgresServer
from sandbox.ton.network import TonNetwork, TonOptions
from store.engine import Connection, Database
from tests.builders.minters import funded, minter_on
from tests.builders.restoring import dump, restored, run
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
from tests.builders.world import World, all_in, has_task, minting

pytestmark = pytest.mark.usefixtures("hurried")


@pytest.fixture
def ton_options(tmp_path: Path) -> TonOptions:
    return TonOptions(block_interval=timedelta(milliseconds=50), directory=tmp_path / "ton")


@pytest.fixture
async def stage(
    ton: TonNetwork,
    database_url: str,
    database: Database,
    mnemonic_file: Path,
    mempool: Mempool,
    tmp_path: Path,
) -> Stage:
    settings = await funded(minter_on(ton, database_url, mnemonic_file, HURRY), ton)
    return Stage(ton, settings, World(database), mempool, tmp_path)


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


@pytest.mark.parametrize("seed", range(24))
async def test_a_backup_that_takes_over_makes_no_second_token(
    seed: int, stage: Stage, database_server: PostgresServer
) -> None:
    chance = random.Random(seed)
    code = chance.choice(CODES)
    backup = await lost_time(stage, chance, code)
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(restored(database_server, backup))
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


async def test_tables_that_are_restored_alone_make_no_second_token(stage: Stage) -> None:
    """Badges and queue of before a mint, beside a wallet and counts of after it."""
    url, world = stage.settings.need("database_url"), stage.world
    waiting = await stage.earn(2, CODES[0])
    backup = await dump(url, stage.directory / "backup")
    async with minting(stage.settings):
        await all_in(world, waiting, "active/minted")
    await world.sql("TRUNCATE nft_instance CASCADE")
    tables = ("nft_instance", "nft_mint_queue", "mint_task_event")
    await run("pg_restore", url, "--data-only", *(f"--table={name}" for name in tables), backup)
    assert await world.statuses(waiting) == ["active/pending"] * 2
    async with minting(stage.settings) as ctx:
        for badge in waiting:
            await until(world, partial(has_task, world, badge, "mint failed"), "it is not signed")
        await repaired(world, ctx, stage.settings)
        await until(world, lambda: is_open(stage, world), "minting is open")
        await all_in(world, waiting, "active/minted")
        await all_in(world, await stage.earn(1, CODES[0]), "active/minted")
        await one_token_each(stage, world, ctx)


class Killed(Exception):
    """The process ended here."""


class Mortal(Database):
    """A database whose process is killed before its next transaction, once `left` are done."""

    left = 0

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        if self.left == 0:
            raise Killed
        self.left -= 1
        async with super().transaction() as conn:
            yield conn


async def test_a_repair_that_is_killed_anywhere_or_run_by_two_at_once_ends_as_any_other(
    stage: Stage, database_server: PostgresServer
) -> None:
    backup = await dump(stage.settings.need("database_url"), stage.directory / "backup")
    async with minting(stage.settings):
        for code in CODES:
            await all_in(stage.world, await stage.earn(3, code), "active/minted")
    async with restored(database_server, backup) as url, Mortal(url) as mortal, Database(url) as db:
        world = World(db)
        settings = minter_on(
            stage.ton, url, Path(stage.settings.need("wallet_mnemonic_file")), HURRY
        )
        for code in CODES:
            await world.badge_type(code)
        await stage.replay(world)
        async with minter_context(settings, Readiness()) as ctx:
            terms = Terms(settings.minter.expiry_margin, ctx.metadata_base_url)
            for length in count():
                mortal.left = length
                with suppress(Killed):
                    await reconcile(mortal, ctx.gateway, repair=True, terms=terms)
                    break
            assert length > 10
            both = [reconcile(db, ctx.gateway, repair=True, terms=terms) for _ in range(2)]
            for report in await asyncio.gather(*both):
                assert report.findings == ()
                assert report.shut is not None
                assert report.shut.repair_asked
        async with minting(settings) as ctx:
            await until(world, lambda: is_open(stage, world), "minting is open")
            for code in CODES:
                await all_in(world, stage.badges[code], "active/minted")
            await one_token_each(stage, world, ctx)
