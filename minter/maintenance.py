"""What a minter does beside minting: free held tasks, count the queue, compare with the chain."""

import asyncio
from datetime import timedelta

from minter import reconcile
from minter.context import MinterContext
from minter.queue_gauges import QueueGauges
from ops.errors import Permanent, Transient
from ops.logs import logger
from store import fence, mint_queue

log = logger("minter")

_SWEEP_EVERY = timedelta(seconds=5)
# Reads side by side of a comparison: those of a mint beside it wait for few of them.
_COMPARED_AT_ONCE = 4
# Tasks that wait for a wallet and are looked at in one sweep: the loop that mints waits for it.
_SWEPT_AT_ONCE = 2_000
# While minting is shut and a person asked for a repair: what is restored may still count on.
_REPAIR_EVERY = timedelta(seconds=15)


class Maintenance:
    """The periodic work of one daemon; each call does what is due by now."""

    def __init__(self, ctx: MinterContext) -> None:
        self._ctx = ctx
        self._swept_at = float("-inf")
        self._swept_to = mint_queue.BEFORE_ALL
        self._gauges = QueueGauges(ctx)
        # The first comparison comes after `reconcile_every`: a minter that starts has work to do.
        self._compared_at = ctx.clock.monotonic()
        self._comparing: asyncio.Task[None] | None = None

    async def sweep(self) -> None:
        """Free held tasks whose user has a wallet now, where that is due.

        Raises:
            DatabaseUnreachable: PostgreSQL does not answer.
        """
        now = self._ctx.clock.monotonic()
        if now - self._swept_at < _SWEEP_EVERY.total_seconds():
            return
        self._swept_at = now
        async with self._ctx.db.transaction() as conn:
            swept = await mint_queue.sweep_some(conn, self._swept_to, _SWEPT_AT_ONCE)
        # After the last of them comes the first again.
        self._swept_to, freed = swept.reached, swept.freed
        async with self._ctx.db.transaction() as conn:
            if (shut := self._ctx.view.shut) is not None:
                await fence.hold_waiting(conn, shut.reason)
            else:
                freed += await fence.free_held(conn)
        if freed:
            log.debug("held_tasks_freed", tasks=freed)
            self._ctx.steps.add(freed=freed)

    def count(self) -> None:
        """Start counting the queue for the metrics, where that is due."""
        self._gauges.look()

    def compare(self) -> None:
        """Start a reconcile, where one is due; never two at once.

        It only reports, and asks for burns that nobody asked for, unless minting is shut and a
        person asked for a repair.

        Raises:
            LaurelError: the last one ended with an error that must end the process.
        """
        if self._comparing is not None and self._comparing.done():
            self._comparing.result()
            self._comparing = None
        now = self._ctx.clock.monotonic()
        repair = self._may_repair()
        every = _REPAIR_EVERY if repair else self._ctx.settings.reconcile_every
        if self._comparing is None and now - self._compared_at >= every.total_seconds():
            self._compared_at = now
            self._comparing = asyncio.create_task(self._report(repair=repair))

    async def close(self) -> None:
        """Give up what is under way."""
        await self._gauges.close()
        if self._comparing is not None:
            self._comparing.cancel()
            await asyncio.gather(self._comparing, return_exceptions=True)

    def _may_repair(self) -> bool:
        block, _ = self._ctx.view.current
        shut = self._ctx.view.shut
        return shut is not None and shut.repair_asked and block.time > shut.until

    async def _report(self, *, repair: bool) -> None:
        ctx = self._ctx
        terms = reconcile.Terms(
            ctx.settings.expiry_margin,
            ctx.metadata_base_url,
            reads_at_once=_COMPARED_AT_ONCE,
            burns=True,
        )
        try:
            report = await reconcile.reconcile(
                ctx.db, ctx.gateway, repair=repair, terms=terms, clock=ctx.clock
            )
        except (Transient, Permanent) as error:
            ctx.count_error(error)
            return
        say = log.warning if report.findings else log.info
        say(
            "reconciled",
            seqno=report.seqno,
            tokens=report.tokens,
            findings=len(report.findings),
            repaired=report.repaired,
            seconds=report.seconds,
        )
