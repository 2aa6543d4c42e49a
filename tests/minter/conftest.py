"""What the minter's tests share.

A wallet with money on a local network, settings that hurry, and the database as others leave it.
"""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from minter.context import MinterContext
    from ops.setting_parts import MinterSettings
    from ops.settings import Settings
    from sandbox.ton.network import TonNetwork
    from store.engine import Database
    from tests.builders.clock import FakeClock
    from tests.builders.world import World


@pytest.fixture(scope="session")
def mnemonic_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.builders.minters import new_wallet

    return new_wallet(tmp_path_factory)


@pytest.fixture
def minter_settings() -> "MinterSettings":
    """Settings that look often; the bounds of the product otherwise."""
    from ops.setting_parts import MinterSettings

    return MinterSettings(poll_interval=timedelta(milliseconds=50), lease=timedelta(seconds=31))


@pytest.fixture
async def world(database: "Database") -> "World":
    from tests.builders.world import World

    return World(database)


@pytest.fixture
async def settings(
    ton: "TonNetwork", database_url: str, mnemonic_file: Path, minter_settings: "MinterSettings"
) -> "Settings":
    """Settings of a minter whose wallet has money on the network `ton`."""
    from tests.builders.minters import funded, minter_on

    return await funded(minter_on(ton, database_url, mnemonic_file, minter_settings), ton)


@pytest.fixture
async def minted_one(world: "World", settings: "Settings") -> None:
    """A collection with one token, and nobody at work any more."""
    from tests.builders.world import all_in, minting

    async with minting(settings):
        await all_in(world, await world.to_mint(), "active/minted")


@pytest.fixture
async def ctx(minted_one: None, settings: "Settings") -> "AsyncIterator[MinterContext]":
    """A minter's tools beside a collection with one token, and nobody else at work."""
    from minter.startup import minter_context
    from ops.lifecycle import Readiness

    del minted_one
    async with minter_context(settings, Readiness()) as tools:
        yield tools


@pytest.fixture
def clock() -> "FakeClock":
    from tests.builders.clock import FakeClock

    return FakeClock()


@pytest.fixture
async def hurried(
    minted_one: None, settings: "Settings", clock: "FakeClock"
) -> "AsyncIterator[MinterContext]":
    """The same, on a clock that does not wait: whatever the minter waits for passes at once."""
    from minter.startup import minter_context
    from ops.lifecycle import Readiness

    del minted_one
    async with minter_context(settings, Readiness(), clock) as tools:
        yield tools
