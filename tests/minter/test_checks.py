"""What `laurel doctor` says of wallet and chain."""

from pathlib import Path

from minter.checks import CHECKS
from minter.startup import minting_wallet
from ops.checks import CheckState, examine
from ops.settings import Settings


async def test_wallet_and_network_as_they_should_be(settings: Settings) -> None:
    wallet, metadata, ton, network = await examine(CHECKS, settings)
    assert [each.state for each in (wallet, metadata, ton, network)] == [CheckState.OK] * 4
    assert metadata.detail == "https://badges.example/metadata"
    assert minting_wallet(settings)[1].address in wallet.detail
    assert ton.detail.startswith("masterchain block ")


async def test_words_that_are_not_there_are_named(settings: Settings, tmp_path: Path) -> None:
    changed = settings.model_copy(update={"wallet_mnemonic_file": tmp_path / "gone.words"})
    wallet, _, ton, _ = await examine(CHECKS, changed)
    assert (wallet.state, ton.state) == (CheckState.FAILED, CheckState.OK)
    assert "gone.words" in wallet.detail
