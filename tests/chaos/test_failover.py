"""A standby that lacks the last commits takes over, on PostgreSQL 15 with two minters.

The message that was signed last is under way meanwhile, and the database that goes on has never
heard of it. Whatever the order of what follows: one token a badge, and every token known.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from sandbox.postgres import PostgresServer
from sandbox.ton.network import TonNetwork, TonOptions
from store import migrations
from store.engine import Database
from tests.builders import clusters
from tests.builders.clusters import Clusters, caught_up, crash, cut_off, tell, together
from tests.builders.minters import funded, minter_on
from tests.builders.went_back import (
    CODES,
    HURRY,
    Mempool,
    Stage,
    carried_on,
    is_open,
    signed,
    under_way,
    until,
)
from tests.builders.world import World, all_in, minting

pytestmark = [pytest.mark.postgres15, pytest.mark.usefixtures("hurried")]


@pytest.fixture
def ton_options(tmp_path: Path) -> TonOptions:
    return TonOptions(block_interval=timedelta(milliseconds=50), directory=tmp_path / "ton")


@pytest.fixture
def servers() -> Iterator[Clusters]:
    with clusters.clusters() as made:
        yield made


@pytest.mark.parametrize("seed", range(6))
async def test_a_standby_that_lacks_the_last_message_makes_no_second_token(
    seed: int,
    servers: Clusters,
    ton: TonNetwork,
    mempool: Mempool,
    mnemonic_file: Path,
    tmp_path: Path,
) -> None:
    chance = random.Random(seed)
    primary = servers.start("primary")
    await migrations.upgrade(primary.url)
    tell(primary, "ALTER DATABASE postgres SET synchronous_commit = off")
    servers.copy(primary, "standby", "--write-recovery-conf")
    standby = servers.start("standby")
    settings = minter_on(ton, together(primary, standby), mnemonic_file, HURRY)
    await funded(settings, ton)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database(settings.need("database_url")))
        stage = Stage(ton, settings, World(database), mempool, tmp_path)
        world = stage.world
        ctx = await stack.enter_async_context(minting(settings))
        await stack.enter_async_context(minting(settings))
        for code in CODES:
            await all_in(world, await stage.earn(chance.randint(1, 4), code), "active/minted")
        waiting = await stage.earn(chance.randint(0, 3), chance.choice(CODES))
        await caught_up(standby, primary)
        await cut_off(standby)
        if waiting and chance.random() < 0.5:
            await all_in(world, waiting, "active/minted")
        mempool.holding = True
        last = await stage.earn(chance.randint(1, 4), chance.choice(CODES))
        await until(world, lambda: signed(world, last), "the last message")
        await until(world, under_way(mempool), "the last message is under way")
        await crash(primary)
        tell(standby, "SELECT pg_promote()")
        await carried_on(stage, world, ctx, chance)


async def worked(stage: Stage, chance: random.Random) -> None:
    """Mint, and leave some that wait."""
    async with minting(stage.settings):
        for code in CODES:
            badges = await stage.earn(chance.randint(1, 3), code)
            await all_in(stage.world, badges, "active/minted")
    await stage.earn(chance.randint(1, 3), chance.choice(CODES))


async def went_on(stage: Stage, chance: random.Random) -> None:
    """Mint what waits, and end with a message under way."""
    everybody = [badge for badges in stage.badges.values() for badge in badges]
    async with minting(stage.settings):
        # The server was started again, and no minter was there: it is shut for as long as a message
        # lives.
        await until(stage.world, lambda: is_open(stage, stage.world), "minting is open")
        if chance.random() < 0.5:
            await all_in(stage.world, everybody, "active/minted")
        stage.mempool.holding = True
        last = await stage.earn(chance.randint(1, 3), chance.choice(CODES))
        await until(stage.world, lambda: signed(stage.world, last), "the last message")
        await until(stage.world, under_way(stage.mempool), "the last message is under way")


def files_copied_back(servers: Clusters, primary: PostgresServer) -> PostgresServer:
    """The files of a stopped server: system identifier and timeline are the same."""
    del primary
    servers.copy_files("backup", "primary")
    return servers.start("primary")


def started_again(servers: Clusters, primary: PostgresServer) -> PostgresServer:
    """No backup at all: a server that crashed has every signature, whatever it was told."""
    del primary
    return servers.start("primary")


def base_backup_alone(servers: Clusters, primary: PostgresServer) -> PostgresServer:
    """A base backup without an archive recovers like a crash: on the same timeline."""
    del primary
    return servers.start("backup")


def base_backup_and_archive(servers: Clusters, primary: PostgresServer) -> PostgresServer:
    """A base backup, and the log up to a moment."""
    data = servers.place / "backup" / "data"
    archive = primary.directory / "data" / "pg_wal"
    (data / "recovery.signal").touch()
    with (data / "postgresql.auto.conf").open("a") as settings:
        settings.write(f"restore_command = 'cp {archive}/%f %p'\n")
        settings.write("recovery_target_name = 'moment'\nrecovery_target_action = 'promote'\n")
    return servers.start("backup")


@pytest.mark.parametrize(
    "take_over",
    [
        files_copied_back,
        base_backup_alone,
        base_backup_and_archive,
        started_again,
    ],
)
async def test_a_physical_backup_that_takes_over_makes_no_second_token(
    take_over: Callable[[Clusters, PostgresServer], PostgresServer],
    servers: Clusters,
    ton: TonNetwork,
    mempool: Mempool,
    mnemonic_file: Path,
    tmp_path: Path,
) -> None:
    chance = random.Random(take_over.__name__)
    primary = servers.start("primary")
    await migrations.upgrade(primary.url)
    tell(primary, "ALTER DATABASE postgres SET synchronous_commit = off")
    settings = await funded(minter_on(ton, primary.url, mnemonic_file, HURRY), ton)
    async with Database(primary.url) as database:
        stage = Stage(ton, settings, World(database), mempool, tmp_path)
        await worked(stage, chance)
        if take_over in (base_backup_alone, base_backup_and_archive):
            servers.copy(primary, "backup")
    if take_over is files_copied_back:
        await crash(primary)
        servers.copy_files("primary", "backup")
        primary = servers.start("primary")
        settings = minter_on(ton, primary.url, mnemonic_file, HURRY)
    async with Database(primary.url) as database:
        stage.world, stage.settings = World(database), settings
        tell(primary, "SELECT pg_create_restore_point('moment')")
        await went_on(stage, chance)
    await crash(primary)
    restored = take_over(servers, primary)
    stage.settings = minter_on(ton, restored.url, mnemonic_file, HURRY)
    async with AsyncExitStack() as stack:
        stage.world = World(await stack.enter_async_context(Database(restored.url)))
        ctx = await stack.enter_async_context(minting(stage.settings))
        await stack.enter_async_context(minting(stage.settings))
        await carried_on(stage, stage.world, ctx, chance)
