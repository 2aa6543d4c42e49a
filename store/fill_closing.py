"""A fill is closed: what it took goes into members and counters, for some users at a time.

By the statements of a batch, so that both come to the same beside each other. What a user was given
is taken from the fill's own tables in the same transaction, which is what makes it once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text

from store.counting import KNOWN_MEMBERS, NEW_MEMBERS, Sums
from store.engine import Connection
from store.fills import FillableCounter
from store.values.names import Number

NEXT = text("""
    SELECT user_id, amount, latest FROM fill_progress
     WHERE counter_id = :counter_id
       AND (CAST(:after AS uuid) IS NULL OR user_id > :after)
     ORDER BY user_id LIMIT :limit
""")
STAGE_MEMBERS = text("""
    INSERT INTO batch_member (user_id, counter_id, member, posted, undone)
    SELECT user_id, counter_id, member, posted, undone FROM fill_member
     WHERE counter_id = :counter_id AND user_id = ANY(CAST(:users AS uuid[]))
""")
# What `add_members` would find, without changing anything.
STEPS = text("""
    SELECT staged.user_id,
           sum(((coalesce(old.posted, false) OR staged.posted)
                AND NOT (coalesce(old.undone, false) OR staged.undone))::int
               - (coalesce(old.posted, false) AND NOT coalesce(old.undone, false))::int) AS step
      FROM fill_member AS staged
           LEFT JOIN progress_member AS old USING (user_id, counter_id, member)
     WHERE staged.counter_id = :counter_id AND staged.user_id = ANY(CAST(:users AS uuid[]))
     GROUP BY staged.user_id
""")
FORGET_USERS = (
    text("""
    DELETE FROM fill_member
     WHERE counter_id = :counter_id AND user_id = ANY(CAST(:users AS uuid[]))
    """),
    text("""
    DELETE FROM fill_progress
     WHERE counter_id = :counter_id AND user_id = ANY(CAST(:users AS uuid[]))
    """),
)
# The one after as many as go at a time.
KEY_AFTER = text("""
    SELECT event_key FROM fill_event
     WHERE counter_id = :counter_id AND event_key >= :first
     ORDER BY event_key OFFSET :number LIMIT 1
""")
FORGET_KEYS = text("""
    DELETE FROM fill_event
     WHERE counter_id = :counter_id AND event_key >= :first
       AND (CAST(:end AS uuid) IS NULL OR event_key < :end)
""")

_FIRST = UUID(int=0)
# In one transaction.
KEYS_A_SLICE = 100_000


@dataclass(frozen=True, slots=True)
class Share:
    """What a fill has for a user; of members `steps` says it."""

    user_id: UUID
    amount: Number
    latest: datetime


async def shares(
    conn: Connection, counter_id: int, limit: int, after: UUID | None = None
) -> list[Share]:
    """Return what the fill has for the next `limit` users, by their ids; [] at the end."""
    parameters = {"counter_id": counter_id, "limit": limit, "after": after}
    return [
        Share(row.user_id, row.amount, row.latest) for row in await conn.execute(NEXT, parameters)
    ]


async def steps(conn: Connection, counter_id: int, users: Sequence[UUID]) -> dict[UUID, int]:
    """Return by how much the fill's members would change the counters of users, without a lock."""
    parameters = {"counter_id": counter_id, "users": users}
    return {row.user_id: int(row.step) for row in await conn.execute(STEPS, parameters)}


async def add_members(
    conn: Connection, counter: FillableCounter, users: Sequence[UUID], sums: Sums
) -> None:
    """Write the fill's members of users, and add to `sums` what that changes.

    As store/counting.py does for a batch; `counting.prepare` comes first.
    """
    parameters = {"counter_id": counter.id, "users": users}
    await conn.execute(STAGE_MEMBERS, parameters)
    for row in await conn.execute(NEW_MEMBERS):
        sums.add_steps(row.counter_id, row.step, row.users)
    if counter.is_undoable:
        for row in await conn.execute(KNOWN_MEMBERS, {"undoable": [counter.id]}):
            sums.add_steps(row.counter_id, row.step, row.users)


async def forget_users(conn: Connection, counter_id: int, users: Sequence[UUID]) -> None:
    """Drop what the fill has for users."""
    for each in FORGET_USERS:
        await conn.execute(each, {"counter_id": counter_id, "users": users})


async def forget_keys(conn: Connection, counter_id: int, first: UUID | None) -> UUID | None:
    """Forget some of the events that the fill has taken, from `first` on.

    Return where to go on; None where none is left.
    """
    parameters = {"counter_id": counter_id, "first": first or _FIRST}
    found: UUID | None = (
        await conn.execute(KEY_AFTER, parameters | {"number": KEYS_A_SLICE})
    ).scalar_one_or_none()
    await conn.execute(FORGET_KEYS, parameters | {"end": found})
    return found
