"""From leased tasks to a signed message in the database: choose, assign, sign, commit.

Nothing is sent here.

Persist before broadcast: the signed bytes and the indexes are committed first
(docs/adr/0016-persist-before-broadcast.md). A collection has at most one unresolved message, so
whoever holds its row's lock and sees none knows all that was ever signed for it.
"""

from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from minter import budget, indexes, recipients
from minter.context import MinterContext
from minter.indexes import HeadOfLineBlocked, IndexMismatch, IndexPlan, ReservedIndex
from minter.mint_decision import Confirm, Fail, Observation, Sign, Task, decide
from minter.ton import global_config, highload_wallet, tokens
from minter.ton.highload_wallet import Action, MessageHeader, sign_message
from minter.ton.metadata_uris import item_suffix
from minter.ton.values import ACTIONS_MAX, Account, Block, Execution, Token
from ops import metrics
from ops.errors import InvariantBroken, Transient
from ops.faults import Point, reach
from ops.quantities import nanograms, shown_grams
from store import chain, claiming, fence, mint_queue, settling
from store.chain import Collection, MessageRecord, NewMessage
from store.engine import Connection
from store.settlement_effects import Settlement
from store.settling import Assignment
from store.values import (
    HoldReason,
    LeasedTask,
    LeaseToken,
    MessageKind,
    RawAddress,
    TaskEvent,
    TaskOperation,
    TaskStatus,
)

_AT_ONCE = timedelta()
_LATER = timedelta(seconds=2)
_ACCEPTED = "the badge has a token that was accepted as unknown: reconcile adopts it"


@dataclass(frozen=True, slots=True)
class SignedBatch:
    """A committed message with its leased tasks, ready to be watched."""

    message: MessageRecord
    collection: Collection
    tasks: tuple[LeasedTask, ...]
    lease: LeaseToken


@dataclass(frozen=True, slots=True)
class NothingSigned:
    """Nothing was signed, and why; the tasks were released, held or settled.

    `insufficient_funds`: the wallet needs more money.
    """

    reason: str
    insufficient_funds: bool = False


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
class _Entry:
    """A task with what it gets by being signed, and the action that the wallet sends for it."""

    assignment: Assignment
    action: Action


@dataclass(frozen=True, slots=True)
class _Choice:
    """What a message is to carry, and what becomes of the tasks that it does not.

    `unsigned` are released in their old places, or due again after `delay`; what is neither was
    held. `reason` says why nothing is carried, where it is not money.
    """

    entries: tuple[_Entry, ...]
    unsigned: tuple[LeasedTask, ...]
    next_index: int
    delay: timedelta
    reason: str | None = None


# Chooses under the collection's lock, given its row and how many actions there is room for.
_Choose = Callable[[Connection, Collection, int], Awaitable[_Choice]]


async def sign_deploy(ctx: MinterContext, collection: Collection) -> MessageRecord | NothingSigned:
    """Sign the message that deploys a collection, and with it the wallet where that is missing."""
    signing = Signing(ctx, MessageKind.DEPLOY, collection, *ctx.view.current)
    contract = tokens.collection(ctx.wallet.address, collection.content_uri, collection.item_prefix)
    if contract.address != collection.address:
        return NothingSigned(f"collection {collection.type_code} is not of this wallet")
    value_nano = ctx.prices.value_nano(signing.kind)
    action = Action(collection.address, value_nano, None, contract.state_init)
    async with ctx.db.transaction() as conn:
        locked = await chain.lock_collection(conn, collection.id)
        if (obstacle := await _obstacle(conn, signing, locked)) is not None:
            return obstacle
        if await _room(conn, signing) < 1:
            return _insufficient_funds(signing)
        message = await _commit(conn, signing, [action])
    reach(Point.DEPLOY_SIGNED)
    return message


async def sign(
    ctx: MinterContext, lease: LeaseToken, tasks: Sequence[LeasedTask], collection: Collection
) -> SignedBatch | NothingSigned:
    """Sign one message for leased tasks: as many as fit, mints that hold an index already first.

    Args:
        ctx: the minter's tools.
        lease: that of the tasks.
        tasks: pending, of one type and one operation.
        collection: that type's; deployed.

    Raises:
        LeaseLost: a task was cancelled or taken over meanwhile; nothing was signed.
    """
    match tasks[0].operation:
        case TaskOperation.MINT:
            signing = Signing(ctx, MessageKind.MINT, collection, *ctx.view.current)
            return await _sign_mints(signing, lease, tasks)
        case TaskOperation.BURN:
            signing = Signing(ctx, MessageKind.BURN, collection, *ctx.view.current)
            return await _sign_burns(signing, lease, tasks)


