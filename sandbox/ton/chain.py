"""The chain: both lists of blocks, the messages that wait, and the step from one block to the next.

Masterchain block N carries basechain block N. A block is made in three steps, so that the long one,
execution, can run in a thread while reads go on: `begin` takes what waits, `execute` is a function
of that alone, `append` publishes the result. States are persistent
trees: a reader holds the one it began with, and old ones cost only what differs.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

from ops.errors import Permanent, UsageError
from sandbox.ton.account_state import AccountState, genesis_account, read_account
from sandbox.ton.accounts import DEFAULT_SEED, derived_key, faucet, user_wallet
from sandbox.ton.blocks import (
    KEY_BLOCK_SEQNO,
    Block,
    Span,
    account_blocks,
    block_extra,
    make_block,
    masterchain_block_extra,
    no_account_blocks,
    zero_state,
)
from sandbox.ton.boc import from_boc, to_boc
from sandbox.ton.cells import Address, Builder, CellError
from sandbox.ton.collator import Collated, Collator, Queued, Work, queued, shard_account
from sandbox.ton.config import TODAY, BasechainPrices, network_config
from sandbox.ton.dictionaries import Dictionary, KeyMaxLt
from sandbox.ton.emulator import Emulator, NotAccepted, encoded
from sandbox.ton.messages import EXTERNAL_BYTES_MAX, EXTERNAL_DEPTH_MAX, MessageKind, read_head
from sandbox.ton.states import (
    BASECHAIN,
    MASTERCHAIN,
    BlockId,
    Network,
    State,
    masterchain_extra,
    no_accounts,
    no_blocks,
    shard_state,
)

_GLOBAL_ID = -3  # the testnet's id: no message signed here is good on the main network
_LT_STEP = 1_000_000  # blocks begin at multiples of it, as validators' do
_FAUCET_NANO = 10**18
_USER_NANO = 100 * 10**9


class Rejected(Permanent):
    """An external message that no block will take.

    The message says why, in a lite server's words.
    """

    code = "external_rejected"


class ChainClock:
    """The network's time: the host's, plus what was advanced."""

    def __init__(self, source: Callable[[], float] = time.time) -> None:
        self._source = source
        self._offset = 0.0

    def now(self) -> int:
        """Return Unix seconds."""
        return int(self._source() + self._offset)

    def advance(self, by: timedelta) -> None:
        """Move ahead.

        Raises:
            UsageError: `by` is negative: block times only rise; or it leads beyond 2106, where
                block times (32 bits) end.
        """
        if by < timedelta(0):
            raise UsageError("The network's clock goes forward only.")
        if self.now() + by.total_seconds() >= 1 << 32:
            raise UsageError(
                "The network's clock goes no further than a block's time: the year 2106."
            )
        self._offset += by.total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainOptions:
    """What a chain is made of.

    The same options and clock give the same genesis, keys and blocks.
    """

    seed: str = DEFAULT_SEED
    # what is left over is delivered in the next block; some 500 are executed in the time between
    # two blocks
    transactions_per_block_max: int = 500
    # masterchain blocks whose states can still be read (`seqno=`); blocks and transactions
    # themselves are kept for ever
    state_window: int = 1_000
    # users 0 to n-1 (sandbox/ton/accounts.py) have 100 GRAM each from the genesis
    user_wallets: int = 100
    # what gas, messages and storage cost; the main network's unless given
    prices: BasechainPrices = TODAY
    emulator_library: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what makes no chain."""
        if self.transactions_per_block_max < 1 or self.state_window < 1 or self.user_wallets < 0:
            raise UsageError(
                "transactions_per_block_max and state_window must be at least 1, "
                "and user_wallets at least 0."
            )


@dataclass(frozen=True, slots=True)
class StoredTransaction:
    """A transaction in a block.

    The previous one of its account is named by lt and hash (0 and zeros: none).
    """

    boc: bytes
    hash: bytes
    previous_lt: int
    previous_hash: bytes
    block: BlockId


