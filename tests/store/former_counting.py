"""The statements that counted before 0.1.0: slower, and an oracle for those that count now.

They stage a row for each event and counter, and leave all sums to the database.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import text

from store import exact_json
from store.counting import Addition, Progress
from store.engine import Connection
from store.ids import id_prefix
from store.values.catalog import CounterBinding, CounterOperation

PREPARE = (
    # A batch of twenty thousand stays in memory.
    text("SET LOCAL work_mem = '64MB'"),
    # IF NOT EXISTS is meant; its notice says nothing.
    text("SET LOCAL client_min_messages = warning"),
    text("""
    CREATE TEMPORARY TABLE IF NOT EXISTS batch_event (
           occurred_at timestamptz NOT NULL, user_id uuid NOT NULL,
           counter_id smallint NOT NULL, operation smallint NOT NULL, amount numeric, member text
           ) ON COMMIT DELETE ROWS
    """),
    text("""
    CREATE TEMPORARY TABLE IF NOT EXISTS batch_undo (
           user_id uuid NOT NULL, counter_id smallint NOT NULL, step bigint NOT NULL
           ) ON COMMIT DELETE ROWS
    """),
)

STAGE = text("""
    INSERT INTO batch_event
    SELECT * FROM jsonb_to_recordset(CAST(:lines AS jsonb))
             AS line (occurred_at timestamptz, user_id uuid, counter_id smallint,
                      operation smallint, amount numeric, member text)
""")

_PAIR_OPERATIONS = {
    "post": CounterOperation.POST.value,
    "undo": CounterOperation.UNDO.value,
}

# Operations POST and UNDO: an id counts while it is posted and not undone. First the ids
# that nobody has seen yet ...
NEW_PAIRS = text("""
    WITH staged AS (
         SELECT user_id, counter_id, member, bool_or(operation = :post) AS posted,
                bool_or(operation = :undo) AS undone
           FROM batch_event WHERE operation IN (:post, :undo)
          GROUP BY user_id, counter_id, member),
         added AS (
         INSERT INTO progress_member (user_id, counter_id, member, posted, undone)
         SELECT * FROM staged ORDER BY user_id, counter_id, member
             ON CONFLICT DO NOTHING
         RETURNING user_id, counter_id, posted, undone)
    INSERT INTO batch_undo (user_id, counter_id, step)
    SELECT user_id, counter_id, count(*) FILTER (WHERE posted AND NOT undone)
      FROM added GROUP BY user_id, counter_id
""").bindparams(**_PAIR_OPERATIONS)

# ... then, in a statement of its own to see what others committed meanwhile, the flags of known
# ids, under their locks.
KNOWN_PAIRS = text("""
    WITH staged AS (
         SELECT user_id, counter_id, member, bool_or(operation = :post) AS posted,
                bool_or(operation = :undo) AS undone
           FROM batch_event WHERE operation IN (:post, :undo)
          GROUP BY user_id, counter_id, member),
         -- Only ids whose flags change; those that NEW_PAIRS has just added have the flags already.
         known AS MATERIALIZED (
         SELECT user_id, counter_id, member, old.posted, old.undone,
                old.posted OR staged.posted AS posted_now, old.undone OR staged.undone AS undone_now
           FROM progress_member AS old JOIN staged USING (user_id, counter_id, member)
          WHERE (staged.posted AND NOT old.posted) OR (staged.undone AND NOT old.undone)
          ORDER BY user_id, counter_id, member
            FOR UPDATE OF old),
         -- An id counts for 1 or for 0: the step is the difference.
         flagged AS (
         UPDATE progress_member AS pair
            SET posted = known.posted_now, undone = known.undone_now
           FROM known
          WHERE pair.user_id = known.user_id AND pair.counter_id = known.counter_id
            AND pair.member = known.member
         RETURNING known.user_id, known.counter_id,
                   (known.posted_now AND NOT known.undone_now)::int
                   - (known.posted AND NOT known.undone)::int AS step)
    INSERT INTO batch_undo (user_id, counter_id, step)
    SELECT user_id, counter_id, sum(step) FROM flagged GROUP BY user_id, counter_id
