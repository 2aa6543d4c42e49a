"""From leased tasks to a signed message in the database: choose, assign, sign, commit.

Nothing is sent here.

Persist before broadcast: the signed bytes and the indexes are committed first
(docs/adr/0016-persist-before-broadcast.md). A collection has at most one unresolved message, so
whoever holds its row's lock and sees none knows all that was ever signed for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from minter import indexes as planning
from minter.context import MinterContext
from minter.mint_decision import Confirm, Fail, Observation, Sign, Task, decide
from minter.ton import metadata_uris, tokens
from minter.ton.highload_wallet import Action, sign_message
from minter.ton.tokens import InvalidAddress
from minter.ton.values import ACTIONS_MAX, SELF_TRANSFER_NANO, Account, Block, Execution, Token
from ops import metrics
from ops.clock import SYSTEM_CLOCK
from ops.faults import reach
from store import chain, claiming, mint_queue, settling
from store.chain import Collection, MessageRecord, NewMessage
from store.claiming import LeasedTask
from store.engine import Connection
from store.settling import Assignment, Settlement
from store.values import (
    HoldReason,
    LeaseToken,
    MessageKind,
    RawAddress,
    TaskOperation,
    TaskStatus,
)

# Forward fees that the wallet pays beside the values (mode 1), rounded up: of the message to
# itself, and of each action.
MESSAGE_FEE_NANO = 30_000_000
ACTION_FEE_NANO = 2_000_000
_AT_ONCE = timedelta()
_LATER = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class SignedBatch:
    """A committed message with its leased tasks, ready to be watched."""

    message: MessageRecord
    collection: Collection
    leased: tuple[LeasedTask, ...]
    lease: LeaseToken


@dataclass(frozen=True, slots=True)
class NothingSigned:
    """Nothing was signed, and why; the tasks were released, held or settled.

    `insufficient_funds`: the wallet needs more money.
    """

    reason: str
    insufficient_funds: bool = False


async def sign_deploy(ctx: MinterContext, collection: Collection) -> MessageRecord | NothingSigned:
    """Sign the message that deploys a collection, and with it the wallet where that is missing."""
    block, account = ctx.view.current
    contract = tokens.collection(ctx.wallet.address, collection.content_uri, collection.item_prefix)
    if contract.address != collection.address:
        return NothingSigned(f"collection {collection.type_code} is not of this wallet")
    action = Action(collection.address, ctx.settings.deploy_value_nano, None, contract.state_init)
    async with ctx.db.transaction() as conn:
        await chain.lock_collection(conn, collection.id)
        if (refusal := await _taken_over(conn, collection, block)) is not None:
            return refusal
        if await _spendable(ctx, conn, account) < _cost(ctx.settings.deploy_value_nano, 1):
            return _insufficient_funds(ctx, account)
        message = await _commit(ctx, conn, collection, MessageKind.DEPLOY, [action], block, account)
    reach("deploy.signed")
    return message


async def sign_mints(
    ctx: MinterContext, lease: LeaseToken, leased: Sequence[LeasedTask], collection: Collection
) -> SignedBatch | NothingSigned:
    """Sign as many of the leased mints as fit, those that hold an index already first.

    Args:
        ctx: the minter's tools.
        lease: the lease.
        leased: pending mints of one type.
        collection: that type's; deployed.

    Raises:
        LeaseLost: a task was cancelled or taken over meanwhile; nothing was written.
    """
    block, account = ctx.view.current
    on_chain = await ctx.collection_state(collection.address, block)
    receivers = await _receivers(ctx, lease, leased, block)
    fresh = [work for work in leased if work.task.id in receivers and work.task.token_index is None]
    async with ctx.db.transaction() as conn:
        locked = await chain.lock_collection(conn, collection.id)
        if (refusal := await _taken_over(conn, collection, block)) is not None:
            await claiming.release(conn, lease, [work.task.id for work in leased], _AT_ONCE)
            return refusal
        reserved = await claiming.take_reserved(conn, lease, ctx.settings.lease, collection.id)
        affordable = (await _spendable(ctx, conn, account) - _cost(0, 0)) // _cost_of_action(
            ctx.settings.item_value_nano
        )
        plan = planning.assign(
            [
                planning.ReservedIndex(
                    work.task.id, _index(work), work.task.hold_reason is not None
                )
                for work in reserved
            ],
            [work.task.id for work in fresh],
            next_item_index=on_chain.next_item_index,
            next_index=locked.next_index,
            room=max(0, min(ctx.settings.claim_limit, ACTIONS_MAX, affordable)),
        )
        if isinstance(plan, planning.IndexPlan) and plan.indexes:
            for work in reserved:
                receivers[work.task.id] = _recipient(work)
            return await _sign_plan(
                ctx, conn, lease, locked, plan, [*reserved, *fresh], receivers, block, account
            )
    if isinstance(plan, planning.IndexMismatch):
        # Only what has no index is held: what has one waits for reconcile in its place.
        await _settle_now(
            ctx, lease, [_held(work, HoldReason.BREAKER, plan.reason) for work in fresh], block
        )
    async with ctx.db.transaction() as conn:
        await claiming.release(conn, lease, [work.task.id for work in [*reserved, *fresh]], _LATER)
    return (
        _insufficient_funds(ctx, account)
        if isinstance(plan, planning.IndexPlan)
        else NothingSigned(plan.reason)
    )


async def sign_burns(
    ctx: MinterContext, lease: LeaseToken, leased: Sequence[LeasedTask], collection: Collection
) -> SignedBatch | NothingSigned:
    """Sign the revocation of the leased burns' tokens.

    Settle at once those whose token ended already or cannot be revoked.

    Raises:
        LeaseLost: a task was taken over meanwhile.
    """
    block, _ = ctx.view.current
    with_token = [work for work in leased if work.token_id is not None]
    settled = [_failed(work, "the badge has no token") for work in leased if work.token_id is None]
    addresses = [work.token_id for work in with_token if work.token_id is not None]
    indexes: dict[UUID, int] = {}
    later: list[UUID] = []
    for work, account_of_item in zip(
        with_token, await ctx.gateway.accounts(addresses, block), strict=True
    ):
        item = ctx.read_item(work.token_id, account_of_item)
        seen = Observation(block.seqno, ctx.token_of(item), Execution.UNKNOWN)
        expected = Token(
            None, ctx.wallet.address, metadata_uris.item_suffix(work.task.nft_instance_id)
        )
        decision = decide(
            Task(TaskOperation.BURN, TaskStatus.PENDING, work.task.attempt, expected, None),
            seen,
            block.time,
            ctx.limits(),
        )
        metrics.MINTS.labels(TaskOperation.BURN.value, decision.label).inc()
        match decision:
            case Sign() if item is not None:
                indexes[work.task.id] = item.index
            case Confirm(found):
                settled.append(
                    Settlement(work, TaskStatus.CONFIRMED, "confirmed", token_end=found.end)
                )
            case Fail(reason):
                settled.append(_failed(work, reason))
            case _:
                later.append(work.task.id)
    await _settle_now(ctx, lease, settled, block)
    return await _sign_revocations(ctx, lease, with_token, indexes, later, collection)


async def _sign_revocations(
    ctx: MinterContext,
    lease: LeaseToken,
    leased: Sequence[LeasedTask],
    indexes: dict[UUID, int],
    later: Sequence[UUID],
    collection: Collection,
) -> SignedBatch | NothingSigned:
    block, account = ctx.view.current
    async with ctx.db.transaction() as conn:
        await claiming.release(conn, lease, later, _LATER)
        locked = await chain.lock_collection(conn, collection.id)
        if (refusal := await _taken_over(conn, collection, block)) is not None:
            await claiming.release(conn, lease, list(indexes), _AT_ONCE)
            return refusal
        affordable = (await _spendable(ctx, conn, account) - _cost(0, 0)) // _cost_of_action(
            ctx.settings.revoke_value_nano
        )
        room = max(0, min(ctx.settings.claim_limit, ACTIONS_MAX, affordable))
        chosen = [work for work in leased if work.task.id in indexes][:room]
        await claiming.release(
            conn,
            lease,
            [task_id for task_id in indexes if task_id not in {w.task.id for w in chosen}],
            _LATER,
        )
        if not chosen:
            return (
                _insufficient_funds(ctx, account) if indexes else NothingSigned("nothing to burn")
            )
        actions = [
            Action(work.token_id, ctx.settings.revoke_value_nano, tokens.revoke_body(0))
            for work in chosen
            if work.token_id is not None
        ]
        message = await _commit(ctx, conn, locked, MessageKind.BURN, actions, block, account)
        given = [Assignment(work.task.id, indexes[work.task.id], None) for work in chosen]
        await settling.sign(conn, lease, message=message, leased=chosen, assignments=given)
        _measure_queued(chosen)
        reach("minter.signing")
    return SignedBatch(message, locked, _sent(chosen, given, message), lease)


async def _sign_plan(
    ctx: MinterContext,
    conn: Connection,
    lease: LeaseToken,
    collection: Collection,
    plan: planning.IndexPlan,
    leased: Sequence[LeasedTask],
    receivers: dict[UUID, RawAddress],
    block: Block,
    account: Account,
) -> SignedBatch:
    by_id = {work.task.id: work for work in leased}
    chosen = [by_id[task_id] for task_id, _ in plan.indexes]
    given = [Assignment(task_id, index, receivers[task_id]) for task_id, index in plan.indexes]
    actions = []
    for assignment in given:
        badge = by_id[assignment.task_id].task.nft_instance_id
        minted = Token(assignment.recipient, ctx.wallet.address, metadata_uris.item_suffix(badge))
        body = tokens.mint_body(
            assignment.token_index, minted, ctx.settings.item_forward_nano, query_id=0
        )
        actions.append(Action(collection.address, ctx.settings.item_value_nano, body))
    signed_now = {work.task.id for work in chosen}
    left = [work.task.id for work in leased if work.task.id not in signed_now]
    await claiming.release(conn, lease, left, _AT_ONCE)
    message = await _commit(ctx, conn, collection, MessageKind.MINT, actions, block, account)
    await settling.sign(conn, lease, message=message, leased=chosen, assignments=given)
    await chain.set_next_index(conn, collection.id, plan.next_index)
    _measure_queued(chosen)
    reach("minter.signing")
    return SignedBatch(message, collection, _sent(chosen, given, message), lease)


async def _commit(
    ctx: MinterContext,
    conn: Connection,
    collection: Collection,
    kind: MessageKind,
    actions: Sequence[Action],
    block: Block,
    account: Account,
) -> MessageRecord:
    query_seq = await chain.take_query_seq(conn)
    made = sign_message(
        ctx.wallet,
        ctx.signer,
        actions,
        query_seq=query_seq,
        chain_time=block.time,
        deploy=account.data is None,
    )
    return await chain.add_message(
        conn,
        NewMessage(
            ctx.wallet_id,
            collection.id,
            kind,
            query_seq,
            made.created_at,
            made.valid_until,
            made.boc,
            made.message_hash,
        ),
    )


async def _receivers(
    ctx: MinterContext, lease: LeaseToken, leased: Sequence[LeasedTask], block: Block
) -> dict[UUID, RawAddress]:
    """Return task -> recipient; mints without a usable one are held.

    What was signed once keeps its recipient.
    """
    async with ctx.db.transaction() as conn:
        wallets = await mint_queue.recipients(
            conn, [work.user_id for work in leased if work.task.recipient is None]
        )
    found: dict[UUID, RawAddress] = {}
    held = []
    for work in leased:
        address = work.task.recipient or wallets.get(work.user_id)
        if address is None:
            held.append(_held(work, HoldReason.NO_WALLET, "the user has no linked wallet"))
            continue
        try:
            found[work.task.id] = tokens.raw(address)
        except InvalidAddress:
            held.append(_held(work, HoldReason.RECIPIENT, "the linked wallet is no address"))
    await _settle_now(ctx, lease, held, block)
    return found


async def _taken_over(
    conn: Connection, collection: Collection, block: Block
) -> NothingSigned | None:
    """Return why nothing may be signed for a locked collection.

    None where nothing stands against it.
    """
    if await chain.unresolved_message(conn, collection.id) is not None:
        return NothingSigned("another message is under way")
    wallet = await chain.wallet(conn)
    if wallet is not None and block.seqno < wallet.seqno_seen:
        # Another minter may have settled a message at that block: the index read at ours would be
        # an old one.
        return NothingSigned(
            f"another minter has seen block {wallet.seqno_seen}, this one {block.seqno}"
        )
    return None


async def _settle_now(
    ctx: MinterContext, lease: LeaseToken, settlements: Sequence[Settlement], block: Block
) -> None:
    if settlements:
        async with ctx.db.transaction() as conn:
            await settling.settle(conn, lease, settlements, block.time)


async def _spendable(ctx: MinterContext, conn: Connection, account: Account) -> int:
    return ctx.spendable_nano(account, await chain.committed_spending(conn))


def _measure_queued(signed_now: Sequence[LeasedTask]) -> None:
    for work in signed_now:
        if work.task.attempt == 0:
            queued = (SYSTEM_CLOCK.now() - work.task.created_at).total_seconds()
            metrics.MINT_STAGE_SECONDS.labels(work.task.operation.value, "queued").observe(queued)


def _cost(values_nano: int, actions: int) -> int:
    return SELF_TRANSFER_NANO + MESSAGE_FEE_NANO + values_nano + actions * ACTION_FEE_NANO


def _cost_of_action(value_nano: int) -> int:
    return value_nano + ACTION_FEE_NANO


def _insufficient_funds(ctx: MinterContext, account: Account) -> NothingSigned:
    have, keep = account.balance_nano / 1e9, ctx.settings.balance_reserve_nano / 1e9
    word = f"the wallet {ctx.wallet.address} has {have:.3f} GRAM, of which {keep:.3f} are kept back: send it more"
    return NothingSigned(word, insufficient_funds=True)


def _held(work: LeasedTask, reason: HoldReason, word: str) -> Settlement:
    return Settlement(work, TaskStatus.PENDING, "held", reason=word, hold_reason=reason)


def _failed(work: LeasedTask, word: str) -> Settlement:
    return Settlement(work, TaskStatus.FAILED, "failed", reason=word)


def _index(work: LeasedTask) -> int:
    if work.task.token_index is None:
        raise LookupError(f"task {work.task.id} holds no index")
    return work.task.token_index


def _recipient(work: LeasedTask) -> RawAddress:
    if work.task.recipient is None:
        raise LookupError(f"task {work.task.id} holds an index and has no recipient")
    return work.task.recipient


def _sent(
    leased: Sequence[LeasedTask], given: Sequence[Assignment], message: MessageRecord
) -> tuple[LeasedTask, ...]:
    by_id = {assignment.task_id: assignment for assignment in given}
    return tuple(
        work.signed(message, by_id[work.task.id].token_index, by_id[work.task.id].recipient)
        for work in leased
    )
