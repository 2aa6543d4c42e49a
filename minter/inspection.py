"""The chain for whoever only looks: no key in memory, nothing written, a bounded wait.

`laurel doctor` and `laurel status` look so, beside minters at work.
"""

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from minter import budget
from minter.budget import Prices
from minter.context import prices_of
from minter.startup import minting_wallet
from minter.ton import tokens
from minter.ton.global_config import read_config
from minter.ton.liteserver import LiteServers, ServerTip
from minter.ton.values import Account, Block
from minter.wallet_report import first_payment_nano
from ops.checks import Said, fail, warn
from ops.clock import SYSTEM_CLOCK, Clock
from ops.errors import LaurelError
from ops.quantities import shown_age, shown_grams
from ops.settings import Settings
from ops.throwaway import throwaway
from store import chain, chain_messages, fence, live_state
from store.chain import Collection
from store.engine import Connection, Database
from store.fence import Shut
from store.values.minting import Commitments, MessageKind
from store.values.names import RawAddress

Answer = TypeVar("Answer")

# A little longer than pytonlib's own patience: its reason says more.
SERVER_PATIENCE = timedelta(seconds=11)
# Fewer are used up before somebody has sent money.
_FEW_MINTS = 100
NO_BLOCK = (
    "no lite server shows a proven block. Look whether this host reaches them, and list others in "
    "LAUREL_TON_CONFIG; where they are reached, the chain may have to be proven from the config's "
    "block on, which a newer config makes short."
)
# A network makes a block in a second or so.
_LATE = timedelta(seconds=30)
_STANDS = timedelta(minutes=5)


@asynccontextmanager
async def onlooking(settings: Settings) -> AsyncIterator[LiteServers]:
    """Yield the lite servers of the settings.

    Raises:
        UsageError: LAUREL_TON_CONFIG is missing or wrong.
    """
    config = read_config(Path(settings.need("ton_config")))
    with _borrowed(settings.ton_state_dir) as state_dir:
        async with LiteServers(
            config, servers=settings.minter.lite_servers, state_dir=state_dir
        ) as gateway:
            yield gateway


@contextmanager
def _borrowed(state_dir: Path | None) -> Iterator[Path | None]:
    """Yield a copy of what was proven of the chain: tonlib writes where it reads."""
    if state_dir is None or not state_dir.is_dir():
        yield None
        return
    with throwaway("tonlib-state") as directory:
        try:
            copy = shutil.copytree(state_dir, directory / "state")
        except (OSError, shutil.Error):  # not ours to read; or written to meanwhile
            yield None
            return
        yield copy


def state_dir_trouble(state_dir: Path) -> str | None:
    """Return why a minter could not keep there what it proved; None where it can."""
    existing = next(each for each in (state_dir, *state_dir.parents) if each.exists())
    if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
        return None
    return (
        f"LAUREL_TON_STATE_DIR: {existing} is no directory that this process may write to. Name "
        "another, or leave it out."
    )


async def asked(
    settings: Settings, question: Callable[[Connection], Awaitable[Answer]]
) -> Answer | None:
    """Return what the database says; None where none is named, or it does not say.

    For what only makes a look at the chain fuller: somebody else tells of the database.
    """
    if settings.database_url is None:
        return None
    try:
        async with Database(settings.database_url, settings.database) as db, db.reading() as conn:
            return await question(conn)
    except LaurelError:
        return None


def wallet_address(settings: Settings) -> RawAddress | None:
    """Return the wallet's address by its words; None where the settings name none.

    Raises:
        UsageError: the words are wrong.
    """
    if settings.wallet_mnemonic_file is None:
        return None
    _, wallet = minting_wallet(settings)
    return wallet.address


def newest_of(tips: Sequence[ServerTip]) -> Block | None:
    """Return the newest block that any lite server proved."""
    blocks = [tip.block for tip in tips if tip.block is not None]
    return max(blocks, key=lambda block: block.seqno, default=None)


@dataclass(frozen=True, slots=True)
class WalletFacts:
    """What the database knows of the wallet, and of what it pays for.

    Args:
        address: the wallet's; None before the first minter.
        commitments: what its unresolved messages may still cost.
        due_mints: that wait for nothing but the minter.
        collections: that it has, or is going to have.
        shut: why nothing is signed.
    """

    address: RawAddress | None
    commitments: Commitments
    due_mints: int = 0
    collections: tuple[Collection, ...] = ()
    shut: Shut | None = None


NOTHING_KNOWN = WalletFacts(None, Commitments(0, 0, 0))


async def wallet_facts(conn: Connection) -> WalletFacts:
    """Return what the database knows of the wallet."""
    await live_state.bound_statements(conn)
    due = await live_state.due_mints(conn)
    record = await chain.wallet(conn)
    if record is None:
        return replace(NOTHING_KNOWN, due_mints=due)
    return WalletFacts(
        record.identity.address,
        await chain_messages.commitments(conn, record.id),
        due,
        tuple(await chain.collections(conn)),
        (await fence.fence(conn, record.id)).shut,
    )


@dataclass(frozen=True, slots=True)
class Funds:
    """The wallet's money, and how many mints it pays for at today's settings."""

    address: RawAddress
    account: Account
    prices: Prices
    mints: int
    due_mints: int

    @classmethod
    def of(
        cls, account: Account, address: RawAddress, known: WalletFacts, settings: Settings
    ) -> "Funds":
        """Return what lies at `address`, less what is promised already."""
        prices = prices_of(settings.minter)
        left_nano = budget.spendable_nano(account.balance_nano, known.commitments, prices)
        mints = budget.room(MessageKind.MINT, left_nano, prices)
        return cls(address, account, prices, mints, known.due_mints)

    @property
    def said(self) -> Said:
        """Return how far it reaches, and what to send where it does not."""
        is_deployed = self.account.data is not None
        told = (
            f"{shown_grams(self.account.balance_nano)} Grams, enough for {self.mints:,} mints "
            f"beside the reserve of {shown_grams(self.prices.reserve_nano)} Grams, at "
            f"{tokens.user_friendly(self.address, bounceable=is_deployed)}"
        )
        if not is_deployed:
            told += "; not deployed yet: its first message does it"
        if not self.mints:
            missing_nano = first_payment_nano(self.account.balance_nano, self.prices)
            return fail(f"{told}. Send it {shown_grams(missing_nano)} Grams or more.")
        if self.mints < max(_FEW_MINTS, self.due_mints):
            due = f", and {self.due_mints:,} are due" if self.due_mints else ""
            price = shown_grams(self.prices.mint_nano)
            return warn(f"{told}{due}. Send it more: a mint takes {price} Grams.")
        return told


def block_said(block: Block, clock: Clock = SYSTEM_CLOCK) -> Said:
    """Return whether the chain goes on, as far as one look tells."""
    age = clock.now() - block.time
    if age < timedelta(0):
        shown = f"{shown_age(-age)} in the future by this host's clock"
    else:
        shown = f"{shown_age(age)} old"
    told = f"masterchain block {block.seqno}, {shown}"
    way_out = "List other lite servers in LAUREL_TON_CONFIG, or set this host's clock by NTP."
    if abs(age) > _STANDS:
        return fail(f"{told}. {way_out}")
    if abs(age) > _LATE:
        return warn(f"{told}. {way_out}")
    return told
