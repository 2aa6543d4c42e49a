from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from pytonlib import TonlibClient

from sandbox.ton.network import TonNetwork
from tests.sandbox.ton.client import connected
from tests.sandbox.ton.minting import Minting


@pytest_asyncio.fixture
async def client(ton: TonNetwork, tmp_path: Path) -> AsyncIterator[TonlibClient]:
    async with connected(ton.config, tmp_path / "keystore") as client:
        yield client


@pytest_asyncio.fixture
async def minting(ton: TonNetwork, client: TonlibClient) -> Minting:
    """A deployed wallet and collection."""
    minting = Minting(ton, client)
    await minting.deploy()
    return minting
