"""dedupe_floor: which ids of events may have been forgotten, and forgetting them.

By default ids are kept for ever. Where they are not, the floor is raised first, for good: from then
on an event of a day before it is rejected (`too_old`), whatever the clock says, and only then the
ids below it go, a slice of the table at a time. Each batch shares the floor that it was read by.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

from sqlalchemy import text

from ops.errors import UsageError
from store.engine import Connection, Database

# Of the table processed_event, in one transaction: some 130 000 rows.
PAGES_A_SLICE = 1_000
# Slices.
SAY_EVERY = 50

FLOOR = text("SELECT floor FROM dedupe_floor")
FLOOR_FOR_SHARE = text("SELECT floor FROM dedupe_floor FOR SHARE")
# The database's clock: a host's that is wrong would forget too much, for good.
FLOOR_AFTER = text("""
    SELECT greatest(floor, CAST((now() - CAST(:age AS interval)) AT TIME ZONE 'UTC' AS date))
      FROM dedupe_floor
""")
# The table, not the row: row locks have no queue, and batches share this one without a pause.
LOCK_OUT_BATCHES = text("LOCK TABLE dedupe_floor IN EXCLUSIVE MODE")
UNDER_REBUILD = text("SELECT EXISTS (SELECT FROM rebuild WHERE state <> 'done')")
RAISE = text("UPDATE dedupe_floor SET floor = :floor WHERE floor < :floor")

PAGES = text("""
    SELECT pg_relation_size('processed_event') / CAST(current_setting('block_size') AS bigint)
""")
# A range of pages, and no index on the day: the rows stay as small as they are.
BELOW = text("""
    SELECT count(*) FROM processed_event
     WHERE ctid >= CAST(:first AS tid) AND ctid < CAST(:last AS tid) AND occurred_on < :floor
""")
FORGET = text("""
    DELETE FROM processed_event
     WHERE ctid >= CAST(:first AS tid) AND ctid < CAST(:last AS tid)
       AND occurred_on < (SELECT floor FROM dedupe_floor)
""")


async def floor(conn: Connection) -> date:
    """Return the day before which ids may have been forgotten; the first of all where none was."""
    found: date = (await conn.execute(FLOOR)).scalar_one()
    return found


async def floor_for_share(conn: Connection) -> date:
    """Return the floor, which stays where it is until the transaction ends."""
    found: date = (await conn.execute(FLOOR_FOR_SHARE)).scalar_one()
    return found


async def floor_after(conn: Connection, age: timedelta) -> date:
    """Return where the floor would be if ids of whole days older than `age` were forgotten."""
    found: date = (await conn.execute(FLOOR_AFTER, {"age": age})).scalar_one()
    return found


async def raise_floor(conn: Connection, to: date) -> None:
    """Raise the floor, in a transaction that does nothing else; it waits for batches under way.

    Raises:
        UsageError: a rebuild is open.
    """
    await conn.execute(LOCK_OUT_BATCHES)
    if (await conn.execute(UNDER_REBUILD)).scalar_one():
        raise UsageError(
            "A rebuild is open, which tells by their ids which events were counted: none are "
            "forgotten before its end. `laurel rebuild --finish` ends it."
        )
    await conn.execute(RAISE, {"floor": to})


async def slices(conn: Connection) -> int:
    """Return how many slices the table has; rows that come later lie above the floor."""
    pages = int((await conn.execute(PAGES)).scalar_one())
    return -(-pages // PAGES_A_SLICE)


async def below(conn: Connection, number: int, day: date) -> int:
    """Return how many ids of a slice are of events before `day`."""
    return int((await conn.execute(BELOW, {**_pages(number), "floor": day})).scalar_one())


async def forget(conn: Connection, number: int) -> int:
    """Forget the ids of a slice that lie below the floor; return how many."""
    return (await conn.execute(FORGET, _pages(number))).rowcount


def _pages(number: int) -> dict[str, str]:
    first = number * PAGES_A_SLICE
    return {"first": f"({first},0)", "last": f"({first + PAGES_A_SLICE},0)"}


@dataclass(frozen=True, slots=True)
class PruneReport:
    """What was forgotten, or with `dry_run` would be: ids of events before the day `floor`."""

    floor: date
    events: int
    dry_run: bool

    @property
    def document(self) -> dict[str, object]:
        """Return this for a script."""
        return {
            "floor": self.floor.isoformat(),
            "events": self.events,
            "dry_run": self.dry_run,
        }

    @property
    def text(self) -> str:
        """Return this for a person."""
        if self.dry_run:
            return f"This would forget {self.events} events before {self.floor}."
        return (
            f"{self.events} events before {self.floor} are forgotten; "
            "older ones become dead letters (too_old)."
        )


async def prune(
    database: Database, age: timedelta, *, dry_run: bool, say: Callable[[str], None]
) -> PruneReport:
    """Forget the ids of events older than `age`, by whole days.

    The floor is raised in a transaction of its own, and only then they go, each slice in one of its
    own: at any moment what is gone lies below the floor.

    Args:
        database: with this Laurel's tables.
        age: by the database's clock.
        dry_run: count them, and change nothing.
        say: is told now and then how far it is.
    """
    async with database.transaction() as conn:
        day = await floor_after(conn, age)
    if not dry_run:
        await database.retried("prune_events", lambda conn: raise_floor(conn, day))
    async with database.transaction() as conn:
        number = await slices(conn)
    events = 0
    for place in range(number):
        async with database.transaction() as conn:
            events += await (below(conn, place, day) if dry_run else forget(conn, place))
        if (place + 1) % SAY_EVERY == 0:
            say(f"{place + 1} of {number} parts of the table, {events} events")
    return PruneReport(day, events, dry_run)
