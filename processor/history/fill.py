"""Give a counter that came later its past: take what sources hold of it, beside what is counted.

A counter begins with the catalog that brought it. Events that were counted before are known, but
not in it; a fill takes those, and no others: so it, the stream and `laurel backfill` never count
the same. What it takes lies apart and nobody sees it, until it is closed (fill_closing.py) or
undone. Until then further sources may come, which overlap as they like: an event is taken once.

A slice of a source is one transaction; an interrupted source goes on with the slice after its last.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from uuid import UUID

from ops.errors import UsageError
from ops.faults import Point, reach
from ops.lifecycle import Stop
from processor.batch.staging import id_conflict
from processor.catalog.spelling import did_you_mean
from processor.history.kept_records import RefusedPlace
from processor.history.user_slice import History, UserSlice
from store import catalogs, fill_closing, fill_staging, fills, retention
from store.engine import Connection, Database
from store.fill_staging import Standing, Standings
from store.fills import Fill, FillableCounter
from store.values.catalog import Catalog
from store.values.fills import FillState

# Of refused events in a report.
EXAMPLES_MAX = 10
# Whose shares go in one transaction.
_USERS_A_SLICE = 1_000


@dataclass(slots=True)
class TakenSource:
    """What became of a source's events that the counter listens to.

    `resumed_at` is the slice that an earlier run had come to; `conflicts` are the first of those
    whose ids stand for others.
    """

    slices: int
    resumed_at: int = 0
    done: int = 0
    numbers: Counter[Standing] = field(default_factory=Counter)
    conflicts: list[RefusedPlace] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        """Return whether all slices are done."""
        return self.done == self.slices


def only(catalog: Catalog, counter: FillableCounter) -> Catalog:
    """Return the catalog by which a source is read for a fill: no other counter is added up."""
    counters = tuple(each for each in catalog.counters if each.name == counter.name)
    return replace(catalog, counters=counters)


async def fillable(conn: Connection, name: str) -> FillableCounter:
    """Return the counter called `name`, which may be given its past.

    Raises:
        UsageError: there is none, or its past cannot be told, or it has it already.
    """
    counter = await known(conn, name)
    if not counter.was_heard_before:
        raise UsageError(
            f"{name} has no past: before version {counter.first_version} of the catalog, which "
            f"brought it, no counter listened to {' or '.join(counter.event_types)}, so no such "
            "event was counted without it. `laurel backfill` counts events that came before."
        )
    floor = await retention.floor(conn)
    if floor > counter.began_on:
        raise UsageError(
            f"{name} counts since {counter.began_on}, and ids of events before {floor} may be "
            "forgotten (`laurel db prune-events`): nobody can say any more which of them are in "
            "it. Give the counter another name in the catalog, and fill that one."
        )
    fill = await fills.read(conn, counter.id)
    if fill is not None:
        refuse_unless_open(fill)
    return counter


async def known(conn: Connection, name: str) -> FillableCounter:
    """Return the counter called `name`.

    Raises:
        UsageError: the catalog in force has none.
    """
    counter = await fills.counter(conn, name)
    if counter is None:
        names = await fills.names(conn)
        raise UsageError(
            f"The catalog in force has no counter {name}.{did_you_mean(name, names)} "
            f"It has: {', '.join(names)}."
        )
    return counter


def refuse_unless_open(fill: Fill) -> None:
    """Return where `fill` takes sources.

    Raises:
        UsageError: it is closed or undone, or about to be.
    """
    command = f"laurel history fill --counter {fill.name}"
    match fill.state:
        case FillState.OPEN:
            return
        case FillState.CLOSED:
            raise UsageError(
                f"{fill.name} has its past: a fill of it was closed on {fill.updated_at:%Y-%m-%d}, "
                f"with {fill.events} events. Which ones is forgotten, so another fill could count "
                "some of them twice. What nobody has counted yet, `laurel backfill` counts."
            )
        case FillState.CLOSING:
            raise UsageError(
                f"A fill of {fill.name} is being closed: {fill.users} users have theirs. "
                f"`{command} --close` goes on with it."
            )
        case FillState.UNDOING:
            raise UsageError(
                f"A fill of {fill.name} is being undone: `{command} --undo` goes on with it."
            )


async def take(
    database: Database,
    counter: FillableCounter,
    history: History,
    stop: Stop,
    report: Callable[[TakenSource], None] = lambda _: None,
) -> TakenSource:
    """Take the events of a source that are the fill's, a slice at a time.

    Args:
        database: where it was counted.
        counter: as `fillable` returns it.
        history: the source, read by the catalog that `only` returns, or by the whole one.
        stop: ends it after the slice under way; the same source goes on there.
        report: told after each slice.

    Raises:
        UsageError: the fill was closed or undone meanwhile.
    """
    taken = TakenSource(history.slices)
    async with database.transaction() as conn:
        fill = await fills.read(conn, counter.id)
    if fill is not None and fill.source_digest == history.digest:
        taken.resumed_at = taken.done = fill.slices_done
    while not taken.finished and not stop.requested:
        whole = await asyncio.to_thread(history.slice, taken.done)
        standings = await database.retried("fill_slice", _Slice(counter, history, whole).transact)
        reach(Point.FILL_COMMITTED)
        taken.done += 1
        taken.numbers += standings.numbers
        taken.conflicts += _named(history, standings, EXAMPLES_MAX - len(taken.conflicts))
        report(taken)
    return taken


def _named(history: History, standings: Standings, number: int) -> list[RefusedPlace]:
    """Return the first `number` of a slice's events whose ids stand for others."""
    events = history.events(sorted(standings.conflicts)[:number])
    return [RefusedPlace(e.offset, id_conflict(e.id, e.source, e.type)) for e in events]


