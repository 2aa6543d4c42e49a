"""rebuild: counters that are computed anew beside those in force, and change places with them.

While one is open batches count both: the shadow of a counter has an id of its own, so that its
members are its own, and lies in the same rows under another name (store/values/shadows.py). Each
step is a version of the catalog: a batch counts by what was there at its first statement.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from uuid import UUID

import msgspec
from sqlalchemy import text

from ops.errors import UsageError
from store import catalog_jobs, catalogs, retention
from store.catalog_jobs import CatalogWork
from store.engine import Connection
from store.exact_json import dumped
from store.values.catalog import Catalog, JobState
from store.values.names import CounterName
from store.values.shadows import (
    RebuildState,
    ShadowChange,
    ShadowStep,
    filled,
    gone,
    replaced,
)

CURRENT = text("SELECT * FROM rebuild WHERE state <> 'done'")
TAKE = text("SELECT * FROM rebuild WHERE state <> 'done' FOR UPDATE")
ADD = text("""
    INSERT INTO rebuild (id, version, state, counters)
    VALUES ((SELECT coalesce(max(id), 0) + 1 FROM rebuild), :version, 'open',
            CAST(:counters AS jsonb))
""")
SAVE = text("""
    UPDATE rebuild
       SET digest = :digest, next_slice = :next_slice, filled = filled + :filled,
           updated_at = clock_timestamp()
     WHERE id = :id
""")
MOVE = text("""
    UPDATE rebuild SET state = :state, accepted = :accepted, updated_at = clock_timestamp()
     WHERE id = :id
""")

ADD_SHADOWS = text("""
    INSERT INTO counter_definition
           (id, name, kind, event_type, field, filter, undo_event_type, undo_field, has_counted,
            first_version)
    SELECT (SELECT max(id) FROM counter_definition) + row_number() OVER (ORDER BY name),
           '~' || name, kind, event_type, field, filter, undo_event_type, undo_field, has_counted,
           first_version
      FROM counter_definition
     WHERE name = ANY(CAST(:names AS text[]))
     ORDER BY name
""")
# A counter counts from the version that brought it, unless a fill has given it what was before.
SHADOWED = text("""
    SELECT own.name, own.id, shadow.id AS shadow_id,
           CASE WHEN EXISTS (SELECT FROM counter_fill WHERE counter_id = own.id)
                THEN 1 ELSE own.first_version END AS since
      FROM counter_definition AS own
           JOIN counter_definition AS shadow ON shadow.name = '~' || own.name
     ORDER BY own.name
""")
# What such a fill has taken is in neither value; what it gives is in one of them alone.
OPEN_FILLS = text("""
    SELECT counter.name
      FROM counter_fill AS fill JOIN counter_definition AS counter ON counter.id = fill.counter_id
     WHERE fill.state <> 'closed'
     ORDER BY counter.name
""")
# The counter is another row now, and was given its past all the same.
KEEP_FILLS = text("""
    UPDATE counter_fill AS fill SET counter_id = own.id
      FROM counter_definition AS gone
           JOIN counter_definition AS own ON gone.name = '!' || own.name
     WHERE fill.counter_id = gone.id
""")
# One after the other: two names that change places would meet in the unique index.
RENAME = text("""
    UPDATE counter_definition
       SET name = :name, has_counted = has_counted
           OR (SELECT other.has_counted FROM counter_definition AS other WHERE other.id = :other)
     WHERE id = :id
""")

REMOVE_MEMBERS = text("""
    WITH part AS MATERIALIZED (
         SELECT user_id, counter_id, member FROM progress_member
          WHERE user_id >= :after
            AND counter_id IN (SELECT id FROM counter_definition WHERE name LIKE '!_%')
          ORDER BY user_id
          LIMIT :limit),
         removed AS (
         DELETE FROM progress_member AS held USING part
          WHERE held.user_id = part.user_id AND held.counter_id = part.counter_id
            AND held.member = part.member)
    SELECT user_id FROM part ORDER BY user_id DESC LIMIT 1
