"""What the shadows of a rebuild have that their counters have not, and the other way round.

Batches write both in one statement, so what is read of a row was true at one moment. A counter that
a row does not have reads as 0, as everywhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text

from store.engine import Connection
from store.exact_json import dumped
from store.rebuilds import RebuiltCounter
from store.values.names import CounterName
from store.values.shadows import ShadowChange

ROWS = text("""
    SELECT type_id, count(*) AS rows
      FROM nft_progress WHERE type_id = ANY(CAST(:types AS uuid[])) GROUP BY type_id
""")
USERS = text("""
    SELECT count(DISTINCT user_id) FROM nft_progress WHERE type_id = ANY(CAST(:types AS uuid[]))
""")
DIFFERING = text("""
    WITH wanted AS MATERIALIZED (
         SELECT * FROM jsonb_to_recordset(CAST(:changes AS jsonb))
                AS listed (type_id uuid, counters text[]))
    SELECT user_id, type_id, progress.counters
      FROM nft_progress AS progress JOIN wanted USING (type_id)
     WHERE (user_id, type_id) > (CAST(:after_user AS uuid), CAST(:after_type AS uuid))
       AND EXISTS (
           SELECT FROM unnest(wanted.counters) AS name
            WHERE coalesce((progress.counters->>name)::numeric, 0)
                  <> coalesce((progress.counters->>('~' || name))::numeric, 0))
     ORDER BY user_id, type_id
     LIMIT :limit
""")
MEMBERS = text("""
    SELECT count(*) FILTER (WHERE own.member IS NULL) AS gained,
           count(*) FILTER (WHERE shadow.member IS NULL) AS lost,
           count(*) FILTER (WHERE own.member IS NOT NULL AND shadow.member IS NOT NULL) AS changed
      FROM (SELECT * FROM progress_member WHERE counter_id = :id) AS own
           FULL JOIN (SELECT * FROM progress_member WHERE counter_id = :shadow_id) AS shadow
                USING (user_id, member)
     WHERE (own.posted, own.undone) IS DISTINCT FROM (shadow.posted, shadow.undone)
""")
_FIRST = UUID(int=0)


class DifferingRow(NamedTuple):
    """A user's counters of a type, and their shadows beside them, where some differ."""

    user_id: UUID
    type_id: UUID
    counters: Mapping[CounterName, int | Decimal]


@dataclass(frozen=True, slots=True)
class MemberDrift:
    """Members that the shadow has and the counter has not, the other way round, or otherwise."""

    gained: int
    lost: int
    changed: int

    def __bool__(self) -> bool:
        return bool(self.gained or self.lost or self.changed)


async def totals(
    conn: Connection, changes: Sequence[ShadowChange]
) -> tuple[Mapping[UUID, int], int]:
    """Return how many rows there are of each type of `changes`, and of how many users in all."""
    types = {"types": [each.type_id for each in changes]}
    by_type = {row.type_id: int(row.rows) for row in await conn.execute(ROWS, types)}
    return by_type, int((await conn.execute(USERS, types)).scalar_one())


async def differing(
    conn: Connection, changes: Sequence[ShadowChange], after: DifferingRow | None, limit: int
) -> list[DifferingRow]:
    """Return the next rows after `after` in which a counter and its shadow differ; [] at the end.

    Each call may look at all rows behind `after`.
    """
    parameters = {
        "changes": dumped(changes),
        "after_user": after.user_id if after else _FIRST,
        "after_type": after.type_id if after else _FIRST,
        "limit": limit,
    }
    return [DifferingRow(*row) for row in await conn.execute(DIFFERING, parameters)]


async def members(conn: Connection, counter: RebuiltCounter) -> MemberDrift:
    """Return how the members of a counter and of its shadow differ."""
    parameters = {"id": counter.id, "shadow_id": counter.shadow_id}
    row = (await conn.execute(MEMBERS, parameters)).one()
    return MemberDrift(row.gained, row.lost, row.changed)
