"""What every step of the minter works with.

The database, the chain as last seen, the wallet and its key, the settings.

`ChainView` is read by all collections at once: one poll of the tip and of the wallet's account
serves them all. It never goes back.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from minter.accounting import Accounting
from minter.budget import Prices
from minter.mint_decision import Limits
from minter.step_summary import StepSummary
from minter.ton import tokens
from minter.ton.gateway import (
    AnswerRejected,
    BlockUnknown,
    ChainGateway,
    ChainUnreachable,
    HistoryForgotten,
)
from minter.ton.highload_wallet import Signer, Wallet
from minter.ton.values import Absent, Account, Block, CollectionState, Item, Token
from minter.waiting import first_of
from ops import metrics
from ops.clock import SYSTEM_CLOCK, Clock
from ops.errors import LaurelError, Transient
from ops.lifecycle import Part, Readiness
from ops.logs import logger
from ops.quantities import nanograms
from ops.setting_parts import MinterSettings
from ops.sparing import OnceAMinute
from store.chain import WalletRecord
from store.engine import Database, DatabaseUnreachable
from store.fence import Shut
from store.values.names import RawAddress

log = logger("minter")
_said = OnceAMinute()
_ITEMS_AT_ONCE = 32

# A network makes a block in a second or so: without a new one for so long, none is minted.
_STALLED_AFTER = timedelta(seconds=30)
# How often the newest block is written down: a restarted minter must not believe an older one.
_WRITE_EVERY = timedelta(seconds=1)


class ChainView:
    """The newest masterchain block seen, and the wallet's account at it.

    What the wallet had sent by then was held against the database before the block is shown.
    """

    def __init__(
        self,
        gateway: ChainGateway,
        wallet: WalletRecord,
        expiry_margin: timedelta,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._gateway = gateway
        self._wallet = wallet
        self._clock = clock
        self._accounting = Accounting(gateway, wallet, expiry_margin, clock)
        self._changed = asyncio.Condition()
        self._written_at = float("-inf")
        self._current: tuple[Block, Account] | None = None
        self._moved_at = clock.monotonic()
        self.seqno_seen = wallet.seqno_seen

    @property
    def current(self) -> tuple[Block, Account]:
        """Return the newest block and the wallet's account at it.

        `refresh` was called at least once.
        """
        if self._current is None:
            raise LookupError("the chain was not read yet")
        return self._current

    @property
    def shut(self) -> Shut | None:
        """Return why nothing is signed, as the last look left it; None while one may sign."""
        fence = self._accounting.fence
        return None if fence is None else fence.shut

    def signed(self, query_seq: int) -> None:
        """Remember the number of a message that is committed."""
        self._accounting.signed(query_seq)

    async def refresh(self, db: Database) -> None:
        """Look for a newer block, and at what the wallet has sent since the last one.

        Raises:
            ChainUnreachable, BlockUnknown, HistoryForgotten: no lite server answers.
            DatabaseUnreachable: the block could not be written down.
        """
        block = await self._gateway.newest_block()
        if self._current is not None and block.seqno <= self._current[0].seqno:
            return
        account = await self._gateway.account(self._wallet.identity.address, block)
        now = self._clock.monotonic()
        due = now - self._written_at >= _WRITE_EVERY.total_seconds()
        if due or self._accounting.due(account):
            fence, self.seqno_seen = await self._accounting.look(db, block, account)
            self._written_at = now
            metrics.MINTING_SHUT.set(fence.shut is not None)
        metrics.CHAIN_SEQNO.set(block.seqno)
        metrics.WALLET_BALANCE_NANOGRAMS.set(account.balance_nano)
        self._moved_at = self._clock.monotonic()
        async with self._changed:
            self._current = (block, account)
            self._changed.notify_all()

    def age(self) -> timedelta:
        """Return how old the newest block is, by this host's clock, and show it as a metric."""
        age = self._clock.now() - self.current[0].time
        metrics.CHAIN_BLOCK_AGE_SECONDS.set(age.total_seconds())
        return age

    @property
    def stalled(self) -> bool:
        """Return whether no newer block has come for long."""
        silence_s = self._clock.monotonic() - self._moved_at
        return silence_s > _STALLED_AFTER.total_seconds()

    async def after(self, seqno: int, patience: timedelta) -> tuple[Block, Account]:
        """Return the newest block once it is past `seqno`; after `patience` whatever there is."""
        await first_of(self._past(seqno), self._clock.sleep(patience))
        return self.current

    async def _past(self, seqno: int) -> None:
        async with self._changed:
            await self._changed.wait_for(
                lambda: self._current is not None and self._current[0].seqno > seqno
            )


