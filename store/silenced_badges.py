"""silenced_badge: what a silent job has left unsaid about a badge.

Counting history is silent: no message, no mint by itself. What the stream would have caused is kept
here, a row a badge, until a live record brings an event that the silent job took: then it is said
and minted, once (docs/data-model.md, Silence).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text

from store import exact_json
from store.engine import Connection
from store.values import OutboxType


@dataclass(frozen=True, slots=True)
class Silenced:
    """What was left out: the message, None if it was sent, and whether a mint was asked for."""

    nft_instance_id: UUID
    message: OutboxType | None
    mint: bool


# A badge that was created in silence and then raised in silence is still news.
KEEP = text("""
    INSERT INTO silenced_badge AS kept (nft_instance_id, message, mint)
    SELECT nft_instance_id, message, mint
      FROM jsonb_to_recordset(CAST(:rows AS jsonb))
        AS left_out (nft_instance_id uuid, message text, mint boolean)
     ORDER BY nft_instance_id
        ON CONFLICT (nft_instance_id) DO UPDATE
       SET message = coalesce(kept.message, excluded.message), mint = kept.mint OR excluded.mint
""")

END = text("""
    DELETE FROM silenced_badge WHERE nft_instance_id = ANY(CAST(:ids AS uuid[]))
    RETURNING nft_instance_id, message, mint
""")


async def keep(conn: Connection, left_out: Sequence[Silenced]) -> None:
    """Remember what was left out about badges, one entry a badge, under their locks."""
    if left_out:
        rows = [
            {
                "nft_instance_id": str(each.nft_instance_id),
                "message": each.message,
                "mint": each.mint,
            }
            for each in left_out
        ]
        await conn.execute(KEEP, {"rows": exact_json.dumped(rows)})


async def end(conn: Connection, instance_ids: Collection[UUID]) -> list[Silenced]:
    """Return what was left out about badges, which are locked, and forget it; sorted."""
    if not instance_ids:
        return []
    rows = await conn.execute(END, {"ids": sorted(instance_ids)})
    found = [
        Silenced(row.nft_instance_id, row.message and OutboxType(row.message), row.mint)
        for row in rows
    ]
    return sorted(found, key=lambda each: each.nft_instance_id)
