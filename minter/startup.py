"""Bringing a minter's tools together, and refusing what does not belong together.

A database belongs to one wallet on one network for ever: tokens of another network would look like
lost ones, and another wallet could neither mint into the collections nor revoke.
"""

import re
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from minter.context import ChainView, MinterContext
from minter.step_summary import StepSummary
from minter.ton import highload_wallet, metadata_uris, mnemonic, network_config
from minter.ton.fees import LeastValues, least_values
from minter.ton.gateway import BlockUnknown, ChainGateway, ChainUnreachable
from minter.ton.global_config import read_config, zero_state_hash
from minter.ton.highload_wallet import Wallet
from minter.ton.liteserver import LiteServers
from minter.ton.mnemonic import MnemonicSigner
from minter.ton.values import Block
from minter.waiting import first_of
from ops.clock import SYSTEM_CLOCK, Clock
from ops.errors import UsageError, code_of
from ops.lifecycle import Part, Readiness, Stop, until_available
from ops.logs import logger
from ops.quantities import nanograms
from ops.setting_parts import MinterSettings
from ops.settings import Settings, shown
from store import chain, migrations, rights
from store.chain import Collection, WalletIdentity, WalletRecord
from store.engine import Database

log = logger("minter")

Result = TypeVar("Result")
# What the local network writes into its global config; other clients pass over it.
_LOCAL_NETWORK = "laurel_local_network"
# RFC 2606 and RFC 6761, README's own example, this machine, and names without a dot.
_NOBODYS = re.compile(
    r"(^|\.)(example|invalid|test|localhost|local|your-domain|example\.(com|net|org))\.?$"
    r"|^127\.|^0\.0\.0\.0$|^::1?$|^[^.:]*$"
)
_WHAT_FAILS = {
    "item_forward": "with less an item stays without an owner",
    "item_value": "with less the collection's money is used up, and it mints nothing any more",
    "revoke_value": "with less nothing is revoked",
    "deploy_value": "with less no collection is deployed",
}


async def unless_stopped(stop: Stop, work: Coroutine[Any, Any, Result]) -> Result | None:
    """Return what `work` returns; None, with `work` cancelled, where the stop comes first."""
    results: list[Result] = []

    async def working() -> None:
        results.append(await work)

    await first_of(working(), stop.wait())
    return results[0] if results else None


@asynccontextmanager
async def minter_context(
    settings: Settings, readiness: Readiness, clock: Clock = SYSTEM_CLOCK
) -> AsyncIterator[MinterContext]:
    """Open everything that the minter needs; wait for PostgreSQL and TON as long as it takes.

    Raises:
        UsageError: a setting is missing or wrong, the tables are not there, or the database belongs
            to another network or wallet.
    """
    signer, wallet = minting_wallet(settings)
    config = read_config(Path(settings.need("ton_config")))
    base_url, minter = metadata_base(settings, config), settings.minter
    async with (
        Database(settings.need("database_url"), settings.database) as db,
        LiteServers(
            config,
            servers=minter.lite_servers,
            send_timeout=minter.send_timeout,
            state_dir=settings.ton_state_dir,
        ) as gateway,
    ):
        row = await until_available(
            Part.POSTGRESQL, lambda: register_wallet(db, wallet, gateway), readiness=readiness
        )
        view = ChainView(gateway, row, minter.expiry_margin, clock)
        await until_available(Part.TON, lambda: view.refresh(db), readiness=readiness)
        block, _ = view.current
        await until_available(
            Part.TON,
            lambda: settle_metadata(db, gateway, block, base_url),
            readiness=readiness,
        )
        if (least := await least_values_at(gateway, block)) is not None:
            refuse_useless_values(minter, least)
        yield MinterContext(
            db,
            gateway,
            view,
            wallet,
            row.id,
            signer,
            minter,
            base_url,
            readiness,
            StepSummary(clock),
            clock,
        )


