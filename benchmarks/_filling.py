"""Databases that have counted for long: rows of progress, and ids of events, put there by SQL."""

from collections.abc import Iterable
from typing import LiteralString
from uuid import UUID

import psycopg

_USERS: LiteralString = "CREATE UNLOGGED TABLE filled (id uuid)"
_COPY_USERS: LiteralString = "COPY filled FROM STDIN"
_OTHER_USERS: LiteralString = """
    INSERT INTO filled SELECT gen_random_uuid()
      FROM generate_series(1, %s - (SELECT count(*) FROM filled))
"""
_PROGRESS: LiteralString = """
    INSERT INTO nft_progress (user_id, type_id, counters, last_event_at)
    SELECT filled.id, type.id, type.counters::jsonb, now()
      FROM filled CROSS JOIN (
           SELECT id, CASE code WHEN 'explorer'
                           THEN '{"quest_completed_count": 4, "unique_cities_visited": 2}'
                           ELSE '{"unique_cities_visited": 2}' END
             FROM nft_type WHERE code IN ('explorer', 'city_explorer')) AS type (id, counters);
    INSERT INTO progress_member (user_id, counter_id, member, posted)
    SELECT filled.id, counter.id, 'd-' || number, true
      FROM filled CROSS JOIN generate_series(1, 2) AS number
           CROSS JOIN counter_definition AS counter
     WHERE counter.name = 'unique_cities_visited';
"""
_DROP_KEY: LiteralString = "ALTER TABLE processed_event DROP CONSTRAINT processed_event_pkey"
_ADD_KEY: LiteralString = "ALTER TABLE processed_event ADD PRIMARY KEY (event_key)"
# The layout of processor/events/identity.py: of a UUIDv7 32 bits of its time, 65.5 s each, first.
_KEYS: LiteralString = """
    INSERT INTO processed_event (event_key, first_version, fingerprint, occurred_on, silent)
    SELECT CASE WHEN %(time_led)s
                THEN (lpad(to_hex((%(last_ms)s - number * %(every_ms)s) >> 16), 8, '0')
                      || left(md5(number::text), 24))::uuid
                ELSE md5(number::text)::uuid END,
           1, number::int, date '2026-01-01', false
      FROM generate_series(%(number)s::bigint, 1, -1) AS number
"""


async def fill_progress(url: str, known: Iterable[str | UUID], users: int) -> None:
    """Give so many users, the `known` ones among them, a row for each of two types."""
    async with await psycopg.AsyncConnection.connect(url) as conn:
        await conn.execute(_USERS)
        async with conn.cursor() as cursor, cursor.copy(_COPY_USERS) as copy:
            for user in known:
                await copy.write_row([user])
        await conn.execute(_OTHER_USERS, [users])
        await conn.execute(_PROGRESS)
    await settle(url)


async def fill_keys(
    url: str, number: int, *, time_led: bool, last_ms: int = 0, every_ms: int = 1
) -> None:
    """Write the keys of so many events that were counted before.

    Args:
        url: of the database.
        number: of events.
        time_led: their ids are UUIDv7, else of chance.
        last_ms: when the last of them was.
        every_ms: between two of them.
    """
    async with await psycopg.AsyncConnection.connect(url) as conn:
        # The index is made at the end: in an order of chance it would take an hour.
        await conn.execute(_DROP_KEY)
        await conn.execute(
            _KEYS,
            {"time_led": time_led, "number": number, "last_ms": last_ms, "every_ms": every_ms},
        )
        await conn.execute(_ADD_KEY)
    await settle(url)


async def settle(url: str) -> None:
    """Leave nothing behind that PostgreSQL would do while it is measured."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as conn:
        await conn.execute("VACUUM ANALYZE")
        await conn.execute("CHECKPOINT")
