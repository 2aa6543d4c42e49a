"""From a committed message to the chain's word in the database: send, look, settle.

Each new masterchain block is one look: the wallet's replay protection (read once for all
collections), then, where the message may have had an effect, the items themselves;
`mint_decision.decide` says what follows for each task.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import assert_never

from minter import mint_decision
from minter.context import MinterContext
from minter.message_signing import Obstacle, SignedBatch, observe_stage
from minter.mint_decision import (
    Confirm,
    Decision,
    Fail,
    Observation,
    Park,
    Reassign,
    Resend,
    Sign,
    SignAgain,
    Wait,
)
from minter.ton import highload_wallet, tokens
from minter.ton.gateway import AnswerRejected
from minter.ton.metadata_uris import instance_of, item_suffix
from minter.ton.values import Account, Block, Execution, SendOutcome, Token
from ops import metrics
from ops.errors import InvariantBroken
from ops.faults import Point, reach
from ops.lifecycle import Stop
from ops.logs import logger
from store import chain, chain_messages, claiming, fence, reconciliation, settling
from store.chain import Collection
from store.chain_messages import MessageRecord
from store.engine import Connection
from store.fence import Shut
from store.reconciliation import FoundToken
from store.settlement_effects import Settlement
from store.values.minting import (
    HoldReason,
    LeasedTask,
    MessageKind,
    MessageStatus,
    TaskEvent,
    TaskOperation,
    TaskStatus,
)
from store.values.names import LeaseToken, RawAddress

log = logger("minter")

# A look without a new block still renews leases and notices a stop.
_PATIENCE = timedelta(seconds=2)
_WITHOUT_EFFECT = "a message was executed without any effect"


@dataclass(frozen=True, slots=True)
class _WatchedTask:
    """A task of the message, where its item lies, and what should stand there."""

    task: LeasedTask
    address: RawAddress
    expected: Token


@dataclass(frozen=True, slots=True)
class _Look:
    """One block's look at a message: as it stands in the database, and what the wallet says."""

    ctx: MinterContext
    collection: Collection
    message: MessageRecord
    block: Block
    execution: Execution

    @property
    def expired(self) -> bool:
        """Return whether the wallet would refuse the message by now."""
        return self.block.time > self.message.valid_until


async def watch(ctx: MinterContext, batch: SignedBatch, stop: Stop) -> None:
    """Return once every task of `batch` is settled, or after `stop`.

    The leases are the caller's to release.

    Raises:
        LeaseLost: another minter took over.
        ChainUnreachable, BlockUnknown, DatabaseUnreachable: nothing was concluded; try again later.
    """
    ctx.view.signed(batch.message.query_seq)
    waiting = tuple(_watched(ctx, batch.collection, task) for task in batch.tasks)
    message, seqno, started = batch.message, 0, ctx.clock.monotonic()
    renewed_at, executed = started, False
    while waiting and not stop.requested:
        block, account = await ctx.view.after(seqno, _PATIENCE)
        now = ctx.clock.monotonic()
        if now - renewed_at > ctx.settings.lease.total_seconds() / 3:
            await _renew(ctx, batch.lease, waiting)
            renewed_at = now
        if block.seqno == seqno:
            continue
        seqno = block.seqno
        execution = _execution(message, account)
        # Once executed, always: the wallet forgets it in time.
        executed = executed or execution is Execution.EXECUTED
        if executed:
            execution = Execution.EXECUTED
        look = _Look(ctx, batch.collection, message, block, execution)
        decisions = await _decisions(look, waiting)
        if any(isinstance(decision, Resend) for _, decision in decisions):
            message = await _send(ctx, message, block)
        settled = [found for each in decisions if (found := _settlement(*each)) is not None]
        if settled:
            done = {settlement.task.id for settlement in settled}
            waiting = tuple(each for each in waiting if each.task.id not in done)
            foreign = [each for each in decisions if isinstance(each[1], Reassign)]
            await _settle(look, batch.lease, settled, left=len(waiting), foreign=len(foreign))
            for watched, decision in foreign:
                await _record(look, watched, decision)
            sent_for = timedelta(seconds=ctx.clock.monotonic() - started)
            _measure(ctx, settled, batch.signed_ago + sent_for)