async def _sign_mints(
    signing: Signing, lease: LeaseToken, tasks: Sequence[LeasedTask]
) -> SignedBatch | NothingSigned:
    ctx = signing.ctx
    over = [task for task in tasks if task.is_minted]
    await _settle(signing, lease, [_void(task) for task in over])
    tasks = [task for task in tasks if not task.is_minted]
    if not tasks:
        return NothingSigned("the badges have their tokens")
    on_chain = await ctx.collection_state(signing.collection.address, signing.block)
    if on_chain.owner != ctx.wallet.address:
        # It would refuse every mint, and keep the fees.
        async with ctx.db.transaction() as conn:
            await claiming.release(conn, lease, [task.id for task in tasks], _AT_ONCE)
        return NothingSigned(
            f"collection {signing.collection.address} obeys {on_chain.owner}, and this wallet is "
            f"{ctx.wallet.address}: give the collection back to it"
        )
    owners = await _recipients(signing, lease, tasks)
    fresh = [task for task in tasks if task.id in owners and task.token_index is None]

    async def choose(conn: Connection, locked: Collection, room: int) -> _Choice:
        ttl = ctx.settings.lease
        taken = await claiming.take_reserved(conn, lease, ttl, locked.id)
        over = [task for task in taken if task.is_minted and task.lease is not None]
        await settling.settle(conn, lease, [_void(task) for task in over], signing.block.time)
        reserved = [task for task in taken if task not in over]
        owners.update(await _recipients_of(conn, signing, reserved, known=owners))
        # One that came along and has no recipient is held when it is claimed itself.
        waiting = {task.id for task in reserved if task.id not in owners}
        # Their tokens stand on chain: reconcile adopts them.
        found = [task for task in fresh if task.nft_instance_id in locked.accepted]
        held = [_held(task, HoldReason.BREAKER, _ACCEPTED) for task in found]
        await settling.settle(conn, lease, held, signing.block.time)
        new = [task for task in fresh if task not in found]
        plan = indexes.assign(
            [_reserved_index(task, held=task.id in waiting) for task in reserved],
            [task.id for task in new],
            next_item_index=on_chain.next_item_index,
            next_index=locked.next_index,
            room=room,
        )
        if locked.breaker is not None:
            plan = IndexMismatch(locked.breaker)
        candidates = (*reserved, *new)
        match plan:
            case IndexPlan():
                entries = _mint_entries(signing, plan, candidates, owners)
                if entries:
                    await claiming.give_up_indexes(conn, plan.given_up)
                    await _take_along(conn, signing, lease, [each.assignment for each in entries])
                # Room for mints and none of them signed: they were held; money is not the
                # matter.
                reason = "no mint is left to sign" if room else None
                others = _others(candidates, entries)
                return _Choice(entries, others, plan.next_index, _AT_ONCE, reason=reason)
            case IndexMismatch(reason):
                # Only what has no index is held: what has one waits for reconcile in its place.
                # Under the collection's lock, or a repair might come between look and hold.
                held = [_held(task, HoldReason.BREAKER, reason) for task in new]
                await settling.settle(conn, lease, held, signing.block.time)
                await fence.break_collection(conn, locked.id, reason)
                return _Choice((), tuple(reserved), locked.next_index, _AT_ONCE, reason=reason)
            case HeadOfLineBlocked(reason):
                return _Choice((), candidates, locked.next_index, _AT_ONCE, reason=reason)

    return await _sign(signing, lease, tasks, choose)


async def _sign_burns(
    signing: Signing, lease: LeaseToken, tasks: Sequence[LeasedTask]
) -> SignedBatch | NothingSigned:
    """Sign the revocation of tokens; settle those that ended already or cannot be revoked."""
    token_indexes, settlements = await _inspect(signing, tasks)
    await _settle(signing, lease, settlements)
    settled = {settlement.task.id for settlement in settlements}
    remaining = [task for task in tasks if task.id not in settled]

    async def choose(_conn: Connection, locked: Collection, room: int) -> _Choice:
        revocable = [task for task in remaining if task.id in token_indexes][:room]
        entries = tuple(_revocation(signing, task, token_indexes[task.id]) for task in revocable)
        reason = None if token_indexes else "nothing to burn"
        # A burn whose token no block shows yet must not keep the head of the queue.
        others = _others(remaining, entries)
        delay = _LATER if room else _AT_ONCE
        return _Choice(entries, others, locked.next_index, delay, reason=reason)

    return await _sign(signing, lease, remaining, choose)


