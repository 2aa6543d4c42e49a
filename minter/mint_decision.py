"""What to do with a task, given what one masterchain block shows.

Pure: no clock, no I/O. docs/mint-lifecycle.md draws the states and says why each rule is safe. Two
    of them carry the rest:

- A positive is believed at once (one proven read). A negative needs the chain's own clock past the
  message's expiry plus a margin, at a block not older than the newest ever seen; an empty or failed
  read alone decides nothing.
- Sending the same index again is harmless, since an item is initialised once. A new index would be
  a second token. So in doubt the same index is signed again for the same badge, and an index is
  given up only on proof.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import ClassVar

from minter.ton.values import Absent, Execution, Token
from store.values.minting import TaskOperation, TaskStatus


@dataclass(frozen=True, slots=True)
class Message:
    """The task's message in force. Times are the chain's."""

    valid_until: datetime
    last_sent_at: datetime | None


@dataclass(frozen=True, slots=True)
class Task:
    """What `decide` needs of a task.

    `expected` is the token as signed (mint), or the token to be revoked (burn). `attempt` counts
    signed messages, 0 when none; `message` is None unless the task is `sent`.
    """

    operation: TaskOperation
    status: TaskStatus
    attempt: int
    expected: Token
    message: Message | None


@dataclass(frozen=True, slots=True)
class Observation:
    """What the masterchain block `seqno` shows: the item, and whether the message was executed."""

    seqno: int
    item: Token | Absent
    execution: Execution


@dataclass(frozen=True, slots=True)
class Limits:
    """The operator's settings, and `seqno_seen`.

    The newest masterchain block that this database was ever shown.
    """

    expiry_margin: timedelta
    resend_after: timedelta
    signatures_max: int
    seqno_seen: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing can be concluded yet: look again."""

    label: ClassVar[str] = "wait"


@dataclass(frozen=True, slots=True)
class Sign:
    """Nothing stands against signing it now."""

    label: ClassVar[str] = "sign"


@dataclass(frozen=True, slots=True)
class Resend:
    """Send the identical bytes again: the wallet executes them at most once."""

    label: ClassVar[str] = "resend"


@dataclass(frozen=True, slots=True)
class Confirm:
    """The chain shows what the task asked for. `token` is what stands there.

    Of a mint, it may be destroyed or revoked already.
    """

    label: ClassVar[str] = "confirm"
    token: Token


@dataclass(frozen=True, slots=True)
class SignAgain:
    """The message is void: sign a new one, with the same index.

    `unexecuted`: it is proven that it was not and will not be executed, so it was no attempt.
    """

    label: ClassVar[str] = "sign_again"
    reason: str
    unexecuted: bool = False


@dataclass(frozen=True, slots=True)
class Reassign:
    """The index holds another token for ever: back to the queue, without an index.

    `token` is that one, which this database did not sign.
    """

    label: ClassVar[str] = "reassign"
    reason: str
    token: Token | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Park:
    """Too many signatures without effect, and the index cannot be given up.

    A person has to look.
    """

    label: ClassVar[str] = "park"
    reason: str


@dataclass(frozen=True, slots=True)
class Fail:
    """The task cannot succeed, and nothing signed for it can take effect any more."""

    label: ClassVar[str] = "fail"
    reason: str


Decision = Wait | Sign | Resend | Confirm | SignAgain | Reassign | Park | Fail


def decide(task: Task, observation: Observation, chain_time: datetime, limits: Limits) -> Decision:
    """Return the one safe next step for `task`.

    Args:
        task: row under lease.
        observation: the chain's answer at one masterchain block.
        chain_time: that block's time (UTC), never the host's: the chain's clock judges expiry.
        limits: operator settings; durations are timedelta.

    Raises:
        ValueError: the task is terminal (callers never lease terminal rows), or it is `sent`
            without a message.
    """
    match task.status:
        case TaskStatus.CONFIRMED | TaskStatus.FAILED:
            raise ValueError(f"a {task.status.value} task is terminal")
        case TaskStatus.PENDING:
            return _before_signing(task, observation)
        case TaskStatus.SENT:
            if task.message is None:
                raise ValueError("a sent task has a message")
            concluded = _concluded(task, observation)
            if concluded is not None:
                return concluded
            return _still_open(task, task.message, observation, chain_time, limits)


def _before_signing(task: Task, observation: Observation) -> Decision:
    if task.operation is TaskOperation.MINT:
        return Sign()
    item = observation.item
    if isinstance(item, Absent):
        # The database says that there is a token: a block that does not show it yet is no proof
        # against it.
        return Wait()
    if item.end is not None:
        return Confirm(item)
    if item.authority != task.expected.authority:
        return Fail("the token's authority is another wallet")
    return Sign()


def _concluded(task: Task, observation: Observation) -> Decision | None:
    item = observation.item
    if isinstance(item, Absent):
        return None
    if task.operation is not TaskOperation.MINT:
        return Confirm(item) if item.end is not None else None
    # The content holds the badge's id: destroyed since, or signed for another wallet by a message
    # that this database has lost, it is still this badge's token, and a new index would be a second
    # one. Reconcile names an owner who is not the one that was signed for.
    if item.content == task.expected.content:
        return Confirm(item)
    return Reassign("the item at this index is another token", item)


def _still_open(
    task: Task, message: Message, observation: Observation, chain_time: datetime, limits: Limits
) -> Wait | Resend | SignAgain | Park | Fail:
    if observation.seqno < limits.seqno_seen:
        return Wait()
    if chain_time <= message.valid_until + limits.expiry_margin:
        executable = (
            chain_time < message.valid_until and observation.execution is not Execution.EXECUTED
        )
        due = (
            message.last_sent_at is None or chain_time - message.last_sent_at >= limits.resend_after
        )
        return Resend() if executable and due else Wait()
    if observation.execution is Execution.NEVER:
        # However long the chain takes no messages: nothing was tried, and nothing was paid.
        return SignAgain("its message expired unexecuted", unexecuted=True)
    reason = (
        "its message was executed without effect"
        if observation.execution is Execution.EXECUTED
        else "its message left no trace before it expired"
    )
    if task.attempt < limits.signatures_max:
        return SignAgain(reason)
    # A burn repeated late is refused by the item (exit 403). A mint keeps its index, or the ones
    # behind it could never be minted.
    return Park(reason) if task.operation is TaskOperation.MINT else Fail(reason)
