CREATE TEMPORARY TABLE IF NOT EXISTS batch_progress_2 (id uuid NOT NULL, user_id uuid NOT NULL, type_id uuid NOT NULL, last_event_at timestamptz NOT NULL, amount_1 numeric, amount_2 numeric) ON COMMIT DELETE ROWS;
COPY batch_progress_2 FROM STDIN (FORMAT binary);
WITH -- Rows that are there. They are locked in the order of the ids, which is that of users and
     -- types, by every batch: two of them never wait in a circle.
     updated AS (
     UPDATE nft_progress AS progress
        SET counters = CASE batch.type_id
                WHEN '00000000-0000-0000-0000-000000000001' THEN
                     jsonb_set_lax(jsonb_set_lax(progress.counters,
                         '{quests}', to_jsonb(coalesce((progress.counters -> 'quests')::numeric, 0) + batch.amount_1),
                         true, 'return_target'),
                         '{cities}', to_jsonb(coalesce((progress.counters -> 'cities')::numeric, 0) + batch.amount_2),
                         true, 'return_target')
                WHEN '00000000-0000-0000-0000-000000000002' THEN
                     jsonb_set_lax(jsonb_set_lax(progress.counters,
                         '{longest}', to_jsonb(greatest((progress.counters -> 'longest')::numeric, batch.amount_1)),
                         true, 'return_target'),
                         '{quests}', to_jsonb(coalesce((progress.counters -> 'quests')::numeric, 0) + batch.amount_2),
                         true, 'return_target')
            END,
            last_event_at = greatest(progress.last_event_at, batch.last_event_at),
            -- now() is the transaction's begin, which may lie before what it waited for.
            updated_at = clock_timestamp()
       FROM (SELECT * FROM batch_progress_2 ORDER BY id) AS batch
      WHERE progress.user_id = batch.user_id AND progress.type_id = batch.type_id
     -- The counters come back of whom one reached or passed a number that some level asks for.
     RETURNING batch.id, progress.user_id, progress.type_id,
               CASE WHEN CASE batch.type_id
                WHEN '00000000-0000-0000-0000-000000000001' THEN
                     coalesce(batch.amount_1, 0) <> 0
                         AND ((progress.counters -> 'quests')::numeric >= 5 OR batch.amount_1 < 0)
                         AND ((progress.counters -> 'quests')::numeric <= 10 + batch.amount_1 OR batch.amount_1 < 0)
                         AND (width_bucket((progress.counters -> 'quests')::numeric, '{5,10}'::numeric[])
                              <> width_bucket((progress.counters -> 'quests')::numeric - batch.amount_1, '{5,10}'::numeric[])
                              OR least((progress.counters -> 'quests')::numeric, (progress.counters -> 'quests')::numeric - batch.amount_1) = ANY ('{5,10}'::numeric[]))
                WHEN '00000000-0000-0000-0000-000000000002' THEN
                     (batch.amount_1 <> 0 AND (progress.counters -> 'longest')::numeric >= 30 OR batch.amount_1 <= 0 AND (progress.counters -> 'longest')::numeric <= 0)
                     OR coalesce(batch.amount_2, 0) <> 0
                         AND ((progress.counters -> 'quests')::numeric >= 2.5 OR batch.amount_2 < 0)
                         AND ((progress.counters -> 'quests')::numeric <= 2.5 + batch.amount_2 OR batch.amount_2 < 0)
                         AND (width_bucket((progress.counters -> 'quests')::numeric, '{2.5}'::numeric[])
                              <> width_bucket((progress.counters -> 'quests')::numeric - batch.amount_2, '{2.5}'::numeric[])
                              OR least((progress.counters -> 'quests')::numeric, (progress.counters -> 'quests')::numeric - batch.amount_2) = ANY ('{2.5}'::numeric[]))
            END
                    THEN progress.counters END AS counters),
     -- Rows that are not there: `id NOT IN` is a hash of ids, where NOT EXISTS would be a join.
     created AS (
     INSERT INTO nft_progress AS progress (id, user_id, type_id, counters, last_event_at)
     SELECT id, user_id, type_id,
            CASE type_id
                WHEN '00000000-0000-0000-0000-000000000001' THEN
                     jsonb_strip_nulls(jsonb_build_object(
                         'quests', amount_1,
                         'cities', amount_2))
                WHEN '00000000-0000-0000-0000-000000000002' THEN
                     jsonb_strip_nulls(jsonb_build_object(
                         'longest', amount_1,
                         'quests', amount_2))
            END,
            last_event_at
       FROM (SELECT * FROM batch_progress_2 WHERE id NOT IN (SELECT id FROM updated) ORDER BY id) AS batch
         -- Another transaction made the row since this statement began: what would have been the
         -- first counters is added to those.
         ON CONFLICT (user_id, type_id) DO UPDATE
        SET counters = CASE excluded.type_id
                WHEN '00000000-0000-0000-0000-000000000001' THEN
                     jsonb_set_lax(jsonb_set_lax(progress.counters,
                         '{quests}', to_jsonb(coalesce((progress.counters -> 'quests')::numeric, 0) + (excluded.counters -> 'quests')::numeric),
                         true, 'return_target'),
                         '{cities}', to_jsonb(coalesce((progress.counters -> 'cities')::numeric, 0) + (excluded.counters -> 'cities')::numeric),
                         true, 'return_target')
                WHEN '00000000-0000-0000-0000-000000000002' THEN
                     jsonb_set_lax(jsonb_set_lax(progress.counters,
                         '{longest}', to_jsonb(greatest((progress.counters -> 'longest')::numeric, (excluded.counters -> 'longest')::numeric)),
                         true, 'return_target'),
                         '{quests}', to_jsonb(coalesce((progress.counters -> 'quests')::numeric, 0) + (excluded.counters -> 'quests')::numeric),
                         true, 'return_target')
            END,
            last_event_at = greatest(progress.last_event_at, excluded.last_event_at),
            updated_at = clock_timestamp()
     -- What such a row had before is not known here (it alone was updated after it was created):
     -- whoever decides finds out.
     RETURNING progress.user_id, progress.type_id,
               CASE WHEN progress.updated_at <> progress.created_at
                      OR CASE progress.type_id
                WHEN '00000000-0000-0000-0000-000000000001' THEN
                     ((progress.counters -> 'quests')::numeric >= 5 OR (progress.counters -> 'quests')::numeric < 0)
                WHEN '00000000-0000-0000-0000-000000000002' THEN
                     ((progress.counters -> 'longest')::numeric >= 30 OR (progress.counters -> 'longest')::numeric <= 0)
                     OR ((progress.counters -> 'quests')::numeric >= 2.5 OR (progress.counters -> 'quests')::numeric < 0)
            END
                    THEN progress.counters END AS counters)
SELECT user_id, type_id, counters FROM updated WHERE counters IS NOT NULL
 UNION ALL
SELECT user_id, type_id, counters FROM created WHERE counters IS NOT NULL
