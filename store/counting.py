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
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from datetime import datetime
from decimal import Context, Decimal, Inexact
from typing import NamedTuple, Protocol
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
           user_id uuid NOT NULL, counter_id smallint NOT NULL, member text COLLATE "C" NOT NULL,
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
         RETURNING user_id, counter_id, posted, undone),
         -- Thousands of users are a few values for Python, and no row each.
         changed AS (
         SELECT user_id, counter_id, count(*) AS step
           FROM added WHERE posted AND NOT undone GROUP BY user_id, counter_id)
    SELECT counter_id, step, string_agg(uuid_send(user_id), '') AS users
      FROM changed GROUP BY counter_id, step
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
                   - (known.posted AND NOT known.undone)::int AS step),
         changed AS (
         SELECT user_id, counter_id, sum(step) AS step FROM flagged GROUP BY user_id, counter_id)
    SELECT counter_id, step, string_agg(uuid_send(user_id), '') AS users
      FROM changed WHERE step <> 0 GROUP BY counter_id, step
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


class UserTotal(Protocol):
    """What events add to one counter of one user; of a counter of members the amount is 0.

    `user`: the 16 bytes of the id.
    """

    @property
    def user(self) -> bytes: ...  # noqa: D102
    @property
    def counter_id(self) -> int: ...  # noqa: D102
    @property
    def amount(self) -> Number: ...  # noqa: D102
    @property
    def latest(self) -> datetime: ...  # noqa: D102


# User, counter, member, and whether it is posted and undone.
UserMember = tuple[bytes, int, str, bool, bool]

# A user, as the 16 bytes of the id: a UUID takes ten times as long to hash.
_User = bytes
# What is done to a member: it is posted, it is undone, or both.
_Flags = tuple[bool, bool]
_FLAGS: Mapping[int, _Flags] = {
    CounterOperation.DISTINCT: (True, False),
    CounterOperation.POST: (True, False),
    CounterOperation.UNDO: (False, True),
}
_UNDOABLE = frozenset({CounterOperation.POST, CounterOperation.UNDO})

# Rows of the COPYs: the number of fields, and each after its length.
_MEMBER_KEY = struct.Struct("!hi16sihi").pack
_MEMBER_FLAGS: Mapping[_Flags, bytes] = {
    (posted, undone): struct.pack("!i?i?", 1, posted, 1, undone)
    for posted in (False, True)
    for undone in (False, True)
}
_ROW_HEAD = struct.Struct("!hi12s").pack
_HOLDER = struct.Struct("!i16si16siq").pack

# Wider than any sum of the numbers that events may have: 60 digits before the point, 60 after.
_EXACT = Context(prec=400, traps=[Inexact])


class _Counter(NamedTuple):
    """What the batch adds to one counter, by user, and when the latest of those events was.

    A dict for each: nothing in them is for the garbage collector to look through.
    """

    is_max: bool
    amounts: dict[_User, Number]
    latest: dict[_User, datetime]