""")
REMOVE_DEFINITIONS = text("DELETE FROM counter_definition WHERE name LIKE '!_%'")
_REMOVED_AT_ONCE = 20_000


# Whole tables are looked at, once; nobody waits for it.
UNHURRIED = text("SET LOCAL statement_timeout = '24h'")


class JobOpen(Exception):
    """A job of the catalog is open: work it off first."""


@dataclass(frozen=True, slots=True)
class RebuiltCounter:
    """A counter that is computed anew; `since`: the version from which on it has counted."""

    name: CounterName
    id: int
    shadow_id: int
    since: int


@dataclass(frozen=True, slots=True)
class OpenRebuild:
    """The rebuild that is open. Before `version` events were counted without its shadows.

    `digest` and `next_slice`: of the sources that were given last, and how far they are filled in;
    `filled`: events of all of them. `accepted`: events that no source brought, at the swap.
    """

    id: int
    version: int
    state: RebuildState
    counters: tuple[RebuiltCounter, ...]
    digest: bytes | None
    next_slice: int
    filled: int
    accepted: int

    @property
    def since(self) -> int:
        """Return the first version whose events may be in one of the counters."""
        return min((each.since for each in self.counters), default=self.version)

    def changes(self, catalog: Catalog, step: ShadowStep) -> tuple[ShadowChange, ...]:
        """Return `step` for each type that has some of the counters."""
        names = {each.name for each in self.counters}
        found = (
            (each.id, tuple(name for name in each.counters if name in names))
            for each in catalog.types
        )
        return tuple(ShadowChange(type_id, held, step) for type_id, held in found if held)


async def current(conn: Connection) -> OpenRebuild | None:
    """Return the rebuild that is open, without a lock."""
    return _rebuild((await conn.execute(CURRENT)).mappings().one_or_none())


async def needed(conn: Connection) -> OpenRebuild:
    """Return the rebuild that is open, without a lock.

    Raises:
        UsageError: there is none.
    """
    return _there(await current(conn))


async def take(conn: Connection) -> OpenRebuild:
    """Lock and return the rebuild that is open.

    Raises:
        UsageError: there is none.
    """
    return _there(_rebuild((await conn.execute(TAKE)).mappings().one_or_none()))


async def begin(conn: Connection, names: Sequence[CounterName]) -> OpenRebuild:
    """Let batches count a shadow of each counter in `names` from the next one on.

    Raises:
        JobOpen: a job of the catalog is.
        UsageError: another rebuild is open, or a fill; or ids of events were forgotten.
    """
    await _alone(conn)
    if await current(conn) is not None:
        raise UsageError("Another rebuild is open; `laurel rebuild --status` shows it.")
    open_fills = list((await conn.execute(OPEN_FILLS)).scalars())
    if open_fills:
        raise UsageError(
            f"A fill is open of {', '.join(open_fills)}: `laurel history fill --counter "
            f"{open_fills[0]}` with --close or --undo ends it, and then a rebuild may begin."
        )
    await conn.execute(ADD_SHADOWS, {"names": list(names)})
    counters = [RebuiltCounter(**row) for row in (await conn.execute(SHADOWED)).mappings()]
    version = await catalogs.renew(conn, CatalogWork())
    await conn.execute(ADD, {"version": version, "counters": dumped(counters)})
    # Shared until this is committed: who would forget ids sees the rebuild then.
    if await retention.floor_for_share(conn) > date.min:
        raise UsageError(
            "Ids of old events were forgotten (`laurel db prune-events`): nobody can tell which of "
            "the events of a source were counted. There is no rebuild of such a database."
        )
    return _there(await current(conn))


async def exchange(
    conn: Connection, rebuild: OpenRebuild, work: CatalogWork, *, silent: bool, no_mint: bool
) -> int:
    """Let counters and shadows change places, or back; return the catalog's version from now on.

    Args:
        conn: with batches locked out (`lock`).
        rebuild: locked; open or swapped.
        work: the rows' exchange, and what follows from it for users and badges.
        silent: no messages about what it gives.
        no_mint: no tokens by themselves.
    """
    is_open = rebuild.state is RebuildState.OPEN
    for each in rebuild.counters:
        old, new = each.id, each.shadow_id
        if is_open:
            steps = ((old, new, replaced(each.name)), (new, old, each.name))
        else:
            steps = ((new, old, filled(each.name)), (old, new, each.name))
        for number, other, name in steps:
            await conn.execute(RENAME, {"id": number, "other": other, "name": name})
    return await catalogs.renew(conn, work, silent=silent, no_mint=no_mint)


async def close(conn: Connection, rebuild: OpenRebuild, work: CatalogWork) -> None:
    """Let batches count what is in force alone; what they counted beside it is to be removed."""
    for each in rebuild.counters:
        beside = each.shadow_id if rebuild.state is RebuildState.OPEN else each.id
        parameters = {"id": beside, "other": beside, "name": gone(each.name)}
        await conn.execute(RENAME, parameters)
    await catalogs.renew(conn, work)
    await move(conn, rebuild, RebuildState.CLOSING, rebuild.accepted)


async def lock(conn: Connection, *, only_counters: bool = False) -> OpenRebuild:
    """Lock batches out, and return the rebuild that is open.

    Raises:
        JobOpen: a job of the catalog is, or with `only_counters` one that takes over counters.
    """
    await _alone(conn, only_counters=only_counters)
    return await take(conn)


async def unhurried(conn: Connection) -> None:
    """Let the statements of this transaction take their time."""
    await conn.execute(UNHURRIED)


async def _alone(conn: Connection, *, only_counters: bool = False) -> None:
    await catalogs.lock_out_batches(conn)
    job = await catalog_jobs.current(conn)
    if job is not None and (not only_counters or job.state is JobState.COUNTERS):
        raise JobOpen


async def save(
    conn: Connection, rebuild: OpenRebuild, digest: bytes, next_slice: int, events: int
) -> None:
    """Note that sources are filled in up to a slice, which brought so many `events`."""
    parameters = {"digest": digest, "next_slice": next_slice, "filled": events, "id": rebuild.id}
    await conn.execute(SAVE, parameters)


async def move(conn: Connection, rebuild: OpenRebuild, state: RebuildState, accepted: int) -> None:
    """Note that a rebuild stands at `state`."""
    await conn.execute(MOVE, {"id": rebuild.id, "state": state, "accepted": accepted})


async def remove_members(conn: Connection, after: UUID) -> UUID | None:
    """Remove members that nobody counts any more, from the user `after` on; return how far."""
    parameters = {"after": after, "limit": _REMOVED_AT_ONCE}
    found: UUID | None = (await conn.execute(REMOVE_MEMBERS, parameters)).scalar_one_or_none()
    return found


async def end(conn: Connection, rebuild: OpenRebuild) -> None:
    """Note that a rebuild is done; of what it counted nothing is left."""
    await conn.execute(KEEP_FILLS)
    await conn.execute(REMOVE_DEFINITIONS)
    await move(conn, rebuild, RebuildState.DONE, rebuild.accepted)


def _there(found: OpenRebuild | None) -> OpenRebuild:
    if found is None:
        raise UsageError("No rebuild is open. `laurel rebuild SOURCE...` opens one.")
    return found


def _rebuild(row: object) -> OpenRebuild | None:
    if row is None:
        return None
    values = dict(row)  # type: ignore[call-overload]
    for name in ("created_at", "updated_at"):
        del values[name]
    values |= {
        "state": RebuildState(values["state"]),
        "counters": msgspec.convert(values["counters"], tuple[RebuiltCounter, ...]),
    }
    return OpenRebuild(**values)
