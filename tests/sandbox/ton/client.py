"""The client that the network is held against.

Pytonlib as published, over its own libtonlibjson.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pytonlib import TonlibClient


@asynccontextmanager
async def connected(config: dict[str, Any], keystore: Path) -> AsyncIterator[TonlibClient]:
    keystore.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - a directory of the test, once
    client = TonlibClient(0, config, str(keystore), verbosity_level=0)
    await client.init()
    try:
        yield client
    finally:
        await client.close()
