"""Compute counters anew from history, beside the live system, and let the two change places.

From the moment it opens batches count both (store/rebuilds.py), and history fills what was counted
before (shadow_fill.py). Each step is a short transaction that brings a version of the catalog; what
follows for users and badges its job does in slices, and batches for whom they meet.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

from ops.clock import SYSTEM_CLOCK, Clock
from ops.errors import UsageError
from ops.faults import Point, reach
from processor.catalog.job import JobRunner
from processor.history.shadow_fill import ShadowFill, ShadowFillReport, alone, in_force, must_be
from processor.history.user_slice import History
from store import rebuild_events, rebuilds
from store.catalog_jobs import CatalogWork
from store.engine import Connection, Database
from store.rebuilds import OpenRebuild
from store.values.catalog import Catalog
from store.values.names import CounterName, TypeCode
from store.values.shadows import RebuildState, ShadowStep

_FIRST = UUID(int=0)


@dataclass(frozen=True, slots=True)
class ExchangeOptions:
    """How counters and shadows change places.

    `accept_missing`: so many events that no source brought are lost, and that is meant; `silent`:
    no messages about levels that follow; `no_mint`: no tokens by themselves.
    """

    accept_missing: int = 0
    silent: bool = False
    no_mint: bool = False


class Rebuilding:
    """Opens, fills, swaps and ends rebuilds.

    Args:
        database: with a catalog in force.
        runner: works off what follows for users and badges.
    """

    def __init__(self, database: Database, runner: JobRunner) -> None:
        self._db = database
        self._runner = runner

    @classmethod
    def of(cls, database: Database, tenant_id: UUID, clock: Clock = SYSTEM_CLOCK) -> "Rebuilding":
        """Return one whose levels are given for `tenant_id`."""
        return cls(database, JobRunner(database, tenant_id, clock))

    async def current(self) -> OpenRebuild | None:
        """Return the rebuild that is open."""
        async with self._db.transaction() as conn:
            return await rebuilds.current(conn)

    async def open(self, type_code: TypeCode | None = None) -> OpenRebuild:
        """Return the rebuild that is open; open one where none is.

        Args:
            type_code: all counters of this type, also as other types show them; None: every one.

        Raises:
            UsageError: there is no such type, or the open rebuild is about other counters.
        """

        async def body(conn: Connection) -> OpenRebuild:
            names = counters_of(await in_force(conn), type_code)
            found = await rebuilds.current(conn)
            if found is None:
                return await rebuilds.begin(conn, names)
            if type_code is not None and {each.name for each in found.counters} != set(names):
                raise UsageError(
                    "A rebuild of other counters is open: "
                    f"{', '.join(each.name for each in found.counters)}. "
                    "`laurel rebuild --finish` ends it."
                )
            return found

        return await alone(self._db, self._runner, "rebuild_open", body)

    async def fill(
        self,
        history: History,
        went_on: Callable[[ShadowFillReport], None] = lambda _: None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> ShadowFillReport:
        """Fill what `history` has of events that were counted before the rebuild was opened.

        Arguments and errors as those of ShadowFill.fill.
        """
        return await ShadowFill(self._db, self._runner).fill(history, went_on, stopped)

    async def missing(self) -> int:
        """Return how many events no source has brought."""
        async with self._db.transaction() as conn:
            await rebuilds.unhurried(conn)
            return await rebuild_events.missing(conn, await rebuilds.needed(conn))

    async def swap(self, options: ExchangeOptions) -> int:
        """Put the shadows in force; what was counted until now is kept, and counts on beside them.

        Return the catalog's version that it is, once everybody is evaluated.

        Raises:
            UsageError: events are missing, and not so many are accepted; or it is done already.
        """
        missing = await self._checked_missing(options)

        async def body(conn: Connection) -> int:
            rebuild = await rebuilds.lock(conn)
            must_be(rebuild, RebuildState.OPEN, "Its counters are in force already.")
            version = await self._exchange(conn, rebuild, ShadowStep.SWAP, options)
            await rebuilds.move(conn, rebuild, RebuildState.SWAPPED, missing)
            reach(Point.REBUILD_EXCHANGED)
            return version

        return await self._exchanged("rebuild_swap", body)

    async def undo(self, options: ExchangeOptions) -> int:
        """Put in force what was there before the swap, with all events since; as `swap`.

        Raises:
            UsageError: no swap is to be undone.
        """

        async def body(conn: Connection) -> int:
            # Nobody is given anything more by the counters that this takes out of force.
            rebuild = await rebuilds.lock(conn, only_counters=True)
            must_be(rebuild, RebuildState.SWAPPED, "Its counters are not in force.")
            version = await self._exchange(conn, rebuild, ShadowStep.UNDO, options)
            await rebuilds.move(conn, rebuild, RebuildState.OPEN, 0)
            reach(Point.REBUILD_EXCHANGED)
            return version

        return await self._exchanged("rebuild_undo", body)

    async def finish(self) -> None:
        """Keep what is in force, remove what is counted beside it, and end the rebuild.

        Raises:
            UsageError: no rebuild is open.
        """

        async def body(conn: Connection) -> None:
            rebuild = await rebuilds.lock(conn)
            if rebuild.state is not RebuildState.CLOSING:
                changes = rebuild.changes(await in_force(conn), ShadowStep.CLEAR)
                await rebuilds.close(conn, rebuild, CatalogWork(shadows=changes))

        await alone(self._db, self._runner, "rebuild_close", body)
        reach(Point.REBUILD_CLOSED)
        await self._runner.work_off()
        for remove in (rebuilds.remove_members, rebuild_events.remove):
            await self._remove(remove)
        reach(Point.REBUILD_REMOVED)

        async def end(conn: Connection) -> None:
            await rebuilds.end(conn, await rebuilds.lock(conn))

        await alone(self._db, self._runner, "rebuild_end", end)

    async def settle(self) -> None:
        """Work off the exchange of a swap or an undo that was interrupted."""
        await self._runner.work_off()

    async def _checked_missing(self, options: ExchangeOptions) -> int:
        # Nothing is added to them: what comes now is of a later version.
        missing = await self.missing()
        if missing != options.accept_missing:
            raise UsageError(
                f"{missing} events that were counted are in no source that was given"
                + (
                    f", not {options.accept_missing}: `--accept-missing {missing}` goes on without "
                    "them."
                    if options.accept_missing
                    else ". Give the rest of the sources, or go on without them: "
                    f"`--accept-missing {missing}`."
                )
            )
        return missing

    async def _exchange(
        self, conn: Connection, rebuild: OpenRebuild, step: ShadowStep, options: ExchangeOptions
    ) -> int:
        catalog = await in_force(conn)
        changes = rebuild.changes(catalog, step)
        types = tuple(sorted(each.type_id for each in changes))
        shown = {each.id for each in catalog.types if each.metadata_fields}
        work = CatalogWork(
            rules=types, metadata=tuple(each for each in types if each in shown), shadows=changes
        )
        return await rebuilds.exchange(
            conn, rebuild, work, silent=options.silent, no_mint=options.no_mint
        )

    async def _exchanged(self, name: str, body: Callable[[Connection], Awaitable[int]]) -> int:
        version = await alone(
            self._db, self._runner, name, body, only_counters=name == "rebuild_undo"
        )
        reach(Point.REBUILD_EXCHANGED_COMMITTED)
        await self._runner.work_off()
        return version

    async def _remove(self, remove: Callable[[Connection, UUID], Awaitable[UUID | None]]) -> None:
        after: UUID | None = _FIRST
        while after is not None:
            at = after

            async def body(conn: Connection, at: UUID = at) -> UUID | None:
                await rebuilds.unhurried(conn)
                return await remove(conn, at)

            after = await self._db.retried("rebuild_remove", body)


def counters_of(catalog: Catalog, type_code: TypeCode | None) -> tuple[CounterName, ...]:
    """Return the names of the counters of a type, sorted; None: of all.

    Raises:
        UsageError: there is no such type.
    """
    if type_code is None:
        return tuple(sorted(each.name for each in catalog.counters))
    for each in catalog.types:
        if each.code == type_code:
            return tuple(sorted(each.counters))
    raise UsageError(
        f"There is no type {type_code}. There are: "
        f"{', '.join(sorted(each.code for each in catalog.types))}."
    )
