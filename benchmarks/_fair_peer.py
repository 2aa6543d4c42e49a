"""The fair peer: the loop that a good engineer would write by hand for the same tables.

The owner's model to the letter, with its foreign key and its counters in jsonb, a row for each user
and badge type; each event counted once, each city once a user, the offsets in the same transaction.
What it leaves out is what Laurel adds: validation, other catalogs, undo, conflicts of ids, silence,
and badges with audit, outbox and mint tasks.
"""

from collections.abc import Mapping
from typing import Any

import psycopg

from benchmarks import _peers
from benchmarks._events import Partition

SCHEMA = """
    CREATE TABLE fair_type (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), code text UNIQUE);
    INSERT INTO fair_type (code) VALUES ('explorer'), ('city_explorer');
    CREATE TABLE fair_progress (
           id uuid PRIMARY KEY DEFAULT gen_random_uuid(), user_id uuid NOT NULL,
           type_id uuid NOT NULL REFERENCES fair_type, counters jsonb NOT NULL,
           last_event_at timestamptz NOT NULL, created_at timestamptz NOT NULL DEFAULT now(),
           updated_at timestamptz NOT NULL DEFAULT now(), UNIQUE (user_id, type_id))
           WITH (fillfactor = 70);
    CREATE TABLE fair_seen (event_key uuid PRIMARY KEY, occurred_at timestamptz NOT NULL);
    CREATE TABLE fair_visited (user_id uuid, city text, PRIMARY KEY (user_id, city));
    CREATE TABLE fair_offsets (
           topic text, partition int, next_offset bigint NOT NULL, PRIMARY KEY (topic, partition));
"""
MERGE = """
    WITH fresh AS (
         INSERT INTO fair_seen SELECT event_key, occurred_at FROM by_hand_staged ORDER BY event_key
             ON CONFLICT DO NOTHING RETURNING event_key),
         event AS MATERIALIZED (
         SELECT DISTINCT ON (event_key) staged.*
           FROM by_hand_staged AS staged JOIN fresh USING (event_key)),
         visited AS (
         INSERT INTO fair_visited
         SELECT DISTINCT user_id, city FROM event WHERE city IS NOT NULL ORDER BY user_id, city
             ON CONFLICT DO NOTHING RETURNING user_id),
         added AS (
         SELECT user_id, sum(quests) AS quests, sum(cities) AS cities, bool_or(travels) AS travels,
                max(at) AS at
           FROM (SELECT user_id, (city IS NULL)::int AS quests, 0 AS cities,
                        city IS NOT NULL AS travels, occurred_at AS at
                   FROM event
                  UNION ALL SELECT user_id, 0, 1, true, NULL FROM visited) AS part
          GROUP BY user_id),
         changed AS (
         INSERT INTO fair_progress AS old (user_id, type_id, counters, last_event_at)
         SELECT user_id, fair_type.id,
                CASE code WHEN 'explorer'
                          THEN jsonb_build_object('quests', quests, 'cities', cities)
                          ELSE jsonb_build_object('cities', cities) END, at
           FROM added JOIN fair_type ON code = 'explorer' OR travels
          ORDER BY user_id, fair_type.id
             ON CONFLICT (user_id, type_id) DO UPDATE
            SET counters = CASE WHEN old.counters ? 'quests' THEN jsonb_build_object(
                    'quests', (old.counters->'quests')::int + (excluded.counters->'quests')::int,
                    'cities', (old.counters->'cities')::int + (excluded.counters->'cities')::int)
                    ELSE jsonb_build_object(
                    'cities', (old.counters->'cities')::int + (excluded.counters->'cities')::int)
                    END,
                last_event_at = greatest(old.last_event_at, excluded.last_event_at),
                updated_at = now()
         RETURNING user_id, type_id, counters)
    SELECT changed.* FROM changed JOIN added USING (user_id)
     WHERE ((changed.counters->'quests')::int >= 5
            AND (changed.counters->'quests')::int - added.quests < 5)
        OR ((changed.counters->'cities')::int >= 5
            AND (changed.counters->'cities')::int - added.cities < 5)
"""
OFFSETS = """
    INSERT INTO fair_offsets VALUES (%s, %s, %s)
        ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset
"""


async def merge(
    conn: psycopg.AsyncConnection[Any], staged: str, reached: Mapping[Partition, int]
) -> int:
    """Count the lines of a batch (_peers.lines); return how many users reached something."""
    async with conn.transaction(), conn.cursor() as cursor:
        await cursor.execute(_peers.STAGING)
        async with cursor.copy(_peers.COPY) as stream:
            await stream.write(staged)
        await cursor.execute(MERGE)
        touched = await cursor.fetchall()
        await cursor.executemany(
            OFFSETS, [(topic, part, offset) for (topic, part), offset in sorted(reached.items())]
        )
    return len(touched)
