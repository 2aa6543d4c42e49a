"""What a masterchain block shows of wallet, collections and tokens: small frozen records.

Pure, and of the standard library only, so that the modules that decide load no library of TON's;
the modules beside this one turn cells and lite servers' answers into these.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from store.values.minting import TokenEnd
from store.values.names import RawAddress

# An action list holds 255; the wallet's contract keeps one for itself.
ACTIONS_MAX = 254
# What the wallet's message to itself carries: explicit, for the default sends the whole balance. It
# comes back to the wallet, less the gas of up to 254 actions.
SELF_TRANSFER_NANO = 200_000_000


@dataclass(frozen=True, slots=True)
class Block:
    """A masterchain block; `time` is its own (UTC).

    The hashes are base64, as lite servers speak them.
    """

    seqno: int
    time: datetime
    root_hash: str
    file_hash: str


@dataclass(frozen=True, slots=True)
class Account:
    """An account at a block.

    `data` is its data cell as a bag of cells, None unless the account is active. `last_lt` and
    `last_hash` (base64) name its newest transaction; 0 and empty where it never had one.
    """

    balance_nano: int
    data: bytes | None
    last_lt: int = 0
    last_hash: str = ""


@dataclass(frozen=True, slots=True)
class AccountTransaction:
    """A transaction of an account, as a bag of cells; `lt` is its logical time.

    `spent_nano`: what it took from the account for good; below zero where something came back.
    """

    lt: int
    data: bytes
    spent_nano: int = 0


@dataclass(frozen=True, slots=True)
class Token:
    """An initialised item. `owner` and `authority` are None once its owner destroyed it.

    `content` is the item's own part of the metadata URI: `{instance id}.json`. `revoked_at` is a
    Unix time, 0 while nobody revoked it.
    """

    owner: RawAddress | None
    authority: RawAddress | None
    content: str
    revoked_at: int = 0

    @property
    def destroyed(self) -> bool:
        """Return whether its owner destroyed it (TEP-85 nulls both addresses)."""
        return self.owner is None and self.authority is None

    @property
    def end(self) -> TokenEnd | None:
        """Return how it ended; None while somebody holds it."""
        if self.destroyed:
            return TokenEnd.DESTROYED
        return TokenEnd.REVOKED if self.revoked_at else None


@dataclass(frozen=True, slots=True)
class Absent:
    """No account at the item's address, or one that was never initialised: nobody owns anything."""


@dataclass(frozen=True, slots=True)
class Item:
    """An item's account: where it says it belongs, and its token.

    `token` None: the account is active, but was never initialised.
    """

    index: int
    collection: RawAddress
    token: Token | None


@dataclass(frozen=True, slots=True)
class CollectionState:
    """A collection's account, as far as minting asks."""

    owner: RawAddress | None
    next_item_index: int


class Execution(StrEnum):
    """What the wallet's replay protection says of a message; highload_wallet.execution reads it."""

    EXECUTED = "executed"
    # Proven: it would still be remembered.
    NEVER = "never"
    UNKNOWN = "unknown"


class SendOutcome(StrEnum):
    """What became of a send, as far as anybody knows; only the chain's state is a result."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class SendResult:
    """The lite servers' answer to a send; `detail` names a rejection's reason for the log."""

    outcome: SendOutcome
    detail: str = ""