@asynccontextmanager
async def connect(settings: Settings) -> AsyncIterator[tuple[Database, LiteServers]]:
    """Open the database and the network that belong together, without key and without waiting.

    Raises:
        UsageError: a setting is missing or wrong, the tables are not there, or the database belongs
            to another network.
        DatabaseUnreachable: PostgreSQL does not answer.
    """
    settings.require("database_url", "ton_config")
    config = read_config(Path(settings.need("ton_config")))
    async with (
        Database(settings.need("database_url"), settings.database) as db,
        LiteServers(
            config, servers=settings.minter.lite_servers, state_dir=settings.ton_state_dir
        ) as gateway,
    ):
        async with db.transaction() as conn:
            await migrations.check(conn)
            row = await chain.wallet(conn)
        if row is not None:
            refuse_drift(
                row.identity, replace(row.identity, zero_state_hash=gateway.zero_state_hash)
            )
        yield db, gateway


def minting_wallet(settings: Settings) -> tuple[MnemonicSigner, Wallet]:
    """Return the key and the wallet that the settings name.

    Raises:
        UsageError: the words or the network's config are missing or wrong.
    """
    signer = mnemonic.from_file(Path(settings.need("wallet_mnemonic_file")))
    network = zero_state_hash(read_config(Path(settings.need("ton_config"))))
    return signer, highload_wallet.wallet(signer.public_key, settings.minter.message_ttl, network)


def metadata_base(settings: Settings, config: Mapping[str, Any]) -> str:
    """Return where the tokens' metadata is served.

    Args:
        settings: the operator's.
        config: the network's, from `read_config`; the local network brings an address along.

    Raises:
        UsageError: nobody has named one: there is none by default, since it stays on chain; or it
            is an example's, or of this machine alone, on a network where that cannot be undone.
    """
    local = config.get(_LOCAL_NETWORK)
    if settings.metadata_base_url is not None:
        if local is None:
            _refuse_nobodys(settings.metadata_base_url)
        return settings.metadata_base_url
    if isinstance(local, dict) and "metadata_base_url" in local:
        return str(local["metadata_base_url"])
    raise UsageError(
        "LAUREL_METADATA_BASE_URL is not set. Each collection takes it on chain, where it stays: "
        "set it to the address under which you serve the tokens' metadata, such as "
        "https://badges.your-domain/metadata.",
        setting="LAUREL_METADATA_BASE_URL",
    )


def _refuse_nobodys(base_url: str) -> None:
    host = urlsplit(base_url).hostname or ""
    if _NOBODYS.search(host):
        raise UsageError(
            f"LAUREL_METADATA_BASE_URL: {host} is nobody's name, or this machine's alone. Each "
            "collection takes it on chain, where it stays: name a host that is yours for good.",
            setting="LAUREL_METADATA_BASE_URL",
        )


async def settle_metadata(db: Database, gateway: ChainGateway, block: Block, base_url: str) -> None:
    """Return when all collections have their metadata under `base_url`.

    One for which nothing was ever signed, and of which `block` shows nothing, is forgotten, and
    made anew when its first mint is due. A database that was restored may not know that it signed.

    Raises:
        UsageError: a collection has it elsewhere, for good.
        ChainUnreachable, BlockUnknown: no lite server answers.
        DatabaseUnreachable: PostgreSQL does not answer.
    """
    async with db.transaction() as conn:
        elsewhere = collections_elsewhere(await chain.collections(conn), base_url)
    accounts = await gateway.accounts([each.address for each in elsewhere], block)
    absent = [
        each.id for each, account in zip(elsewhere, accounts, strict=True) if account.data is None
    ]
    async with db.transaction() as conn:
        forgotten = await chain.forget_unsigned(conn, absent)
    refuse_elsewhere([each for each in elsewhere if each.id not in forgotten], base_url)


def collections_elsewhere(collections: Iterable[Collection], base_url: str) -> list[Collection]:
    """Return the collections whose metadata is not under `base_url`."""
    return [
        each
        for each in collections
        if each.item_prefix != metadata_uris.item_prefix(base_url, each.type_code)
    ]


