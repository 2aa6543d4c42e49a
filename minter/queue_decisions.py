"""What an operator sees of the mint queue and decides about it: the bodies of `laurel queue`.

A parked mint is tried again only where a proven block shows that its token is not there and that no
message for it can execute any more; what the chain shows otherwise is told.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from minter.startup import connect
from minter.ton import tokens
from minter.ton.gateway import BlockUnknown, ChainGateway
from minter.ton.metadata_uris import item_suffix
from minter.ton.values import Block, Item
from ops.errors import UsageError
from ops.settings import Settings
from ops.whoami import operator
from store import chain, migrations, queue_decisions
from store.engine import Database
from store.queue_decisions import StoppedCollection, TaskHistory, WaitingTask
from store.values.minting import HoldReason, TaskEvent, TaskOperation, TaskStatus


@dataclass(frozen=True, slots=True)
class QueueView:
    """What waits for a person, or for a wallet."""

    stopped: tuple[StoppedCollection, ...]
    tasks: tuple[WaitingTask, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one task; `refusal`: why nothing did, and the way out."""

    task: WaitingTask
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """Which tasks, why, and whether only to look."""

    ids: tuple[UUID, ...]
    reason: str | None = None
    dry_run: bool = False


async def listed(
    settings: Settings, *, hold: HoldReason | None, code: str | None, limit: int
) -> QueueView:
    """Return stopped collections and waiting tasks."""
    async with (
        Database(settings.need("database_url"), settings.database) as db,
        db.transaction() as conn,
    ):
        await migrations.check(conn)
        stopped = await queue_decisions.stopped(conn)
        tasks = await queue_decisions.waiting(conn, hold=hold, code=code, limit=limit)
    of_type = [each for each in stopped if code in (None, each.type_code)]
    return QueueView(tuple(of_type), tuple(tasks))


async def shown(settings: Settings, task_id: UUID) -> tuple[WaitingTask, list[TaskHistory]]:
    """Return a task and its history.

    Raises:
        UsageError: there is none.
    """
    async with Database(settings.need("database_url"), settings.database) as db:
        (task,) = await _tasks(db, [task_id])
        async with db.transaction() as conn:
            return task, await queue_decisions.history(conn, task_id)


async def retry(settings: Settings, request: Request) -> list[Outcome]:
    """Let parked mints and failed burns go on, where the chain shows that nothing came of them.

    Raises:
        UsageError: a task is not there.
        ChainUnreachable, BlockUnknown: nothing was concluded, and nothing changed.
    """
    async with connect(settings) as (db, gateway):
        tasks = await _tasks(db, request.ids)
        block = await _block(db, gateway)
        margin = settings.minter.expiry_margin
        outcomes = []
        for task in tasks:
            refusal = _not_for_retry(task)
            if refusal is None and task.valid_until and block.time <= task.valid_until + margin:
                refusal = (
                    f"its message can execute until {task.valid_until:%H:%M:%S} UTC by the chain's "
                    "clock: try again later"
                )
            if refusal is None:
                refusal = await _on_chain(gateway, block, task)
            outcomes.append(Outcome(task, refusal))
        return await _carried_out(db, request, outcomes, TaskEvent.RETRIED)


async def release(settings: Settings, request: Request) -> list[Outcome]:
    """Let tasks go on that were held for their recipient or their user's wallet.

    The minter looks at the wallet again; one that still cannot receive is held anew.

    Raises:
        UsageError: a task is not there.
    """
    async with Database(settings.need("database_url"), settings.database) as db:
        outcomes = [Outcome(task, _not_for_release(task)) for task in await _tasks(db, request.ids)]
        return await _carried_out(db, request, outcomes, TaskEvent.RELEASED)


async def go_on(settings: Settings, code: str, *, dry_run: bool, reason: str | None = None) -> str:
    """End the stop of a type's collection; return why it was stopped.

    `reason`: why it may go on; kept with the name of who says so.

    Raises:
        UsageError: it is not stopped.
    """
    async with (
        Database(settings.need("database_url"), settings.database) as db,
        db.transaction() as conn,
    ):
        await migrations.check(conn)
        stopped = {each.type_code: each.reason for each in await queue_decisions.stopped(conn)}
        was = next((stopped[each] for each in stopped if each == code), None)
        if was is None:
            known = ", ".join(stopped) or "none"
            raise UsageError(f"{code}: no collection of that type is stopped (stopped: {known}).")
        if not dry_run:
            await queue_decisions.go_on(conn, code, actor=operator(), reason=reason)
    return was


