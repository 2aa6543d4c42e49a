"""The least peer: the least that a person would write by hand for these two counters.

It knows the two event types, checks nothing, refuses nothing, gives out no badges, writes no audit
log and no outbox. It counts each event once (by a table of ids) and keeps its offsets in the same
transaction, so it is correct where all input is.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

import msgspec
import psycopg

from benchmarks._events import Partition

SCHEMA = """
    CREATE TABLE by_hand_seen (event_key uuid PRIMARY KEY);
    CREATE TABLE by_hand_visited (user_id uuid, city text, PRIMARY KEY (user_id, city));
    CREATE TABLE by_hand_progress (
           user_id uuid PRIMARY KEY, quests bigint NOT NULL, cities bigint NOT NULL,
           last_event_at timestamptz) WITH (fillfactor = 70);
    CREATE TABLE by_hand_offsets (
           topic text, partition int, next_offset bigint NOT NULL, PRIMARY KEY (topic, partition));
"""
STAGING = """
    CREATE TEMPORARY TABLE IF NOT EXISTS by_hand_staged (
           event_key uuid, user_id uuid, occurred_at timestamptz, city text)
           ON COMMIT DELETE ROWS
"""
COPY = "COPY by_hand_staged FROM STDIN"
MERGE = """
    WITH fresh AS (
         INSERT INTO by_hand_seen SELECT event_key FROM by_hand_staged ORDER BY event_key
             ON CONFLICT DO NOTHING RETURNING event_key),
         ev AS MATERIALIZED (
         SELECT DISTINCT ON (event_key) staged.*
           FROM by_hand_staged AS staged JOIN fresh USING (event_key)),
         mem AS (
         INSERT INTO by_hand_visited
         SELECT DISTINCT user_id, city FROM ev WHERE city IS NOT NULL ORDER BY user_id, city
             ON CONFLICT DO NOTHING RETURNING user_id),
         agg AS (
         SELECT user_id, sum(quests) AS quests, sum(cities) AS cities, max(at) AS at
           FROM (SELECT user_id, (city IS NULL)::int AS quests, 0 AS cities, occurred_at AS at
                   FROM ev
                  UNION ALL SELECT user_id, 0, 1, NULL FROM mem) AS part
          GROUP BY user_id),
         up AS (
         INSERT INTO by_hand_progress AS old
         SELECT user_id, quests, cities, at FROM agg ORDER BY user_id
             ON CONFLICT (user_id) DO UPDATE
            SET quests = old.quests + excluded.quests, cities = old.cities + excluded.cities,
                last_event_at = greatest(old.last_event_at, excluded.last_event_at)
         RETURNING user_id, quests, cities)
    SELECT up.user_id, up.quests, up.cities FROM up JOIN agg USING (user_id)
     WHERE (up.quests >= 5 AND up.quests - agg.quests < 5)
        OR (up.cities >= 5 AND up.cities - agg.cities < 5)
"""
OFFSETS = """
    INSERT INTO by_hand_offsets VALUES (%s, %s, %s)
        ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset
"""


class _Data(msgspec.Struct):
    city_id: str | None = None


class CloudEvent(msgspec.Struct):
    """The attributes that counting needs."""

    id: str
    source: str
    type: str
    subject: UUID
    time: datetime
    data: _Data


decode = msgspec.json.Decoder(CloudEvent).decode


def event_key(event: CloudEvent) -> str:
    """Return the 128 bits that an event is counted once by, in hex."""
    return sha256(f"{event.source}\0{event.id}".encode()).hexdigest()[:32]


def lines(values: Iterable[bytes]) -> str:
    """Return the lines of the COPY."""
    found = []
    for value in values:
        event = decode(value)
        city = event.data.city_id if event.type == "city.visited" else "\\N"
        found.append(f"{event_key(event)}\t{event.subject.hex}\t{event.time.isoformat()}\t{city}\n")
    return "".join(found)


async def copy(
    conn: psycopg.AsyncConnection[Any], staged: bytes, *, table: str, statement: str
) -> None:
    """COPY into a temporary table and commit: the limit that no way of counting beats."""
    async with conn.transaction(), conn.cursor() as cursor:
        await cursor.execute(table)
        async with cursor.copy(statement) as stream:
            await stream.write(staged)


async def merge(
    conn: psycopg.AsyncConnection[Any], staged: str, reached: Mapping[Partition, int]
) -> int:
    """Count the lines of a batch; return how many users reached something."""
    async with conn.transaction(), conn.cursor() as cursor:
        await cursor.execute(STAGING)
        async with cursor.copy(COPY) as stream:
            await stream.write(staged)
        await cursor.execute(MERGE)
        touched = await cursor.fetchall()
        await cursor.executemany(
            OFFSETS, [(topic, part, offset) for (topic, part), offset in sorted(reached.items())]
        )
    return len(touched)
