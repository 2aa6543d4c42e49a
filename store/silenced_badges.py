"""silenced_badge: what a silent job has left unsaid about a badge.

Counting history is silent, and so is a catalog's job where that was asked for: no message, no mint
by itself. What the stream would have caused is kept here, a row a badge, until a live record brings
an event that a silent backfill took, or a person announces the badge: then it is said and minted,
once (docs/data-model.md, Silence).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text

from store import exact_json
from store.engine import Connection
from store.values.outbox import OutboxType


@dataclass(frozen=True, slots=True)
class Silenced:
    """What was left out: the message, None if it was sent, and whether a mint was asked for."""

    nft_instance_id: UUID
    message: OutboxType | None
    mint: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """Which badges are meant: all of them, or those of a type, a user, or both."""

    type_code: str | None = None
    user_id: UUID | None = None


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

UNMINTED = text("""
    SELECT kept.nft_instance_id
      FROM silenced_badge AS kept JOIN nft_instance AS badge ON badge.id = kept.nft_instance_id
     WHERE kept.nft_instance_id = ANY(CAST(:ids AS uuid[])) AND kept.mint
       AND badge.status = 'active' AND badge.onchain_status = 'not_minted'
""")

_CHOSEN = """
      FROM silenced_badge AS kept
           JOIN nft_instance AS badge ON badge.id = kept.nft_instance_id
           JOIN nft_type AS type ON type.id = badge.type_id
     WHERE badge.status = 'active'
       AND (CAST(:code AS text) IS NULL OR type.code = :code)
       AND (CAST(:user AS uuid) IS NULL OR badge.user_id = :user)
"""
COUNT = text(f"""
    SELECT type.code, kept.message, kept.mint AND badge.onchain_status = 'not_minted' AS mint,
           count(*) AS badges
    {_CHOSEN}
     GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
""")
NEXT = text(f"""
    SELECT kept.nft_instance_id
    {_CHOSEN}
       AND (CAST(:after AS uuid) IS NULL OR kept.nft_instance_id > :after)
     ORDER BY 1 LIMIT :limit
""")


@dataclass(frozen=True, slots=True)
class SilencedBadges:
    """How many active badges of a type wait with the same left unsaid.

    `mint`: a mint would be asked for, of a badge that was not minted meanwhile.
    """

    type_code: str
    message: OutboxType | None
    mint: bool
    badges: int


async def count(conn: Connection, choice: Choice) -> list[SilencedBadges]:
    """Return what waits to be said."""
    rows = await conn.execute(COUNT, {"code": choice.type_code, "user": choice.user_id})
    return [
        SilencedBadges(row.code, row.message and OutboxType(row.message), row.mint, row.badges)
        for row in rows
    ]


async def following(conn: Connection, choice: Choice, after: UUID | None, limit: int) -> list[UUID]:
    """Return the next active badges of which something is unsaid, by their ids, without a lock."""
    parameters = {"code": choice.type_code, "user": choice.user_id, "after": after, "limit": limit}
    return list((await conn.execute(NEXT, parameters)).scalars())


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


async def unminted(conn: Connection, instance_ids: Collection[UUID]) -> frozenset[UUID]:
    """Return which of the badges are to be minted once their silence ends; nothing is locked."""
    if not instance_ids:
        return frozenset()
    return frozenset((await conn.execute(UNMINTED, {"ids": sorted(instance_ids)})).scalars())


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
