"""What a minter needs of wallet and chain: checks of `laurel doctor`."""

from pathlib import Path

from minter import metadata_check
from minter.inspection import (
    NO_BLOCK,
    NOTHING_KNOWN,
    SERVER_PATIENCE,
    Funds,
    WalletFacts,
    asked,
    block_said,
    newest_of,
    onlooking,
    state_dir_trouble,
    wallet_address,
    wallet_facts,
)
from minter.startup import (
    least_values_at,
    minting_wallet,
    refuse_drift,
    refuse_useless_values,
)
from minter.ton import tokens
from minter.ton.gateway import ChainGateway
from minter.ton.global_config import read_config, zero_state_hash
from minter.ton.liteserver import FAR_BEHIND, ServerTip
from minter.ton.values import Account, Block
from ops.checks import Check, CheckResult, CheckState, Lines, Said, attempt, fail, warn
from ops.errors import Transient
from ops.settings import Settings
from store import chain, fence, migrations
from store.chain import Collection, WalletIdentity
from store.engine import Database
from store.values.names import RawAddress


async def _wallet(settings: Settings) -> Lines:
    _, wallet = minting_wallet(settings)
    yield CheckResult.of("wallet", f"address {wallet.address}")


async def _network(settings: Settings) -> Lines:
    async with Database(settings.need("database_url"), settings.database) as db:
        yield await attempt("network", _belonging(db, settings))
        yield await attempt("minting", _open(db))


async def _belonging(db: Database, settings: Settings) -> Said:
    """Return whether database, network and wallet belong together."""
    config = read_config(Path(settings.need("ton_config")))
    async with db.reading() as conn:
        await migrations.check(conn)
        record = await chain.wallet(conn)
    if record is None:
        return "the database belongs to no network yet: the first minter settles it"
    stored = record.identity
    configured = WalletIdentity(
        stored.address,
        stored.public_key,
        stored.subwallet_id,
        stored.timeout_s,
        zero_state_hash(config),
    )
    if settings.wallet_mnemonic_file is not None:
        _, wallet = minting_wallet(settings)
        configured = WalletIdentity(
            wallet.address,
            wallet.public_key,
            wallet.subwallet_id,
            round(wallet.timeout.total_seconds()),
            zero_state_hash(config),
        )
    refuse_drift(stored, configured)
    return f"the database belongs to this network, and to the wallet {stored.address}"


async def _open(db: Database) -> Said:
    async with db.reading() as conn:
        await migrations.check(conn)
        record = await chain.wallet(conn)
        shut = None if record is None else (await fence.fence(conn, record.id)).shut
    if shut is None:
        return "open"
    way_out = (
        "Run `laurel reconcile --repair` (docs/runbook.md, Restoring a backup)."
        if shut.needs_repair and not shut.repair_asked
        else "It opens by itself."
    )
    until = f"{shut.until:%Y-%m-%dT%H:%M:%SZ}"
    return fail(f"shut until {until} of the chain: {shut.reason}. {way_out}")


async def _ton(settings: Settings) -> Lines:
    async with onlooking(settings) as gateway:
        tips = await gateway.survey(SERVER_PATIENCE, SERVER_PATIENCE)
        newest = newest_of(tips)
        for tip in tips:
            yield CheckResult.of(f"lite server {tip.place}", server_said(tip, newest))
        if newest is None:
            yield CheckResult.of("ton", fail(NO_BLOCK))
            return
        yield CheckResult.of("ton", block_said(newest))
        if settings.ton_state_dir is not None and (
            trouble := state_dir_trouble(settings.ton_state_dir)
        ):
            yield CheckResult.of("ton state", fail(trouble))
        yield await attempt("prices", _prices(gateway, newest, settings))
        known = await asked(settings, wallet_facts) or NOTHING_KNOWN
        address = wallet_address(settings) or known.address
        if address is None:
            nobody = "LAUREL_WALLET_MNEMONIC_FILE is not set, and the database knows no wallet"
            yield CheckResult("balance", CheckState.SKIP, nobody)
            return
        yield await attempt("balance", _balance(gateway, newest, address, known, settings))
        accounts = await gateway.readable([each.address for each in known.collections], newest)
        for collection, account in zip(known.collections, accounts, strict=True):
            said = collection_said(collection, account, address)
            yield CheckResult.of(f"collection {collection.type_code}", said)


async def _prices(gateway: ChainGateway, block: Block, settings: Settings) -> Said:
    least = await least_values_at(gateway, block)
    if least is None:
        return warn(
            "no lite server shows the network's prices: that the values attached to messages are "
            "enough was checked by the settings' own bounds alone."
        )
    refuse_useless_values(settings.minter, least)
    return "the values attached to messages do their work at this network's prices"


async def _balance(
    gateway: ChainGateway, block: Block, address: RawAddress, known: WalletFacts, settings: Settings
) -> Said:
    account = await gateway.account(address, block)
    return Funds.of(account, address, known, settings).said


def server_said(tip: ServerTip, newest: Block | None) -> Said:
    """Return how one lite server answers, beside the newest block that any of them proved."""
    if newest is None:
        return fail(f"{tip.failure}.")
    if tip.block is None:
        return warn(f"{tip.failure}. The other ones are asked in its place.")
    behind = newest.seqno - tip.block.seqno
    told = f"block {tip.block.seqno}, {behind} behind, in {tip.seconds:.1f} s"
    if behind > FAR_BEHIND:
        return warn(f"{told}: it stalls. The other ones are asked in its place.")
    return told


def collection_said(
    collection: Collection, account: Account | Transient, wallet: RawAddress
) -> Said:
    """Return whether tokens can be minted and revoked in a type's collection."""
    address = collection.address
    if isinstance(account, Transient):
        return warn(f"{address} cannot be read: {account.message}")
    if account.data is None:
        if collection.deployed_at is None:
            return f"{address}: not on chain yet, the first mint deploys it"
        return fail(
            f"{address} was on chain, and is not at this block: lite servers are behind, or the "
            "database is another network's."
        )
    try:
        state = tokens.parse_collection(account.data)
    except ValueError as error:
        return fail(f"{address} is no collection: {error}")
    if state.owner != wallet:
        return fail(
            f"{address} obeys {state.owner or 'nobody'}, and not this wallet ({wallet}): nothing "
            "can be minted or revoked there. Whoever has that wallet gives it back (its op 3)."
        )
    if collection.stopped_reason is not None:
        return fail(
            f"stopped: {collection.stopped_reason}. Mend it, then `laurel queue release --type "
            f"{collection.type_code} --reason TEXT`."
        )
    if collection.breaker is not None:
        return fail(f"held: {collection.breaker}. Run `laurel reconcile --repair`.")
    return f"{address} obeys this wallet; tokens: {state.next_item_index:,}"


CHECKS = (
    Check(("wallet",), ("wallet_mnemonic_file", "ton_config"), _wallet),
    Check(("network", "minting"), ("ton_config", "database_url"), _network),
    Check(("ton", "prices", "balance"), ("ton_config",), _ton),
    Check(("metadata",), ("ton_config",), metadata_check.look),
)
