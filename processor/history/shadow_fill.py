"""Fill the shadows of a rebuild from history: each event once, and only what they lack.

That is what was counted before the rebuild was opened: later events batches count in both
(store/rebuilds.py). A slice of users is a transaction, in the way of a batch. Whoever is
interrupted has lost nothing: the same command goes on with the slice after the last.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from ops.errors import UsageError
from ops.faults import Point, reach
from processor.catalog.job import JobRunner
from processor.history.user_slice import History, UserSlice
from processor.rules.counters import can_fall, counter_bindings
from store import catalog_jobs, catalogs, counting, rebuild_events, rebuilds
from store.engine import Connection, Database
from store.merge_statement import MergeStatement
from store.rebuild_events import KnownEvent
from store.rebuilds import JobOpen, OpenRebuild
from store.values.catalog import Catalog
from store.values.shadows import RebuildState, filled, with_shadows

Answer = TypeVar("Answer")

# Of unknown events in the report.
EXAMPLES_MAX = 10


@dataclass(slots=True)
class ShadowFillReport:
    """What became of the events of the sources, each once.

    `filled`: into the shadows; `repeated`: filled in before; `live`: batches have counted them in
    both; `unheard`: counted in no counter; `unknown`: never counted; `conflicts`: the id is another
    event's. `finished`: all slices are done.
    """

    slices: int = 0
    resumed_at: int = 0
    events: int = 0
    filled: int = 0
    repeated: int = 0
    live: int = 0
    unheard: int = 0
    unknown: int = 0
    conflicts: int = 0
    examples: list[str] = field(default_factory=list)
    finished: bool = False


class ShadowFill:
    """Fills the shadows of the open rebuild.

    Args:
        database: with a catalog in force.
        runner: works off an exchange of rows that was interrupted.
    """

    def __init__(self, database: Database, runner: JobRunner) -> None:
        self._db = database
        self._runner = runner

    async def fill(
        self,
        history: History,
        went_on: Callable[[ShadowFillReport], None] = lambda _: None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> ShadowFillReport:
        """Fill what `history` has of events that were counted before the rebuild was opened.

        Args:
            history: read by the catalog in force.
            went_on: told after each slice.
            stopped: asked before each slice; where it says so the report is not `finished`.

        Raises:
            UsageError: no rebuild is open that takes sources.
        """
        report = ShadowFillReport(history.slices)
        rebuild = await alone(self._db, self._runner, "rebuild_look", _open_for_sources)
        number = rebuild.next_slice if rebuild.digest == history.digest else 0
        report.resumed_at = number
        while number < history.slices and not stopped():
            part = await asyncio.to_thread(history.slice, number)
            await self._fill_slice(history, part, report)
            number += 1
            went_on(report)
        report.finished = number >= history.slices
        return report

    async def _fill_slice(
        self, history: History, part: UserSlice, report: ShadowFillReport
    ) -> None:
        async def body(conn: Connection) -> "_Sorted":
            rebuild = await _open_for_sources(conn)
            reach(Point.REBUILD_TAKEN)
            found = _Sorted.of(part, await rebuild_events.known(conn, _keys(part)), rebuild)
            reach(Point.REBUILD_LOOKED_UP)
            if found.fresh:
                sums = await self._summed(conn, history, part, found, rebuild)
                await counting.stage_members(conn, sums)
                await counting.add_members(conn, sums)
                reach(Point.REBUILD_PAIRED)
                await counting.merge(conn, sums)
                reach(Point.REBUILD_FILLED)
                await rebuild_events.keep(conn, found.fresh)
                reach(Point.REBUILD_KEPT)
            await rebuilds.save(conn, rebuild, history.digest, part.number + 1, len(found.fresh))
            reach(Point.REBUILD_SAVED)
            return found

        found = await alone(self._db, self._runner, "rebuild_slice", body)
        reach(Point.REBUILD_COMMITTED)
        found.add_to(report, history)

    async def _summed(
        self,
        conn: Connection,
        history: History,
        part: UserSlice,
        found: "_Sorted",
        rebuild: OpenRebuild,
    ) -> counting.Sums:
        """Return what the slice's fresh events add to the shadows."""
        catalog = await in_force(conn)
        shadows = {filled(each.name): each.shadow_id for each in rebuild.counters}
        bindings = [
            each
            for each in counter_bindings(with_shadows(catalog, shadows))
            if each.name in shadows
        ]
        statement = MergeStatement.of(bindings)
        await counting.prepare(conn, statement)
        sums = counting.Sums(statement)
        undoable = {each.id for each in catalog.counters if can_fall(each)}
        keys = _keys(part)
        # A counter that came later has not counted what came before it.
        for since in {each.since for each in rebuild.counters}:
            of = {each.id: each.shadow_id for each in rebuild.counters if each.since == since}
            without = [key for key in keys if found.fresh.get(key, -1) < since]
            taken = (
                await asyncio.to_thread(history.slice, part.number, without) if without else part
            )
            totals = (
                each._replace(counter_id=of[each.counter_id])
                for each in taken.totals
                if each.counter_id in of
            )
            members = (
                each._replace(counter_id=of[each.counter_id])
                for each in taken.members
                if each.counter_id in of
            )
            sums.add_listed(totals, members, {of[each] for each in undoable & of.keys()})
        return sums


