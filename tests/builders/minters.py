"""Minters for the tests: settings of one with a wallet, and its steps by hand."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from pydantic import SecretStr

from minter import signing
from minter.context import MinterContext
from minter.message_signing import NothingSigned, SignedBatch
from minter.startup import minting_wallet
from minter.ton import mnemonic
from ops.setting_parts import HttpSettings, MinterSettings
from ops.settings import Settings
from sandbox.ton.network import TonNetwork
from store import chain, claiming
from store.chain import Collection
from store.values.minting import LeasedTask
from store.values.names import LeaseToken

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


async def claimed(ctx: MinterContext, limit: int = 10) -> tuple[LeaseToken, list[LeasedTask]]:
    """Lease what is due."""
    lease = LeaseToken(uuid4())
    async with ctx.db.transaction() as conn:
        return lease, await claiming.claim_due(conn, lease, ctx.settings.lease, limit, [])


async def collection_of(ctx: MinterContext) -> Collection:
    """Return the only collection."""
    async with ctx.db.transaction() as conn:
        (collection,) = await chain.collections(conn)
    return collection


async def sign_due(ctx: MinterContext) -> SignedBatch | NothingSigned:
    """Lease and sign what is due."""
    lease, tasks = await claimed(ctx)
    return await signing.sign(ctx, lease, tasks, await collection_of(ctx))


@asynccontextmanager
async def refreshing(ctx: MinterContext) -> AsyncIterator[None]:
    """Look for new blocks, as the daemon's loop does, while the block runs."""

    async def refresh() -> None:
        while True:
            await ctx.view.refresh(ctx.db)
            await asyncio.sleep(0.02)

    task = asyncio.create_task(refresh())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
