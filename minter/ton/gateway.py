"""The chain as the minter sees it: blocks, accounts at a block, and a way to send bytes.

A protocol, so that the daemon and reconcile state what they need; minter/ton/liteserver.py is the
one that speaks to TON. Every read names the masterchain block it is to be true at: two reads at one
block cannot contradict each other.
"""

from collections.abc import Sequence
from typing import Protocol

from minter.ton.values import Account, AccountTransaction, Block, SendResult
from ops.errors import Permanent, Transient
from store.values.names import RawAddress


class ChainUnreachable(Transient):
    """No lite server answers, or none in time."""

    code = "chain_unreachable"


class BlockUnknown(Transient):
    """The lite server does not have that block: it lags behind, or forgot it."""

    code = "block_unknown"


class AnswerRejected(Permanent):
    """An account does not read as the contract it should be."""

    code = "answer_rejected"


class HistoryForgotten(Transient):
    """No lite server has an account's transactions as far back as they were asked for."""

    code = "history_forgotten"


class ChainGateway(Protocol):
    """What the minter asks of TON."""

    @property
    def zero_state_hash(self) -> bytes:
        """Return the root hash of the configured network's zero state: its identity."""

    async def newest_block(self) -> Block:
        """Return the newest masterchain block that a lite server can prove.

        Raises:
            ChainUnreachable: none answers.
        """

    async def block(self, seqno: int) -> Block:
        """Return the masterchain block `seqno`.

        Raises:
            ChainUnreachable, BlockUnknown: no lite server gives it.
        """

    async def account(self, address: RawAddress, block: Block) -> Account:
        """Return an account as it was at `block`.

        One that does not exist has no balance and no data.

        Raises:
            ChainUnreachable, BlockUnknown: no lite server gives it.
        """

    async def accounts(self, addresses: Sequence[RawAddress], block: Block) -> list[Account]:
        """Return many accounts at one block, in the order asked for, read side by side.

        Raises:
            ChainUnreachable, BlockUnknown: one of them could not be read.
        """

    async def readable(
        self, addresses: Sequence[RawAddress], block: Block, *, at_once: int
    ) -> list[Account | Transient]:
        """Return the same, with the error in the place of each that could not be read.

        `at_once`: reads side by side, at most; few leave room for those who wait for a mint.
        """

    async def transactions(
        self, address: RawAddress, account: Account, after_lt: int
    ) -> list[AccountTransaction]:
        """Return an account's transactions later than `after_lt`, newest first.

        They are the ones that led to `account`: each names the hash of the one before it.

        Raises:
            ChainUnreachable: no lite server gives them.
            HistoryForgotten: they answer, and have none so old any more.
        """

    async def config_parameter(self, number: int, block: Block) -> bytes:
        """Return a parameter of the network's configuration at `block`, as a bag of cells.

        Raises:
            ChainUnreachable, BlockUnknown: no lite server gives it.
        """

    async def send(self, boc: bytes) -> SendResult:
        """Hand a signed external message to every lite server. Never raises for what they answer.

        Look at the chain.
        """