def refuse_elsewhere(elsewhere: Sequence[Collection], base_url: str) -> None:
    """Return when there is no collection whose metadata is elsewhere.

    Raises:
        UsageError: there is one; the message says what it has on chain, and the way out.
    """
    for each in elsewhere:
        before = each.item_prefix.removesuffix(f"/{each.type_code}/")
        raise UsageError(
            f"The collection of {each.type_code} has its metadata at {each.item_prefix}, as its "
            f"contract says for good, and LAUREL_METADATA_BASE_URL says {base_url}. Set it back to "
            f"{before}; to serve the documents elsewhere, let that address redirect there.",
            setting="LAUREL_METADATA_BASE_URL",
        )


async def register_wallet(db: Database, wallet: Wallet, gateway: ChainGateway) -> WalletRecord:
    """Return the wallet's row, written on the first call.

    Raises:
        UsageError: tables or rights are missing, or the database belongs to another network or
            wallet.
        DatabaseUnreachable: PostgreSQL does not answer.
    """
    identity = WalletIdentity(
        wallet.address,
        wallet.public_key,
        wallet.subwallet_id,
        round(wallet.timeout.total_seconds()),
        gateway.zero_state_hash,
    )
    async with db.transaction() as conn:
        await rights.check(conn, temporary=False)
        await migrations.check(conn)
        row = await chain.register_wallet(conn, identity)
    refuse_drift(row.identity, identity)
    return row


async def least_values_at(gateway: ChainGateway, block: Block) -> LeastValues | None:
    """Return what the network's prices at `block` make of a mint, a revocation, a deployment.

    None where no lite server shows the configuration, or it has a layout that is not known: the
    bounds of the settings have to do, and the log says so.
    """
    try:
        gas, messages = [
            await gateway.config_parameter(number, block)
            for number in (network_config.GAS_PRICES, network_config.MESSAGE_PRICES)
        ]
        return least_values(network_config.network_prices(gas, messages))
    except (ChainUnreachable, BlockUnknown, ValueError) as error:
        log.warning("prices_unknown", code=code_of(error), reason=str(error))
        return None


def refuse_useless_values(settings: MinterSettings, least: LeastValues) -> None:
    """Return when the values that are attached to messages do their work.

    Raises:
        UsageError: one does not; the message names each, and what it must be at least.
    """
    forward_nano = nanograms(settings.item_forward)
    asked = {
        "item_forward": (forward_nano, least.forward),
        "item_value": (
            nanograms(settings.item_value),
            max(forward_nano, least.forward) + least.mint_beside_forward,
        ),
        "revoke_value": (nanograms(settings.revoke_value), least.revoke),
        "deploy_value": (nanograms(settings.deploy_value), least.deploy),
    }
    refused = [
        f"LAUREL_MINTER__{name.upper()} is {shown(getattr(settings, name))} Grams, and at this "
        f"network's prices it must be at least {shown(Decimal(needed_nano) / 10**9)}: "
        f"{_WHAT_FAILS[name]}."
        for name, (given_nano, needed_nano) in asked.items()
        if given_nano < needed_nano
    ]
    if refused:
        raise UsageError("\n".join(refused), setting="LAUREL_MINTER")


def refuse_drift(stored: WalletIdentity, configured: WalletIdentity) -> None:
    """Return when both are the same wallet on the same network.

    Raises:
        UsageError: they are not; the message says which setting to look at.
    """
    if stored.zero_state_hash != configured.zero_state_hash:
        raise UsageError(
            "This database belongs to the TON network with zero state "
            f"{stored.zero_state_hash.hex()}, and LAUREL_TON_CONFIG names "
            f"{configured.zero_state_hash.hex()}. Point one of them at the other's network, or use "
            "a new database.",
            setting="LAUREL_TON_CONFIG",
        )
    if stored.public_key != configured.public_key:
        raise UsageError(
            f"This database belongs to the wallet {stored.address}, and "
            f"LAUREL_WALLET_MNEMONIC_FILE holds the words of {configured.address}. Its collections "
            "obey the first one only: put its words there, or use a new database.",
            setting="LAUREL_WALLET_MNEMONIC_FILE",
        )
    if stored != configured:
        raise UsageError(
            f"This database's wallet was made with a timeout of {stored.timeout_s} s, and "
            f"LAUREL_MINTER__MESSAGE_TTL says {configured.timeout_s} s: that would be another "
            "address. Set it back.",
            setting="LAUREL_MINTER__MESSAGE_TTL",
        )
