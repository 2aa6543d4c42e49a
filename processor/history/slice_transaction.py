"""One slice of history, counted in one transaction.

The same as a batch (processor/batch/pipeline.py), in the same order of locks, for what is added up
already. Its parts stand alone: `hold` the catalog, `count` what is new, `decide` who stands at
another level, `write` that. Whoever counts history in another way puts them together otherwise.
"""

import asyncio
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count as numbers
from uuid import UUID

from ops.errors import InvariantBroken
from ops.faults import Point, reach
from processor.batch import level_changes, silence
from processor.batch.compiled_catalog import CompiledCatalog
from processor.batch.decisions import Decisions, provenance_of
from processor.batch.pipeline import CatalogChanged
from processor.batch.writing import write_badges
from processor.events.event import Event
from processor.history.user_slice import History, UserSlice
from processor.rules.levels import Award, LevelUp
from store import (
    catalog_use,
    catalogs,
    counting,
    event_columns,
    history_jobs,
    instances,
    mint_queue,
    outbox,
    processed_events,
    retention,
)
from store.engine import Connection
from store.event_columns import Remembered
from store.history_jobs import JobStanding, SliceFigures
from store.processed_events import CountedBy
from store.values.history import HistoryJobState
from store.values.names import Holder


@dataclass(frozen=True, slots=True)
class Speech:
    """What of a new badge is said beside the database: nothing, unless it is asked for.

    `publish`: messages go to the outbox; `mint`: badges are minted by themselves where their policy
    says so, `mints_per_second` at most, in the order of the slices; None: as fast as the minter is.
    """

    publish: bool = False
    mint: bool = False
    mints_per_second: float | None = None

    @property
    def is_silent(self) -> bool:
        """Return whether something that the stream would cause is left out."""
        return not (self.publish and self.mint)


@dataclass(frozen=True, slots=True)
class SliceDone:
    """What a transaction came to; `job` as it stood before it.

    `skipped`: another process had done the slice, or has taken the job's place.
    """

    job: JobStanding
    figures: SliceFigures = field(default_factory=SliceFigures)
    levels: Counter[tuple[str, int]] = field(default_factory=Counter)
    skipped: bool = False


@dataclass(frozen=True, slots=True)
class SliceTransaction:
    """Counts slices of a history into one job.

    Args:
        history: what was read.
        compiled: the catalog that it was read by, with the floor.
        job_id: of history_job.
        speech: what is said of badges.
    """

    history: History
    compiled: CompiledCatalog
    job_id: UUID
    speech: Speech

    async def run(
        self, conn: Connection, part: UserSlice, now: datetime, *, waits: bool
    ) -> SliceDone:
        """Count a slice; return what came of it.

        Args:
            conn: in a transaction of its own.
            part: the slice, nothing left out.
            now: for the messages.
            waits: as CountedBy.

        Raises:
            CatalogChanged: it was read by a catalog or a floor that is no longer in force.
        """
        reach(Point.HISTORY_OPENED)
        await hold(conn, self.compiled)
        job = await history_jobs.lock(conn, self.job_id)
        reach(Point.HISTORY_TAKEN)
        if job.state is not HistoryJobState.OPEN or job.done != part.number:
            return SliceDone(job, skipped=True)
        by = CountedBy(self.compiled.version, self.speech.is_silent, waits)
        remembered = await event_columns.remember(conn, part.events, by)
        reach(Point.HISTORY_DEDUPLICATED)
        heard = () if self.speech.is_silent else await self._hear(conn, part, remembered)
        reach(Point.HISTORY_HEARD)
        known = event_columns.listed_keys(part.events, remembered.known)
        fresh = await self._without(part, known)
        progress = await count(conn, self.compiled, fresh)
        rows = await self._decide(conn, part.number, progress, heard, known, now)
        mints = await write(conn, rows, _moments(job, self.speech))
        await _mark_counted(conn, fresh)
        reach(Point.HISTORY_MARKED)
        await outbox.append(conn, rows.outbox)
        reach(Point.HISTORY_PUBLISHED)
        figures = _figures(part, remembered, rows, mints)
        await history_jobs.move(conn, job, figures)
        reach(Point.HISTORY_MOVED)
        return SliceDone(job, figures, rows.levels)

    async def _hear(
        self, conn: Connection, part: UserSlice, remembered: Remembered
    ) -> Sequence[Event]:
        """Return the events that a silent job had counted, and that are said of now."""
        silent = event_columns.listed_keys(part.events, remembered.silent)
        ended = await processed_events.end_silence(conn, [key.hex() for key in silent])
        if not ended:
            return ()
        keys = [bytes.fromhex(key) for key in sorted(ended)]
        return await asyncio.to_thread(self.history.events, keys)

    async def _without(self, part: UserSlice, known: Collection[bytes]) -> UserSlice:
        if not known:
            return part
        # Beside the loop, like all that takes long: the watchdog sees a process that lives.
        return await asyncio.to_thread(self.history.slice, part.number, known)

    async def _decide(
        self,
        conn: Connection,
        number: int,
        progress: Sequence[counting.Progress],
        heard: Sequence[Event],
        known: Collection[bytes],
        now: datetime,
    ) -> Decisions:
        """Lock the badges concerned, and decide by the pure rules."""
        compiled = self.compiled
        holders = {(each.user_id, each.type_id) for each in progress}
        spoken = silence.holders_of(heard, compiled.counters_of)
        locked = await instances.lock(conn, holders | spoken)
        reach(Point.HISTORY_LOCKED)
        rows = Decisions(now, self.speech.publish, self.speech.mint)
        badges = instances.by_holder(locked)
        told = silence.badges_of((), spoken, locked)
        await silence.say(conn, rows, compiled.rulebook, told)
        reach(Point.HISTORY_SAID)
        changes = level_changes.of(compiled.rulebook, progress, badges)
        origins = await asyncio.to_thread(self._origins, number, changes, known)
        for holder, decision in changes.items():
            event = origins.get(holder)
            if event is None:
                raise InvariantBroken("counters changed without an event")
            user_id, type_id = holder
            badge, source = badges.get(holder), provenance_of(event)
            rows.take(compiled.rulebook.by_id[type_id], user_id, decision, badge, source)
        return rows

    def _origins(
        self, number: int, changes: Mapping[Holder, Award | LevelUp], known: Collection[bytes]
    ) -> dict[Holder, Event]:
        """Return what each badge names as its source."""
        users: dict[UUID, list[UUID]] = {}
        for user_id, type_id in changes:
            users.setdefault(type_id, []).append(user_id)
        found: dict[Holder, Event] = {}
        for type_id, listed in users.items():
            wanted = dict.fromkeys(listed, self.compiled.counters_of[type_id])
            for user_id, event in self.history.origins(number, wanted, known).items():
                found[user_id, type_id] = event
        return found


