"""The mint daemon.

One loop that leases work, and one task a collection that signs, sends and watches a message.

Several daemons may run side by side: leases keep them apart, and what one leaves behind another one
takes over when the lease runs out.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from itertools import groupby
from uuid import UUID, uuid4

from minter import reconcile, signing
from minter.context import MinterContext
from minter.signing import NothingSigned, SignedBatch
from minter.ton import metadata_uris, tokens
from minter.ton.gateway import BlockUnknown, ChainUnreachable
from minter.watching import watch, watch_deploy
from ops import metrics
from ops.errors import LaurelError, LeaseLost, Permanent, Transient
from ops.faults import reach
from ops.lifecycle import Part, Readiness, Stop
from ops.logs import logger
from store import chain, claiming, mint_queue
from store.chain import Collection, MessageRecord
from store.claiming import LeasedTask
from store.engine import DatabaseUnreachable
from store.values import LeaseToken, TaskOperation, TypeCode

log = logger("minter")

_MAINTENANCE_EVERY_S = 5.0


class Daemon:
    """One minter. `run` works until it is asked to stop."""

    def __init__(self, ctx: MinterContext, readiness: Readiness, stop: Stop) -> None:
        self._ctx = ctx
        self._readiness = readiness
        self._stop = stop
        self._busy: dict[UUID, asyncio.Task[None]] = {}
        self._collections: dict[UUID, Collection] = {}
        self._swept_at = float("-inf")
        self._wake = asyncio.Event()
        self._reported: dict[UUID, str] = {}
        self._comparing: asyncio.Task[None] | None = None
        self._compared_at = asyncio.get_running_loop().time()

    async def run(self) -> None:
        """Mint and burn until the stop; then release every lease.

        Raises:
            InvariantBroken: something that cannot be, is; the process has to end.
        """
        self._readiness.arrived(Part.START)
        try:
            while not self._stop.requested:
                try:
                    await self._turn()
                except (ChainUnreachable, BlockUnknown) as error:
                    self._readiness.wait_for(Part.TON, error.message)
                    _count(error)
                except DatabaseUnreachable as error:
                    self._readiness.wait_for(Part.POSTGRESQL, error.message)
                    _count(error)
                except (Transient, LeaseLost) as error:
                    _count(error)
                await self._pause()
        finally:
            await self._drain()

    async def _pause(self) -> None:
        """Wait for a poll interval, a collection that is free again, or the stop."""
        waits = {asyncio.ensure_future(self._stop.wait()), asyncio.ensure_future(self._wake.wait())}
        interval = self._ctx.settings.poll_interval.total_seconds()
        _, unfinished = await asyncio.wait(
            waits, timeout=interval, return_when=asyncio.FIRST_COMPLETED
        )
        for each in unfinished:
            each.cancel()
        self._wake.clear()

    async def _turn(self) -> None:
        await self._ctx.view.refresh(self._ctx.db)
        self._readiness.arrived(Part.TON)
        await self._maintain()
        self._readiness.arrived(Part.POSTGRESQL)
        self._compare()
        self._reap()
        while await self._dispatch():
            self._reap()

    async def _dispatch(self) -> bool:
        """Lease what is due and start its work; return whether there was any."""
        ctx, lease = self._ctx, LeaseToken(uuid4())
        async with ctx.db.transaction() as conn:
            for collection in await chain.collections(conn):
                self._collections[collection.type_id] = collection
            deploys = await chain.unresolved_deploys(conn)
            sent = await claiming.claim_sent(conn, lease, ctx.settings.lease, list(self._busy))
        started = False
        by_id = {collection.id: collection for collection in self._collections.values()}
        for message in deploys:
            collection = by_id[message.chain_collection_id]
            if collection.type_id not in self._busy:
                self._start(
                    collection.type_id,
                    watch_deploy(ctx, message, collection, self._stop),
                    lease,
                    [],
                )
        for message_id, group in groupby(sent, key=_message_id):
            tasks = list(group)
            self._start(tasks[0].type_id, self._resume(message_id, tasks, lease), lease, tasks)
            started = True
        return await self._claim_due() or started

    async def _claim_due(self) -> bool:
        ctx, lease = self._ctx, LeaseToken(uuid4())
        async with ctx.db.transaction() as conn:
            # As much as one message carries: what is claimed and not signed only costs. The next
            # claim finds other types.
            due = await claiming.claim_due(
                conn, lease, ctx.settings.lease, ctx.settings.claim_limit, list(self._busy)
            )
        if not due:
            return False
        reach("minter.claimed")
        for type_id in dict.fromkeys(work.type_id for work in due):
            tasks = [work for work in due if work.type_id == type_id]
            self._start(type_id, self._sign_and_watch(tasks, lease), lease, tasks)
        return True

    async def _sign_and_watch(self, tasks: Sequence[LeasedTask], lease: LeaseToken) -> None:
        """Sign one message out of leased tasks of one type, and see it through."""
        ctx, operation = self._ctx, tasks[0].task.operation
        collection = await self._collection(tasks[0].type_id, tasks[0].type_code)
        if collection.deployed_at is None:
            message = await signing.sign_deploy(ctx, collection)
            if isinstance(message, MessageRecord):
                await watch_deploy(ctx, message, collection, self._stop)
            else:
                self._not_signed(collection, message)
            return
        chosen = [work for work in tasks if work.task.operation is operation]
        sign = signing.sign_mints if operation is TaskOperation.MINT else signing.sign_burns
        signed = await sign(ctx, lease, chosen, collection)
        if isinstance(signed, NothingSigned):
            self._not_signed(collection, signed)
            return
        self._readiness.arrived(Part.WALLET)
        self._reported.pop(collection.type_id, None)
        reach("minter.signed")
        log.info(
            "message_signed",
            kind=operation.value,
            type=collection.type_code,
            tasks=len(signed.leased),
            message_hash=signed.message.message_hash.hex(),
        )
        await watch(ctx, signed, self._stop)

    async def _resume(
        self, message_id: UUID, tasks: Sequence[LeasedTask], lease: LeaseToken
    ) -> None:
        """See a message through that a former minter left."""
        async with self._ctx.db.transaction() as conn:
            (message,) = await chain.messages(conn, [message_id])
        by_id = {collection.id: collection for collection in self._collections.values()}
        log.info(
            "message_resumed",
            kind=message.kind.value,
            tasks=len(tasks),
            message_hash=message.message_hash.hex(),
        )
        await watch(
            self._ctx,
            SignedBatch(message, by_id[message.chain_collection_id], tuple(tasks), lease),
            self._stop,
        )

    async def _collection(self, type_id: UUID, code: TypeCode) -> Collection:
        known = self._collections.get(type_id)
        if known is not None:
            return known
        ctx, base = self._ctx, self._ctx.metadata_base_url
        prefix, about = (
            metadata_uris.item_prefix(base, code),
            metadata_uris.collection_uri(base, code),
        )
        contract = tokens.collection(ctx.wallet.address, about, prefix)
        async with ctx.db.transaction() as conn:
            return await chain.add_collection(
                conn,
                type_id,
                ctx.wallet_id,
                address=contract.address,
                content_uri=about,
                item_prefix=prefix,
            )

    def _not_signed(self, collection: Collection, unsigned: NothingSigned) -> None:
        if unsigned.insufficient_funds:
            self._readiness.wait_for(Part.WALLET, unsigned.reason)
        if self._reported.get(collection.type_id) != unsigned.reason:
            log.warning("not_signed", type=collection.type_code, reason=unsigned.reason)
        self._reported[collection.type_id] = unsigned.reason

    def _start(
        self,
        type_id: UUID,
        work: Coroutine[object, object, None],
        lease: LeaseToken,
        tasks: Sequence[LeasedTask],
    ) -> None:
        self._busy[type_id] = asyncio.create_task(
            self._guarded(work, lease, [task.task.id for task in tasks])
        )

    async def _guarded(
        self, work: Coroutine[object, object, None], lease: LeaseToken, task_ids: Sequence[UUID]
    ) -> None:
        """Run one collection's work; whatever ends it, its leases are released."""
        try:
            await work
        except (Transient, Permanent, LeaseLost) as error:
            _count(error)
        finally:
            await self._release(lease, task_ids)
            self._wake.set()

    async def _release(self, lease: LeaseToken, task_ids: Sequence[UUID]) -> None:
        try:
            async with self._ctx.db.transaction() as conn:
                await claiming.release(conn, lease, task_ids, self._ctx.settings.poll_interval)
        except Transient as error:
            _count(error)  # the leases run out by themselves

    def _reap(self) -> None:
        for type_id, task in list(self._busy.items()):
            if task.done():
                del self._busy[type_id]
                task.result()  # raises what must end the process

    def _compare(self) -> None:
        """Start a reconcile that only reports, every `reconcile_every`; never two at once."""
        now = asyncio.get_running_loop().time()
        if self._comparing is not None and self._comparing.done():
            self._comparing.result()
            self._comparing = None
        if (
            self._comparing is None
            and now - self._compared_at >= self._ctx.settings.reconcile_every.total_seconds()
        ):
            self._compared_at = now
            self._comparing = asyncio.create_task(self._report())

    async def _report(self) -> None:
        try:
            report = await reconcile.reconcile(self._ctx.db, self._ctx.gateway, repair=False)
        except (Transient, Permanent) as error:
            _count(error)
            return
        say = log.warning if report.findings else log.info
        say(
            "reconciled",
            seqno=report.seqno,
            tokens=report.tokens,
            findings=len(report.findings),
            seconds=report.seconds,
        )

    async def _drain(self) -> None:
        """Wait for the collections' tasks.

        Each returns at its next look once the stop was asked for.
        """
        if self._comparing is not None:
            self._comparing.cancel()
        results = await asyncio.gather(*self._busy.values(), return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                log.error("work_failed", error=repr(result))

    async def _maintain(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._swept_at < _MAINTENANCE_EVERY_S:
            return
        self._swept_at = now
        async with self._ctx.db.transaction() as conn:
            freed = await mint_queue.sweep_held(conn)
            counted = await claiming.counts(conn)
        if freed:
            log.info("held_tasks_freed", tasks=freed)
        metrics.TASKS.clear()
        for count in counted:
            hold = count.hold_reason.value if count.hold_reason else "none"
            metrics.TASKS.labels(count.operation.value, count.status.value, hold).set(count.tasks)


def _message_id(work: LeasedTask) -> UUID:
    if work.task.chain_message_id is None:
        raise LookupError(f"task {work.task.id} is sent without a message")
    return work.task.chain_message_id


def _count(error: LaurelError) -> None:
    metrics.ERRORS.labels(error.code).inc()
    log.warning("step_given_up", code=error.code, reason=error.message, **error.details)
