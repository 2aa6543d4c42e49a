"""Minting: tasks, signed messages, tokens.

Pure.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from store.values.badges import InstanceStatus, OnchainStatus
from store.values.names import LeaseToken, RawAddress, TypeCode

# The forward fee of one mint or burn, which the wallet pays beside the value attached to it
# (mode 1), rounded up.
ACTION_FEE_NANO = 2_000_000


class TaskStatus(StrEnum):
    """A mint task's state; docs/mint-lifecycle.md has the diagram."""

    PENDING = "pending"
    SENT = "sent"
    CONFIRMED = "confirmed"
    FAILED = "failed"


class TaskOperation(StrEnum):
    """What a task asks of the chain.

    `burn` revokes the token (TEP-85): only its owner could destroy it. `revoke_second` revokes the
    token at the task's index, which a badge has beside its own; the badge stays as it is.
    """

    MINT = "mint"
    BURN = "burn"
    REVOKE_SECOND = "revoke_second"


class HoldReason(StrEnum):
    """Why a pending task waits for something other than time."""

    NO_WALLET = "no_wallet"
    OPERATOR = "operator"
    BREAKER = "breaker"
    RECIPIENT = "recipient"


class TaskEvent(StrEnum):
    """What happened to a mint task (mint_task_event): one word a decision that changed it."""

    SIGNED = "signed"
    CONFIRMED = "confirmed"
    FAILED = "failed"
    HELD = "held"
    PARKED = "parked"
    # Its message can no longer execute: signed again, with the same index.
    VOID = "void"
    INDEX_TAKEN = "index_taken"
    CANCELLED = "cancelled"
    ADOPTED = "adopted"
    # By an operator: `laurel queue`.
    RETRIED = "retried"
    RELEASED = "released"


class MessageKind(StrEnum):
    """What a signed external message does."""

    DEPLOY = "deploy"
    MINT = "mint"
    BURN = "burn"


class MessageStatus(StrEnum):
    """A signed message's state: unresolved until the outcome of each of its tasks is recorded."""

    UNRESOLVED = "unresolved"
    SETTLED = "settled"
    VOID = "void"


class TokenEnd(StrEnum):
    """How a token was seen to end: revoked by the authority, or destroyed by its owner (TEP-85)."""

    REVOKED = "revoked"
    DESTROYED = "destroyed"


@dataclass(frozen=True, slots=True)
class LeasedTask:
    """A row of nft_mint_queue under our lease, with what the minter needs of its badge.

    `token_id` is the badge's own token, which a burn revokes. `lease` is None for a held mint that
    came along with its collection's reserved indexes. `ready_at`: since when nobody but the minter
    is waited for. `is_minted`: the badge has its token already. `wallet_wait`: how long a mint that
    was never signed had waited for its user's wallet.
    """

    id: UUID
    nft_instance_id: UUID
    user_id: UUID
    type_id: UUID
    type_code: TypeCode
    operation: TaskOperation
    status: TaskStatus
    retry_count: int
    recipient: RawAddress | None
    token_id: RawAddress | None
    token_index: int | None
    chain_message_id: UUID | None
    hold_reason: HoldReason | None
    lease: LeaseToken | None
    ready_at: datetime
    is_minted: bool = False
    wallet_wait: timedelta = timedelta()

    @property
    def attempt(self) -> int:
        """Return how many messages were signed for this task that may have been executed."""
        return self.retry_count + (self.chain_message_id is not None)

    @property
    def is_movable(self) -> bool:
        """Return whether it holds an index of which no message can make anything any more."""
        return self.token_index is not None and self.attempt == 0

    def after_signing(
        self, message_id: UUID, token_index: int, recipient: RawAddress | None
    ) -> "LeasedTask":
        """Return the task as settling.sign leaves it."""
        return replace(
            self,
            status=TaskStatus.SENT,
            retry_count=self.retry_count + (self.chain_message_id is not None),
            recipient=recipient,
            token_index=token_index,
            chain_message_id=message_id,
            hold_reason=None,
        )


@dataclass(frozen=True, slots=True)
class Commitments:
    """Unresolved messages and their actions: what they cost may still leave the wallet."""

    mints: int
    burns: int
    deploys: int
    messages: int = 0


@dataclass(frozen=True, slots=True)
class TokenState:
    """How far the mint queue has come with one badge's token.

    `mint_open` and `burn_open`: a task is pending or sent; `burned`: a burn was confirmed. The
    token's address is the instance's own, and stays there after a burn.
    """

    mint_open: bool = False
    burn_open: bool = False
    burned: bool = False


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """What the database records of one badge's token, for comparison with the chain.

    `mint_status`, `token_index` and `recipient` are those of its most telling mint task (confirmed
    before sent before pending before failed); None where it has none. `burn_open`: a burn is
    pending or sent; `burned`: one was confirmed; `burn_failed`: one failed.
    """

    instance_id: UUID
    type_id: UUID
    status: InstanceStatus
    onchain_status: OnchainStatus
    token_id: RawAddress | None
    mint_status: TaskStatus | None
    token_index: int | None
    recipient: RawAddress | None
    burn_open: bool
    burned: bool
    burn_failed: bool = False