class Chain:
    """One masterchain, one basechain, from the zero states on."""

    def __init__(
        self, options: ChainOptions = ChainOptions(), clock: ChainClock | None = None
    ) -> None:
        self.options = options
        self.clock = clock or ChainClock()
        self.validator = derived_key(options.seed, "validator")
        self.transactions: dict[tuple[bytes, int], StoredTransaction] = {}
        self.transaction_of_message: dict[bytes, tuple[bytes, int]] = {}
        self._internals: tuple[Queued, ...] = ()
        self._externals: list[Queued] = []
        self._in_work = 0
        utime = self.clock.now()
        shard_zero, self.network = self._shard_genesis(utime)
        master_zero = self._master_genesis(utime, shard_zero)
        self.masterchain, self.basechain = [master_zero], [shard_zero]
        config = to_boc(self.network.config.root)
        self._checker = Emulator(config, options.emulator_library)
        self._executor = Emulator(config, options.emulator_library)
        self._collator = Collator(self._executor, options.transactions_per_block_max)
        self.produce()  # clients anchor their proofs on block 1, the key block

    def _shard_genesis(self, utime: int) -> tuple[Block, Network]:
        accounts = no_accounts()
        bank = faucet(self.options.seed)
        accounts = accounts.put(
            int.from_bytes(bank.address.account, "big"),
            genesis_account(bank.address, _FAUCET_NANO, utime, bank.init),
            _FAUCET_NANO,
        )
        for index in range(self.options.user_wallets):
            address = user_wallet(index, self.options.seed).address
            accounts = accounts.put(
                int.from_bytes(address.account, "big"),
                genesis_account(address, _USER_NANO, utime),
                _USER_NANO,
            )
        root = shard_state(_GLOBAL_ID, BASECHAIN, 0, utime, 0, accounts)
        block = zero_state(BASECHAIN, State(root, accounts, no_blocks()), utime)
        key = bytes(self.validator.verify_key)
        hashes = (block.id.root_hash, block.id.file_hash)
        config = network_config(key, utime, hashes, self.options.prices)
        return block, Network(_GLOBAL_ID, key, config, supply_nano=accounts.extra)

    def _master_genesis(self, utime: int, shard: Block) -> Block:
        custom = masterchain_extra(self.network, shard.tip(0), no_blocks(), None, key=True)
        root = shard_state(_GLOBAL_ID, MASTERCHAIN, 0, utime, 0, no_accounts(), custom=custom)
        block = zero_state(MASTERCHAIN, State(root, no_accounts(), no_blocks()), utime)
        block.companion, shard.companion = shard.id, block.id
        return block

    def close(self) -> None:
        """Give the virtual machines back; no block and no message after that."""
        self._checker.close()
        self._executor.close()

    @property
    def zero(self) -> Block:
        """Return the masterchain's zero state."""
        return self.masterchain[0]

    @property
    def key_block(self) -> Block:
        """Return masterchain block 1."""
        return self.masterchain[KEY_BLOCK_SEQNO]

    @property
    def last(self) -> Block:
        """Return the newest masterchain block."""
        return self.masterchain[-1]

    @property
    def last_shard(self) -> Block:
        """Return the newest basechain block."""
        return self.basechain[-1]

    def blocks(self, workchain: int) -> list[Block]:
        """Return the blocks of a chain, by seqno."""
        return self.masterchain if workchain == MASTERCHAIN else self.basechain

    @property
    def waiting(self) -> int:
        """Return how many messages have no transaction yet.

        Those of a block in the making are included.
        """
        return len(self._internals) + len(self._externals) + self._in_work

    def account(self, address: Address) -> AccountState | None:
        """Return an account as the newest block leaves it; None where there is none."""
        if address.workchain != BASECHAIN:
            return None
        return read_account(shard_account(self._accounts(), address.account).refs[0])

    def _accounts(self) -> Dictionary[int]:
        return _state(self.last_shard).accounts

    def submit(self, boc: bytes) -> None:
        """Take an external message for the next block.

        Args:
            boc: the message, a bag of cells.

        Raises:
            Rejected: too large, too deep, malformed, for nobody here, or not accepted by its
                contract at present.
        """
        self._externals.append(self._checked(boc))

    def _checked(self, boc: bytes) -> Queued:
        if len(boc) > EXTERNAL_BYTES_MAX:
            raise Rejected("external message too large, rejecting")
        try:
            message = from_boc(boc)
            head = read_head(message)
            item = queued(message)
        except CellError as error:
            raise Rejected(f"cannot deserialize external message : {error}") from error
        if message.depth >= EXTERNAL_DEPTH_MAX:
            raise Rejected("external message is too deep, rejecting")
        if message.level_mask:
            raise Rejected("cannot deserialize external message : bag-of-cells of a level above 0")
        if head.kind is not MessageKind.EXTERNAL_IN or item is None:
            raise Rejected(
                "external message must begin with ext_in_msg_info$10 "
                "and be for an account of workchain 0"
            )
        state = encoded(to_boc(shard_account(self._accounts(), item.account)))
        outcome = self._checker.execute(
            state,
            encoded(to_boc(message)),
            utime=self._next_utime(),
            lt=self.last.end_lt + _LT_STEP,
            seed="00" * 32,
        )
        if isinstance(outcome, NotAccepted):
            raise Rejected(f"cannot apply external message to current state : {outcome}")
        return item

    def _next_utime(self) -> int:
        return max(self.clock.now(), self.last.utime)

    def produce(self) -> Block:
        """Make the next block of both chains at once; return the masterchain's.

        Raises:
            InvariantBroken: the virtual machine failed.
        """
        return self.append(*self.execute(self.begin()))

    def begin(self) -> Work:
        """Take what waits, for a block after the newest one."""
        seqno = self.last.id.seqno + 1
        work = Work(
            accounts=self._accounts(),
            internals=self._internals,
            externals=tuple(self._externals),
            utime=self._next_utime(),
            start_lt=(self.last.end_lt // _LT_STEP + 1) * _LT_STEP,
            seed=sha256(f"{self.options.seed} block {seqno}".encode()).digest(),
        )
        self._in_work = len(self._internals) + len(self._externals)
        self._internals, self._externals = (), []
        return work

    def execute(self, work: Work) -> tuple[Work, Collated]:
        """Execute the messages of `work`.

        Touches nothing else, so it may run in a thread (one at a time).
        """
        return work, self._collator.collate(work)

    def append(self, work: Work, collated: Collated) -> Block:
        """Publish the block; return the masterchain's."""
        span = Span(work.utime, work.start_lt, collated.end_lt)
        shard = self._shard_block(span, work, collated)
        master = self._master_block(span, work, shard)
        shard.companion, master.companion = master.id, shard.id
        self._in_work = 0
        self._internals = collated.internals
        self._externals[:0] = collated.externals
        self.basechain.append(shard)
        self.masterchain.append(master)
        for transaction, boc in collated.transactions:
            place = (transaction.account, transaction.lt)
            self.transactions[place] = StoredTransaction(
                boc,
                transaction.cell.hash,
                transaction.previous_lt,
                transaction.previous_hash,
                shard.id,
            )
            if transaction.in_message is not None:
                self.transaction_of_message[transaction.in_message.hash] = place
        self._forget_old_state()
        return master

    def _shard_block(self, span: Span, work: Work, collated: Collated) -> Block:
        previous, master = self.last_shard, self.last.ref
        root = shard_state(
            _GLOBAL_ID,
            BASECHAIN,
            previous.id.seqno + 1,
            span.utime,
            span.end_lt,
            collated.accounts,
            master=master,
        )
        extra = block_extra(
            self.network, account_blocks(collated.by_account(), collated.updates), work.seed
        )
        block = make_block(
            self.network,
            previous,
            span,
            State(root, collated.accounts, no_blocks()),
            extra,
            master=master,
        )
        block.transactions = tuple(
            sorted(
                (transaction.account, transaction.lt, transaction.cell.hash)
                for transaction, _ in collated.transactions
            )
        )
        return block

    def _master_block(self, span: Span, work: Work, shard: Block) -> Block:
        previous, seqno = self.last, self.last.id.seqno + 1
        key = seqno == KEY_BLOCK_SEQNO
        earlier = _with_block(_state(previous).previous_blocks, previous)
        last_key_block = previous if previous.is_key else self.key_block
        tip = shard.tip(seqno)
        custom = masterchain_extra(self.network, tip, earlier, last_key_block.ref, key=key)
        root = shard_state(
            _GLOBAL_ID, MASTERCHAIN, seqno, span.utime, span.end_lt, no_accounts(), custom=custom
        )
        extra = block_extra(
            self.network,
            no_account_blocks(),
            work.seed,
            masterchain_block_extra(self.network, tip, key=key),
        )
        return make_block(self.network, previous, span, State(root, no_accounts(), earlier), extra)

    def _forget_old_state(self) -> None:
        """Drop the states that leave the window.

        Those of the zero state and block 1 stay, since proofs start there.
        """
        leaving = self.last.id.seqno - self.options.state_window
        if leaving > KEY_BLOCK_SEQNO:
            self.masterchain[leaving].state = None
            self.basechain[leaving].state = None


def _with_block(blocks: Dictionary[KeyMaxLt], block: Block) -> Dictionary[KeyMaxLt]:
    value = block.ref.store(Builder().flag(block.is_key))
    return blocks.put(block.id.seqno, value, KeyMaxLt(block.is_key, block.end_lt))


def _state(block: Block) -> State:
    if block.state is None:  # never for the newest block
        raise Rejected(f"the state of block {block.id.seqno} is gone")
    return block.state
