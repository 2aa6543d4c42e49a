"""What the tests share in which minters and chain are disturbed."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sandbox.ton.network import TonNetwork
    from tests.builders.went_back import Mempool


@pytest.fixture(scope="module")
def mnemonic_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a new wallet's words."""
    from tests.builders.minters import new_wallet

    return new_wallet(tmp_path_factory)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a minter does now and then, it does often."""
    from minter import maintenance

    monkeypatch.setattr(maintenance, "_SWEEP_EVERY", timedelta(milliseconds=300))
    monkeypatch.setattr(maintenance, "_REPAIR_EVERY", timedelta(seconds=1))


@pytest.fixture
def mempool(ton: "TonNetwork", monkeypatch: pytest.MonkeyPatch) -> "Mempool":
    """Hold what is sent to the network, for as long as the test asks."""
    from tests.builders.went_back import Mempool

    made = Mempool(ton, ton.chain.submit)
    monkeypatch.setattr(ton.chain, "submit", made.submit)
    return made
