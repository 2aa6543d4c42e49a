"""What of a catalog is in use, and so may not be taken away.

A level that somebody holds, a type that anybody has a badge or progress of, a counter that has
counted. Asked twice: in short while batches are locked out, so each question is answered from an
index or from a row or two; and with numbers, for the reasons, when they go on.
"""

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import text

from ops.errors import UsageError
from store.catalog_changes import Changes, TypeChange
from store.engine import Connection
from store.exact_json import dumped

HELD_LEVELS = text("""
    SELECT gone.code, gone.level, count(*) AS badges
      FROM jsonb_to_recordset(CAST(:levels AS jsonb))
           AS gone (type_id uuid, code text, level integer)
           JOIN nft_instance AS instance
             ON instance.type_id = gone.type_id AND instance.current_level = gone.level
     GROUP BY gone.code, gone.level ORDER BY gone.code, gone.level
""")

# What is asked and written while batches are locked out meets no table whole, whatever the planner
# takes to be rare; that goes for the checks of foreign keys as well.
BY_INDEX = text("SET LOCAL enable_seqscan = off")

# One level, one type at a time: the planner knows then that there are few rows of it, if any.
LEVEL_IN_USE = text("""
    SELECT EXISTS (
           SELECT FROM nft_instance
            WHERE type_id = CAST(:type_id AS uuid) AND current_level = CAST(:level AS integer))
        OR EXISTS (
           SELECT FROM nft_level_rule AS rule
                  JOIN nft_level_achievement ON level_rule_id = rule.id
            WHERE type_id = CAST(:type_id AS uuid) AND level = CAST(:level AS integer))
""")
TYPE_IN_USE = text("""
    SELECT EXISTS (SELECT FROM nft_instance WHERE type_id = CAST(:type_id AS uuid))
        OR EXISTS (SELECT FROM nft_progress WHERE type_id = CAST(:type_id AS uuid))
        OR EXISTS (SELECT FROM chain_collection WHERE type_id = CAST(:type_id AS uuid))
""")

USED_TYPES = text("""
    SELECT gone.code,
           (SELECT count(*) FROM nft_instance WHERE type_id = gone.id) AS badges,
           (SELECT count(*) FROM nft_progress WHERE type_id = gone.id) AS users,
           (SELECT count(*) FROM chain_collection WHERE type_id = gone.id) AS collections
      FROM nft_type AS gone
     WHERE gone.id = ANY(CAST(:types AS uuid[]))
       AND (EXISTS (SELECT FROM nft_instance WHERE type_id = gone.id)
            OR EXISTS (SELECT FROM nft_progress WHERE type_id = gone.id)
            OR EXISTS (SELECT FROM chain_collection WHERE type_id = gone.id))
     ORDER BY gone.code
""")

USED_LEVELS = text("""
    SELECT gone.code, gone.level
      FROM jsonb_to_recordset(CAST(:levels AS jsonb))
           AS gone (type_id uuid, code text, level integer)
           JOIN nft_level_rule AS rule ON rule.type_id = gone.type_id AND rule.level = gone.level
     WHERE EXISTS (SELECT FROM nft_level_achievement WHERE level_rule_id = rule.id)
     ORDER BY gone.code, gone.level
""")

USED_COUNTERS = text("""
    SELECT name FROM counter_definition
     WHERE name = ANY(CAST(:names AS text[])) AND has_counted
     ORDER BY name
""")
# What a fill has taken would be lost, and its row keeps the counter.
FILLED_COUNTERS = text("""
    SELECT counter.name
      FROM counter_definition AS counter JOIN counter_fill AS fill ON fill.counter_id = counter.id
     WHERE counter.name = ANY(CAST(:names AS text[])) AND NOT counter.has_counted
     ORDER BY counter.name
""")
UNCOUNTED = text("SELECT id FROM counter_definition WHERE NOT has_counted")
# By id, so that two batches that count for the first time do not wait in a circle.
MARK_COUNTED = text("""
    UPDATE counter_definition SET has_counted = true
     WHERE id IN (SELECT id FROM counter_definition
                   WHERE id = ANY(CAST(:ids AS smallint[])) AND NOT has_counted
                   ORDER BY id FOR UPDATE)
""")


async def uncounted(conn: Connection) -> frozenset[int]:
    """Return the ids of the counters that no event has added to yet."""
    return frozenset((await conn.execute(UNCOUNTED)).scalars())


async def mark_counted(conn: Connection, counter_ids: Collection[int]) -> None:
    """Write down that counters have counted, in the transaction that counts; none is fine."""
    if counter_ids:
        await conn.execute(MARK_COUNTED, {"ids": sorted(counter_ids)})


async def takes_away(conn: Connection, changes: Changes) -> bool:
    """Return whether `changes` are to be refused, without the reasons."""
    if changes.altered_counters:
        return True
    for level in removed_levels(changes.changed):
        if (await conn.execute(LEVEL_IN_USE, level)).scalar_one():
            return True
    for badge_type in changes.removed:
        if (await conn.execute(TYPE_IN_USE, {"type_id": badge_type.id})).scalar_one():
            return True
    gone = {"names": [counter.name for counter in changes.removed_counters]}
    for question in (USED_COUNTERS, FILLED_COUNTERS):
        if (await conn.execute(question, gone)).all():
            return True
    return False


async def refuse(conn: Connection, changes: Changes) -> None:
    """Return where nothing of `changes` takes away what is in use.

    Raises:
        UsageError: it does; each reason on a line of its own, with numbers.
    """
    reasons = [
        f"counter {old.name}: what it counts cannot change once it counts. Give the new meaning a "
        "new name."
        for old, _new in changes.altered_counters
    ]
    gone = {"levels": dumped(removed_levels(changes.changed))}
    reasons += [
        f"{row.code}, level {row.level}: {row.badges} badges stand at it. Keep the level."
        for row in await conn.execute(HELD_LEVELS, gone)
    ]
    reasons += [
        f"{row.code}, level {row.level}: reaching it grants an achievement. Keep the level."
        for row in await conn.execute(USED_LEVELS, gone)
    ]
    reasons += [
        f"{row.code}: in use ({row.badges} badges, progress of {row.users} users, "
        f"{row.collections} collections on chain). Keep the type."
        for row in await conn.execute(
            USED_TYPES, {"types": [badge_type.id for badge_type in changes.removed]}
        )
    ]
    reasons += [
        f"counter {row.name}: it has counted, and what it saw is not seen again. Keep it in a "
        "type's counters."
        for row in await conn.execute(
            USED_COUNTERS, {"names": [counter.name for counter in changes.removed_counters]}
        )
    ]
    reasons += [
        f"counter {row.name}: it is being given its past. Keep it in a type's counters, or run "
        f"`laurel history fill --counter {row.name} --undo` first."
        for row in await conn.execute(
            FILLED_COUNTERS, {"names": [counter.name for counter in changes.removed_counters]}
        )
    ]
    if reasons:
        raise UsageError(
            "The catalog cannot be applied:\n" + "\n".join(f"  {reason}" for reason in reasons)
        )


def removed_levels(changes: Sequence[TypeChange]) -> list[Mapping[str, object]]:
    """Return the levels that are no more, with their types."""
    return [
        {"type_id": change.new.id, "code": change.new.code, "level": level}
        for change in changes
        for level in change.removed_levels
    ]