async def _tasks(db: Database, ids: Sequence[UUID]) -> list[WaitingTask]:
    async with db.transaction() as conn:
        await migrations.check(conn)
        found = await queue_decisions.by_id(conn, ids)
    missing = set(ids) - {task.id for task in found}
    if missing:
        listed_ids = ", ".join(sorted(map(str, missing)))
        raise UsageError(f"no such task: {listed_ids}. `laurel queue list` prints them.")
    return found


async def _block(db: Database, gateway: ChainGateway) -> Block:
    block = await gateway.newest_block()
    async with db.transaction() as conn:
        wallet = await chain.wallet(conn)
    if wallet is not None and block.seqno < wallet.seqno_seen:
        raise BlockUnknown(
            f"the lite servers are at block {block.seqno}, this database was shown block "
            f"{wallet.seqno_seen}: nothing is concluded from an older one"
        )
    return block


def _not_for_retry(task: WaitingTask) -> str | None:
    match task.status, task.hold_reason:
        case TaskStatus.PENDING, HoldReason.OPERATOR:
            return None
        case TaskStatus.PENDING, None:
            return "it is not held: the minter has it in its queue"
        case TaskStatus.PENDING, HoldReason.BREAKER:
            return "chain and database count differently: `laurel reconcile --repair`"
        case TaskStatus.PENDING, _:
            return f"it waits for a wallet: `laurel queue release {task.id}`"
        case TaskStatus.FAILED, _ if task.operation is TaskOperation.BURN:
            return None
        case TaskStatus.FAILED, _ if task.operation is TaskOperation.REVOKE_SECOND:
            return "`laurel reconcile --repair --revoke-second` asks for it anew"
        case TaskStatus.FAILED, _:
            return "it was cancelled: `laurel badge mint` asks for the token anew"
        case _:
            return f"it is {task.status.value}"


def _not_for_release(task: WaitingTask) -> str | None:
    match task.hold_reason:
        case HoldReason.NO_WALLET | HoldReason.RECIPIENT:
            return None
        case HoldReason.OPERATOR:
            return f"it is parked: `laurel queue retry {task.id}` looks at the chain first"
        case HoldReason.BREAKER:
            return "chain and database count differently: `laurel reconcile --repair`"
        case None:
            return "it is not held"


async def _on_chain(gateway: ChainGateway, block: Block, task: WaitingTask) -> str | None:
    """Return what the chain shows against trying again; None where it shows nothing."""
    if task.operation is TaskOperation.BURN:
        item = None if task.token_id is None else await _item(gateway, block, task.token_id)
        if item is None or item.token is None:
            return "its badge has no token at that address: `laurel reconcile` names it"
        ended = item.token.end is not None
        return "the token has ended already: `laurel reconcile --repair`" if ended else None
    if task.token_index is None or task.collection is None:
        return None
    address = tokens.item_address(task.collection, task.token_index)
    item = await _item(gateway, block, address)
    if item is None or item.token is None:
        return None
    if item.token.content == item_suffix(task.nft_instance_id):
        return "its token is on chain: `laurel reconcile --repair` writes it down"
    return None


async def _item(gateway: ChainGateway, block: Block, address: str) -> Item | None:
    account = await gateway.account(tokens.raw(address), block)
    return None if account.data is None else tokens.parse_item(account.data)


async def _carried_out(
    db: Database, request: Request, outcomes: Sequence[Outcome], event: TaskEvent
) -> list[Outcome]:
    if request.dry_run:
        return list(outcomes)
    chosen = [each.task for each in outcomes if each.refusal is None]
    burns = [task.id for task in chosen if task.status is TaskStatus.FAILED]
    held = [task.id for task in chosen if task.status is TaskStatus.PENDING]
    actor = operator()
    async with db.transaction() as conn:
        done = await queue_decisions.free(conn, held, event, actor=actor, reason=request.reason)
        done |= await queue_decisions.burn_again(conn, burns, actor=actor, reason=request.reason)
    return [
        each
        if each.refusal is not None or each.task.id in done
        else Outcome(each.task, "it moved meanwhile: look again")
        for each in outcomes
    ]