@dataclass(frozen=True, slots=True)
class _Sorted:
    """The events of a slice by what was known of them; `fresh` has their first versions, by key."""

    fresh: dict[bytes, int]
    repeated: int
    live: int
    unheard: int
    unknown: Sequence[bytes]
    conflicts: int
    events: int

    @classmethod
    def of(
        cls, part: UserSlice, known: Mapping[bytes, KnownEvent], rebuild: OpenRebuild
    ) -> "_Sorted":
        """Sort the events of `part`."""
        fresh, unknown = dict[bytes, int](), list[bytes]()
        counts: Counter[str] = Counter()
        for key, fingerprint in zip(_keys(part), part.events.fingerprints.tolist(), strict=True):
            event = known.get(key)
            if event is None:
                unknown.append(key)
            elif event.fingerprint not in (0, fingerprint):
                counts["conflicts"] += 1
            elif event.is_taken:
                counts["repeated"] += 1
            elif event.first_version >= rebuild.version:
                counts["live"] += 1
            elif event.first_version >= rebuild.since:
                fresh[key] = event.first_version
            else:
                counts["unheard"] += 1
        return cls(
            fresh,
            counts["repeated"],
            counts["live"],
            counts["unheard"],
            unknown,
            counts["conflicts"],
            len(part.events),
        )

    def add_to(self, report: ShadowFillReport, history: History) -> None:
        """Add the slice to what is reported."""
        report.events += self.events
        report.filled += len(self.fresh)
        report.repeated += self.repeated
        report.live += self.live
        report.unheard += self.unheard
        report.unknown += len(self.unknown)
        report.conflicts += self.conflicts
        wanted = self.unknown[: EXAMPLES_MAX - len(report.examples)]
        if wanted:
            report.examples += [f"{each.source} {each.id}" for each in history.events(wanted)]


async def alone(
    database: Database,
    runner: JobRunner,
    name: str,
    body: Callable[[Connection], Awaitable[Answer]],
    *,
    only_counters: bool = False,
) -> Answer:
    """Run `body` in a transaction, once the jobs are worked off that it cannot run beside."""
    while True:
        try:
            return await database.retried(name, body)
        except JobOpen:
            await runner.work_off(only_counters=only_counters)


async def _open_for_sources(conn: Connection) -> OpenRebuild:
    """Hold the catalog's version, and lock the rebuild, which is open.

    Raises:
        JobOpen: rows are still exchanged.
        UsageError: none is open.
    """
    await catalogs.current_for_share(conn)
    rebuild = await rebuilds.take(conn)
    must_be(rebuild, RebuildState.OPEN, "It takes no sources.")
    if await catalog_jobs.adopting(conn) is not None:
        raise JobOpen
    return rebuild


def must_be(rebuild: OpenRebuild, state: RebuildState, why_not: str) -> None:
    """Return where a rebuild stands at `state`.

    Raises:
        UsageError: it does not.
    """
    if rebuild.state is not state:
        raise UsageError(f"Rebuild {rebuild.id} is {rebuild.state}. {why_not}")


async def in_force(conn: Connection) -> Catalog:
    """Return the catalog in force.

    Raises:
        UsageError: there is none yet.
    """
    found = await catalogs.current(conn)
    if found is None:
        raise UsageError(catalogs.NO_CATALOG)
    return found


def _keys(part: UserSlice) -> list[bytes]:
    packed = part.events.keys.tobytes()
    return [packed[start : start + 16] for start in range(0, len(packed), 16)]
