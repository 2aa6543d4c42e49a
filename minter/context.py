"""What every step of the minter works with.

The database, the chain as last seen, the wallet and its key, the settings.

`ChainView` is read by all collections at once: one poll of the tip and of the wallet's account
serves them all. It never goes back.
"""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from minter.mint_decision import Absent, Limits
from minter.ton import tokens
from minter.ton.gateway import Account, AnswerRefused, Block, ChainGateway
from minter.ton.highload_wallet import Signer, Wallet
from minter.ton.tokens import CollectionState, Item, Token
from ops import metrics
from ops.settings import MinterSettings
from store import chain
from store.engine import Database
from store.values import RawAddress

# How often the newest block is written down: a restarted minter must not believe an older one.
_WRITE_EVERY_S = 1.0


class ChainView:
    """The newest masterchain block seen, and the wallet's account at it."""

    def __init__(self, gateway: ChainGateway, wallet: RawAddress, seqno_seen: int) -> None:
        self._gateway = gateway
        self._wallet = wallet
        self._changed = asyncio.Condition()
        self._written_at = 0.0
        self._current: tuple[Block, Account] | None = None
        self.seqno_seen = seqno_seen

    @property
    def current(self) -> tuple[Block, Account]:
        """Return the newest block and the wallet's account at it.

        `refresh` was called at least once.
        """
        if self._current is None:
            raise LookupError("the chain was not read yet")
        return self._current

    async def refresh(self, db: Database) -> None:
        """Look for a newer block.

        Raises:
            ChainUnreachable, BlockUnknown: no lite server answers.
            DatabaseUnreachable: the block could not be written down.
        """
        block = await self._gateway.newest_block()
        if self._current is not None and block.seqno <= self._current[0].seqno:
            return
        account = await self._gateway.account(self._wallet, block)
        now = asyncio.get_running_loop().time()
        if self._current is None or now - self._written_at >= _WRITE_EVERY_S:
            async with db.transaction() as conn:
                self.seqno_seen = await chain.saw_block(
                    conn, block.seqno, wallet_deployed=account.data is not None
                )
            self._written_at = now
        metrics.CHAIN_SEQNO.set(block.seqno)
        metrics.WALLET_BALANCE_NANO.set(account.balance_nano)
        async with self._changed:
            self._current = (block, account)
            self._changed.notify_all()

    async def after(self, seqno: int, patience: timedelta) -> tuple[Block, Account]:
        """Return the newest block once it is past `seqno`, or after `patience` whatever there is."""
        try:
            async with asyncio.timeout(patience.total_seconds()), self._changed:
                await self._changed.wait_for(
                    lambda: self._current is not None and self._current[0].seqno > seqno
                )
        except TimeoutError:
            pass
        return self.current


@dataclass(frozen=True, slots=True)
class Workshop:
    """The tools of one minter."""

    db: Database
    gateway: ChainGateway
    view: ChainView
    wallet: Wallet
    wallet_id: UUID
    signer: Signer
    settings: MinterSettings
    metadata_base_url: str

    def limits(self) -> Limits:
        """Return the operator's limits for `lifecycle.decide`."""
        return Limits(
            expiry_margin=self.settings.expiry_margin,
            resend_after=self.settings.resend_after,
            signatures_max=self.settings.signatures_max,
            seqno_seen=self.view.seqno_seen,
        )

    def spendable_nano(self, account: Account, committed: tuple[int, int, int]) -> int:
        """Return what the wallet may still spend.

        Args:
            account: the wallet's.
            committed: mints, burns and deploys of unresolved messages; each counts in full until
                its outcome is known.
        """
        mints, burns, deploys = committed
        chosen = self.settings
        promised = (
            mints * chosen.item_value_nano
            + burns * chosen.revoke_value_nano
            + deploys * chosen.deploy_value_nano
        )
        return account.balance_nano - chosen.balance_reserve_nano - promised

    def read_item(self, address: RawAddress | None, account: Account) -> Item | None:
        """Return the item at an address; None where there is no active account.

        Raises:
            AnswerRefused: an account there is no soulbound item.
        """
        if account.data is None:
            return None
        try:
            return tokens.parse_item(account.data)
        except ValueError as error:
            raise AnswerRefused(f"{address}: {error}", address=address) from None

    async def collection_state(self, address: RawAddress, block: Block) -> CollectionState:
        """Return what a deployed collection says at `block`.

        Raises:
            AnswerRefused: there is none, or it is no collection.
        """
        account = await self.gateway.account(address, block)
        if account.data is None:
            raise AnswerRefused(
                f"collection {address} is deployed, and has no account at block {block.seqno}"
            )
        try:
            return tokens.parse_collection(account.data)
        except ValueError as error:
            raise AnswerRefused(f"collection {address}: {error}", address=address) from None

    @staticmethod
    def token_of(item: Item | None) -> Token | Absent:
        """Return what stands at an item's address, as `lifecycle.decide` asks."""
        return Absent() if item is None or item.token is None else item.token
