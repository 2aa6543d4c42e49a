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
from minter.context import Workshop
from minter.mint_decision import Confirm, Execution, Fail, Sighting, Sign, Task, decide
from minter.ton import tokens
from minter.ton.gateway import Account, Block
from minter.ton.highload_wallet import ACTIONS_MAX, Action, signed, transfer_nano
from minter.ton.tokens import AddressRefused, Token
from ops import metrics
from ops.clock import SYSTEM_CLOCK
from ops.faults import Point, reach
from store import chain, claiming, mint_queue, settling
from store.chain import ChainMessage, Collection, NewMessage
from store.claiming import LeasedTask
from store.engine import Connection
from store.settling import Assignment, Settlement
from store.values import HoldReason, MessageKind, RawAddress, TaskOperation, TaskStatus

# Forward fees that the wallet pays beside the values (mode 1), rounded up: of the message to
# itself, and of each action.
MESSAGE_FEE_NANO = 30_000_000
ACTION_FEE_NANO = 2_000_000
_AT_ONCE = timedelta()
_LATER = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class Batch:
    """A committed message with its leased tasks, ready to be watched."""

    message: ChainMessage
    collection: Collection
    leased: tuple[LeasedTask, ...]
    token: UUID


@dataclass(frozen=True, slots=True)
class Unsigned:
    """Nothing was signed, and why; the tasks were given back, held or settled. `poor`.

    The wallet lacks money.
    """

    reason: str
    poor: bool = False


async def sign_deploy(shop: Workshop, collection: Collection) -> ChainMessage | Unsigned:
    """Sign the message that deploys a collection, and with it the wallet where that is missing."""
    block, account = shop.view.current
    contract = tokens.collection(
        shop.wallet.address, collection.content_uri, collection.item_prefix
    )
    if contract.address != collection.address:
        return Unsigned(f"collection {collection.type_code} is not of this wallet")
    action = Action(collection.address, shop.settings.deploy_value_nano, None, contract.state_init)
    async with shop.db.transaction() as conn:
        await chain.lock_collection(conn, collection.id)
        if (refusal := await _taken_over(conn, collection, block)) is not None:
            return refusal
        if await _spendable(shop, conn, account) < _cost(shop.settings.deploy_value_nano, 1):
            return _poor(shop, account)
        message = await _commit(
            shop, conn, collection, MessageKind.DEPLOY, [action], block, account
        )
    reach(Point.DEPLOY_SIGNED)
    return message


async def sign_mints(
    shop: Workshop, token: UUID, leased: Sequence[LeasedTask], collection: Collection
) -> Batch | Unsigned:
    """Sign as many of the leased mints as fit, those that hold an index already first.

    Args:
        shop: the minter's tools.
        token: the lease.
        leased: pending mints of one type.
        collection: that type's; deployed.

    Raises:
        LeaseLost: a task was cancelled or taken over meanwhile; nothing was written.
    """
    block, account = shop.view.current
    on_chain = await shop.collection_state(collection.address, block)
    receivers = await _receivers(shop, token, leased, block)
    fresh = [work for work in leased if work.task.id in receivers and work.task.token_index is None]
    async with shop.db.transaction() as conn:
        locked = await chain.lock_collection(conn, collection.id)
        if (refusal := await _taken_over(conn, collection, block)) is not None:
            await claiming.release(conn, token, [work.task.id for work in leased], _AT_ONCE)
            return refusal
        kept = await claiming.take_kept(conn, token, shop.settings.lease, collection.id)
        affordable = (await _spendable(shop, conn, account) - _cost(0, 0)) // _cost_of_action(
            shop.settings.item_value_nano
        )
        plan = planning.assign(
            [
                planning.Kept(work.task.id, _index(work), work.task.hold_reason is not None)
                for work in kept
            ],
            [work.task.id for work in fresh],
            next_item_index=on_chain.next_item_index,
            next_index=locked.next_index,
            room=max(0, min(shop.settings.claim_limit, ACTIONS_MAX, affordable)),
        )
        if isinstance(plan, planning.Assigned) and plan.indexes:
            for work in kept:
                receivers[work.task.id] = _recipient(work)
            return await _sign_plan(
                shop, conn, token, locked, plan, [*kept, *fresh], receivers, block, account
            )
    if isinstance(plan, planning.Broken):
        # Only what has no index is held: what has one waits for reconcile in its place.
        await _settle_now(
            shop, token, [_held(work, HoldReason.BREAKER, plan.reason) for work in fresh], block
        )
    async with shop.db.transaction() as conn:
        await claiming.release(conn, token, [work.task.id for work in [*kept, *fresh]], _LATER)
    return _poor(shop, account) if isinstance(plan, planning.Assigned) else Unsigned(plan.reason)


