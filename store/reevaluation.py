"""Read what a new catalog has to evaluate again, a slice at a time.

Counters of the types whose rules changed, metadata of the types whose fields did.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from sqlalchemy import TextClause, text

from store import exact_json
from store.counting import Progress
from store.engine import Connection
from store.values.names import CounterName, Holder

# An index-only scan of (user_id, type_id), which ends at the limit.
USERS = text("""
    SELECT DISTINCT user_id
      FROM nft_progress
     WHERE type_id = ANY(CAST(:types AS uuid[])) AND user_id > :after
     ORDER BY user_id
     LIMIT :limit
""")

# All that `USERS` would return.
NUMBER_OF_USERS = text("""
    SELECT count(*)
      FROM (SELECT DISTINCT user_id
              FROM nft_progress
             WHERE type_id = ANY(CAST(:types AS uuid[])) AND user_id > :after) AS left_over
""")

COUNTERS = text("""
    SELECT user_id, type_id, counters
      FROM nft_progress
     WHERE user_id = ANY(CAST(:users AS uuid[])) AND type_id = ANY(CAST(:types AS uuid[]))
     ORDER BY user_id, type_id
""")

# Who holds these rows keeps batches from deciding about their holders.
LOCK_COUNTERS = text("""
    SELECT user_id, type_id, counters
      FROM nft_progress JOIN unnest(CAST(:users AS uuid[]), CAST(:types AS uuid[]))
                          AS holder (user_id, type_id) USING (user_id, type_id)
     ORDER BY user_id, type_id
       FOR UPDATE OF nft_progress
""")

# Only active badges: what was revoked or burned stays as it was.
_BADGES = """
    SELECT badge.id, badge.type_id, badge.user_id, badge.current_level, badge.metadata,
           coalesce(progress.counters, '{}') AS counters
      FROM nft_instance AS badge
           LEFT JOIN nft_progress AS progress
                  ON progress.user_id = badge.user_id AND progress.type_id = badge.type_id
     WHERE badge.type_id = ANY(CAST(:types AS uuid[])) AND badge.status = 'active'
       AND badge.id > :after
     ORDER BY badge.id
     LIMIT :limit
"""
BADGES = text(_BADGES)
LOCK_BADGES = text(_BADGES + "FOR UPDATE OF badge")

REWRITE = text("""
    UPDATE nft_instance AS badge SET metadata = rewritten.metadata, updated_at = clock_timestamp()
      FROM jsonb_to_recordset(CAST(:badges AS jsonb)) AS rewritten (id uuid, metadata jsonb)
     WHERE badge.id = rewritten.id
""")

_FIRST = UUID(int=0)


@dataclass(frozen=True, slots=True)
class ActiveBadge:
    """An active badge's metadata, and the counters that it could be made of now."""

    id: UUID
    type_id: UUID
    user_id: UUID
    level: int
    metadata: Mapping[str, object]
    counters: Mapping[CounterName, int | Decimal]


async def users(
    conn: Connection, types: Collection[UUID], after: UUID | None, limit: int
) -> list[UUID]:
    """Return the next `limit` users who have counters for `types`, after the user `after`.

    [] at the end.
    """
    if not types:
        return []
    parameters = {"types": sorted(types), "after": after or _FIRST, "limit": limit}
    return list((await conn.execute(USERS, parameters)).scalars())


async def number_of_users(conn: Connection, types: Collection[UUID], after: UUID | None) -> int:
    """Return how many users after the user `after` have counters for `types`.

    Looks at each of them: the time it takes grows with them.
    """
    if not types:
        return 0
    parameters = {"types": sorted(types), "after": after or _FIRST}
    return int((await conn.execute(NUMBER_OF_USERS, parameters)).scalar_one())


async def counters(
    conn: Connection, types: Collection[UUID], of_users: Collection[UUID]
) -> list[Progress]:
    """Return the counters of users for `types`, by user and type, without a lock."""
    parameters = {"types": sorted(types), "users": list(of_users)}
    return [
        Progress(row.user_id, row.type_id, row.counters)
        for row in await conn.execute(COUNTERS, parameters)
    ]


async def lock_counters(conn: Connection, holders: Collection[Holder]) -> list[Progress]:
    """Lock and return the counters of `holders`, by user and type."""
    listed = sorted(holders)
    parameters = {
        "users": [user_id for user_id, _ in listed],
        "types": [type_id for _, type_id in listed],
    }
    return [
        Progress(row.user_id, row.type_id, row.counters)
        for row in await conn.execute(LOCK_COUNTERS, parameters)
    ]


async def badges(
    conn: Connection, types: Collection[UUID], after: UUID | None, limit: int
) -> list[ActiveBadge]:
    """Return the next `limit` active badges of `types`, after the badge `after`, without a lock.

    [] at the end.
    """
    return await _badges(conn, BADGES, types, after, limit)


async def lock_badges(
    conn: Connection, types: Collection[UUID], after: UUID | None, limit: int
) -> list[ActiveBadge]:
    """Lock and return the next `limit` active badges of `types`, after the badge `after`.

    [] at the end.
    """
    return await _badges(conn, LOCK_BADGES, types, after, limit)


async def _badges(
    conn: Connection,
    statement: TextClause,
    types: Collection[UUID],
    after: UUID | None,
    limit: int,
) -> list[ActiveBadge]:
    parameters = {"types": sorted(types), "after": after or _FIRST, "limit": limit}
    return [
        ActiveBadge(
            row.id,
            row.type_id,
            row.user_id,
            row.current_level,
            row.metadata,
            row.counters,
        )
        for row in await conn.execute(statement, parameters)
    ]


async def rewrite(conn: Connection, badges: Sequence[tuple[UUID, Mapping[str, object]]]) -> None:
    """Give locked badges new metadata: (badge, metadata) each; none is fine."""
    if badges:
        rows = [{"id": badge_id, "metadata": metadata} for badge_id, metadata in badges]
        await conn.execute(REWRITE, {"badges": exact_json.dumped(rows)})
