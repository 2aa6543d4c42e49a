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
from minter.context import Workshop
from minter.signing import Batch, Unsigned
from minter.ton import tokens
from minter.ton.gateway import BlockUnknown, ChainUnreachable
from minter.watching import watch, watch_deploy
from ops import metrics
from ops.errors import LaurelError, LeaseLost, Permanent, Transient
from ops.faults import Point, reach
from ops.lifecycle import Part, Readiness, Stop
from ops.logs import logger
from store import chain, claiming, mint_queue
from store.chain import ChainMessage, Collection
from store.claiming import LeasedTask
from store.engine import DatabaseUnreachable
from store.values import TaskOperation, TypeCode

log = logger("minter")

_HOUSEKEEPING_S = 5.0


class Daemon:
    """One minter. `run` works until it is asked to stop."""

    def __init__(self, shop: Workshop, readiness: Readiness, stop: Stop) -> None:
        self._shop = shop
        self._readiness = readiness
        self._stop = stop
        self._busy: dict[UUID, asyncio.Task[None]] = {}
        self._collections: dict[UUID, Collection] = {}
        self._swept_at = float("-inf")
        self._wake = asyncio.Event()
        self._said: dict[UUID, str] = {}
        self._comparing: asyncio.Task[None] | None = None
        self._compared_at = asyncio.get_running_loop().time()

    async def run(self) -> None:
        """Mint and burn until the stop; then let go of every lease.

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
        interval = self._shop.settings.poll_interval.total_seconds()
        _, unfinished = await asyncio.wait(
            waits, timeout=interval, return_when=asyncio.FIRST_COMPLETED
        )
        for each in unfinished:
            each.cancel()
        self._wake.clear()

    async def _turn(self) -> None:
        await self._shop.view.refresh(self._shop.db)
        self._readiness.arrived(Part.TON)
        await self._keep_house()
        self._readiness.arrived(Part.POSTGRESQL)
        self._compare()
        self._reap()
        while await self._dispatch():
            self._reap()

    async def _dispatch(self) -> bool:
        """Lease what is due and start its work; return whether there was any."""
        shop, token = self._shop, uuid4()
        async with shop.db.transaction() as conn:
            for collection in await chain.collections(conn):
                self._collections[collection.type_id] = collection
            deploys = await chain.unresolved_deploys(conn)
            sent = await claiming.claim_sent(conn, token, shop.settings.lease, list(self._busy))
        started = False
        by_id = {collection.id: collection for collection in self._collections.values()}
        for message in deploys:
            collection = by_id[message.chain_collection_id]
            if collection.type_id not in self._busy:
                self._start(
                    collection.type_id,
                    watch_deploy(shop, message, collection, self._stop),
                    token,
                    [],
                )
        for message_id, group in groupby(sent, key=_message_id):
            tasks = list(group)
            self._start(tasks[0].type_id, self._resume(message_id, tasks, token), token, tasks)
            started = True
        return await self._claim_due() or started

    async def _claim_due(self) -> bool:
        shop, token = self._shop, uuid4()
        async with shop.db.transaction() as conn:
            # As much as one message carries: what is claimed and not signed only costs. The next
            # claim finds other types.
            due = await claiming.claim_due(
                conn, token, shop.settings.lease, shop.settings.claim_limit, list(self._busy)
            )
        if not due:
            return False
        reach(Point.MINTER_CLAIMED)
        for type_id in dict.fromkeys(work.type_id for work in due):
            tasks = [work for work in due if work.type_id == type_id]
            self._start(type_id, self._fresh(tasks, token), token, tasks)
        return True

    async def _fresh(self, tasks: Sequence[LeasedTask], token: UUID) -> None:
        """Sign one message out of leased tasks of one type, and see it through."""
        shop, operation = self._shop, tasks[0].task.operation
        collection = await self._collection(tasks[0].type_id, tasks[0].type_code)
        if collection.deployed_at is None:
            message = await signing.sign_deploy(shop, collection)
            if isinstance(message, ChainMessage):
                await watch_deploy(shop, message, collection, self._stop)
            else:
                self._not_signed(collection, message)
            return
        chosen = [work for work in tasks if work.task.operation is operation]
        sign = signing.sign_mints if operation is TaskOperation.MINT else signing.sign_burns
        signed = await sign(shop, token, chosen, collection)
        if isinstance(signed, Unsigned):
            self._not_signed(collection, signed)
            return
        self._readiness.arrived(Part.WALLET)
        self._said.pop(collection.type_id, None)
        reach(Point.MINTER_SIGNED)
        log.info(
            "message_signed",
            kind=operation.value,
            type=collection.type_code,
            tasks=len(signed.leased),
            message_hash=signed.message.message_hash.hex(),
        )
        await watch(shop, signed, self._stop)

    async def _resume(self, message_id: UUID, tasks: Sequence[LeasedTask], token: UUID) -> None:
        """See a message through that a former minter left."""
        async with self._shop.db.transaction() as conn:
            (message,) = await chain.messages(conn, [message_id])
        by_id = {collection.id: collection for collection in self._collections.values()}
        log.info(
            "message_resumed",
            kind=message.kind.value,
            tasks=len(tasks),
            message_hash=message.message_hash.hex(),
        )
        await watch(
            self._shop,
            Batch(message, by_id[message.chain_collection_id], tuple(tasks), token),
            self._stop,
        )

    async def _collection(self, type_id: UUID, code: TypeCode) -> Collection:
        known = self._collections.get(type_id)
        if known is not None:
            return known
        shop, base = self._shop, self._shop.metadata_base_url
        prefix, about = tokens.item_prefix(base, code), tokens.collection_uri(base, code)
        contract = tokens.collection(shop.wallet.address, about, prefix)
        async with shop.db.transaction() as conn:
            return await chain.add_collection(
                conn,
                type_id,
                shop.wallet_id,
                address=contract.address,
                content_uri=about,
                item_prefix=prefix,
            )

    def _not_signed(self, collection: Collection, unsigned: Unsigned) -> None:
        if unsigned.poor:
            self._readiness.wait_for(Part.WALLET, unsigned.reason)
        if self._said.get(collection.type_id) != unsigned.reason:
            log.warning("not_signed", type=collection.type_code, reason=unsigned.reason)
        self._said[collection.type_id] = unsigned.reason

    def _start(
        self,
        type_id: UUID,
        work: Coroutine[object, object, None],
        token: UUID,
        tasks: Sequence[LeasedTask],
    ) -> None:
        self._busy[type_id] = asyncio.create_task(
            self._guarded(work, token, [task.task.id for task in tasks])
        )

    async def _guarded(
        self, work: Coroutine[object, object, None], token: UUID, task_ids: Sequence[UUID]
    ) -> None:
        """Run one collection's work; whatever ends it, its leases are given back."""
        try:
            await work
        except (Transient, Permanent, LeaseLost) as error:
            _count(error)
        finally:
            await self._give_back(token, task_ids)
            self._wake.set()

    async def _give_back(self, token: UUID, task_ids: Sequence[UUID]) -> None:
        try:
            async with self._shop.db.transaction() as conn:
                await claiming.release(conn, token, task_ids, self._shop.settings.poll_interval)
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
            and now - self._compared_at >= self._shop.settings.reconcile_every.total_seconds()
        ):
            self._compared_at = now
            self._comparing = asyncio.create_task(self._report())

    async def _report(self) -> None:
        try:
            report = await reconcile.reconcile(self._shop.db, self._shop.gateway, repair=False)
        except (Transient, Permanent) as error:
            _count(error)
            return
        say = log.warning if report.noted else log.info
        say(
            "reconciled",
            seqno=report.seqno,
            tokens=report.tokens,
            findings=len(report.noted),
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

    async def _keep_house(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._swept_at < _HOUSEKEEPING_S:
            return
        self._swept_at = now
        async with self._shop.db.transaction() as conn:
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