async def watch_deploy(
    ctx: MinterContext, message: MessageRecord, collection: Collection, stop: Stop
) -> None:
    """Return once the collection stands on chain, its message is void, or after `stop`.

    Several minters may watch one deploy: sending twice is harmless, and settling it twice changes
    nothing.
    """
    ctx.view.signed(message.query_seq)
    seqno = 0
    while not stop.requested:
        block, account = await ctx.view.after(seqno, _PATIENCE)
        if block.seqno == seqno:
            continue
        seqno = block.seqno
        look = _Look(ctx, collection, message, block, _execution(message, account))
        if (await ctx.gateway.account(collection.address, block)).data is not None:
            await _deployed(look)
            return
        if block.seqno < ctx.view.seqno_seen:
            continue
        if block.time > message.valid_until + ctx.settings.expiry_margin:
            # Deploying again is harmless, whatever became of this message: the address follows from
            # the initial state.
            async with ctx.db.transaction() as conn:
                await chain_messages.resolve(conn, message.id, MessageStatus.VOID, block.seqno)
            log.warning("deploy_expired", type=collection.type_code, seqno=seqno)
            return
        if look.execution is not Execution.EXECUTED and _send_due(look):
            message = await _send(ctx, message, block)


async def _deployed(look: _Look) -> None:
    reach(Point.DEPLOY_SEEN)
    async with look.ctx.db.transaction() as conn:
        await chain.collection_seen(conn, look.collection.id)
        settled, seqno = MessageStatus.SETTLED, look.block.seqno
        await chain_messages.resolve(conn, look.message.id, settled, seqno)
    reach(Point.DEPLOY_SETTLED)
    log.info(
        "collection_deployed",
        type=look.collection.type_code,
        address=look.collection.address,
        seqno=look.block.seqno,
    )


def _watched(ctx: MinterContext, collection: Collection, task: LeasedTask) -> _WatchedTask:
    if task.token_index is None:
        raise InvariantBroken("a sent task holds no index", task=str(task.id))
    address = tokens.item_address(collection.address, task.token_index)
    content = item_suffix(task.nft_instance_id)
    return _WatchedTask(task, address, Token(task.recipient, ctx.wallet.address, content))


async def _renew(ctx: MinterContext, lease: LeaseToken, waiting: Sequence[_WatchedTask]) -> None:
    async with ctx.db.transaction() as conn:
        ids = [each.task.id for each in waiting]
        await claiming.renew(conn, lease, ctx.settings.lease, ids)


async def _decisions(
    look: _Look, waiting: Sequence[_WatchedTask]
) -> list[tuple[_WatchedTask, Decision]]:
    ctx, message = look.ctx, look.message
    readable = await _worth_reading(look, waiting)
    items = await ctx.items([each.address for each in readable], look.block)
    unknown = {each.address for each in readable} - items.keys()
    sent = mint_decision.Message(message.valid_until, message.last_sent_at)
    limits = ctx.limits()
    decisions: list[tuple[_WatchedTask, Decision]] = []
    for each in waiting:
        task = each.task
        if each.address in unknown:
            decisions.append((each, Wait()))
            continue
        item = ctx.token_of(items.get(each.address))
        decision = mint_decision.decide(
            mint_decision.Task(task.operation, task.status, task.attempt, each.expected, sent),
            Observation(look.block.seqno, item, look.execution),
            look.block.time,
            limits,
        )
        if not isinstance(decision, Wait):
            metrics.MINTS.labels(task.operation.value, decision.label).inc()
        decisions.append((each, decision))
    return decisions


