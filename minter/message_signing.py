"""One message: what hinders it, how much it may carry, and signing it under its collection's lock.

Nothing is sent here.

Persist before broadcast: the signed bytes and the indexes are committed first
(docs/adr/0016-persist-before-broadcast.md). A collection has at most one unresolved message, so
whoever holds its row's lock and sees none knows all that was ever signed for it.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from minter import budget
from minter.context import MinterContext
from minter.ton import highload_wallet, tokens
from minter.ton.highload_wallet import Action, MessageHeader, sign_message
from minter.ton.values import ACTIONS_MAX, Account, Block
from ops import metrics
from ops.errors import Transient
from ops.faults import Point, reach
from ops.quantities import shown_grams
from store import chain, chain_messages, claiming, fence, settling
from store.chain import Collection
from store.chain_messages import MessageRecord, NewMessage
from store.engine import Connection
from store.settlement_effects import Settlement
from store.settling import Assignment
from store.values.minting import LeasedTask, MessageKind, TaskOperation
from store.values.names import LeaseToken

_AT_ONCE = timedelta()


@dataclass(frozen=True, slots=True)
class SignedBatch:
    """A committed message with its leased tasks, ready to be watched.

    `signed_ago`: how long before that it was signed, where a former minter did.
    """

    message: MessageRecord
    collection: Collection
    tasks: tuple[LeasedTask, ...]
    lease: LeaseToken
    signed_ago: timedelta = timedelta()


class Obstacle(StrEnum):
    """What keeps a message from being signed: the `code` of log lines, and a label of metrics."""

    NOTHING_LEFT = "nothing_left"
    """What was leased is over by now, or held."""
    MESSAGE_UNDER_WAY = "message_under_way"
    OVERTAKEN = "overtaken"
    """Another minter, or a repair, knows more than this one."""
    MINTING_SHUT = "minting_shut"
    OTHER_DATABASE = "other_database"
    STOPPED = "collection_stopped"
    FOREIGN_COLLECTION = "foreign_collection"
    INDEX_MISMATCH = "index_mismatch"
    HEAD_OF_LINE = "head_of_line"
    MONEY_PROMISED = "money_promised"
    """Messages under way may take it; it may come free by itself."""
    INSUFFICIENT_FUNDS = "insufficient_funds"
    """A person has to send the wallet more."""


@dataclass(frozen=True, slots=True)
class NothingSigned:
    """Nothing was signed, and why; the tasks were released, held or settled.

    `needed_nano`: what the wallet must be able to spend first; 0 where money is not the matter.
    """

    obstacle: Obstacle
    reason: str
    needed_nano: int = 0


class MoneyTaken(Transient):
    """Another message took the money, or another minter saw a newer block, since it was counted."""

    code = "money_taken"


@dataclass(frozen=True, slots=True)
class Signing:
    """One message in the making: of which kind, for which collection, from which block."""

    ctx: MinterContext
    kind: MessageKind
    collection: Collection
    block: Block
    account: Account


@dataclass(frozen=True, slots=True)
class TaskAction:
    """A task with what it gets by being signed, and the action that the wallet sends for it."""

    assignment: Assignment
    action: Action


@dataclass(frozen=True, slots=True)
class Selection:
    """What a message is to carry, and what becomes of the tasks that it does not.

    `unsigned` are released in their old places; what is neither was held, or released for later.
    `nothing` says why nothing is carried, where it is not money.
    """

    entries: tuple[TaskAction, ...]
    unsigned: tuple[LeasedTask, ...]
    next_index: int
    nothing: NothingSigned | None = None


# Chooses under the collection's lock, given its row and how many actions there is room for.
Choose = Callable[[Connection, Collection, int], Awaitable[Selection]]


async def sign_chosen(
    signing: Signing, lease: LeaseToken, tasks: Sequence[LeasedTask], choose: Choose
) -> SignedBatch | NothingSigned:
    """Choose, sign and commit under the collection's lock; release what is not signed."""
    async with signing.ctx.db.transaction() as conn:
        locked = await chain.lock_collection(conn, signing.collection.id)
        if (obstacle := await find_obstacle(conn, signing, locked)) is not None:
            await claiming.release(conn, lease, [task.id for task in tasks], _AT_ONCE)
            return obstacle
        await claiming.lock_references(conn, [task.id for task in tasks], locked.id)
        choice = await choose(conn, locked, await room_for(conn, signing))
        unsigned = [task.id for task in choice.unsigned]
        await claiming.release(conn, lease, unsigned, _AT_ONCE)
        if choice.entries:
            # Before the wallet's row (lock order), and before a query number is used up: a lease
            # that is lost ends here.
            ids = [entry.assignment.task.id for entry in choice.entries]
            await claiming.renew(conn, lease, signing.ctx.settings.lease, ids)
            message = await commit(conn, signing, [entry.action for entry in choice.entries])
            assignments = [entry.assignment for entry in choice.entries]
            await settling.sign(conn, lease, message, assignments)
            if choice.next_index != locked.next_index:
                await chain.set_next_index(conn, locked.id, choice.next_index)
            _measure_queued(signing, assignments)
            reach(Point.MINTER_SIGNING)
            return SignedBatch(message, locked, _as_signed(assignments, message), lease)
    if choice.nothing is not None:
        return choice.nothing
    return insufficient_funds(signing)