@dataclass(frozen=True, slots=True)
class _Slice:
    counter: FillableCounter
    history: History
    whole: UserSlice

    async def transact(self, conn: Connection) -> Standings:
        """Take the slice's events that are the fill's, and what they add."""
        counter, history = self.counter, self.history
        await catalogs.current_for_share(conn)
        await fills.begin(conn, counter.id)
        fill = await fills.take(conn, counter.id)
        if fill is None:
            raise ValueError("a fill that has just been opened")
        refuse_unless_open(fill)
        reach(Point.FILL_HELD)
        await fill_staging.prepare(conn)
        standings = await fill_staging.take_events(conn, counter, self.whole.events)
        reach(Point.FILL_KNOWN)
        if standings.numbers[Standing.TAKEN]:
            await self._add(conn, standings.others)
        reach(Point.FILL_ADDED)
        after = replace(
            fill,
            source_digest=history.digest,
            slices=history.slices,
            slices_done=self.whole.number + 1,
            events=fill.events + standings.numbers[Standing.TAKEN],
        )
        await fills.save(conn, after)
        reach(Point.FILL_SAVED)
        return standings

    async def _add(self, conn: Connection, others: frozenset[bytes]) -> None:
        part = self.whole
        if others:
            part = await asyncio.to_thread(self.history.slice, part.number, others)
        counter_id = self.counter.id
        await fill_staging.add(
            conn,
            self.counter,
            [
                (each.user, each.amount, each.latest)
                for each in part.totals
                if each.counter_id == counter_id
            ],
            [
                (each.user, each.member, each.posted, each.undone)
                for each in part.members
                if each.counter_id == counter_id
            ],
        )


async def undo(database: Database, name: str) -> Fill:
    """Drop what a fill has taken, and the fill; return it as it was.

    Raises:
        UsageError: there is no such counter, or no fill of it, or its closing has begun.
    """

    async def begin(conn: Connection) -> Fill:
        await catalogs.current_for_share(conn)
        counter = await known(conn, name)
        fill = await fills.take(conn, counter.id)
        if fill is None:
            raise UsageError(f"No fill of {name} is open: there is nothing to undo.")
        if fill.state in (FillState.CLOSING, FillState.CLOSED):
            raise UsageError(
                f"The fill of {name} cannot be undone any more: {fill.users} users have what it "
                f"took, and {fill.awarded + fill.raised} badges and levels were given for it."
            )
        # From here on nobody adds to what is only half there.
        await fills.save(conn, replace(fill, state=FillState.UNDOING))
        return fill

    fill = await database.retried("fill_undo", begin)
    await forget(database, fill.counter_id)

    async def end(conn: Connection) -> None:
        await catalogs.current_for_share(conn)
        if await fills.take(conn, fill.counter_id) is not None:
            await fills.end(conn, fill.counter_id)

    await database.retried("fill_undo", end)
    return fill


async def forget(database: Database, counter_id: int) -> None:
    """Drop what is left of a fill that takes nothing more: users first, then keys, in slices."""

    async def users(conn: Connection) -> bool:
        await fills.take(conn, counter_id)
        found = await fill_closing.shares(conn, counter_id, _USERS_A_SLICE)
        await fill_closing.forget_users(conn, counter_id, [each.user_id for each in found])
        return bool(found)

    while await database.retried("fill_forget", users):
        pass
    first: UUID | None = None

    async def keys(conn: Connection) -> UUID | None:
        await fills.take(conn, counter_id)
        return await fill_closing.forget_keys(conn, counter_id, first)

    while (first := await database.retried("fill_forget", keys)) is not None:
        pass
