"""From a committed message to the chain's word in the database: send, look, settle.

Each new masterchain block is one look: the wallet's replay protection (read once for all
collections), then, where the message may have had an effect, the items themselves;
`lifecycle.decide` says what follows for each task.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import assert_never

from minter import mint_decision
from minter.context import Workshop
from minter.mint_decision import (
    Absent,
    Confirm,
    Decision,
    Execution,
    Fail,
    Park,
    Reassign,
    Resend,
    Resign,
    Sighting,
    Sign,
    Wait,
)
from minter.signing import Batch
from minter.ton import highload_wallet, tokens
from minter.ton.gateway import Account, AnswerRefused, Block
from minter.ton.tokens import Token
from ops import metrics
from ops.clock import SYSTEM_CLOCK
from ops.errors import InvariantBroken
from ops.faults import Point, reach
from ops.lifecycle import Stop
from ops.logs import logger
from store import chain, claiming, settling
from store.chain import ChainMessage, Collection
from store.claiming import LeasedTask
from store.settling import Settlement
from store.values import (
    HoldReason,
    MessageKind,
    MessageStatus,
    RawAddress,
    TaskOperation,
    TaskStatus,
)

log = logger("minter")

# A look without a new block still renews leases and notices a stop.
_PATIENCE = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class _Watched:
    """A task of the message, where its item lies, and what should stand there."""

    leased: LeasedTask
    address: RawAddress
    expected: Token


async def watch(shop: Workshop, batch: Batch, stop: Stop) -> None:
    """Return once every task of `batch` is settled, or after `stop` (the leases are the caller's to release).

    Raises:
        LeaseLost: another minter took over.
        ChainUnreachable, BlockUnknown, DatabaseUnreachable: nothing was concluded; try again later.
    """
    open_tasks = [_watched(shop, batch, work) for work in batch.leased]
    message, seqno, sent_now = batch.message, 0, asyncio.get_running_loop().time()
    renewed_at = sent_now
    while open_tasks and not stop.requested:
        block, account = await shop.view.after(seqno, _PATIENCE)
        now = asyncio.get_running_loop().time()
        if now - renewed_at > shop.settings.lease.total_seconds() / 3:
            async with shop.db.transaction() as conn:
                ids = [each.leased.task.id for each in open_tasks]
                await claiming.renew(conn, batch.token, shop.settings.lease, ids)
            renewed_at = now
        if block.seqno == seqno:
            continue
        seqno = block.seqno
        decisions = await _look(shop, batch.collection, message, open_tasks, block, account)
        if any(isinstance(decision, Resend) for _, decision in decisions):
            message = await _send(shop, message, block)
        settled = [
            (each, settlement)
            for each, decision in decisions
            if (settlement := _settlement(each, decision)) is not None
        ]
        if settled:
            await _settle(
                shop, batch, [settlement for _, settlement in settled], block, len(open_tasks)
            )
            done = {each.leased.task.id for each, _ in settled}
            open_tasks = [each for each in open_tasks if each.leased.task.id not in done]
            _measure(
                [each.leased for each, _ in settled], asyncio.get_running_loop().time() - sent_now
            )


async def watch_deploy(
    shop: Workshop, message: ChainMessage, collection: Collection, stop: Stop
) -> None:
    """Return once the collection stands on chain, its message is void, or after `stop`.

    Several minters may watch one deploy: sending twice is harmless, and settling it twice changes
    nothing.
    """
    seqno = 0
    while not stop.requested:
        block, account = await shop.view.after(seqno, _PATIENCE)
        if block.seqno == seqno:
            continue
        seqno = block.seqno
        if (await shop.gateway.account(collection.address, block)).data is not None:
            reach(Point.DEPLOY_SEEN)
            async with shop.db.transaction() as conn:
                await chain.collection_seen(conn, collection.id)
                await chain.resolve_message(conn, message.id, MessageStatus.SETTLED)
            reach(Point.DEPLOY_SETTLED)
            log.info(
                "collection_deployed",
                type=collection.type_code,
                address=collection.address,
                seqno=seqno,
            )
            return
        if block.seqno < shop.view.seqno_seen:
            continue
        if block.time > message.valid_until + shop.settings.expiry_margin:
            # Deploying again is harmless, whatever became of this message: the address follows from
            # the initial state.
            async with shop.db.transaction() as conn:
                await chain.resolve_message(conn, message.id, MessageStatus.VOID)
            log.warning("deploy_expired", type=collection.type_code, seqno=seqno)
            return
        if _execution(message, account) is not Execution.EXECUTED and _send_due(
            shop, message, block
        ):
            message = await _send(shop, message, block)


def _watched(shop: Workshop, batch: Batch, work: LeasedTask) -> _Watched:
    task = work.task
    if task.token_index is None:
        raise InvariantBroken("a sent task holds no index", task=str(task.id))
    address = tokens.item_address(batch.collection.address, task.token_index)
    content = tokens.item_suffix(task.nft_instance_id)
    return _Watched(work, address, Token(task.recipient, shop.wallet.address, content))


async def _look(
    shop: Workshop,
    collection: Collection,
    message: ChainMessage,
    open_tasks: Sequence[_Watched],
    block: Block,
    account: Account,
) -> list[tuple[_Watched, Decision]]:
    execution = _execution(message, account)
    expired = block.time > message.valid_until
    readable = await _worth_reading(
        shop, collection, message, open_tasks, block, execution, expired=expired
    )
    accounts = await shop.gateway.accounts([each.address for each in readable], block)
    items = {
        each.address: shop.token_of(shop.read_item(each.address, found))
        for each, found in zip(readable, accounts, strict=True)
    }
    facts = mint_decision.Message(message.valid_until, message.last_sent_at)
    limits = shop.limits()
    decisions: list[tuple[_Watched, Decision]] = []
    for each in open_tasks:
        task = each.leased.task
        sighting = Sighting(block.seqno, items.get(each.address, Absent()), execution)
        decision = mint_decision.decide(
            mint_decision.Task(task.operation, task.status, task.attempt, each.expected, facts),
            sighting,
            block.time,
            limits,
        )
        if not isinstance(decision, Wait):
            metrics.MINTS.labels(task.operation.value, type(decision).__name__.lower()).inc()
        decisions.append((each, decision))
    return decisions


async def _worth_reading(
    shop: Workshop,
    collection: Collection,
    message: ChainMessage,
    open_tasks: Sequence[_Watched],
    block: Block,
    execution: Execution,
    *,
    expired: bool,
) -> Sequence[_Watched]:
    """Return the tasks whose items may have changed.

    Before the expiry, reading what cannot be there yet only costs time.
    """
    if expired:
        return open_tasks
    if execution is Execution.NEVER:
        return ()
    if message.kind is MessageKind.BURN:
        return open_tasks
    next_item_index = (await shop.collection_state(collection.address, block)).next_item_index
    return [each for each in open_tasks if (each.leased.task.token_index or 0) < next_item_index]


def _execution(message: ChainMessage, account: Account) -> Execution:
    try:
        return highload_wallet.execution(account.data, message.query_seq, message.signed_at)
    except ValueError as error:
        raise AnswerRefused(str(error)) from None


def _send_due(shop: Workshop, message: ChainMessage, block: Block) -> bool:
    if block.time >= message.valid_until:
        return False
    return (
        message.last_sent_at is None
        or block.time - message.last_sent_at >= shop.settings.resend_after
    )


async def _send(shop: Workshop, message: ChainMessage, block: Block) -> ChainMessage:
    receipt = await shop.gateway.send(message.boc)
    reach(Point.DEPLOY_SENT if message.kind is MessageKind.DEPLOY else Point.MINTER_SENT)
    # Whatever they answered: exit 36 means "executed already", a timeout means nothing. The chain's
    # state decides.
    log.info(
        "message_sent",
        kind=message.kind.value,
        message_hash=message.message_hash.hex(),
        sends=message.send_count + 1,
        answer=receipt.delivery.value,
        detail=receipt.detail,
    )
    async with shop.db.transaction() as conn:
        sent = await chain.message_sent(conn, message.id, block.time)
    reach(
        Point.DEPLOY_SEND_COUNTED
        if message.kind is MessageKind.DEPLOY
        else Point.MINTER_SEND_COUNTED
    )
    return sent


def _settlement(each: _Watched, decision: Decision) -> Settlement | None:
    work = each.leased
    match decision:
        case Wait() | Resend():
            return None
        case Confirm(token):
            how = ("destroyed" if token.destroyed else "revoked") if token.gone else None
            minted = each.address if work.task.operation is TaskOperation.MINT else None
            # A mint whose token was revoked since stays minted: reconcile names it (revoked
            # elsewhere).
            gone = how if minted is None or token.destroyed else None
            return Settlement(work, TaskStatus.CONFIRMED, "confirmed", token_id=minted, gone=gone)
        case Resign(reason):
            return Settlement(work, TaskStatus.PENDING, "void", reason=reason)
        case Reassign(reason):
            return Settlement(
                work, TaskStatus.PENDING, "index_taken", reason=reason, drop_index=True
            )
        case Park(reason):
            return Settlement(
                work, TaskStatus.PENDING, "parked", reason=reason, hold_reason=HoldReason.OPERATOR
            )
        case Fail(reason):
            return Settlement(work, TaskStatus.FAILED, "failed", reason=reason)
        case Sign():
            raise InvariantBroken("a sent task cannot be signed", task=str(work.task.id))
        case unreachable:
            assert_never(unreachable)


def _measure(done: Sequence[LeasedTask], sent_for_s: float) -> None:
    for work in done:
        operation = work.task.operation.value
        metrics.MINT_STAGE_SECONDS.labels(operation, "sent").observe(sent_for_s)
        total = (SYSTEM_CLOCK.now() - work.task.created_at).total_seconds()
        metrics.MINT_STAGE_SECONDS.labels(operation, "total").observe(total)


async def _settle(
    shop: Workshop, batch: Batch, settlements: Sequence[Settlement], block: Block, open_before: int
) -> None:
    reach(Point.MINTER_SEEN)
    confirmed = sum(settlement.to_status is TaskStatus.CONFIRMED for settlement in settlements)
    async with shop.db.transaction() as conn:
        # First: two minters that settle halves of one message must see each other's, or nobody
        # would close it.
        await chain.lock_message(conn, batch.message.id)
        await settling.settle(conn, batch.token, settlements, block.time)
        closing = (
            MessageStatus.SETTLED
            if confirmed or len(settlements) < open_before
            else MessageStatus.VOID
        )
        await chain.resolve_message(conn, batch.message.id, closing)
        # Whoever signs next for this collection must have read a block that shows what was settled
        # here.
        await chain.saw_block(conn, block.seqno, wallet_deployed=True)
        reach(Point.MINTER_SETTLING)
    reach(Point.MINTER_SETTLED)
    log.info(
        "tasks_settled",
        operation=batch.message.kind.value,
        type=batch.collection.type_code,
        confirmed=confirmed,
        others=len(settlements) - confirmed,
        waiting=open_before - len(settlements),
        seqno=block.seqno,
    )
