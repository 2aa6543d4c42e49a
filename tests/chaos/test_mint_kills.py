"""kill -9 between every two steps of the minter, then another minter.

Exactly one token, one audit row, one message out.

The first minter is a process of its own, killed by a fault point (ops/faults.py) in itself; the
second one runs here. A dead minter's lease has to run out first: the test ends it, since one so
short that a test can wait for it runs out under a living minter too, where the machine is slow.
"""

import asyncio
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from ops.faults import Point
from ops.setting_parts import MinterSettings
from ops.settings import Settings
from sandbox.ton.network import TonNetwork
from store.engine import Database
from store.values.minting import TaskOperation
from tests.builders.minters import funded, minter_on
from tests.builders.patience import PATIENCE_S
from tests.builders.world import World, all_in, items_of, minting

ROOT = Path(__file__).parents[2]
HURRY = MinterSettings(poll_interval=timedelta(milliseconds=50))


@pytest.fixture
async def settings(ton: TonNetwork, database_url: str, mnemonic_file: Path) -> Settings:
    return await funded(minter_on(ton, database_url, mnemonic_file, HURRY), ton)


@pytest.fixture
async def world(database: Database) -> World:
    return World(database)


async def killed_at(point: str, settings: Settings, world: World) -> None:
    """Run `laurel minter` until it kills itself at `point`; let its leases run out."""
    environment = {
        **os.environ,
        "LAUREL_DATABASE_URL": settings.need("database_url"),
        "LAUREL_TON_CONFIG": settings.need("ton_config"),
        "LAUREL_WALLET_MNEMONIC_FILE": settings.need("wallet_mnemonic_file"),
        "LAUREL_HTTP__ENABLED": "false",
        "LAUREL_MINTER__POLL_INTERVAL": "PT0.05S",
        "LAUREL_FAULT_POINT": point,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "cli.py"),
        "minter",
        cwd=ROOT,
        env=environment,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            _, log = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == -signal.SIGKILL, (
        f"the minter did not reach {point}:\n{log.decode()}"
    )
    await world.sql(
        "UPDATE nft_mint_queue SET lease_expires_at = now() WHERE lease_token IS NOT NULL"
    )


@pytest.mark.parametrize(
    "point", [each for each in Point if each.startswith(("minter.", "deploy."))]
)
async def test_one_token_after_a_kill_at(point: str, world: World, settings: Settings) -> None:
    badges = await world.to_mint(2)
    await killed_at(point, settings, world)
    async with minting(settings) as ctx:
        await all_in(world, badges, "active/minted")
        minted = await items_of(ctx)
    assert sorted(token.content for token in minted) == sorted(
        f"{badge.id}.json" for badge in badges
    )
    for badge in badges:
        assert (await world.audit(badge)).count("minted_onchain") == 1
        assert await world.published(badge) == ["badge.minted"]
        assert await world.tasks(badge) == ["mint confirmed"]


@pytest.mark.parametrize("point", ["minter.signed", "minter.sent", "minter.settling"])
async def test_one_revocation_after_a_kill_at(point: str, world: World, settings: Settings) -> None:
    (badge,) = await world.to_mint()
    async with minting(settings):
        await all_in(world, [badge], "active/minted")
    await world.enqueue([badge], TaskOperation.BURN)
    await killed_at(point, settings, world)
    async with minting(settings) as ctx:
        await all_in(world, [badge], "burned_onchain/minted")
        (token,) = await items_of(ctx)
    assert token.revoked_at > 0
    assert (await world.audit(badge)).count("burned_onchain") == 1
    assert await world.published(badge) == ["badge.minted", "badge.burned"]
