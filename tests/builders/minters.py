"""Minters for the tests: the settings of one whose wallet has money on a local network."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from minter.startup import minting_wallet
from minter.ton import mnemonic
from ops.settings import HttpSettings, MinterSettings, Settings
from sandbox.ton.network import TonNetwork

FUNDS_NANO = 100 * 10**9


def new_wallet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the words of a new wallet; return their file."""
    path = tmp_path_factory.mktemp("wallet") / "wallet.words"
    mnemonic.write_new(path)
    return path


def minter_on(ton: TonNetwork, database_url: str, words: Path, minter: MinterSettings) -> Settings:
    """Return the settings of a minter on `ton`; its wallet has no money yet."""
    return Settings(
        database_url=SecretStr(database_url),
        ton_config=ton.config_path,
        wallet_mnemonic_file=words,
        minter=minter,
        http=HttpSettings(enabled=False),
    )


async def funded(settings: Settings, ton: TonNetwork, amount_nano: int = FUNDS_NANO) -> Settings:
    """Give the wallet of `settings` money on `ton`; return the settings."""
    _, wallet = minting_wallet(settings)
    await ton.fund(wallet.address, amount_nano)
    return settings
