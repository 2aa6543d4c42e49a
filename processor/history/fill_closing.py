"""Close a fill: give users what it took, a few at a time, as if they had had the counter then.

A slice of users is one transaction, made of the statements of a batch in the order of its locks:
members, counters, badges, messages; and what the fill had for those users goes in it. So each user
is given it once, whoever is killed where, and beside batches that count for the same ones. Then the
keys of the events go, and the fill is closed for good.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from uuid import UUID

from ops.clock import SYSTEM_CLOCK, Clock
from ops.errors import UsageError
from ops.faults import Point, reach
from processor.batch import level_changes
from processor.batch.decisions import Decisions
from processor.batch.stats import observe_levels
from processor.batch.writing import write_badges
from processor.catalog.job import SliceSize
from processor.history import fill as filling
from processor.rules.counters import Contribution, counter_bindings
from processor.rules.levels import Rulebook
from store import (
    catalog_use,
    catalogs,
    counting,
    fill_closing,
    fills,
    instances,
    mint_queue,
    outbox,
)
from store.counting import Sums
from store.engine import Connection, Database, StatementTimedOut
from store.fills import Fill, FillableCounter
from store.instances import Provenance
from store.merge_statement import MergeStatement
from store.values.badges import Actor
from store.values.catalog import CounterOperation
from store.values.fills import FillState


@dataclass(frozen=True, slots=True)
class ClosingOptions:
    """How a fill is closed. `silent`: no messages about what it gives; `no_mint`: no tokens."""

    silent: bool = False
    no_mint: bool = False


@dataclass(frozen=True, slots=True)
class _Rules:
    """What a catalog version says of one counter."""

    rulebook: Rulebook
    statement: MergeStatement


class FillCloser:
    """Gives users what a fill has taken.

    Args:
        database: where the fill is.
        counter: that is given its past.
        tenant_id: of badges that are given now: no event names one.
        clock: for the messages, and to measure slices.
        size: of the first slice; it follows what slices take.
    """

    def __init__(
        self,
        database: Database,
        counter: FillableCounter,
        tenant_id: UUID,
        clock: Clock = SYSTEM_CLOCK,
        size: SliceSize | None = None,
    ) -> None:
        self._db = database
        self._counter = counter
        self._tenant_id = tenant_id
        self._clock = clock
        self._size = size or SliceSize()
        self._compiled: _Rules | None = None

    async def close(
        self, options: ClosingOptions, report: Callable[[Fill], None] = lambda _: None
    ) -> Fill:
        """Go on until the fill is closed; return it.

        Args:
            options: for all of it: what goes on says the same.
            report: told after each slice.

        Raises:
            UsageError: there is no fill, it is being undone, or its closing began with other
                options.
            StatementTimedOut: a slice of one user takes too long.
        """
        fill = await self._db.retried("fill_close", lambda conn: self._begin(conn, options))
        while fill.state is FillState.CLOSING:
            after = await self._next()
            if after is None:
                await filling.forget(self._db, self._counter.id)
                fill = await self._db.retried("fill_close", self._end)
            else:
                fill = after
                report(fill)
        return fill

    async def _begin(self, conn: Connection, options: ClosingOptions) -> Fill:
        fill = await self._held(conn)
        match fill.state:
            case FillState.OPEN if not fill.events:
                raise UsageError(
                    f"The fill of {fill.name} has taken no event: there is nothing to close."
                )
            case FillState.OPEN:
                begun = replace(
                    fill, state=FillState.CLOSING, silent=options.silent, no_mint=options.no_mint
                )
                await fills.save(conn, begun)
                # What it took cannot be told again: the catalog keeps the counter from now on.
                await catalog_use.mark_counted(conn, [self._counter.id])
                return begun
            case FillState.CLOSING if options != ClosingOptions(fill.silent, fill.no_mint):
                raise UsageError(
                    f"Closing the fill of {fill.name} began with {_words(fill)}, and "
                    f"{fill.users} users have theirs: go on with the same."
                )
            case FillState.UNDOING:
                filling.refuse_unless_open(fill)
        return fill

    async def _held(self, conn: Connection) -> Fill:
        await catalogs.current_for_share(conn)
        fill = await fills.take(conn, self._counter.id)
        if fill is None:
            raise UsageError(
                f"No fill of {self._counter.name} is open. Give it a source first: `laurel history "
                f"fill --counter {self._counter.name} SOURCE`."
            )
        return fill

    async def _end(self, conn: Connection) -> Fill:
        closed = replace(await self._held(conn), state=FillState.CLOSED)
        await fills.save(conn, closed)
        return closed

    async def _next(self) -> Fill | None:
        """Do one slice; return the fill after it, None where nobody is left."""
        while True:
            started = self._clock.monotonic()
            try:
                done = await self._db.retried("fill_close", self._slice)
            except StatementTimedOut:
                if not self._size.halve():
                    raise
                continue
            reach(Point.CLOSING_COMMITTED)
            self._size.took(self._clock.monotonic() - started)
            if done is None:
                return None
            fill, levels = done
            observe_levels(levels)
            return fill

    async def _slice(self, conn: Connection) -> tuple[Fill, Counter[tuple[str, int]]] | None:
        fill = await self._held(conn)
        shares = await fill_closing.shares(conn, fill.counter_id, self._size.users)
        if not shares:
            return None
        reach(Point.CLOSING_HELD)
        users = [each.user_id for each in shares]
        rules = await self._rules(conn)
        sums = Sums(rules.statement)
        operation = CounterOperation.MAX if self._counter.is_max else CounterOperation.ADD
        for each in shares:
            part = Contribution(fill.counter_id, operation, each.amount)
            sums.add(each.user_id, each.latest, [part])
        await counting.prepare(conn, rules.statement)
        await fill_closing.add_members(conn, self._counter, users, sums)
        reach(Point.CLOSING_PAIRED)
        await level_changes.adopt(conn, users)
        changed = await counting.merge(conn, sums)
        reach(Point.CLOSING_MERGED)
        rows = Decisions(self._clock.now(), publish=not fill.silent, mint=not fill.no_mint)
        await self._decide(conn, rules.rulebook, changed, rows)
        await fill_closing.forget_users(conn, fill.counter_id, users)
        reach(Point.CLOSING_FORGOTTEN)
        after = replace(
            fill,
            users=fill.users + len(users),
            awarded=fill.awarded + len(rows.created),
            raised=fill.raised + len(rows.raised),
        )
        await fills.save(conn, after)
        reach(Point.CLOSING_SAVED)
        return after, rows.levels

    async def _decide(
        self,
        conn: Connection,
        rulebook: Rulebook,
        changed: list[counting.Progress],
        rows: Decisions,
    ) -> None:
        """Give levels to those whose counters reach them, and write what follows."""
        progress = [
            each for each in changed if rulebook.by_id[each.type_id].any_holds(each.counters)
        ]
        holders = {(each.user_id, each.type_id) for each in progress}
        badges = instances.by_holder(await instances.lock(conn, holders))
        reach(Point.CLOSING_LOCKED)
        for holder, decision in level_changes.of(rulebook, progress, badges).items():
            user_id, type_id = holder
            badge = badges.get(holder)
            tenant_id = self._tenant_id if badge is None else badge.tenant_id
            provenance = Provenance(Actor.SYSTEM, None, tenant_id)
            rows.take(rulebook.by_id[type_id], user_id, decision, badge, provenance)
        await write_badges(conn, rows)
        await mint_queue.enqueue_mints(conn, rows.mints, mint_queue.PRIORITY_OF_HISTORY)
        reach(Point.CLOSING_MINTING)
        await outbox.append(conn, rows.outbox)
        reach(Point.CLOSING_PUBLISHED)

    async def _rules(self, conn: Connection) -> _Rules:
        """Return what the catalog in force, which the transaction holds, says of the counter."""
        version = await catalogs.current_for_share(conn)
        if self._compiled is None or self._compiled.rulebook.version != version:
            found = await catalogs.current(conn)
            if found is None:
                raise UsageError(catalogs.NO_CATALOG)
            own = [each for each in counter_bindings(found) if each.counter_id == self._counter.id]
            self._compiled = _Rules(Rulebook.compile(found), MergeStatement.of(own))
        return self._compiled


def _words(fill: Fill) -> str:
    chosen = (("--silent", fill.silent), ("--no-mint", fill.no_mint))
    return " and ".join(word for word, is_so in chosen if is_so) or "no --silent and no --no-mint"
