"""Read what a new catalog has to evaluate again, a slice at a time.

Counters of the types whose rules changed, metadata of the types whose fields did.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from sqlalchemy import text

from store import exact_json
from store.counting import Progress
from store.engine import Connection
from store.values import CounterName

SLICE = 5_000  # rows held in memory at once

COUNTERS = text("""
    SELECT user_id, type_id, counters
      FROM nft_progress
     WHERE type_id = ANY(CAST(:types AS uuid[])) AND (user_id, type_id) > (:user_id, :type_id)
     ORDER BY user_id, type_id
     LIMIT :slice
""")

# Only active badges: what was revoked or burned stays as it was.
BADGES = text("""
    SELECT badge.id, badge.type_id, badge.current_level, badge.metadata,
           coalesce(progress.counters, '{}') AS counters
      FROM nft_instance AS badge
           LEFT JOIN nft_progress AS progress
                  ON progress.user_id = badge.user_id AND progress.type_id = badge.type_id
     WHERE badge.type_id = ANY(CAST(:types AS uuid[])) AND badge.status = 'active'
       AND badge.id > :after
     ORDER BY badge.id
     LIMIT :slice
       FOR UPDATE OF badge
""")

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
    level: int
    metadata: Mapping[str, object]
    counters: Mapping[CounterName, int | Decimal]


async def counters(
    conn: Connection, types: Collection[UUID], after: Progress | None
) -> list[Progress]:
    """Return the next slice of users' counters for `types`, after the row `after`.

    [] at the end.
    """
    parameters = {
        "types": sorted(types),
        "user_id": after.user_id if after else _FIRST,
        "type_id": after.type_id if after else _FIRST,
        "slice": SLICE,
    }
    return [
        Progress(row.user_id, row.type_id, row.counters)
        for row in await conn.execute(COUNTERS, parameters)
    ]


async def lock_badges(
    conn: Connection, types: Collection[UUID], after: ActiveBadge | None
) -> list[ActiveBadge]:
    """Lock and return the next slice of the active badges of `types`, after the badge `after`.

    [] at the end.
    """
    parameters = {"types": sorted(types), "after": after.id if after else _FIRST, "slice": SLICE}
    return [
        ActiveBadge(
            row.id,
            row.type_id,
            row.current_level,
            row.metadata,
            row.counters,
        )
        for row in await conn.execute(BADGES, parameters)
    ]


async def rewrite(conn: Connection, badges: Sequence[tuple[UUID, Mapping[str, object]]]) -> None:
    """Give locked badges new metadata: (badge, metadata) each; none is fine."""
    if badges:
        rows = [{"id": badge_id, "metadata": metadata} for badge_id, metadata in badges]
        await conn.execute(REWRITE, {"badges": exact_json.dumped(rows)})