async def commit(conn: Connection, signing: Signing, actions: Sequence[Action]) -> MessageRecord:
    """Sign a message with the wallet's next query number, and add it to the database."""
    ctx, data = signing.ctx, signing.account.data
    stored = await fence.fence(conn, ctx.wallet_id)
    unused = highload_wallet.unused_query_seq(data, stored.next_query_seq)
    query_seq = await chain.take_query_seq(conn, ctx.wallet_id, unused)
    await _refuse_taken(conn, signing, len(actions))
    made = sign_message(
        ctx.wallet,
        ctx.signer,
        actions,
        MessageHeader(query_seq, signing.block.time, deploy=signing.account.data is None),
    )
    return await chain_messages.add(
        conn,
        NewMessage(
            ctx.wallet_id,
            signing.collection.id,
            signing.kind,
            query_seq,
            made.created_at,
            made.valid_until,
            made.boc,
            made.message_hash,
        ),
    )


async def find_obstacle(
    conn: Connection, signing: Signing, locked: Collection
) -> NothingSigned | None:
    """Return why nothing may be signed for a locked collection; None where nothing hinders it."""
    if locked.stopped_reason is not None:
        return NothingSigned(Obstacle.STOPPED, f"stopped: {locked.stopped_reason}")
    if await chain_messages.unresolved(conn, signing.collection.id) is not None:
        return NothingSigned(Obstacle.MESSAGE_UNDER_WAY, "another message is under way")
    stored = await fence.fence(conn, signing.ctx.wallet_id)
    if stored.shut is not None:
        return NothingSigned(Obstacle.MINTING_SHUT, f"minting is shut: {stored.shut.reason}")
    if not stored.names(await fence.identity(conn)):
        reason = "this is another database, or its server was started again"
        return NothingSigned(Obstacle.OTHER_DATABASE, reason)
    seen = await chain.seqno_seen(conn, signing.ctx.wallet_id)
    newest = signing.ctx.view.current[0].seqno
    if newest < seen:
        reason = f"another minter has seen block {seen}, this one {newest}"
        return NothingSigned(Obstacle.OVERTAKEN, reason)
    # The index read at our block must not be an old one. What has happened to this collection
    # counts and no newer block: those come while one reads, and beside a slow lite server nothing
    # would ever be signed.
    settled = await chain_messages.settled_seqno(conn, signing.collection.id)
    if signing.block.seqno < settled or locked.next_index != signing.collection.next_index:
        reason = "another minter or a repair has worked on it meanwhile"
        return NothingSigned(Obstacle.OVERTAKEN, reason)
    return None


async def room_for(conn: Connection, signing: Signing) -> int:
    """Return how many actions the message may carry: what fits, is allowed and can be paid for."""
    ctx = signing.ctx
    spendable = await spendable_nano(conn, ctx, signing.account)
    affordable = budget.room(signing.kind, spendable, ctx.prices)
    return min(ctx.settings.claim_limit, ACTIONS_MAX, affordable)


