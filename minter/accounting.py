"""What the wallet has sent, held against the database; and the database held against itself.

A database that was restored, or that a failover took commits from, does not know every message that
was signed. So each transaction of the wallet is looked at once: the message behind it has to be one
of this database's. Where one is not, or where this is another database than the last time, minting
is shut (store/fence.py) until nothing unknown can be under way any more.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from minter.ton import highload_wallet
from minter.ton.gateway import ChainGateway, HistoryForgotten
from minter.ton.values import Account, AccountTransaction, Block
from ops import metrics
from ops.clock import SYSTEM_CLOCK, Clock
from ops.logs import logger
from store import chain, fence
from store.chain import WalletRecord
from store.engine import Database
from store.fence import DatabaseIdentity, Fence, Shut

log = logger("minter")

# How long lite servers may lack a transaction before they count as having forgotten it: one that
# lags behind for a moment says the same.
_FORGOTTEN_AFTER = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Notice:
    """Why minting is to be shut; `needs_repair`: until a person has had the tokens compared."""

    reason: str
    needs_repair: bool


@dataclass(frozen=True, slots=True)
class _External:
    """A transaction of the wallet that a signed message caused."""

    lt: int
    message_hash: bytes


class Accounting:
    """Looks at wallet and database together.

    Attributes:
        fence: as the last look left it; None before the first.
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
        self._in_flight = timedelta(seconds=wallet.identity.timeout_s) + expiry_margin
        self._clock = clock
        self._lacking_since: float | None = None
        # Came back, of what was counted as spent.
        self._returned_nano = 0
        self.fence: Fence | None = None

    def due(self, account: Account) -> bool:
        """Return whether the wallet's account has transactions that were not looked at."""
        return self.fence is None or account.last_lt > self.fence.accounted_lt

    def signed(self, query_seq: int) -> None:
        """Remember a message that is committed.

        A database that lost it before the next look has gone back all the same.
        """
        if self.fence is not None:
            next_query_seq = max(self.fence.next_query_seq, query_seq + 1)
            self.fence = replace(self.fence, next_query_seq=next_query_seq)

    async def look(self, db: Database, block: Block, account: Account) -> tuple[Fence, int]:
        """Look at every transaction that is new in `account`; shut or open minting by it.

        Return the fence, and the newest block that the database was ever shown.

        Raises:
            ChainUnreachable, HistoryForgotten: no lite server has the transactions.
            DatabaseUnreachable: PostgreSQL does not answer.
        """
        wallet_id = self._wallet.id
        async with db.transaction() as conn:
            before = await fence.fence(conn, wallet_id)
        found, forgotten = await self._transactions(account, before.accounted_lt)
        externals = self._externals(found)
        async with db.transaction() as conn:
            here = await fence.identity(conn)
            stored = await fence.fence(conn, wallet_id, lock=True)
            known = await fence.known_messages(conn, [each.message_hash for each in externals])
            notices = [
                *_moved(here, stored, self.fence),
                *forgotten,
                *_unknown([each for each in externals if each.message_hash not in known], stored),
            ]
            for notice in notices:
                until = block.time + self._in_flight
                await fence.shut(conn, wallet_id, Shut(notice.reason, until, notice.needs_repair))
            await fence.looked(conn, wallet_id, here, account.last_lt)
            opened = not notices and await fence.reopen(conn, wallet_id, block.time, repaired=False)
            now = await fence.fence(conn, wallet_id)
            deployed = account.data is not None
            seqno = await chain.saw_block(conn, wallet_id, block.seqno, deployed=deployed)
        for notice in notices:
            reason, needs_repair = notice.reason, notice.needs_repair
            log.warning("minting_shut", code="minting_shut", reason=reason, repair=needs_repair)
        if opened:
            log.info("minting_open", seqno=block.seqno)
        if stored.epoch is not None:
            # Another minter may have looked at them meanwhile. Before the first look of all this
            # wallet may have served somebody else.
            self._count_spent([each for each in found if each.lt > stored.accounted_lt])
        remembered, self.fence = self.fence, now
        if remembered is not None and not notices:
            # A message may have been signed since this look read the row.
            self.signed(remembered.next_query_seq - 1)
        return now, seqno

    async def _transactions(
        self, account: Account, after_lt: int
    ) -> tuple[list[AccountTransaction], list[Notice]]:
        try:
            found = await self._gateway.transactions(
                self._wallet.identity.address, account, after_lt
            )
        except HistoryForgotten as error:
            now = self._clock.monotonic()
            self._lacking_since = now if self._lacking_since is None else self._lacking_since
            if now - self._lacking_since < _FORGOTTEN_AFTER.total_seconds():
                raise
            return [], [Notice(error.message, needs_repair=True)]
        self._lacking_since = None
        return found, []

    def _externals(self, transactions: Sequence[AccountTransaction]) -> list[_External]:
        externals = []
        for each in transactions:
            try:
                message_hash = highload_wallet.external_hash(
                    self._wallet.identity.address, each.data
                )
            except ValueError:
                message_hash = b""  # of no message that anybody here has signed
            if message_hash is not None:
                externals.append(_External(each.lt, message_hash))
        return externals

    def _count_spent(self, transactions: Sequence[AccountTransaction]) -> None:
        spent_nano = sum(each.spent_nano for each in transactions) - self._returned_nano
        metrics.WALLET_SPENT_NANOGRAMS.inc(max(0, spent_nano))
        self._returned_nano = max(0, -spent_nano)


def _moved(here: DatabaseIdentity, stored: Fence, remembered: Fence | None) -> list[Notice]:
    """Return what there is to notice about the database itself.

    Args:
        here: which database this is.
        stored: what it says.
        remembered: what it said to this process the last time.
    """
    if stored.epoch is None:
        return []
    if not here.same_database(stored.epoch):
        return [
            Notice(
                "this is another server, timeline or database than the one that was minted from "
                f"({here.epoch}, not {stored.epoch}): it may not know every token",
                needs_repair=True,
            )
        ]
    if remembered is not None and stored.next_query_seq < remembered.next_query_seq:
        return [
            Notice(
                f"the database went back: it had signed {remembered.next_query_seq} messages, and "
                f"knows of {stored.next_query_seq}",
                needs_repair=True,
            )
        ]
    # Files of a stopped server that were copied back look like the server itself, started again.
    # Whoever worked with it before knows better.
    if stored.server_started_at != here.server_started_at and remembered is None:
        return [
            Notice(
                f"PostgreSQL was started at {here.server_started_at:%Y-%m-%d %H:%M:%S} UTC, and no "
                "minter was there to know that it lost nothing",
                needs_repair=False,
            )
        ]
    return []


def _unknown(externals: Sequence[_External], stored: Fence) -> list[Notice]:
    """Return what there is to notice about messages that the database does not know."""
    # Another minter may have looked at them meanwhile.
    new = [each for each in externals if each.lt > stored.accounted_lt]
    if not new:
        return []
    first = min(new, key=_lt)
    return [
        Notice(
            f"the wallet has sent {len(new)} messages that this database does not know, the first "
            f"in transaction {first.lt} ({first.message_hash.hex()})",
            needs_repair=True,
        )
    ]


def _lt(external: _External) -> int:
    return external.lt
