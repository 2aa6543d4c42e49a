from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest_asyncio

if TYPE_CHECKING:
    from pytonlib import TonlibClient

    from sandbox.ton.network import TonNetwork
    from tests.sandbox.ton.minting import Minting


@pytest_asyncio.fixture
async def client(ton: "TonNetwork", tmp_path: Path) -> "AsyncIterator[TonlibClient]":
    from tests.sandbox.ton.client import connected

    async with connected(ton.config, tmp_path / "keystore") as client:
        yield client


@pytest_asyncio.fixture
async def minting(ton: "TonNetwork", client: "TonlibClient") -> "Minting":
    """A deployed wallet and collection."""
    from tests.sandbox.ton.minting import Minting

    minting = Minting(ton, client)
    await minting.deploy()
    return minting
