"""What the minter's tests share.

A wallet with money on a local network, settings that hurry, and the database as others leave it.
"""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ops.settings import MinterSettings, Settings
    from sandbox.ton.network import TonNetwork
    from store.engine import Database
    from tests.builders.world import World

FUNDS_NANO = 100 * 10**9


@pytest.fixture(scope="session")
def mnemonic_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from minter.ton import mnemonic

    path = tmp_path_factory.mktemp("wallet") / "wallet.words"
    mnemonic.write_new(path)
    return path


@pytest.fixture
def minter_settings() -> "MinterSettings":
    """Settings that look often; the bounds of the product otherwise."""
    from ops.settings import MinterSettings

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
    from pydantic import SecretStr

    from minter.startup import minting_wallet
    from ops.settings import HttpSettings, Settings

    chosen = Settings(
        database_url=SecretStr(database_url),
        ton_config=ton.config_path,
        wallet_mnemonic_file=mnemonic_file,
        minter=minter_settings,
        http=HttpSettings(enabled=False),
    )
    _, wallet = minting_wallet(chosen)
    await ton.fund(wallet.address, FUNDS_NANO)
    return chosen