async def sign_burns(
    shop: Workshop, token: UUID, leased: Sequence[LeasedTask], collection: Collection
) -> Batch | Unsigned:
    """Sign the revocation of the leased burns' tokens.

    Settle at once what is gone already or cannot be burned.

    Raises:
        LeaseLost: a task was taken over meanwhile.
    """
    block, _ = shop.view.current
    with_token = [work for work in leased if work.token_id is not None]
    settled = [_failed(work, "the badge has no token") for work in leased if work.token_id is None]
    addresses = [work.token_id for work in with_token if work.token_id is not None]
    indexes: dict[UUID, int] = {}
    later: list[UUID] = []
    for work, account_of_item in zip(
        with_token, await shop.gateway.accounts(addresses, block), strict=True
    ):
        item = shop.read_item(work.token_id, account_of_item)
        seen = Sighting(block.seqno, shop.token_of(item), Execution.UNKNOWN)
        expected = Token(None, shop.wallet.address, tokens.item_suffix(work.task.nft_instance_id))
        decision = decide(
            Task(TaskOperation.BURN, TaskStatus.PENDING, work.task.attempt, expected, None),
            seen,
            block.time,
            shop.limits(),
        )
        metrics.MINTS.labels(TaskOperation.BURN.value, type(decision).__name__.lower()).inc()
        match decision:
            case Sign() if item is not None:
                indexes[work.task.id] = item.index
            case Confirm(found):
                how = "destroyed" if found.destroyed else "revoked"
                settled.append(
                    Settlement(work, TaskStatus.CONFIRMED, "confirmed", reason=None, gone=how)
                )
            case Fail(reason):
                settled.append(_failed(work, reason))
            case _:
                later.append(work.task.id)
    await _settle_now(shop, token, settled, block)
    return await _sign_revocations(shop, token, with_token, indexes, later, collection)


async def _sign_revocations(
    shop: Workshop,
    token: UUID,
    leased: Sequence[LeasedTask],
    indexes: dict[UUID, int],
    later: Sequence[UUID],
    collection: Collection,
) -> Batch | Unsigned:
    block, account = shop.view.current
    async with shop.db.transaction() as conn:
        await claiming.release(conn, token, later, _LATER)
        locked = await chain.lock_collection(conn, collection.id)
        if (refusal := await _taken_over(conn, collection, block)) is not None:
            await claiming.release(conn, token, list(indexes), _AT_ONCE)
            return refusal
        affordable = (await _spendable(shop, conn, account) - _cost(0, 0)) // _cost_of_action(
            shop.settings.revoke_value_nano
        )
        room = max(0, min(shop.settings.claim_limit, ACTIONS_MAX, affordable))
        chosen = [work for work in leased if work.task.id in indexes][:room]
        await claiming.release(
            conn,
            token,
            [task_id for task_id in indexes if task_id not in {w.task.id for w in chosen}],
            _LATER,
        )
        if not chosen:
            return _poor(shop, account) if indexes else Unsigned("nothing to burn")
        actions = [
            Action(work.token_id, shop.settings.revoke_value_nano, tokens.revoke_body(0))
            for work in chosen
            if work.token_id is not None
        ]
        message = await _commit(shop, conn, locked, MessageKind.BURN, actions, block, account)
        given = [Assignment(work.task.id, indexes[work.task.id], None) for work in chosen]
        await settling.sign(conn, token, message=message, leased=chosen, assignments=given)
        _measure_queued(chosen)
        reach(Point.MINTER_SIGNING)
    return Batch(message, locked, _sent(chosen, given, message), token)