async def spendable_nano(
    conn: Connection, ctx: MinterContext, account: Account | None = None
) -> int:
    """Return what the wallet may spend beside all messages that are signed.

    `account`: the wallet's at some block, the newest unless given.
    """
    balance_nano = (account or ctx.view.current[1]).balance_nano
    commitments = await chain_messages.commitments(conn, ctx.wallet_id)
    return budget.spendable_nano(balance_nano, commitments, ctx.prices)


async def _refuse_taken(conn: Connection, signing: Signing, actions: int) -> None:
    """Return where the wallet can pay for the message beside all others that are signed.

    The wallet's row is locked: who signs for another collection has committed, or waits.
    """
    ctx = signing.ctx
    block, account = ctx.view.current
    if block.seqno < (seen := await chain.seqno_seen(conn, ctx.wallet_id)):
        raise MoneyTaken(f"another minter has seen block {seen}, this one {block.seqno}")
    spendable = await spendable_nano(conn, ctx, account)
    if budget.cost_nano(signing.kind, actions, ctx.prices) > spendable:
        raise MoneyTaken("the message of another collection took the money meanwhile")


async def settle(signing: Signing, lease: LeaseToken, settlements: Sequence[Settlement]) -> None:
    """Settle tasks without a message, in a transaction of their own."""
    if settlements:
        async with signing.ctx.db.transaction() as conn:
            await settling.settle(conn, lease, settlements, signing.block.time)
        signing.ctx.steps.settled(settlements)


def left_over(tasks: Sequence[LeasedTask], entries: Sequence[TaskAction]) -> tuple[LeasedTask, ...]:
    """Return those of `tasks` that none of `entries` is about."""
    chosen = {entry.assignment.task.id for entry in entries}
    return tuple(task for task in tasks if task.id not in chosen)


def _as_signed(assignments: Sequence[Assignment], message: MessageRecord) -> tuple[LeasedTask, ...]:
    return tuple(
        each.task.after_signing(message.id, each.token_index, each.recipient)
        for each in assignments
    )


def _measure_queued(signing: Signing, assignments: Sequence[Assignment]) -> None:
    now = signing.ctx.clock.now()
    for task in (each.task for each in assignments if _is_first(each.task)):
        if task.operation is TaskOperation.MINT:
            observe_stage(task, "wallet", task.wallet_wait)
        observe_stage(task, "queued", now - task.ready_at)


def _is_first(task: LeasedTask) -> bool:
    """Return whether nothing was signed for a task before: a mint holds its index from then on."""
    if task.operation is TaskOperation.REVOKE_SECOND:
        return task.attempt == 0
    return task.token_index is None


def observe_stage(task: LeasedTask, stage: str, spent: timedelta) -> None:
    """Count the time that a task spent in a stage of its way; never less than none.

    The database's clock may be ahead of this host's.
    """
    histogram = metrics.MINT_STAGE_SECONDS.labels(task.operation.value, stage)
    histogram.observe(max(0.0, spent.total_seconds()))


def insufficient_funds(signing: Signing) -> NothingSigned:
    """Say where to pay, and how much the message takes; or that the money is promised to others."""
    prices, balance_nano = signing.ctx.prices, signing.account.balance_nano
    needed_nano = budget.cost_nano(signing.kind, 1, prices)
    missing_nano = prices.reserve_nano + needed_nano - balance_nano
    if missing_nano <= 0:
        reason = "messages under way may take the wallet's money yet"
        return NothingSigned(Obstacle.MONEY_PROMISED, reason, needed_nano)
    deployed = signing.account.data is not None
    address = tokens.user_friendly(signing.ctx.wallet.address, bounceable=deployed)
    # What is under way may take some of the balance yet.
    missing_nano = max(missing_nano, needed_nano)
    reason = (
        f"the wallet {address} has {balance_nano / 1e9:.3f} Grams, of which "
        f"{shown_grams(prices.reserve_nano)} are kept back: send it {missing_nano / 1e9:.3f} or "
        f"more; each {signing.kind.value} takes {shown_grams(prices.value_nano(signing.kind))} and "
        "its fees"
    )
    return NothingSigned(Obstacle.INSUFFICIENT_FUNDS, reason, needed_nano)