async def _sign(
    signing: Signing, lease: LeaseToken, tasks: Sequence[LeasedTask], choose: _Choose
) -> SignedBatch | NothingSigned:
    """Choose, sign and commit under the collection's lock; release what is not signed."""
    async with signing.ctx.db.transaction() as conn:
        locked = await chain.lock_collection(conn, signing.collection.id)
        if (obstacle := await _obstacle(conn, signing, locked)) is not None:
            await claiming.release(conn, lease, [task.id for task in tasks], _AT_ONCE)
            return obstacle
        await claiming.lock_references(conn, [task.id for task in tasks], locked.id)
        choice = await choose(conn, locked, await _room(conn, signing))
        unsigned = [task.id for task in choice.unsigned]
        await claiming.release(conn, lease, unsigned, choice.delay)
        if choice.entries:
            # Before the wallet's row (lock order), and before a query number is used up: a lease
            # that is lost ends here.
            ids = [entry.assignment.task.id for entry in choice.entries]
            await claiming.renew(conn, lease, signing.ctx.settings.lease, ids)
            message = await _commit(conn, signing, [entry.action for entry in choice.entries])
            assignments = [entry.assignment for entry in choice.entries]
            await settling.sign(conn, lease, message, assignments)
            if choice.next_index != locked.next_index:
                await chain.set_next_index(conn, locked.id, choice.next_index)
            _measure_queued(signing, assignments)
            reach(Point.MINTER_SIGNING)
            return SignedBatch(message, locked, _as_signed(assignments, message), lease)
    if choice.reason is not None:
        return NothingSigned(choice.reason)
    return _insufficient_funds(signing)