async def _worth_reading(look: _Look, waiting: Sequence[_WatchedTask]) -> Sequence[_WatchedTask]:
    """Return the tasks whose items may have changed.

    Before the expiry, reading what cannot be there yet only costs time.
    """
    if look.expired:
        return waiting
    if look.execution is Execution.NEVER:
        return ()
    if look.message.kind is MessageKind.BURN:
        return waiting
    state = await look.ctx.collection_state(look.collection.address, look.block)
    return [each for each in waiting if (each.task.token_index or 0) < state.next_item_index]


def _execution(message: MessageRecord, account: Account) -> Execution:
    try:
        return highload_wallet.execution(account.data, message.query_seq, message.signed_at)
    except ValueError as error:
        raise AnswerRejected(str(error)) from None


def _send_due(look: _Look) -> bool:
    if look.block.time >= look.message.valid_until:
        return False
    sent_at = look.message.last_sent_at
    return sent_at is None or look.block.time - sent_at >= look.ctx.settings.resend_after


async def _send(ctx: MinterContext, message: MessageRecord, block: Block) -> MessageRecord:
    result = await ctx.gateway.send(message.boc)
    metrics.SENDS.labels(message.kind.value, result.outcome.value).inc()
    reach(Point.DEPLOY_SENT if message.kind is MessageKind.DEPLOY else Point.MINTER_SENT)
    # Whatever they answered: exit 36 means "executed already", a timeout means nothing. The chain's
    # state decides.
    ctx.steps.sent(taken=result.outcome is SendOutcome.ACCEPTED, detail=result.detail)
    log.debug(
        "message_sent",
        kind=message.kind.value,
        message_hash=message.message_hash.hex(),
        sends=message.send_count + 1,
        outcome=result.outcome.value,
        detail=result.detail,
    )
    async with ctx.db.transaction() as conn:
        sent = await chain_messages.sent(conn, message.id, block.time)
    reach(
        Point.DEPLOY_SEND_COUNTED
        if message.kind is MessageKind.DEPLOY
        else Point.MINTER_SEND_COUNTED
    )
    return sent


def _foreign(look: _Look, count: int) -> Shut:
    settings = look.ctx.settings
    until = look.block.time + settings.message_ttl + settings.expiry_margin
    code = look.collection.type_code
    reason = f"{count} indexes of {code} hold tokens that this database did not sign"
    return Shut(reason, until, needs_repair=True)


async def _record(look: _Look, watched: _WatchedTask, decision: Decision) -> None:
    """Write a token that stands where another badge's was signed down for the badge it names."""
    index = watched.task.token_index
    if not isinstance(decision, Reassign) or decision.token is None or index is None:
        return
    instance_id, owner = instance_of(decision.token.content), decision.token.owner
    if instance_id is None:
        return
    async with look.ctx.db.transaction() as conn:
        record = (await reconciliation.token_records(conn, [instance_id])).get(instance_id)
    if record is None or record.type_id != look.collection.type_id or record.token_id is not None:
        return
    found = FoundToken(look.collection.id, index, watched.address, owner)
    async with look.ctx.db.transaction() as conn:
        done = await reconciliation.adopt(conn, record, found, look.block.time)
    log.warning("token_found", token_id=watched.address, instance=str(instance_id), adopted=done)


def _settlement(watched: _WatchedTask, decision: Decision) -> Settlement | None:
    task = watched.task
    match decision:
        case Wait() | Resend():
            return None
        case Confirm(token):
            return _confirmed(watched, token)
        case SignAgain(reason, unexecuted):
            pending, event = TaskStatus.PENDING, TaskEvent.VOID
            return Settlement(task, pending, event, reason, unexecuted=unexecuted)
        case Reassign(reason):
            pending, event = TaskStatus.PENDING, TaskEvent.INDEX_TAKEN
            return Settlement(task, pending, event, reason, drop_index=True)
        case Park(reason):
            pending, event = TaskStatus.PENDING, TaskEvent.PARKED
            return Settlement(task, pending, event, reason, HoldReason.OPERATOR)
        case Fail(reason):
            return Settlement(task, TaskStatus.FAILED, TaskEvent.FAILED, reason)
        case Sign():
            raise InvariantBroken("a sent task cannot be signed", task=str(task.id))
        case unreachable:
            assert_never(unreachable)