""").bindparams(**_PAIR_OPERATIONS)

# Operations ADD, MAX and DISTINCT. `bindings` says which types show a counter, and
# which numbers their conditions compare it with. What comes back are the users whose counters
# reached or passed one of those: only they can have changed level.
MERGE = text("""
    WITH bindings AS MATERIALIZED (
         SELECT * FROM jsonb_to_recordset(CAST(:bindings AS jsonb))
                AS listed (counter_id smallint, type_id uuid, name text, is_max boolean,
                           thresholds numeric[])),
         -- A member counts the first time that its user brings it: when its row is new.
         joined AS (
         INSERT INTO progress_member (user_id, counter_id, member, posted)
         SELECT DISTINCT user_id, counter_id, member, true
           FROM batch_event WHERE operation = :distinct
          ORDER BY user_id, counter_id, member
             ON CONFLICT DO NOTHING
         RETURNING user_id, counter_id),
         -- What the batch brings, from three sources; the events alone have times, and they are
         -- there for every counter that a member or an undone id belongs to.
         part AS (
         SELECT user_id, counter_id, sum(amount) FILTER (WHERE operation = :add) AS step,
                max(amount) FILTER (WHERE operation = :max) AS highest,
                max(occurred_at) AS last_event_at
           FROM batch_event GROUP BY user_id, counter_id
          UNION ALL
         SELECT user_id, counter_id, count(*), NULL, NULL FROM joined GROUP BY user_id, counter_id
          UNION ALL
         SELECT user_id, counter_id, step, NULL, NULL FROM batch_undo),
         -- One row for each user and counter. `step` is what is added, or the amount that a max is
         -- held against; 0 where only a known member came.
         total AS (
         SELECT user_id, counter_id, coalesce(sum(step), max(highest), 0) AS step,
                max(last_event_at) AS last_event_at
           FROM part GROUP BY user_id, counter_id),
         -- The same for each type that shows the counter.
         change AS MATERIALIZED (
         SELECT user_id, type_id, name, is_max, thresholds, step, last_event_at
           FROM total JOIN bindings USING (counter_id)),
         -- A new row starts with the steps; an existing one adds them under its lock. Every batch
         -- takes the rows in this order, so that two of them never wait in a circle.
         merged AS (
         INSERT INTO nft_progress AS progress (id, user_id, type_id, counters, last_event_at)
         SELECT CAST(:id_prefix || lpad(to_hex(row_number() OVER (ORDER BY user_id, type_id)),
                                        8, '0') AS uuid),
                user_id, type_id, jsonb_object_agg(name, step), max(last_event_at)
           FROM change GROUP BY user_id, type_id ORDER BY user_id, type_id
             ON CONFLICT (user_id, type_id) DO UPDATE
            SET counters = progress.counters || (
                SELECT jsonb_object_agg(name, CASE
                       WHEN name IN (SELECT bindings.name FROM bindings WHERE bindings.is_max)
                       THEN greatest((progress.counters->>name)::numeric, step::numeric)
                       ELSE coalesce((progress.counters->>name)::numeric, 0) + step::numeric END)
                  FROM jsonb_each_text(excluded.counters) AS added (name, step)),
                last_event_at = greatest(progress.last_event_at, excluded.last_event_at),
                -- now() is the transaction's begin, which may lie before what it waited for.
                updated_at = clock_timestamp()
         RETURNING user_id, type_id, counters)
    -- A counter crossed a threshold if that lies between its value before, now - step, and its
    -- value now. Of a max the value before is not known here. Every threshold that it has reached
    -- counts then, and the rules find nothing new; one that is not above 0 may have fallen to there.
    SELECT DISTINCT user_id, type_id, counters
      FROM merged JOIN change USING (user_id, type_id)
           CROSS JOIN LATERAL (SELECT (counters->>name)::numeric AS now) AS value
     WHERE is_max AND step <= 0 AND now <= 0 AND cardinality(thresholds) > 0
        OR step <> 0
       AND EXISTS (SELECT FROM unnest(thresholds) AS threshold
                    WHERE CASE WHEN is_max THEN threshold <= now
                               ELSE threshold BETWEEN least(now, now - step)
                                                  AND greatest(now, now - step) END)
""").bindparams(
    add=CounterOperation.ADD.value,
    max=CounterOperation.MAX.value,
    distinct=CounterOperation.DISTINCT.value,
)


Part = tuple[UUID, datetime, Iterable[Addition]]


async def count(
    conn: Connection, events: Iterable[Part], bindings: Sequence[CounterBinding]
) -> list[Progress]:
    """Count `events`: user, time, and what each adds."""
    for statement in PREPARE:
        await conn.execute(statement)
    lines = [
        {
            "occurred_at": moment.isoformat(),
            "user_id": str(user_id),
            "counter_id": each.counter_id,
            "operation": int(each.operation),
            "amount": each.amount,
            "member": each.member,
        }
        for user_id, moment, additions in events
        for each in additions
    ]
    await conn.execute(STAGE, {"lines": exact_json.dumped(lines)})
    await conn.execute(NEW_PAIRS)
    await conn.execute(KNOWN_PAIRS)
    listed = [
        {
            "counter_id": binding.counter_id,
            "type_id": str(binding.type_id),
            "name": binding.name,
            "is_max": binding.is_max,
            "thresholds": [str(threshold) for threshold in binding.thresholds],
        }
        for binding in bindings
    ]
    parameters = {"bindings": exact_json.dumped(listed), "id_prefix": id_prefix()}
    rows = await conn.execute(MERGE, parameters)
    found = [Progress(row.user_id, row.type_id, row.counters) for row in rows]
    return sorted(found, key=lambda progress: (progress.user_id, progress.type_id))
