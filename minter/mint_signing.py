"""Which leased mints a message carries: recipients, indexes, and what is held for want of one."""

from collections.abc import Container, Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from minter import indexes, recipients
from minter.indexes import HeadOfLineBlocked, IndexMismatch, IndexPlan, ReservedIndex
from minter.message_signing import (
    NothingSigned,
    Obstacle,
    Selection,
    SignedBatch,
    Signing,
    TaskAction,
    left_over,
    settle,
    sign_chosen,
)
from minter.ton import global_config, tokens
from minter.ton.highload_wallet import Action
from minter.ton.metadata_uris import item_suffix
from minter.ton.values import Token
from ops.errors import InvariantBroken
from ops.quantities import nanograms
from store import chain, claiming, fence, mint_queue, settling
from store.chain import Collection
from store.engine import Connection
from store.settlement_effects import Settlement
from store.settling import Assignment
from store.values.minting import HoldReason, LeasedTask, TaskEvent, TaskStatus
from store.values.names import LeaseToken, RawAddress

_AT_ONCE = timedelta()
_ACCEPTED = "the badge has a token that was accepted as unknown: reconcile adopts it"


async def sign_mints(
    signing: Signing, lease: LeaseToken, tasks: Sequence[LeasedTask]
) -> SignedBatch | NothingSigned:
    """Sign mints: those that hold an index already first, and new ones in their order."""
    ctx = signing.ctx
    over = [task for task in tasks if task.is_minted]
    await settle(signing, lease, [_void(task) for task in over])
    tasks = [task for task in tasks if not task.is_minted]
    if not tasks:
        return NothingSigned(Obstacle.NOTHING_LEFT, "the badges have their tokens")
    on_chain = await ctx.collection_state(signing.collection.address, signing.block)
    if on_chain.owner != ctx.wallet.address:
        # It would refuse every mint, and keep the fees.
        async with ctx.db.transaction() as conn:
            await claiming.release(conn, lease, [task.id for task in tasks], _AT_ONCE)
        return NothingSigned(
            Obstacle.FOREIGN_COLLECTION,
            f"collection {signing.collection.address} obeys {on_chain.owner}, and this wallet is "
            f"{ctx.wallet.address}: give the collection back to it",
        )
    owners = await _recipients(signing, lease, tasks)
    fresh = [task for task in tasks if task.id in owners and task.token_index is None]

    async def choose(conn: Connection, locked: Collection, room: int) -> Selection:
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
                nothing = NothingSigned(Obstacle.NOTHING_LEFT, "no mint is left to sign")
                others = left_over(candidates, entries)
                return Selection(entries, others, plan.next_index, nothing if room else None)
            case IndexMismatch(reason):
                # Only what has no index is held: what has one waits for reconcile in its place.
                # Under the collection's lock, or a repair might come between look and hold.
                held = [_held(task, HoldReason.BREAKER, reason) for task in new]
                await settling.settle(conn, lease, held, signing.block.time)
                await fence.break_collection(conn, locked.id, reason)
                nothing = NothingSigned(Obstacle.INDEX_MISMATCH, reason)
                return Selection((), tuple(reserved), locked.next_index, nothing)
            case HeadOfLineBlocked(reason):
                nothing = NothingSigned(Obstacle.HEAD_OF_LINE, reason)
                return Selection((), candidates, locked.next_index, nothing)

    return await sign_chosen(signing, lease, tasks, choose)


async def _take_along(
    conn: Connection, signing: Signing, lease: LeaseToken, assignments: Sequence[Assignment]
) -> None:
    """Lease the parked ones among the mints of a message: those behind them cannot go before."""
    parked = [each.task.id for each in assignments if each.task.hold_reason is HoldReason.OPERATOR]
    await claiming.take_parked(conn, lease, signing.ctx.settings.lease, parked)


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


def _mint_entries(
    signing: Signing,
    plan: IndexPlan,
    candidates: Sequence[LeasedTask],
    recipients: Mapping[UUID, RawAddress],
) -> tuple[TaskAction, ...]:
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
        entries.append(TaskAction(Assignment(task, index, recipient), action))
    return tuple(entries)


def _held(task: LeasedTask, hold: HoldReason, reason: str | None) -> Settlement:
    pending, event = TaskStatus.PENDING, TaskEvent.HELD
    return Settlement(task, pending, event, reason=reason, hold_reason=hold)


def _void(task: LeasedTask) -> Settlement:
    # Its index, if it holds one, is given up: reconcile agrees with the chain on the count.
    failed, event = TaskStatus.FAILED, TaskEvent.FAILED
    return Settlement(task, failed, event, "the badge has its token", drop_index=True)


def _reserved_index(task: LeasedTask, *, held: bool) -> ReservedIndex:
    if task.token_index is None:
        raise InvariantBroken("a reserved mint holds no index", task=str(task.id))
    parked = task.hold_reason is HoldReason.OPERATOR
    held = held or task.is_minted or not (parked or task.hold_reason is None)
    return ReservedIndex(task.id, task.token_index, held, task.is_movable, parked)
