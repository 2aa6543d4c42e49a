"""Counting a batch of events: Python adds up, PostgreSQL keeps.

Counting is exact because each part is: an event enters once by its key
(store/processed_events.py), a member once by its row (progress_member), and a counter is its old
value and what the batch adds, under the lock of its row. What the batch adds is summed up here, by
user and type, and travels as one row for each (store/merge_statement.py); the database has less to
do than with a row an event, and it is what workers share. docs/adr/0008-batch-merge.md has the
measurements.

The staging tables are temporary and empty again at each commit.
"""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Context, Decimal, Inexact
from typing import Protocol
from uuid import UUID

from sqlalchemy import text

from store.binary_format import NULL, copy_rows, moment_number, numeric_field
from store.engine import Connection
from store.ids import id_prefix
from store.merge_statement import MergeStatement
from store.values.catalog import CounterOperation
from store.values.names import CounterName, Number

PREPARE = (
    # A batch of twenty thousand stays in memory.
    text("SET LOCAL work_mem = '64MB'"),
    # IF NOT EXISTS is meant; its notice says nothing.
    text("SET LOCAL client_min_messages = warning"),
    text("""
    CREATE TEMPORARY TABLE IF NOT EXISTS batch_member (
           user_id uuid NOT NULL, counter_id smallint NOT NULL, member text NOT NULL,
           posted boolean NOT NULL, undone boolean NOT NULL
           ) ON COMMIT DELETE ROWS
    """),
)

COPY_MEMBERS = "COPY batch_member FROM STDIN (FORMAT binary)"

# A member counts while it is posted and not undone. Nothing undoes that of a distinct counter: it
# counts the first time that its user brings it. First those that nobody has seen yet ...
NEW_MEMBERS = text("""
    WITH added AS (
         INSERT INTO progress_member (user_id, counter_id, member, posted, undone)
         SELECT user_id, counter_id, member, posted, undone FROM batch_member
          ORDER BY user_id, counter_id, member
             ON CONFLICT DO NOTHING
         RETURNING user_id, counter_id, posted, undone)
    SELECT user_id, counter_id, count(*) AS step
      FROM added WHERE posted AND NOT undone GROUP BY user_id, counter_id
""")

# ... then, in a statement of its own to see what others committed meanwhile, the flags of known
# ones, under their locks.
KNOWN_MEMBERS = text("""
    -- Only those whose flags change; what NEW_MEMBERS has just added has its flags already.
    WITH known AS MATERIALIZED (
         SELECT user_id, counter_id, member, old.posted, old.undone,
                old.posted OR staged.posted AS posted_now, old.undone OR staged.undone AS undone_now
           FROM progress_member AS old
                JOIN batch_member AS staged USING (user_id, counter_id, member)
          WHERE staged.counter_id = ANY(CAST(:undoable AS smallint[]))
            AND ((staged.posted AND NOT old.posted) OR (staged.undone AND NOT old.undone))
          ORDER BY user_id, counter_id, member
            FOR UPDATE OF old),
         -- A member counts for 1 or for 0: the step is the difference.
         flagged AS (
         UPDATE progress_member AS pair
            SET posted = known.posted_now, undone = known.undone_now
           FROM known
          WHERE pair.user_id = known.user_id AND pair.counter_id = known.counter_id
            AND pair.member = known.member
         RETURNING known.user_id, known.counter_id,
                   (known.posted_now AND NOT known.undone_now)::int
                   - (known.posted AND NOT known.undone)::int AS step)
    SELECT user_id, counter_id, sum(step) AS step FROM flagged GROUP BY user_id, counter_id
""")

# The merge looks each row up by user and type, however many there are. The planner knows nothing of
# a temporary table, may know nothing yet of nft_progress, and would rather read that as a whole:
# minutes, once there are millions of rows. For this one statement it may not.
LOOK_UP = text("""
    SELECT set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
           set_config('enable_seqscan', 'off', true)
""")
PLAN_AS_EVER = text("""
    SELECT set_config('enable_hashjoin', 'on', true), set_config('enable_mergejoin', 'on', true),
           set_config('enable_seqscan', 'on', true)
""")


@dataclass(frozen=True, slots=True)
class Progress:
    """A user's counters for a type, exact: int or Decimal."""

    user_id: UUID
    type_id: UUID
    counters: Mapping[CounterName, Number]


class Addition(Protocol):
    """What an event adds to one counter: an amount, or a member."""

    @property
    def counter_id(self) -> int: ...  # noqa: D102
    @property
    def operation(self) -> int: ...  # noqa: D102
    @property
    def amount(self) -> Number | None: ...  # noqa: D102
    @property
    def member(self) -> str | None: ...  # noqa: D102


@dataclass(slots=True)
class _Cell:
    """What the batch adds to one user and type; an amount is None where it says nothing."""

    last_event_at: datetime
    amounts: list[Number | None]


# User, counter, member; and user, type. As bytes: a UUID takes ten times as long to hash.
_Member = tuple[bytes, int, str]
_Holder = tuple[bytes, bytes]
# What is done to a member: it is posted, it is undone, or both.
_Flags = tuple[bool, bool]
_FLAGS: Mapping[int, _Flags] = {
    CounterOperation.DISTINCT: (True, False),
    CounterOperation.POST: (True, False),
    CounterOperation.UNDO: (False, True),
}
_UNDOABLE = frozenset({CounterOperation.POST, CounterOperation.UNDO})

# Rows of the COPYs: the number of fields, and each after its length.
_MEMBER_HEAD = struct.Struct("!hi16sihi").pack
_MEMBER_FLAGS = struct.Struct("!i?i?").pack
_CELL_HEAD = struct.Struct("!hi16si16si16siq").pack