async def _commit(conn: Connection, signing: Signing, actions: Sequence[Action]) -> MessageRecord:
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
    return await chain.add_message(
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


async def _recipients(
    signing: Signing, lease: LeaseToken, tasks: Sequence[LeasedTask]
) -> dict[UUID, RawAddress]:
    """Return task -> recipient; mints without a usable one are held.

    What was signed once keeps its recipient. The badges are locked before the wallets are looked
    at: a link that is written meanwhile is seen here, or finds what was held (release_held).
    """
    held = list[Settlement]()
    async with signing.ctx.db.transaction() as conn:
        open_badges = [task.nft_instance_id for task in tasks if task.recipient is None]
        await settling.locked_badges(conn, open_badges)
        found = await _recipients_of(conn, signing, tasks, held=held)
        await settling.settle(conn, lease, held, signing.block.time)
    return found


async def _recipients_of(
    conn: Connection,
    signing: Signing,
    tasks: Sequence[LeasedTask],
    *,
    known: Container[UUID] = (),
    held: list[Settlement] | None = None,
) -> dict[UUID, RawAddress]:
    """Return task -> recipient of tasks that are not `known`; what has none goes to `held`."""
    open_users = [task.user_id for task in tasks if task.recipient is None]
    wallets = await mint_queue.recipients(conn, open_users)
    ours = await chain.own_addresses(conn, [*wallets.values()])
    test_only = frozenset[UUID]()
    if signing.ctx.gateway.zero_state_hash == global_config.MAIN_NETWORK:
        test_only = await mint_queue.linked_test_only(conn, open_users)
    found: dict[UUID, RawAddress] = {}
    for task in tasks:
        if task.id in known:
            continue
        if task.recipient is not None:
            found[task.id] = tokens.raw(task.recipient)
            continue
        address = wallets.get(task.user_id)
        if address is None:
            settlement = _held(task, HoldReason.NO_WALLET, "the user has no linked wallet")
        else:
            raw = _raw(address)
            refusal = recipients.refusal(raw, ours, test_only=task.user_id in test_only)
            if raw is not None and refusal is None:
                found[task.id] = raw
                continue
            settlement = _held(task, HoldReason.RECIPIENT, refusal)
        if held is not None:
            held.append(settlement)
    return found


def _raw(address: str) -> RawAddress | None:
    try:
        return tokens.raw(address)
    except tokens.InvalidAddress:
        return None


async def _inspect(
    signing: Signing, tasks: Sequence[LeasedTask]
) -> tuple[dict[UUID, int], list[Settlement]]:
    """Return the index of each token that can be revoked now, and what is settled already.

    A burn in neither waits: its block does not show the token yet.
    """
    ctx, block = signing.ctx, signing.block
    settled = [_failed(task, "the badge has no token") for task in tasks if task.token_id is None]
    with_token = [(task, task.token_id) for task in tasks if task.token_id is not None]
    items = await ctx.items([address for _, address in with_token], block)
    revocable: dict[UUID, int] = {}
    for task, item in ((task, items[address]) for task, address in with_token if address in items):
        decision = decide(
            Task(
                TaskOperation.BURN,
                TaskStatus.PENDING,
                task.attempt,
                Token(None, ctx.wallet.address, item_suffix(task.nft_instance_id)),
                None,
            ),
            Observation(block.seqno, ctx.token_of(item), Execution.UNKNOWN),
            block.time,
            ctx.limits(),
        )
        metrics.MINTS.labels(TaskOperation.BURN.value, decision.label).inc()
        match decision:
            case Sign() if item is not None:
                revocable[task.id] = item.index
            case Confirm(token):
                confirmed, event = TaskStatus.CONFIRMED, TaskEvent.CONFIRMED
                settled.append(Settlement(task, confirmed, event, token_end=token.end))
            case Fail(reason):
                settled.append(_failed(task, reason))
            case _:
                pass
    return revocable, settled


async def _obstacle(conn: Connection, signing: Signing, locked: Collection) -> NothingSigned | None:
    """Return why nothing may be signed for a locked collection; None where nothing hinders it."""
    if locked.stopped_reason is not None:
        return NothingSigned(f"stopped: {locked.stopped_reason}")
    if await chain.unresolved_message(conn, signing.collection.id) is not None:
        return NothingSigned("another message is under way")
    stored = await fence.fence(conn, signing.ctx.wallet_id)
    if stored.shut is not None:
        return NothingSigned(f"minting is shut: {stored.shut.reason}")
    if not stored.names(await fence.identity(conn)):
        return NothingSigned("this is another database, or its server was started again")
    seen, ours = await chain.seqno_seen(conn, signing.ctx.wallet_id), signing.block.seqno
    if ours < seen:
        # Another minter may have settled a message at that block: the index read at ours would be
        # an old one.
        return NothingSigned(f"another minter has seen block {seen}, this one {ours}")
    return None


async def _room(conn: Connection, signing: Signing) -> int:
    """Return how many actions the message may carry: what fits, is allowed and can be paid for."""
    ctx = signing.ctx
    commitments = await chain.commitments(conn, ctx.wallet_id)
    spendable = budget.spendable_nano(signing.account.balance_nano, commitments, ctx.prices)
    affordable = budget.room(signing.kind, spendable, ctx.prices)
    return min(ctx.settings.claim_limit, ACTIONS_MAX, affordable)


async def _take_along(
    conn: Connection, signing: Signing, lease: LeaseToken, assignments: Sequence[Assignment]
) -> None:
    """Lease the parked ones among the mints of a message: those behind them cannot go before."""
    parked = [each.task.id for each in assignments if each.task.hold_reason is HoldReason.OPERATOR]
    await claiming.take_parked(conn, lease, signing.ctx.settings.lease, parked)


async def _refuse_taken(conn: Connection, signing: Signing, actions: int) -> None:
    """Return where the wallet can pay for the message beside all others that are signed.

    The wallet's row is locked: who signs for another collection has committed, or waits.
    """
    ctx = signing.ctx
    block, account = ctx.view.current
    if block.seqno < (seen := await chain.seqno_seen(conn, ctx.wallet_id)):
        raise MoneyTaken(f"another minter has seen block {seen}, this one {block.seqno}")
    commitments = await chain.commitments(conn, ctx.wallet_id)
    spendable = budget.spendable_nano(account.balance_nano, commitments, ctx.prices)
    if budget.cost_nano(signing.kind, actions, ctx.prices) > spendable:
        raise MoneyTaken("the message of another collection took the money meanwhile")


async def _settle(signing: Signing, lease: LeaseToken, settlements: Sequence[Settlement]) -> None:
    if settlements:
        async with signing.ctx.db.transaction() as conn:
            await settling.settle(conn, lease, settlements, signing.block.time)


def _mint_entries(
    signing: Signing,
    plan: IndexPlan,
    candidates: Sequence[LeasedTask],
    recipients: Mapping[UUID, RawAddress],
) -> tuple[_Entry, ...]:
    ctx, by_id = signing.ctx, {task.id: task for task in candidates}
    value_nano = ctx.prices.value_nano(signing.kind)
    entries = []
    for task_id, index in plan.indexes:
        task = by_id[task_id]
        recipient = recipients.get(task_id) or task.recipient
        if recipient is None:
            raise InvariantBroken("a mint holds an index and has no recipient", task=str(task_id))
        token = Token(recipient, ctx.wallet.address, item_suffix(task.nft_instance_id))
        forward_nano = nanograms(ctx.settings.item_forward)
        body = tokens.mint_body(index, token, forward_nano, query_id=0)
        action = Action(signing.collection.address, value_nano, body)
        entries.append(_Entry(Assignment(task, index, recipient), action))
    return tuple(entries)


def _revocation(signing: Signing, task: LeasedTask, index: int) -> _Entry:
    if task.token_id is None:
        raise InvariantBroken("a revocation needs a token", task=str(task.id))
    value_nano = signing.ctx.prices.value_nano(signing.kind)
    action = Action(task.token_id, value_nano, tokens.revoke_body(0))
    return _Entry(Assignment(task, index, None), action)


def _others(tasks: Sequence[LeasedTask], entries: Sequence[_Entry]) -> tuple[LeasedTask, ...]:
    chosen = {entry.assignment.task.id for entry in entries}
    return tuple(task for task in tasks if task.id not in chosen)


def _as_signed(assignments: Sequence[Assignment], message: MessageRecord) -> tuple[LeasedTask, ...]:
    return tuple(
        each.task.after_signing(message.id, each.token_index, each.recipient)
        for each in assignments
    )


def _measure_queued(signing: Signing, assignments: Sequence[Assignment]) -> None:
    now = signing.ctx.clock.now()
    for task in (each.task for each in assignments if each.task.token_index is None):
        queued = (now - task.created_at).total_seconds()
        metrics.MINT_STAGE_SECONDS.labels(task.operation.value, "queued").observe(queued)


def _insufficient_funds(signing: Signing) -> NothingSigned:
    prices, balance_nano = signing.ctx.prices, signing.account.balance_nano
    deployed = signing.account.data is not None
    address = tokens.user_friendly(signing.ctx.wallet.address, bounceable=deployed)
    needed_nano = prices.reserve_nano + budget.cost_nano(signing.kind, 1, prices)
    # What is under way may take some of the balance yet.
    missing_nano = max(needed_nano - balance_nano, budget.cost_nano(signing.kind, 1, prices))
    reason = (
        f"the wallet {address} has {balance_nano / 1e9:.3f} Grams, of which "
        f"{shown_grams(prices.reserve_nano)} are kept back: send it {missing_nano / 1e9:.3f} or "
        f"more; each {signing.kind.value} takes {shown_grams(prices.value_nano(signing.kind))} and "
        "its fees"
    )
    return NothingSigned(reason, insufficient_funds=True)


def _held(task: LeasedTask, hold: HoldReason, reason: str | None) -> Settlement:
    pending, event = TaskStatus.PENDING, TaskEvent.HELD
    return Settlement(task, pending, event, reason=reason, hold_reason=hold)


def _void(task: LeasedTask) -> Settlement:
    # Its index, if it holds one, is given up: reconcile agrees with the chain on the count.
    failed, event = TaskStatus.FAILED, TaskEvent.FAILED
    return Settlement(task, failed, event, "the badge has its token", drop_index=True)


def _failed(task: LeasedTask, reason: str) -> Settlement:
    return Settlement(task, TaskStatus.FAILED, TaskEvent.FAILED, reason=reason)


def _reserved_index(task: LeasedTask, *, held: bool) -> ReservedIndex:
    if task.token_index is None:
        raise InvariantBroken("a reserved mint holds no index", task=str(task.id))
    parked = task.hold_reason is HoldReason.OPERATOR
    held = held or task.is_minted or not (parked or task.hold_reason is None)
    return ReservedIndex(task.id, task.token_index, held, task.is_movable, parked)
