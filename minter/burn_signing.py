"""Which tokens a message revokes, and which burns a look at the chain settles already."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

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
from minter.mint_decision import Confirm, Fail, Observation, Sign, Task, decide
from minter.ton import tokens
from minter.ton.highload_wallet import Action
from minter.ton.metadata_uris import item_suffix
from minter.ton.values import Execution, Token
from ops import metrics
from ops.errors import InvariantBroken
from store import claiming
from store.chain import Collection
from store.engine import Connection
from store.settlement_effects import Settlement
from store.settling import Assignment
from store.values.minting import LeasedTask, TaskEvent, TaskOperation, TaskStatus
from store.values.names import LeaseToken, RawAddress

_LATER = timedelta(seconds=2)


async def sign_burns(
    signing: Signing, lease: LeaseToken, tasks: Sequence[LeasedTask]
) -> SignedBatch | NothingSigned:
    """Sign the revocation of tokens; settle those that ended already or cannot be revoked."""
    token_indexes, settlements = await _inspect(signing, tasks)
    await settle(signing, lease, settlements)
    settled = {settlement.task.id for settlement in settlements}
    remaining = [task for task in tasks if task.id not in settled]

    async def choose(conn: Connection, locked: Collection, room: int) -> Selection:
        revocable = [task for task in remaining if task.id in token_indexes]
        entries = tuple(
            _revocation(signing, task, token_indexes[task.id]) for task in revocable[:room]
        )
        nothing = NothingSigned(Obstacle.NOTHING_LEFT, "nothing to burn")
        if room:
            # A burn whose token no block shows yet must not keep the head of the queue.
            unseen = [task.id for task in remaining if task.id not in token_indexes]
            await claiming.release(conn, lease, unseen, _LATER)
        others = left_over(remaining, entries)
        return Selection(entries, others, locked.next_index, None if token_indexes else nothing)

    return await sign_chosen(signing, lease, remaining, choose)


async def _inspect(
    signing: Signing, tasks: Sequence[LeasedTask]
) -> tuple[dict[UUID, int], list[Settlement]]:
    """Return the index of each token that can be revoked now, and what is settled already.

    A burn in neither waits: its block does not show the token yet.
    """
    ctx, block = signing.ctx, signing.block
    targets = [(task, _target(signing.collection, task)) for task in tasks]
    # A second token is one only beside the badge's own.
    pointless = [
        task
        for task, target in targets
        if task.token_id is None
        or (task.operation is TaskOperation.REVOKE_SECOND and target == task.token_id)
    ]
    settled = [_failed(task, "the badge has no such token") for task in pointless]
    with_token = [
        (task, target) for task, target in targets if target is not None and task not in pointless
    ]
    items = await ctx.items([address for _, address in with_token], block)
    revocable: dict[UUID, int] = {}
    for task, address in with_token:
        if address not in items:
            continue
        item = items[address]
        decision = decide(
            Task(
                task.operation,
                TaskStatus.PENDING,
                task.attempt,
                Token(None, ctx.wallet.address, item_suffix(task.nft_instance_id)),
                None,
            ),
            Observation(block.seqno, ctx.token_of(item), Execution.UNKNOWN),
            block.time,
            ctx.limits(),
        )
        metrics.MINTS.labels(task.operation.value, decision.label).inc()
        match decision:
            case Sign() if item is not None:
                revocable[task.id] = item.index
            case Confirm(token):
                confirmed, event = TaskStatus.CONFIRMED, TaskEvent.CONFIRMED
                end = token.end if address == task.token_id else None
                settled.append(Settlement(task, confirmed, event, token_end=end))
            case Fail(reason):
                settled.append(_failed(task, reason))
            case _:
                pass
    return revocable, settled


def _target(collection: Collection, task: LeasedTask) -> RawAddress | None:
    """Return the token that a task is to revoke: the badge's own, or the one at its index."""
    if task.operation is TaskOperation.REVOKE_SECOND and task.token_index is not None:
        return tokens.item_address(collection.address, task.token_index)
    return task.token_id


def _revocation(signing: Signing, task: LeasedTask, index: int) -> TaskAction:
    target = _target(signing.collection, task)
    if target is None:
        raise InvariantBroken("a revocation needs a token", task=str(task.id))
    value_nano = signing.ctx.prices.value_nano(signing.kind)
    action = Action(target, value_nano, tokens.revoke_body(0))
    return TaskAction(Assignment(task, index, None), action)


def _failed(task: LeasedTask, reason: str) -> Settlement:
    return Settlement(task, TaskStatus.FAILED, TaskEvent.FAILED, reason=reason)