async def hold(conn: Connection, compiled: CompiledCatalog) -> None:
    """Keep the catalog and the floor in force until the transaction ends.

    Raises:
        CatalogChanged: they are others than those of `compiled`.
    """
    version = await catalogs.current_for_share(conn)
    floor = await retention.floor_for_share(conn)
    if (version, floor) != (compiled.version, compiled.reader.floor):
        raise CatalogChanged


async def count(
    conn: Connection, compiled: CompiledCatalog, part: UserSlice
) -> list[counting.Progress]:
    """Add a slice to the counters; return those that may have changed a level.

    Nothing of it may have been counted before.
    """
    sums = counting.Sums(compiled.merge_statement)
    sums.add_listed(part.totals, part.members, compiled.undoable)
    if not sums:
        return []
    await counting.prepare(conn, compiled.merge_statement)
    await counting.stage_members(conn, sums)
    reach(Point.HISTORY_STAGED)
    await counting.add_members(conn, sums)
    reach(Point.HISTORY_PAIRED)
    users = dict.fromkeys(total.user for total in part.totals)
    await level_changes.adopt(conn, (UUID(bytes=user) for user in users))
    reach(Point.HISTORY_ADOPTED)
    changed = await counting.merge(conn, sums)
    reach(Point.HISTORY_MERGED)
    types = compiled.rulebook.by_id
    return [each for each in changed if types[each.type_id].any_holds(each.counters)]


async def write(conn: Connection, rows: Decisions, moments: Iterator[datetime | None]) -> int:
    """Write badges and ask for their mints, which nobody waits for; return how many are new."""
    await write_badges(conn, rows)
    reach(Point.HISTORY_WRITTEN)
    mints = dict(sorted(rows.mints.items()))
    new = await mint_queue.enqueue_mints(conn, mints, mint_queue.PRIORITY_OF_HISTORY, moments)
    reach(Point.HISTORY_MINTING)
    return new


def _moments(job: JobStanding, speech: Speech) -> Iterator[datetime | None]:
    """Yield when each mint of a slice may begin: the n-th of the job so long after its begin."""
    rate = speech.mints_per_second
    for number in numbers(job.mints):
        yield None if rate is None else job.created_at + timedelta(seconds=number / rate)


async def _mark_counted(conn: Connection, part: UserSlice) -> None:
    uncounted = await catalog_use.uncounted(conn)
    if uncounted:
        counting_now = {total.counter_id for total in part.totals}
        await catalog_use.mark_counted(conn, uncounted & counting_now)


def _figures(part: UserSlice, remembered: Remembered, rows: Decisions, mints: int) -> SliceFigures:
    levels: dict[str, dict[str, int]] = {}
    for (code, level), badges in rows.levels.items():
        levels.setdefault(code, {})[str(level)] = badges
    conflicts = part.events.places[remembered.conflicts].tolist()
    # What silence leaves to be minted later counts alike.
    unminted = sum(each.mint for each in rows.silenced)
    return SliceFigures(
        counted=int((remembered.fresh & part.events.heard).sum()),
        duplicates=int(remembered.known.sum()) - len(conflicts),
        conflicts=sorted(conflicts),
        levels=levels,
        mints=mints + unminted,
    )
