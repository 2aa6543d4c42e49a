"""What a minter needs of wallet and chain: checks of `laurel doctor`."""

from pathlib import Path

from minter.startup import connect, least_values_at, minting_wallet, refuse_useless_values
from minter.ton.global_config import read_config
from minter.ton.liteserver import LiteServers
from ops.checks import Check
from ops.settings import Settings


async def _wallet(settings: Settings) -> str:
    _, wallet = minting_wallet(settings)
    return f"address {wallet.address}"


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
    Check("wallet", ("wallet_mnemonic_file",), _wallet),
    Check("ton", ("ton_config",), _ton),
    Check("network", ("ton_config", "database_url"), _network),
)