# Wider than any sum of the numbers that events may have: 60 digits before the point, 60 after.
_EXACT = Context(prec=400, traps=[Inexact])


class Sums:
    """What a batch adds to counters.

    What members add is known only when the database has them (`add_members`).
    """

    def __init__(self, statement: MergeStatement) -> None:
        self.statement = statement
        self.undoable = set[int]()
        self._members: dict[_Member, _Flags] = {}
        self._cells: dict[_Holder, _Cell] = {}
        self._places = {
            counter_id: [(place.type_id.bytes, place.number - 1, place.is_max) for place in places]
            for counter_id, places in statement.places.items()
        }

    def __bool__(self) -> bool:
        return self.has_progress or self.has_members

    @property
    def has_progress(self) -> bool:
        """Return whether some user's counters of a type change."""
        return bool(self._cells)

    @property
    def has_members(self) -> bool:
        """Return whether some event brings a member."""
        return bool(self._members)

    def add(self, user_id: UUID, occurred_at: datetime, additions: Iterable[Addition]) -> None:
        """Add an event's part in each counter."""
        user, cells = user_id.bytes, self._cells
        for each in additions:
            counter_id, member, amount = each.counter_id, each.member, each.amount
            if member is not None:
                self._add_member((user, counter_id, member), each.operation)
            if amount is None:  # a counter that a known member leaves as it is has its place too
                amount = 0
            for type_id, place, is_max in self._places.get(counter_id, ()):
                cell = cells.get((user, type_id))
                if cell is None:
                    amounts: list[Number | None] = [None] * self.statement.amounts
                    cells[user, type_id] = _Cell(occurred_at, amounts)
                    amounts[place] = amount
                    continue
                if cell.last_event_at < occurred_at:
                    cell.last_event_at = occurred_at
                cell.amounts[place] = _together(cell.amounts[place], amount, is_max)

    def add_step(self, user_id: UUID, counter_id: int, step: int) -> None:
        """Add what members have changed, of events that are added already."""
        for type_id, place, is_max in self._places.get(counter_id, ()):
            amounts = self._cells[user_id.bytes, type_id].amounts
            amounts[place] = _together(amounts[place], step, is_max)

    def member_rows(self) -> Iterable[bytes]:
        """Yield the rows of COPY_MEMBERS, in the order of their keys."""
        for (user, counter_id, member), (posted, undone) in sorted(self._members.items()):
            encoded = member.encode()
            head = _MEMBER_HEAD(5, 16, user, 2, counter_id, len(encoded))
            yield b"".join((head, encoded, _MEMBER_FLAGS(1, posted, 1, undone)))

    def progress_rows(self) -> Iterable[bytes]:
        """Yield the rows of the merge's COPY, with ids in the order of users and types."""
        fields, prefix = 4 + self.statement.amounts, bytes.fromhex(id_prefix())
        for number, holder in enumerate(sorted(self._cells)):
            (user, type_id), cell = holder, self._cells[holder]
            row_id, moment = prefix + number.to_bytes(4, "big"), moment_number(cell.last_event_at)
            head = _CELL_HEAD(fields, 16, row_id, 16, user, 16, type_id, 8, moment)
            amounts = [NULL if each is None else numeric_field(each) for each in cell.amounts]
            yield b"".join((head, *amounts))

    def _add_member(self, member: _Member, operation: int) -> None:
        posted, undone = _FLAGS[operation]
        if operation in _UNDOABLE:
            self.undoable.add(member[1])
        found = self._members.get(member)
        if found is not None:
            posted, undone = posted or found[0], undone or found[1]
        self._members[member] = posted, undone


def _together(old: Number | None, amount: Number, is_max: bool) -> Number:
    if old is None:
        return amount
    if is_max:
        return max(old, amount)
    if type(old) is int and type(amount) is int:
        return old + amount
    return _EXACT.add(Decimal(old), Decimal(amount))


async def prepare(conn: Connection, statement: MergeStatement) -> None:
    """Make this connection ready to count.

    Temporary tables, and settings for the length of the transaction.
    """
    for each in PREPARE:
        await conn.execute(each)
    await conn.exec_driver_sql(statement.table)


async def stage_members(conn: Connection, sums: Sums) -> None:
    """COPY the members into their staging table."""
    if sums.has_members:
        await copy_rows(conn, COPY_MEMBERS, sums.member_rows())


async def add_members(conn: Connection, sums: Sums) -> None:
    """Write the members that are new, set the flags of known ones, and add what that changes."""
    if sums.has_members:
        for row in await conn.execute(NEW_MEMBERS):
            sums.add_step(row.user_id, row.counter_id, row.step)
    if sums.undoable:
        for row in await conn.execute(KNOWN_MEMBERS, {"undoable": sorted(sums.undoable)}):
            sums.add_step(row.user_id, row.counter_id, row.step)


async def merge(conn: Connection, sums: Sums) -> list[Progress]:
    """Add the sums to nft_progress.

    Return the users and types whose level may have changed, sorted.
    """
    if not sums.has_progress:  # no type shows the counters
        return []
    await copy_rows(conn, sums.statement.copy, sums.progress_rows())
    await conn.execute(LOOK_UP)
    rows = await conn.exec_driver_sql(sums.statement.merge)
    found = [Progress(row.user_id, row.type_id, row.counters) for row in rows]
    await conn.execute(PLAN_AS_EVER)
    return sorted(found, key=lambda progress: (progress.user_id, progress.type_id))
