"""What a minter needs of wallet and chain: checks of `laurel doctor`."""

from pathlib import Path

from minter.startup import (
    collections_elsewhere,
    connect,
    least_values_at,
    metadata_base,
    minting_wallet,
    refuse_elsewhere,
    refuse_useless_values,
)
from minter.ton.global_config import read_config
from minter.ton.liteserver import LiteServers
from ops.checks import Check
from ops.settings import Settings
from store import chain


async def _wallet(settings: Settings) -> str:
    _, wallet = minting_wallet(settings)
    return f"address {wallet.address}"


async def _metadata(settings: Settings) -> str:
    base_url = metadata_base(settings, read_config(Path(settings.need("ton_config"))))
    if settings.database_url is not None:
        async with connect(settings) as (db, _), db.transaction() as conn:
            elsewhere = collections_elsewhere(await chain.collections(conn), base_url)
        # A minter forgets those that are not on chain, and makes them anew.
        on_chain = [each for each in elsewhere if each.deployed_at is not None]
        refuse_elsewhere(on_chain, base_url)
    return base_url


async def _ton(settings: Settings) -> str:
    config = read_config(Path(settings.need("ton_config")))
    async with LiteServers(
        config, servers=settings.minter.lite_servers, state_dir=settings.ton_state_dir
    ) as gateway:
        block = await gateway.newest_block()
        if (least := await least_values_at(gateway, block)) is not None:
            refuse_useless_values(settings.minter, least)
    return f"masterchain block {block.seqno} of {block.time.isoformat()}"


async def _network(settings: Settings) -> str:
    async with connect(settings):
        return "the database belongs to this network, or to none yet"


CHECKS = (
    Check("wallet", ("wallet_mnemonic_file", "ton_config"), _wallet),
    Check("metadata", ("ton_config",), _metadata),
    Check("ton", ("ton_config",), _ton),
    Check("network", ("ton_config", "database_url"), _network),
)