@dataclass(frozen=True, slots=True)
class MinterContext:
    """The tools of one minter."""

    db: Database
    gateway: ChainGateway
    view: ChainView
    wallet: Wallet
    wallet_id: UUID
    signer: Signer
    settings: MinterSettings
    metadata_base_url: str
    readiness: Readiness
    steps: StepSummary
    clock: Clock = SYSTEM_CLOCK

    def count_error(self, error: LaurelError) -> None:
        """Count and log an error that ended one step; the next turn tries again.

        What is lost and waited for has a line of its own (`ton_lost`): until it is back its errors
        are counted, and told at DEBUG alone. The same other one has a line a minute.
        """
        metrics.ERRORS.labels(error.code).inc()
        told = {"code": error.code, "reason": error.message} | error.details
        if _part_of(error) in self.readiness.waits:
            log.debug("step_given_up", **told)
        elif (left_out := _said.left_out((error.code, error.message))) is not None:
            log.warning("step_given_up", **told, **({"left_out": left_out} if left_out else {}))

    def limits(self) -> Limits:
        """Return the operator's limits for `mint_decision.decide`."""
        return Limits(
            expiry_margin=self.settings.expiry_margin,
            resend_after=self.settings.resend_after,
            signatures_max=self.settings.signatures_max,
            seqno_seen=self.view.seqno_seen,
        )

    @property
    def prices(self) -> Prices:
        """Return the operator's amounts for `budget`."""
        return prices_of(self.settings)

    def read_item(self, address: RawAddress | None, account: Account) -> Item | None:
        """Return the item at an address; None where there is no active account.

        Raises:
            AnswerRejected: an account there is no soulbound item.
        """
        if account.data is None:
            return None
        try:
            return tokens.parse_item(account.data)
        except ValueError as error:
            raise AnswerRejected(f"{address}: {error}", address=address) from None

    async def items(
        self, addresses: Sequence[RawAddress], block: Block
    ) -> dict[RawAddress, Item | None]:
        """Return the items at addresses; None where there is no active account.

        What cannot be read is counted as an error and left out: it holds up none of the others.
        """
        found = dict[RawAddress, Item | None]()
        accounts = await self.gateway.readable(addresses, block, at_once=_ITEMS_AT_ONCE)
        for address, account in zip(addresses, accounts, strict=True):
            try:
                if isinstance(account, Transient):
                    raise account
                found[address] = self.read_item(address, account)
            except (Transient, AnswerRejected) as error:
                self.count_error(error)
        return found

    async def collection_state(self, address: RawAddress, block: Block) -> CollectionState:
        """Return what a deployed collection says at `block`.

        Raises:
            AnswerRejected: there is none, or it is no collection.
        """
        account = await self.gateway.account(address, block)
        if account.data is None:
            raise AnswerRejected(
                f"collection {address} is deployed, and has no account at block {block.seqno}"
            )
        try:
            return tokens.parse_collection(account.data)
        except ValueError as error:
            raise AnswerRejected(f"collection {address}: {error}", address=address) from None

    @staticmethod
    def token_of(item: Item | None) -> Token | Absent:
        """Return what stands at an item's address, as `mint_decision.decide` asks."""
        return Absent() if item is None or item.token is None else item.token


def _part_of(error: LaurelError) -> Part | None:
    """Return what is lost where such an error comes again and again."""
    match error:
        case DatabaseUnreachable():
            return Part.POSTGRESQL
        case ChainUnreachable() | BlockUnknown() | HistoryForgotten():
            return Part.TON
        case _:
            return None


def prices_of(settings: MinterSettings) -> Prices:
    """Return the operator's amounts for `budget`."""
    return Prices(
        mint_nano=nanograms(settings.item_value),
        burn_nano=nanograms(settings.revoke_value),
        deploy_nano=nanograms(settings.deploy_value),
        reserve_nano=nanograms(settings.balance_reserve),
    )
