"""The chain and the wallet, for `laurel status`."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

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
    wallet_address,
    wallet_facts,
)
from minter.ton.gateway import BlockUnknown, ChainUnreachable
from minter.ton.liteserver import FAR_BEHIND, LiteServers, ServerTip
from minter.ton.values import Block
from ops.checks import Said, fail, warn
from ops.clock import SYSTEM_CLOCK
from ops.errors import LaurelError
from ops.settings import Settings
from ops.status import Look, Row, Section, StatusSource
from store.fence import Shut

# The servers beside the first: a screen is drawn every two seconds.
_GRACE = timedelta(seconds=1)


@asynccontextmanager
async def _open(settings: Settings) -> AsyncIterator[Look]:
    async with onlooking(settings) as gateway:

        async def look() -> Sequence[Section]:
            tips, known = await asyncio.gather(
                gateway.survey(SERVER_PATIENCE, _GRACE), asked(settings, wallet_facts)
            )
            newest = newest_of(tips)
            wallet = await _wallet(gateway, newest, known, settings)
            return [_chain(tips, newest), wallet]

        yield look


def _chain(tips: Sequence[ServerTip], newest: Block | None) -> Section:
    facts = {
        "seqno": None if newest is None else newest.seqno,
        "block_age_seconds": None
        if newest is None
        else round((SYSTEM_CLOCK.now() - newest.time).total_seconds(), 1),
        "lite_servers": {tip.place: None if tip.block is None else tip.block.seqno for tip in tips},
    }
    rows = (
        Row("block", fail(NO_BLOCK) if newest is None else block_said(newest)),
        Row("lite servers", servers_said(tips, newest)),
    )
    return Section("chain", rows, facts)


def servers_said(tips: Sequence[ServerTip], newest: Block | None) -> Said:
    """Return how many lite servers answer, and which do not, or not with a new block."""
    silent = [tip.place for tip in tips if tip.block is None]
    behind = [
        tip.place
        for tip in tips
        if tip.block is not None and newest is not None
        if newest.seqno - tip.block.seqno > FAR_BEHIND
    ]
    told = f"{len(tips) - len(silent)} of {len(tips)} answer"
    if silent:
        told += f"; silent: {', '.join(silent)}"
    if behind:
        told += f"; far behind: {', '.join(behind)}"
    return warn(told) if silent or behind else told


async def _wallet(
    gateway: LiteServers, newest: Block | None, known: WalletFacts | None, settings: Settings
) -> Section:
    rows, facts = list[Row](), dict[str, object]()
    if known is not None:
        rows.append(Row("minting", shut_said(known.shut)))
        facts["shut"] = known.shut is not None
    elif settings.database_url is not None:
        rows.append(Row("minting", warn("open or shut: the database does not say")))
    if known is not None and known.collections:
        stopped = [
            each.type_code for each in known.collections if each.stopped_reason or each.breaker
        ]
        rows.append(Row("collections", collections_said(len(known.collections), stopped)))
        facts["collections_stopped"] = stopped
    known = known or NOTHING_KNOWN
    try:
        address = wallet_address(settings) or known.address
    except LaurelError as error:  # the words' file is wrong; the chain is shown all the same
        return Section("wallet", (*rows, Row("balance", fail(error.message))), facts)
    facts["address"] = address
    if address is None:
        unset = "LAUREL_WALLET_MNEMONIC_FILE is not set, and the database knows no wallet"
        return Section("wallet", (*rows, Row("balance", warn(unset))), facts)
    try:
        if newest is None:
            raise ChainUnreachable("no lite server answers")
        account = await gateway.account(address, newest)
    except (ChainUnreachable, BlockUnknown) as error:
        unknown = Row("balance", fail(f"unknown: {error.message}"))
        return Section("wallet", (*rows, unknown), facts)
    funds = Funds.of(account, address, known, settings)
    facts |= {"balance_nano": account.balance_nano, "mints": funds.mints}
    return Section("wallet", (*rows, Row("balance", funds.said)), facts)


def shut_said(shut: Shut | None) -> Said:
    """Return whether anything is signed."""
    if shut is None:
        return "open"
    until = f"{shut.until:%Y-%m-%d %H:%M:%S}"
    return fail(f"shut until {until} UTC of the chain: {shut.reason} (`laurel doctor`)")


def collections_said(number: int, stopped: Sequence[str]) -> Said:
    """Return whether tokens can be minted in all collections."""
    if stopped:
        return warn(f"stopped or held: {', '.join(stopped)} (`laurel doctor`)")
    return f"{number}, none stopped"


SOURCES = (StatusSource(("chain", "wallet"), ("ton_config",), _open),)
