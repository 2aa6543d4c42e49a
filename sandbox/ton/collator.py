"""Turn waiting messages into transactions, in the order in which a validator does.

First the internal messages that earlier blocks left over, by logical time; then externals as they
came; then what these two caused, by logical time, as long as there is room. What does not fit waits
for the next block.
"""

import heapq
from dataclasses import dataclass

from ops.errors import InvariantBroken
from ops.logs import logger
from sandbox.ton.account_state import ABSENT, balance_nano
from sandbox.ton.boc import CellPool, from_boc, to_boc
from sandbox.ton.cells import Address, Builder, Cell
from sandbox.ton.dictionaries import Dictionary
from sandbox.ton.emulator import Emulator, NotAccepted, decoded, encoded
from sandbox.ton.messages import MessageKind, Transaction, read_head, read_transaction
from sandbox.ton.states import BASECHAIN

log = logger("ton.collator")

# Serialised accounts kept at hand between blocks: a wallet and its collection are in nearly every
# block.
_ENCODED_MAX = 4_096


@dataclass(frozen=True, slots=True)
class Queued:
    """A message that waits for its transaction. Ordered by logical time, then hash.

    `created_lt` is 0 for an external one.
    """

    created_lt: int
    message: Cell
    account: bytes

    def __lt__(self, other: "Queued") -> bool:
        return (self.created_lt, self.message.hash) < (other.created_lt, other.message.hash)


@dataclass(frozen=True, slots=True)
class Work:
    """What a block is made of."""

    accounts: Dictionary[int]
    internals: tuple[Queued, ...]
    externals: tuple[Queued, ...]
    utime: int
    start_lt: int
    seed: bytes


@dataclass(frozen=True, slots=True)
class Collated:
    """What a block does.

    Its transactions in the order of execution, the accounts after it, and what is left to do.
    """

    transactions: tuple[tuple[Transaction, bytes], ...]
    accounts: Dictionary[int]
    # hash of each touched account's cell before and after
    updates: dict[bytes, tuple[bytes, bytes]]
    end_lt: int
    internals: tuple[Queued, ...]
    externals: tuple[Queued, ...]

    def by_account(self) -> dict[bytes, list[Transaction]]:
        """Return each account's transactions in the order of their logical times."""
        grouped: dict[bytes, list[Transaction]] = {}
        for transaction, _ in self.transactions:
            grouped.setdefault(transaction.account, []).append(transaction)
        return grouped


def shard_account(accounts: Dictionary[int], account: bytes) -> Cell:
    """Return the `ShardAccount` of an account of the basechain, present or not."""
    return (accounts.get(int.from_bytes(account, "big")) or ABSENT).end()


def queued(message: Cell) -> Queued | None:
    """Return `message` as the queue holds it; None for one that leaves this network.

    To the outside, or to another workchain.

    Raises:
        CellError: it is no message, or its addresses are of a kind that does not exist here.
    """
    head = read_head(message)
    match head.destination:
        case Address(workchain, account) if workchain == BASECHAIN:
            return Queued(head.created_lt, message, account)
        case _:
            if head.kind is not MessageKind.EXTERNAL_OUT:
                log.warning("message_left_the_network", destination=str(head.destination))
            return None


class Collator:
    """Makes blocks' contents, one after another, with a machine of its own."""

    def __init__(self, emulator: Emulator, transactions_max: int) -> None:
        self._emulator = emulator
        self._transactions_max = transactions_max
        self._encoded: dict[bytes, bytes] = {}
        self._pool = CellPool()

    def collate(self, work: Work) -> Collated:
        """Execute as much of `work` as fits in a block.

        Raises:
            InvariantBroken: the virtual machine failed.
        """
        run = _Run(self._emulator, work, self._encoded, self._pool)
        internals, externals = list(work.internals), list(work.externals)
        internals.reverse()
        externals.reverse()
        while internals and run.count < self._transactions_max:
            run.execute(internals.pop())
        while externals and not internals and run.count < self._transactions_max:
            run.execute(externals.pop())
        while run.caused and run.count < self._transactions_max:
            run.execute(heapq.heappop(run.caused))
        left = sorted([*internals, *run.caused])
        collated = run.result(tuple(left), tuple(reversed(externals)))
        if len(self._encoded) > _ENCODED_MAX:
            self._encoded.clear()
        return collated


class _Run:
    """One block in the making."""

    def __init__(
        self, emulator: Emulator, work: Work, encoded_accounts: dict[bytes, bytes], pool: CellPool
    ) -> None:
        self._emulator, self._work, self._encoded, self._pool = (
            emulator,
            work,
            encoded_accounts,
            pool,
        )
        self._seed = work.seed.hex()
        self._before: dict[bytes, bytes] = {}
        self._transactions: list[tuple[Transaction, bytes]] = []
        self._end_lt = work.start_lt + 1
        self.caused: list[Queued] = []

    @property
    def count(self) -> int:
        return len(self._transactions)

    def execute(self, item: Queued) -> None:
        work, account = self._work, item.account
        state = self._encoded.get(account)
        if state is None or account not in self._before:
            cell = shard_account(work.accounts, account)
            self._before.setdefault(account, cell.refs[0].hash)
            state = state or encoded(to_boc(cell))
        # A transaction comes after the message that causes it; the machine puts it after the
        # account's last one as well.
        lt = max(work.start_lt, item.created_lt) + 1
        outcome = self._emulator.execute(
            state, encoded(to_boc(item.message)), utime=work.utime, lt=lt, seed=self._seed
        )
        if isinstance(outcome, NotAccepted):
            if (
                item.created_lt
            ):  # an internal message always becomes a transaction, if only one that fails
                raise InvariantBroken(f"libemulator refuses an internal message: {outcome}")
            # It was accepted when it was sent; something that came first in this block changed
            # that.
            log.info("external_dropped", account=account.hex(), reason=str(outcome))
            self._encoded[account] = state
            return
        boc = decoded(outcome.transaction)
        transaction = read_transaction(from_boc(boc, self._pool, verify_checksum=False))
        self._encoded[account] = outcome.shard_account
        self._transactions.append((transaction, boc))
        self._end_lt = max(self._end_lt, transaction.end_lt)
        for message in transaction.out_messages:
            caused = queued(message)
            if caused is not None:
                heapq.heappush(self.caused, caused)

    def result(self, internals: tuple[Queued, ...], externals: tuple[Queued, ...]) -> Collated:
        """Read back the accounts as the block leaves them.

        Only now, since what they were in between is nobody's business.
        """
        accounts = self._work.accounts
        updates = {}
        for account in {transaction.account for transaction, _ in self._transactions}:
            after = from_boc(decoded(self._encoded[account]), self._pool, verify_checksum=False)
            key, cell = int.from_bytes(account, "big"), after.refs[0]
            updates[account] = (self._before[account], cell.hash)
            exists = cell.bits > 1  # account_none$0 is one bit, and is not held in the state
            accounts = (
                accounts.put(key, Builder().append(after), balance_nano(cell))
                if exists
                else accounts.delete(key)
            )
        return Collated(
            tuple(self._transactions), accounts, updates, self._end_lt, internals, externals
        )