async def _sign_plan(
    shop: Workshop,
    conn: Connection,
    token: UUID,
    collection: Collection,
    plan: planning.Assigned,
    leased: Sequence[LeasedTask],
    receivers: dict[UUID, RawAddress],
    block: Block,
    account: Account,
) -> Batch:
    by_id = {work.task.id: work for work in leased}
    chosen = [by_id[task_id] for task_id, _ in plan.indexes]
    given = [Assignment(task_id, index, receivers[task_id]) for task_id, index in plan.indexes]
    actions = []
    for assignment in given:
        badge = by_id[assignment.task_id].task.nft_instance_id
        minted = Token(assignment.recipient, shop.wallet.address, tokens.item_suffix(badge))
        body = tokens.mint_body(
            assignment.token_index, minted, shop.settings.item_forward_nano, query_id=0
        )
        actions.append(Action(collection.address, shop.settings.item_value_nano, body))
    signed_now = {work.task.id for work in chosen}
    left = [work.task.id for work in leased if work.task.id not in signed_now]
    await claiming.release(conn, token, left, _AT_ONCE)
    message = await _commit(shop, conn, collection, MessageKind.MINT, actions, block, account)
    await settling.sign(conn, token, message=message, leased=chosen, assignments=given)
    await chain.set_next_index(conn, collection.id, plan.next_index)
    _measure_queued(chosen)
    reach(Point.MINTER_SIGNING)
    return Batch(message, collection, _sent(chosen, given, message), token)


async def _commit(
    shop: Workshop,
    conn: Connection,
    collection: Collection,
    kind: MessageKind,
    actions: Sequence[Action],
    block: Block,
    account: Account,
) -> ChainMessage:
    query_seq = await chain.take_query_seq(conn)
    made = signed(
        shop.wallet,
        shop.signer,
        actions,
        query_seq=query_seq,
        chain_time=block.time,
        deploy=account.data is None,
    )
    return await chain.add_message(
        conn,
        NewMessage(
            shop.wallet_id,
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
    shop: Workshop, token: UUID, leased: Sequence[LeasedTask], block: Block
) -> dict[UUID, RawAddress]:
    """Return task -> recipient; mints without a usable one are held.

    What was signed once keeps its recipient.
    """
    async with shop.db.transaction() as conn:
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
        except AddressRefused:
            held.append(_held(work, HoldReason.RECIPIENT, "the linked wallet is no address"))
    await _settle_now(shop, token, held, block)
    return found


async def _taken_over(conn: Connection, collection: Collection, block: Block) -> Unsigned | None:
    """Return why nothing may be signed for a locked collection.

    None where nothing stands against it.
    """
    if await chain.unresolved_message(conn, collection.id) is not None:
        return Unsigned("another message is under way")
    wallet = await chain.wallet(conn)
    if wallet is not None and block.seqno < wallet.seqno_seen:
        # Another minter may have settled a message at that block: the index read at ours would be
        # an old one.
        return Unsigned(
            f"another minter has seen block {wallet.seqno_seen}, this one {block.seqno}"
        )
    return None


async def _settle_now(
    shop: Workshop, token: UUID, settlements: Sequence[Settlement], block: Block
) -> None:
    if settlements:
        async with shop.db.transaction() as conn:
            await settling.settle(conn, token, settlements, block.time)


async def _spendable(shop: Workshop, conn: Connection, account: Account) -> int:
    return shop.spendable_nano(account, await chain.committed_spending(conn))


def _measure_queued(signed_now: Sequence[LeasedTask]) -> None:
    for work in signed_now:
        if work.task.attempt == 0:
            queued = (SYSTEM_CLOCK.now() - work.task.created_at).total_seconds()
            metrics.MINT_STAGE_SECONDS.labels(work.task.operation.value, "queued").observe(queued)


def _cost(values_nano: int, actions: int) -> int:
    return transfer_nano([]) + MESSAGE_FEE_NANO + values_nano + actions * ACTION_FEE_NANO


def _cost_of_action(value_nano: int) -> int:
    return value_nano + ACTION_FEE_NANO


def _poor(shop: Workshop, account: Account) -> Unsigned:
    have, keep = account.balance_nano / 1e9, shop.settings.balance_reserve_nano / 1e9
    word = f"the wallet {shop.wallet.address} has {have:.3f} TON, of which {keep:.3f} are kept back: send it more"
    return Unsigned(word, poor=True)


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
    leased: Sequence[LeasedTask], given: Sequence[Assignment], message: ChainMessage
) -> tuple[LeasedTask, ...]:
    by_id = {assignment.task_id: assignment for assignment in given}
    return tuple(
        work.signed(message, by_id[work.task.id].token_index, by_id[work.task.id].recipient)
        for work in leased
    )
