"""Types take over counters that others have kept, for some users at a time.

A new catalog is in force before all values are taken over, and batches count by it meanwhile. So a
batch takes them over for its own users first (processor/batch/pipeline.py), and a job for everybody
(processor/catalog/job.py). Both do it under the locks of the users' rows, in one order, and once
more changes nothing: the value of a counter that both types keep is the same number, and one that
moves leaves its old place in the same transaction.
"""

from collections.abc import Collection, Sequence

from sqlalchemy import text

from store.catalog_changes import Adoption, Dropped
from store.engine import Connection
from store.exact_json import dumped
from store.ids import id_prefix

ADOPT = text("""
    WITH wanted AS MATERIALIZED (
         SELECT * FROM jsonb_to_recordset(CAST(:adoptions AS jsonb))
                AS listed (type_id uuid, counter text, source_type_id uuid, moves boolean,
                           is_max boolean)),
         -- Sources and adopters together, in the order of a batch; a source that a batch has
         -- changed meanwhile is read as that batch left it.
         concerned AS MATERIALIZED (
         SELECT user_id, type_id, counters, last_event_at
           FROM nft_progress
          WHERE user_id = ANY(CAST(:users AS uuid[]))
            AND type_id IN (SELECT type_id FROM wanted UNION SELECT source_type_id FROM wanted)
          ORDER BY user_id, type_id
            FOR UPDATE)
    INSERT INTO nft_progress AS held (id, type_id, user_id, counters, last_event_at)
    SELECT CAST(:id_prefix || lpad(to_hex(row_number() OVER (
                    ORDER BY source.user_id, wanted.type_id)), 8, '0') AS uuid),
           wanted.type_id, source.user_id,
           jsonb_object_agg(wanted.counter, source.counters -> wanted.counter),
           max(source.last_event_at)
      FROM wanted JOIN concerned AS source
           ON source.type_id = wanted.source_type_id AND source.counters ? wanted.counter
     GROUP BY source.user_id, wanted.type_id
     ORDER BY source.user_id, wanted.type_id
        ON CONFLICT (user_id, type_id) DO UPDATE
       SET counters = held.counters || (
           SELECT jsonb_object_agg(counter, CASE
                  -- Both count on: the source has the whole, what is here may be its last steps.
                  WHEN NOT wanted.moves THEN taken.value::numeric
                  -- Only this one counts on: the source has what was before.
                  WHEN wanted.is_max
                  THEN greatest((held.counters->>counter)::numeric, taken.value::numeric)
                  ELSE coalesce((held.counters->>counter)::numeric, 0) + taken.value::numeric END)
             FROM jsonb_each_text(excluded.counters) AS taken (counter, value)
                  JOIN wanted USING (counter)
            WHERE wanted.type_id = held.type_id),
           last_event_at = greatest(held.last_event_at, excluded.last_event_at),
           updated_at = clock_timestamp()
     WHERE NOT held.counters @> excluded.counters
        OR EXISTS (SELECT FROM wanted WHERE wanted.type_id = held.type_id AND wanted.moves)
""")

DROP = text("""
    UPDATE nft_progress AS progress
       SET counters = counters - CAST(:names AS text[]), updated_at = clock_timestamp()
     WHERE type_id = :type_id AND user_id = ANY(CAST(:users AS uuid[]))
       AND counters ?| CAST(:names AS text[])
""")


async def adopt(
    conn: Connection,
    adoptions: Sequence[Adoption],
    dropped: Sequence[Dropped],
    users: Collection[object],
) -> None:
    """Take over `adoptions` for `users`, and drop what their types use no more."""
    listed = sorted(users, key=str)
    if adoptions:
        parameters = {
            "adoptions": dumped(adoptions),
            "users": listed,
            "id_prefix": id_prefix(),
        }
        await conn.execute(ADOPT, parameters)
    for each in dropped:
        await conn.execute(
            DROP, {"type_id": each.type_id, "names": list(each.counters), "users": listed}
        )