class Sums:
    """What a batch adds to counters, by user.

    What members add is known only when the database has them (`add_members`).
    """

    def __init__(self, statement: MergeStatement) -> None:
        self.statement = statement
        self.undoable = set[int]()
        # Of each member the row for COPY_MEMBERS but for its end; and rows that are whole.
        self._members: dict[bytes, _Flags] = {}
        self._listed_members: list[bytes] = []
        self._counters = {
            counter_id: _Counter(counter_id in statement.maxima, {}, {})
            for counter_ids in statement.columns.values()
            for counter_id in counter_ids
        }

    def __bool__(self) -> bool:
        return self.has_progress or self.has_members

    @property
    def has_progress(self) -> bool:
        """Return whether some user's counters of a type change."""
        return any(counter.amounts for counter in self._counters.values())

    @property
    def has_members(self) -> bool:
        """Return whether some event brings a member."""
        return bool(self._members or self._listed_members)

    def add(self, user_id: UUID, occurred_at: datetime, additions: Iterable[Addition]) -> None:
        """Add an event's part in each counter."""
        user = user_id.bytes
        for each in additions:
            counter_id, amount, member = each.counter_id, each.amount, each.member
            if member is not None:
                self._add_member(user, counter_id, member, each.operation)
            counter = self._counters.get(counter_id)
            if counter is None:  # no type shows it
                continue
            if amount is None:  # a counter that a known member leaves as it is has its place too
                amount = 0
            is_max, amounts, latest = counter
            last = latest.get(user)
            if last is None:
                amounts[user], latest[user] = amount, occurred_at
                continue
            amounts[user] = together(amounts[user], amount, is_max)
            if last < occurred_at:
                latest[user] = occurred_at

    def add_listed(
        self, totals: Iterable[UserTotal], members: Iterable[UserMember], undoable: Set[int]
    ) -> None:
        """Add what is added up already, where nothing is added otherwise.

        Args:
            totals: a user and counter at most once.
            members: a user, counter and member at most once.
            undoable: the counters, of those of members, whose members may be undone.
        """
        counters = self._counters
        for total in totals:
            counter = counters.get(total.counter_id)
            if counter is not None:  # some type shows it
                counter.amounts[total.user] = total.amount
                counter.latest[total.user] = total.latest
        rows, seen = self._listed_members, set[int]()
        for user, counter_id, member, posted, undone in members:
            encoded = member.encode()
            key = _MEMBER_KEY(5, 16, user, 2, counter_id, len(encoded))
            rows.append(key + encoded + _MEMBER_FLAGS[posted, undone])
            seen.add(counter_id)
        self.undoable |= seen & undoable

    def add_steps(self, counter_id: int, step: int, users: bytes) -> None:
        """Add what members have changed, of events that are added already.

        Args:
            counter_id: of the members.
            step: to be added for each of the users.
            users: their ids, 16 bytes each.
        """
        counter = self._counters.get(counter_id)
        if counter is None:
            return
        is_max, amounts, _ = counter
        for start in range(0, len(users), 16):
            user = users[start : start + 16]
            amounts[user] = together(amounts[user], step, is_max)

    def member_rows(self) -> Iterable[bytes]:
        """Return the rows of COPY_MEMBERS."""
        rows = [key + _MEMBER_FLAGS[flags] for key, flags in self._members.items()]
        return rows + self._listed_members

    def progress_rows(self) -> Iterable[bytes]:
        """Return the rows of the merge's COPY, with ids in the order of users and types."""
        rows = [row for type_id in self.statement.columns for row in self._rows_of(type_id)]
        rows.sort()  # they begin with user and type
        head = _ROW_HEAD(4 + self.statement.amounts, 16, bytes.fromhex(id_prefix()))
        return [head + number.to_bytes(4, "big") + row for number, row in enumerate(rows)]

    def _rows_of(self, type_id: UUID) -> Iterable[bytes]:
        """Yield a row, but for its id, for each user who has something of the type."""
        columns = [self._counters[counter_id] for counter_id in self.statement.columns[type_id]]
        holders = columns[0].latest if len(columns) == 1 else _latest_of(columns)
        type_bytes, fields = type_id.bytes, _Fields()
        nothing_more = NULL * (self.statement.amounts - len(columns))
        amounts_of = [counter.amounts.get for counter in columns]
        for user, moment in holders.items():
            holder = _HOLDER(16, user, 16, type_bytes, 8, moment_number(moment))
            amounts = [
                fields[amount] if type(amount) is int else _field(amount)
                for amount in [amount_of(user) for amount_of in amounts_of]
            ]
            yield b"".join((holder, *amounts, nothing_more))

    def _add_member(self, user: _User, counter_id: int, member: str, operation: int) -> None:
        flags = _FLAGS[operation]
        if operation in _UNDOABLE:
            self.undoable.add(counter_id)
        encoded = member.encode()
        key = _MEMBER_KEY(5, 16, user, 2, counter_id, len(encoded)) + encoded
        found = self._members.setdefault(key, flags)
        if found is not flags:
            self._members[key] = flags[0] or found[0], flags[1] or found[1]


class _Fields(dict[int, bytes]):
    """The fields of whole numbers: nearly all amounts of a batch are of ten or twenty values."""

    def __missing__(self, value: int) -> bytes:
        field = self[value] = numeric_field(value)
        return field


def _field(amount: Number | None) -> bytes:
    return NULL if amount is None else numeric_field(amount)


def _latest_of(counters: Iterable[_Counter]) -> Mapping[_User, datetime]:
    found: dict[_User, datetime] = {}
    for counter in counters:
        if not found:
            found |= counter.latest
            continue
        for user, moment in counter.latest.items():
            last = found.get(user)
            if last is None or last < moment:
                found[user] = moment
    return found


def together(old: Number, amount: Number, is_max: bool) -> Number:
    """Return a counter with an amount added, exactly; of a maximum, the greater of both."""
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
            sums.add_steps(row.counter_id, row.step, row.users)
    if sums.undoable:
        for row in await conn.execute(KNOWN_MEMBERS, {"undoable": sorted(sums.undoable)}):
            sums.add_steps(row.counter_id, row.step, row.users)


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
