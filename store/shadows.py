"""Counters and their shadows change places in users' rows, for some users at a time.

The version that exchanges them is in force from the first moment, so a batch does it for its own
users first (processor/batch/pipeline.py), and a job for everybody (processor/catalog/job.py), under
the locks of the rows. A row is exchanged once: it says by its names whether it was
(store/values/shadows.py), also one that a batch has made since.
"""

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import text

from store.engine import Connection
from store.exact_json import dumped
from store.values.names import CounterName
from store.values.shadows import (
    MARK,
    ShadowChange,
    ShadowStep,
    filled,
    is_shadow,
    replaced,
)

NAMES = text("SELECT name, id FROM counter_definition WHERE name ~ '^[~^]'")

EXCHANGE = text("""
    WITH wanted AS MATERIALIZED (
         SELECT * FROM jsonb_to_recordset(CAST(:changes AS jsonb))
                AS listed (type_id uuid, sources text[], targets text[], marks text[],
                           marked boolean, added jsonb)),
         -- In the order of a batch; as the batch left them that was waited for.
         concerned AS MATERIALIZED (
         SELECT progress.id, progress.counters, sources, targets, added
           FROM nft_progress AS progress JOIN wanted USING (type_id)
          WHERE user_id = ANY(CAST(:users AS uuid[]))
            AND (progress.counters ?| marks) = marked
          ORDER BY progress.user_id, progress.type_id
            FOR UPDATE OF progress)
    UPDATE nft_progress AS held
       SET counters = concerned.counters - sources - CAST(:mark AS text) || added || coalesce(
               (SELECT jsonb_object_agg(target, concerned.counters -> source)
                  FROM unnest(sources, targets) AS moved (source, target)
                 WHERE concerned.counters ? source), '{}'),
           updated_at = clock_timestamp()
      FROM concerned WHERE held.id = concerned.id
""")

# Who has nothing else was counted by the shadow alone.
REMOVE_ROWS = text("""
    WITH concerned AS MATERIALIZED (
         SELECT id, counters FROM nft_progress
          WHERE type_id = CAST(:type_id AS uuid) AND user_id = ANY(CAST(:users AS uuid[]))
            AND counters ?| CAST(:names AS text[])
          ORDER BY user_id, type_id
            FOR UPDATE)
    DELETE FROM nft_progress AS held USING concerned
     WHERE held.id = concerned.id AND concerned.counters - CAST(:names AS text[]) = '{}'
""")
REMOVE = text("""
    UPDATE nft_progress
       SET counters = counters - CAST(:names AS text[]), updated_at = clock_timestamp()
     WHERE type_id = CAST(:type_id AS uuid) AND user_id = ANY(CAST(:users AS uuid[]))
       AND counters ?| CAST(:names AS text[])
""")


async def counted(conn: Connection) -> Mapping[CounterName, int]:
    """Return the names and ids of the shadows that batches count; none is the rule.

    They change with the catalog's version alone, in the same transaction.
    """
    found = {CounterName(row.name): row.id for row in await conn.execute(NAMES)}
    return {name: number for name, number in found.items() if is_shadow(name)}


async def change(
    conn: Connection, changes: Sequence[ShadowChange], users: Collection[object]
) -> None:
    """Make `changes` in the rows of `users`; once more changes nothing."""
    if not changes:
        return
    listed = sorted(users, key=str)
    exchanges = [_exchange(each) for each in changes if each.step is not ShadowStep.CLEAR]
    if exchanges:
        parameters = {"changes": dumped(exchanges), "users": listed, "mark": MARK}
        await conn.execute(EXCHANGE, parameters)
    for each in changes:
        if each.step is ShadowStep.CLEAR:
            names = [MARK, *map(filled, each.counters), *map(replaced, each.counters)]
            of_type = {"type_id": each.type_id, "names": names, "users": listed}
            await conn.execute(REMOVE_ROWS, of_type)
            await conn.execute(REMOVE, of_type)


def _exchange(change: ShadowChange) -> Mapping[str, object]:
    names, before = list(change.counters), [replaced(name) for name in change.counters]
    after = [filled(name) for name in change.counters]
    to_shadow = change.step is ShadowStep.UNDO
    return {
        "type_id": change.type_id,
        "sources": [*names, *(before if to_shadow else after)],
        "targets": [*(after if to_shadow else before), *names],
        "marks": [MARK, *before],
        "marked": to_shadow,
        "added": {} if to_shadow else {MARK: 1},
    }
