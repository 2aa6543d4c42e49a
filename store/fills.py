"""counter_fill: a counter that came later is given its past, once.

Which events the live stream has counted into a counter is known for good: those whose first_version
(processed_event) is not below the version that brought the counter. A fill takes the others, each
once, into tables that nobody else reads (store/fill_staging.py), and is closed by adding those up
into the counters (store/fill_closing.py). Whoever works on it locks its row for the length of a
slice, after the catalog's version.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import text

from ops.errors import UsageError
from store.engine import Connection
from store.values.fills import FillState
from store.values.names import CounterName

COUNTER = text("""
    SELECT counter.id, counter.name, counter.first_version, counter.kind = 'max' AS is_max,
           counter.undo_event_type IS NOT NULL AS is_undoable,
           CAST(brought.applied_at AT TIME ZONE 'UTC' AS date) AS began_on,
           array_remove(ARRAY[counter.event_type, counter.undo_event_type], NULL) AS event_types,
           -- Else its events were counted by nobody before.
           EXISTS (
           SELECT FROM catalog_version AS earlier
                  CROSS JOIN jsonb_array_elements(earlier.document -> 'counters') AS other
            WHERE earlier.id < counter.first_version
              AND (other ->> 'event_type' IN (counter.event_type, counter.undo_event_type)
                OR other ->> 'undo_event_type' IN (counter.event_type, counter.undo_event_type)))
               AS was_heard_before
      FROM counter_definition AS counter
           JOIN catalog_version AS brought ON brought.id = counter.first_version
     WHERE counter.name = :name
""")
# Of the catalog; those of a rebuild begin with a sign.
NAMES = text("SELECT name FROM counter_definition WHERE name ~ '^[a-z]' ORDER BY name")
REBUILDING = text("SELECT EXISTS (SELECT FROM rebuild WHERE state <> 'done')")

_FILLS = """
    SELECT fill.counter_id, counter.name, fill.state, fill.silent, fill.no_mint,
           fill.source_digest, fill.slices, fill.slices_done, fill.events, fill.users,
           fill.awarded, fill.raised, fill.created_at, fill.updated_at
      FROM counter_fill AS fill JOIN counter_definition AS counter ON counter.id = fill.counter_id
"""
ALL = text(_FILLS + "ORDER BY fill.created_at, counter.name")
ONE = text(_FILLS + "WHERE fill.counter_id = :counter_id")
TAKE = text(_FILLS + "WHERE fill.counter_id = :counter_id FOR UPDATE OF fill")
OPEN = text("INSERT INTO counter_fill (counter_id) VALUES (:counter_id) ON CONFLICT DO NOTHING")
SAVE = text("""
    UPDATE counter_fill
       SET state = :state, silent = :silent, no_mint = :no_mint, source_digest = :source_digest,
           slices = :slices, slices_done = :slices_done, events = :events, users = :users,
           awarded = :awarded, raised = :raised, updated_at = clock_timestamp()
     WHERE counter_id = :counter_id
""")
END = text("DELETE FROM counter_fill WHERE counter_id = :counter_id")
_SAVED = (
    "counter_id",
    "state",
    "silent",
    "no_mint",
    "source_digest",
    "slices",
    "slices_done",
    "events",
    "users",
    "awarded",
    "raised",
)


@dataclass(frozen=True, slots=True)
class FillableCounter:
    """A counter, and since when it counts.

    Args:
        id: counter_definition.id.
        name: its name.
        first_version: of the catalogs that have had it without a pause since.
        began_on: the day on which that was applied, in UTC.
        event_types: that it listens to.
        was_heard_before: some counter listened to them before.
        is_max: it keeps the greatest number.
        is_undoable: an event may take out what another one brought.
    """

    id: int
    name: CounterName
    first_version: int
    began_on: date
    event_types: Sequence[str]
    was_heard_before: bool
    is_max: bool
    is_undoable: bool


@dataclass(frozen=True, slots=True)
class Fill:
    """A fill: how far the source is taken that came last, and how far all is given."""

    counter_id: int
    name: CounterName
    state: FillState
    silent: bool
    no_mint: bool
    source_digest: bytes | None
    slices: int
    slices_done: int
    events: int
    users: int
    awarded: int
    raised: int
    created_at: datetime
    updated_at: datetime


async def counter(conn: Connection, name: str) -> FillableCounter | None:
    """Return the counter called `name`; None: the catalog in force has none."""
    row = (await conn.execute(COUNTER, {"name": name})).mappings().one_or_none()
    return None if row is None else FillableCounter(**row)


async def names(conn: Connection) -> list[str]:
    """Return the names of all counters."""
    return list((await conn.execute(NAMES)).scalars())


async def read(conn: Connection, counter_id: int) -> Fill | None:
    """Return the fill of a counter, without a lock."""
    return _fill((await conn.execute(ONE, {"counter_id": counter_id})).mappings().one_or_none())


async def take(conn: Connection, counter_id: int) -> Fill | None:
    """Lock and return the fill of a counter, in a transaction that holds the catalog's version."""
    return _fill((await conn.execute(TAKE, {"counter_id": counter_id})).mappings().one_or_none())


async def every(conn: Connection) -> list[Fill]:
    """Return all fills, the oldest first, without a lock."""
    found = [_fill(row) for row in (await conn.execute(ALL)).mappings()]
    return [each for each in found if each is not None]


async def begin(conn: Connection, counter_id: int) -> None:
    """Open a fill, unless there is one; the caller holds the catalog's version.

    Raises:
        UsageError: a rebuild is open, which would not have what the fill gives.
    """
    if (await conn.execute(REBUILDING)).scalar_one():
        raise UsageError(
            "A rebuild is open, which counts beside the counters in force: a fill waits for its "
            "end. `laurel rebuild --finish` keeps what is in force and ends it."
        )
    await conn.execute(OPEN, {"counter_id": counter_id})


async def save(conn: Connection, fill: Fill) -> None:
    """Write how far a fill is, under its lock."""
    await conn.execute(SAVE, {name: getattr(fill, name) for name in _SAVED})


async def end(conn: Connection, counter_id: int) -> None:
    """Forget a fill that was undone, and of which nothing is left, under its lock."""
    await conn.execute(END, {"counter_id": counter_id})


def _fill(row: object) -> Fill | None:
    if row is None:
        return None
    values = dict(row)  # type: ignore[call-overload]
    return Fill(**(values | {"state": FillState(values["state"])}))