def _confirmed(watched: _WatchedTask, token: Token) -> Settlement:
    task, confirmed, event = watched.task, TaskStatus.CONFIRMED, TaskEvent.CONFIRMED
    if task.operation is TaskOperation.BURN:
        return Settlement(task, confirmed, event, token_end=token.end)
    if task.operation is TaskOperation.REVOKE_SECOND:
        return Settlement(task, confirmed, event)
    # A mint whose token was revoked since stays minted: reconcile names it (revoked elsewhere).
    end = token.end if token.destroyed else None
    return Settlement(task, confirmed, event, token_id=watched.address, token_end=end)


def _measure(ctx: MinterContext, settled: Sequence[Settlement], sent_for: timedelta) -> None:
    now = ctx.clock.now()
    for task in (each.task for each in settled if each.to_status is TaskStatus.CONFIRMED):
        observe_stage(task, "sent", sent_for)
        observe_stage(task, "total", now - task.ready_at)


async def _had_no_effect(conn: Connection, look: _Look, settlements: Sequence[Settlement]) -> bool:
    """Return whether the message was executed and not one of its tasks was done by it."""
    if look.execution is not Execution.EXECUTED:
        return False
    if all(each.event is TaskEvent.INDEX_TAKEN for each in settlements):
        return False
    closed = await chain_messages.one(conn, look.message.id)
    return closed.status is MessageStatus.VOID


async def _settle(
    look: _Look,
    lease: LeaseToken,
    settlements: Sequence[Settlement],
    *,
    left: int,
    foreign: int = 0,
) -> None:
    """Write what was decided; `foreign`: how many indexes hold tokens that nobody here signed."""
    reach(Point.MINTER_SEEN)
    confirmed = sum(settlement.to_status is TaskStatus.CONFIRMED for settlement in settlements)
    async with look.ctx.db.transaction() as conn:
        # First: two minters that settle halves of one message must see each other's, or nobody
        # would close it.
        await chain_messages.lock(conn, look.message.id)
        await settling.settle(conn, lease, settlements, look.block.time)
        closing = MessageStatus.SETTLED if confirmed or left else MessageStatus.VOID
        await chain_messages.resolve(conn, look.message.id, closing, look.block.seqno)
        # Nothing of what was paid for came to be: the settings cannot work, or the collection obeys
        # another. The next message would cost as much.
        stops = await _had_no_effect(conn, look, settlements)
        if stops:
            reason = f"{_WITHOUT_EFFECT} ({settlements[0].task.operation.value})"
            await chain.stop_collection(conn, look.collection.id, reason)
        # Whoever signs next for this collection must have read a block that shows what was settled
        # here.
        await chain.saw_block(conn, look.ctx.wallet_id, look.block.seqno, deployed=True)
        if foreign:
            await fence.shut(conn, look.ctx.wallet_id, _foreign(look, foreign))
        reach(Point.MINTER_SETTLING)
    reach(Point.MINTER_SETTLED)
    if stops:
        log.error(
            "collection_stopped",
            code=Obstacle.STOPPED.value,
            type=look.collection.type_code,
            reason=_WITHOUT_EFFECT,
            message_hash=look.message.message_hash.hex(),
        )
    look.ctx.steps.settled(settlements)
    log.debug(
        "tasks_settled",
        operation=look.message.kind.value,
        type=look.collection.type_code,
        confirmed=confirmed,
        others=len(settlements) - confirmed,
        waiting=left,
        seqno=look.block.seqno,
    )
