"""The mint daemon.

One loop that leases work, and one task a collection that signs, sends and watches a message.

Several daemons may run side by side: leases keep them apart, and what one leaves behind another one
takes over when the lease runs out.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from datetime import timedelta
from itertools import groupby
from typing import Any
from uuid import UUID, uuid4

from minter import collections, signing
from minter.context import MinterContext
from minter.maintenance import Maintenance
from minter.message_signing import NothingSigned, Obstacle, SignedBatch, spendable_nano
from minter.resting import Rests
from minter.ton.gateway import BlockUnknown, ChainUnreachable, HistoryForgotten
from minter.waiting import first_of
from minter.watching import watch, watch_deploy
from ops import metrics
from ops.errors import InvariantBroken, LaurelError, LeaseLost, Permanent, Transient, code_of
from ops.faults import Point, reach
from ops.lifecycle import Part, Readiness, Stop
from ops.logs import logger
from ops.watchdog import Watchdog
from store import chain, chain_messages, claiming
from store.chain import Collection
from store.chain_messages import MessageRecord
from store.engine import DatabaseUnreachable
from store.values.minting import LeasedTask, MessageKind, TaskOperation
from store.values.names import LeaseToken, TypeCode

log = logger("minter")

# Of a block, by this host's clock: blocks come every second or so.
_OLD = timedelta(seconds=60)
_STOPPED = "collection "
_LONGEST_PAUSE = timedelta(seconds=5)
# What passes by itself, or has a line of its own (`wallet_ran_dry`, `minting_shut`,
# `collection_stopped`).
_TOLD_ELSEWHERE = frozenset(
    {
        Obstacle.NOTHING_LEFT,
        Obstacle.MESSAGE_UNDER_WAY,
        Obstacle.OVERTAKEN,
        Obstacle.MONEY_PROMISED,
        Obstacle.INSUFFICIENT_FUNDS,
        Obstacle.MINTING_SHUT,
        Obstacle.STOPPED,
    }
)


class Daemon:
    """One minter. `run` works until it is asked to stop.

    Args:
        ctx: database, chain, wallet and settings.
        readiness: shows what is waited for.
        stop: asks for the end.
        watchdog: watches each turn, and each collection's work.
    """

    def __init__(
        self, ctx: MinterContext, readiness: Readiness, stop: Stop, watchdog: Watchdog
    ) -> None:
        self._ctx = ctx
        self._readiness = readiness
        self._stop = stop
        self._watchdog = watchdog
        self._maintenance = Maintenance(ctx)
        self._busy: dict[UUID, asyncio.Task[None]] = {}
        self._collections: dict[UUID, Collection] = {}
        self._wake = asyncio.Event()
        # What kept messages from being signed, so that it is logged once and not every turn.
        self._obstacles: dict[tuple[UUID, MessageKind], Obstacle] = {}
        self._stopped: tuple[UUID, ...] = ()
        self._rests = Rests(ctx.settings.poll_interval.total_seconds())
        # turns in a row that ended with an error
        self._failures = 0

    async def run(self) -> None:
        """Mint and burn until the stop; then release every lease.

        Raises:
            InvariantBroken: something that cannot be, is; the process has to end.
            RecordGone: this database does not know the wallet; the process has to start anew.
        """
        self._show_shut()
        self._readiness.arrived(Part.START)
        try:
            while not self._stop.requested:
                self._failures += 1
                # Also while no lite server answers: what waits grows old then.
                self._maintenance.count()
                try:
                    with self._watchdog.work("the minter's turn"):
                        await self._turn()
                    self._failures = 0
                except (ChainUnreachable, BlockUnknown, HistoryForgotten) as error:
                    self._tell_age(error)
                    self._ctx.count_error(error)
                except DatabaseUnreachable as error:
                    self._readiness.wait_for(Part.POSTGRESQL, error.message, error.code)
                    self._ctx.count_error(error)
                except (Transient, LeaseLost) as error:
                    self._ctx.count_error(error)
                self._ctx.steps.tell()
                await self._pause()
        finally:
            await self._drain()

    async def _pause(self) -> None:
        """Wait for a poll interval, a collection that is free again, or the stop.

        Longer after errors: an outage is no reason for a storm of attempts and log lines.
        """
        pause = self._ctx.settings.poll_interval * 2 ** min(self._failures, 10)
        longest = max(_LONGEST_PAUSE, self._ctx.settings.poll_interval)
        interval = self._ctx.clock.sleep(min(pause, longest))
        await first_of(self._stop.wait(), self._wake.wait(), interval)
        self._wake.clear()

    async def _turn(self) -> None:
        await first_of(self._ctx.view.refresh(self._ctx.db), self._stop.wait())
        if self._stop.requested:
            return
        self._tell_age()
        self._show_shut()
        await self._maintenance.sweep()
        self._maintenance.compare()
        self._reap()
        while await self._dispatch():
            self._reap()

    def _show_shut(self) -> None:
        shut = self._ctx.view.shut
        if shut is None:
            self._readiness.arrived(Part.BREAKER)
            return
        way_out = (
            "" if shut.repair_asked or not shut.needs_repair else "; `laurel reconcile --repair`"
        )
        until = f"not before {shut.until:%Y-%m-%d %H:%M:%S} UTC by the chain's clock"
        self._readiness.wait_for(Part.BREAKER, f"{shut.reason}; {until}{way_out}")

    def _tell_age(self, unreachable: LaurelError | None = None) -> None:
        """Show in /ready how old the newest block is, and wait for TON where no newer one comes."""
        view, readiness = self._ctx.view, self._readiness
        age_s, seqno = view.age().total_seconds(), view.current[0].seqno
        readiness.facts |= {"block": seqno, "block_age_seconds": round(age_s, 1)}
        newest = f"the newest block, {seqno}, is {age_s:.0f} s old"
        if unreachable is not None:
            reason = f"{unreachable.message}; {newest}"
            readiness.wait_for(Part.TON, reason, unreachable.code)
        elif view.stalled:
            reason = f"no lite server has a newer block: {newest}"
            readiness.wait_for(Part.TON, reason, "chain_stands")
        else:
            readiness.arrived(Part.TON)
        readiness.degraded.pop("block age", None)
        if age_s > _OLD.total_seconds():
            readiness.degraded["block age"] = (
                f"{newest}: all lite servers lag, or this host's clock is ahead of the network's"
            )

    async def _dispatch(self) -> bool:
        """Lease what is due and start its work; return whether there was any."""
        ctx, lease = self._ctx, LeaseToken(uuid4())
        async with ctx.db.transaction() as conn:
            # Anew: a database that went back may lack some.
            self._collections = {each.type_id: each for each in await chain.collections(conn)}
            deploys = await chain_messages.unresolved_deploys(conn)
            self._note_stopped()
            sent = await claiming.claim_sent(conn, lease, ctx.settings.lease, list(self._busy))
        # Not before: what comes before it in a turn need not have asked the database.
        self._readiness.arrived(Part.POSTGRESQL)
        by_id = {collection.id: collection for collection in self._collections.values()}
        for message in deploys:
            collection = by_id[message.chain_collection_id]
            if collection.type_id not in self._busy:
                work = watch_deploy(ctx, message, collection, self._stop)
                self._start(collection.type_id, work, lease, [])
        started = False
        for message_id, group in groupby(sent, key=_message_id):
            tasks = list(group)
            self._start(tasks[0].type_id, self._resume(message_id, tasks, lease), lease, tasks)
            started = True
        if ctx.view.shut is not None:
            return started
        return await self._claim_due() or started

    def _note_stopped(self) -> None:
        """Show in /ready and as a metric which collections wait for a person; leave them alone."""
        stopped = [each for each in self._collections.values() if each.stopped_reason is not None]
        self._stopped = tuple(each.type_id for each in stopped)
        degraded = self._readiness.degraded
        for place in [place for place in degraded if place.startswith(_STOPPED)]:
            del degraded[place]
        metrics.COLLECTIONS_STOPPED.clear()
        for each in stopped:
            metrics.COLLECTIONS_STOPPED.labels(each.type_code, each.stopped_reason).set(1)
            degraded[f"{_STOPPED}{each.type_code}"] = (
                f"{each.stopped_reason}; mend it, then `laurel queue release --type "
                f"{each.type_code}`"
            )

    async def _claim_due(self) -> bool:
        ctx, lease = self._ctx, LeaseToken(uuid4())
        now = ctx.clock.monotonic()
        async with ctx.db.transaction() as conn:
            if self._rests.for_money(now):
                self._rests.can_spend(await spendable_nano(conn, ctx))
            # Of each type as much as a message carries: what is claimed and not signed only costs.
            due = await claiming.claim_due(
                conn,
                lease,
                ctx.settings.lease,
                ctx.settings.claim_limit,
                [*self._busy, *self._stopped, *self._rests.resting(now)],
                without_mints=self._rests.unpaid(MessageKind.MINT, now),
                without_burns=self._rests.unpaid(MessageKind.BURN, now),
            )
        if not due:
            if not self._busy:
                self._show_paid()
            return False
        reach(Point.MINTER_CLAIMED)
        for type_id in dict.fromkeys(task.type_id for task in due):
            tasks = [task for task in due if task.type_id == type_id]
            self._start(type_id, self._sign_and_watch(tasks, lease), lease, tasks)
        return True

    def _show_paid(self) -> None:
        """Show in /ready that the wallet can pay, unless something rests for want of money."""
        if not self._rests.for_money(self._ctx.clock.monotonic()):
            self._readiness.arrived(Part.WALLET)

    async def _sign_and_watch(self, tasks: Sequence[LeasedTask], lease: LeaseToken) -> None:
        """Sign one message out of leased tasks of one type and operation, and see it through."""
        ctx, operation = self._ctx, tasks[0].operation
        kind = MessageKind.MINT if operation is TaskOperation.MINT else MessageKind.BURN
        collection = await self._collection(tasks[0].type_id, tasks[0].type_code)
        if collection.deployed_at is None:
            message = await signing.sign_deploy(ctx, collection)
            if isinstance(message, MessageRecord):
                ctx.steps.add(messages=1)
                await watch_deploy(ctx, message, collection, self._stop)
            else:
                self._not_signed(collection, kind, message)
            return
        signed = await signing.sign(ctx, lease, tasks, collection)
        if isinstance(signed, NothingSigned):
            self._not_signed(collection, kind, signed)
            return
        self._obstacles.pop((collection.type_id, kind), None)
        self._rests.forget(collection.type_id, kind)
        self._show_paid()
        reach(Point.MINTER_SIGNED)
        ctx.steps.add(messages=1, tasks=len(signed.tasks))
        log.debug(
            "message_signed",
            kind=operation.value,
            type=collection.type_code,
            tasks=len(signed.tasks),
            message_hash=signed.message.message_hash.hex(),
        )
        await watch(ctx, signed, self._stop)

    async def _resume(
        self, message_id: UUID, tasks: Sequence[LeasedTask], lease: LeaseToken
    ) -> None:
        """See a message through that a former minter left."""
        async with self._ctx.db.transaction() as conn:
            message = await chain_messages.one(conn, message_id)
        by_id = {collection.id: collection for collection in self._collections.values()}
        self._ctx.steps.add(resumed=1)
        log.debug(
            "message_resumed",
            kind=message.kind.value,
            tasks=len(tasks),
            message_hash=message.message_hash.hex(),
        )
        collection = by_id[message.chain_collection_id]
        signed_ago = self._ctx.clock.now() - message.created_at
        batch = SignedBatch(message, collection, tuple(tasks), lease, signed_ago)
        await watch(self._ctx, batch, self._stop)

    async def _collection(self, type_id: UUID, code: TypeCode) -> Collection:
        known = self._collections.get(type_id)
        if known is not None:
            return known
        ctx = self._ctx
        async with ctx.db.transaction() as conn:
            wallet = (ctx.wallet_id, ctx.wallet.address)
            return await collections.add(conn, wallet, ctx.metadata_base_url, (type_id, code))

    def _not_signed(
        self, collection: Collection, kind: MessageKind, nothing: NothingSigned
    ) -> None:
        type_id, now = collection.type_id, self._ctx.clock.monotonic()
        obstacle, reason = nothing.obstacle, nothing.reason
        metrics.NOT_SIGNED.labels(kind.value, obstacle.value).inc()
        if obstacle is Obstacle.INSUFFICIENT_FUNDS:
            self._readiness.wait_for(Part.WALLET, reason, obstacle.value)
        if nothing.needed_nano:
            self._rests.rest_for_money(type_id, kind, nothing.needed_nano, now)
        else:
            self._rests.rest(type_id, now)
        told = {"type": collection.type_code, "code": obstacle.value, "reason": reason}
        # Once, and then counted.
        if obstacle in _TOLD_ELSEWHERE or self._obstacles.get((type_id, kind)) is obstacle:
            log.debug("not_signed", **told)
        else:
            log.warning("not_signed", **told)
        self._obstacles[type_id, kind] = obstacle

    def _start(
        self,
        type_id: UUID,
        work: Coroutine[Any, Any, None],
        lease: LeaseToken,
        tasks: Sequence[LeasedTask],
    ) -> None:
        guarded = self._guarded(type_id, work, lease, [task.id for task in tasks])
        self._busy[type_id] = asyncio.create_task(guarded)

    async def _guarded(
        self,
        type_id: UUID,
        work: Coroutine[Any, Any, None],
        lease: LeaseToken,
        task_ids: Sequence[UUID],
    ) -> None:
        """Run one collection's work; whatever ends it, its leases are released."""
        with self._watchdog.work("a collection's work"):
            try:
                await work
            except (Transient, Permanent, LeaseLost) as error:
                self._ctx.count_error(error)
                self._rests.rest(type_id, self._ctx.clock.monotonic())
            finally:
                await self._release(lease, task_ids)
                self._wake.set()

    async def _release(self, lease: LeaseToken, task_ids: Sequence[UUID]) -> None:
        try:
            async with self._ctx.db.transaction() as conn:
                # In their old places: the type rests, not its tasks.
                await claiming.release(conn, lease, task_ids, timedelta())
        except Transient as error:
            # The leases run out by themselves.
            self._ctx.count_error(error)

    def _reap(self) -> None:
        for type_id, task in list(self._busy.items()):
            if task.done():
                del self._busy[type_id]
                task.result()  # raises what must end the process

    async def _drain(self) -> None:
        """Wait for the collections' tasks.

        Each returns at its next look once the stop was asked for.
        """
        await self._maintenance.close()
        results = await asyncio.gather(*self._busy.values(), return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                log.error("work_failed", code=code_of(result), error=repr(result))
        self._ctx.steps.log()


def _message_id(task: LeasedTask) -> UUID:
    if task.chain_message_id is None:
        raise InvariantBroken("a sent task has no message", task=str(task.id))
    return task.chain_message_id
