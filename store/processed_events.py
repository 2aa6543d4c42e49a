"""processed_event: which events were counted, and by what they are known again.

An event enters once, by its key; its first row stays as it was written, but for `silent`, and for
one that no counter listened to: a catalog that counts it makes it new. Between
two batches the first to commit decides what the key stands for, within one the first record.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import text

from store.counting import UNHEARD
from store.engine import Connection

# Of no catalog: no counter has listened to the event yet.
_UNHEARD_VERSION = 0

# An event that no counter listened to when it came first, and that comes again now that one does,
# is new.
FORGET_UNHEARD = text("""
    WITH unheard AS MATERIALIZED (
         SELECT event_key, fingerprint FROM processed_event
          WHERE first_version = 0
            -- An array: looked up key by key, however many have never been heard; nothing is, where
            -- there are none.
            AND event_key = ANY(ARRAY(
                SELECT event_key FROM batch_event
                 WHERE is_first AND operation IS DISTINCT FROM :unheard
                   AND (SELECT event_key FROM processed_event WHERE first_version = 0
                         ORDER BY event_key LIMIT 1) IS NOT NULL))
          ORDER BY event_key
            FOR UPDATE)
    DELETE FROM processed_event AS event
     USING unheard JOIN batch_event AS staged
           ON staged.event_key = unheard.event_key AND staged.fingerprint = unheard.fingerprint
     WHERE event.event_key = unheard.event_key AND staged.is_first
""")  # index: processed_event_unheard_idx; held by tests/store/test_processed_events.py

# What another batch, or an earlier record, has counted leaves the staging table; all that follows
# counts what is left.
DEDUPE = text("""
    WITH fresh AS (
         INSERT INTO processed_event (event_key, first_version, fingerprint, occurred_on, silent)
         SELECT event_key, CASE WHEN operation = :unheard THEN :no_version ELSE :version END,
                fingerprint, CAST(occurred_at AT TIME ZONE 'UTC' AS date),
                :silent
           FROM batch_event WHERE is_first
          -- Batches that share events wait for each other in one order, and never in a circle.
          ORDER BY event_key
             ON CONFLICT DO NOTHING
         RETURNING event_key)
    -- Every line of an event goes, not only its first.
    DELETE FROM batch_event AS staged
     WHERE NOT EXISTS (SELECT FROM fresh WHERE fresh.event_key = staged.event_key)
    RETURNING staged.event_key, staged.is_first
""")

# A statement of its own, which sees what the one above has waited for.
FIND = text("""
    SELECT event_key, fingerprint, silent FROM processed_event
     WHERE event_key = ANY(CAST(:keys AS uuid[]))
""")

# Of two live records with one event, one ends its silence: the other waits, and finds it ended.
END_SILENCE = text("""
    WITH held AS MATERIALIZED (
         SELECT event_key FROM processed_event
          WHERE event_key = ANY(CAST(:keys AS uuid[])) AND silent
          ORDER BY event_key
            FOR UPDATE)
    UPDATE processed_event AS event SET silent = false
      FROM held WHERE event.event_key = held.event_key
    RETURNING event.event_key
""")


@dataclass(frozen=True, slots=True)
class CountedEvent:
    """An event as it was counted before. `fingerprint` 0: unknown; `silent`: by a silent job."""

    fingerprint: int
    silent: bool

    def is_other_than(self, fingerprint: int) -> bool:
        """Return whether an event with the same key and `fingerprint` is another one."""
        return self.fingerprint not in (0, fingerprint)


_FORGOTTEN = CountedEvent(0, silent=False)


async def dedupe(conn: Connection, version: int, *, silent: bool) -> Mapping[str, CountedEvent]:
    """Keep of the staged events what was never counted, and note that it is now.

    Return the others by their keys (32 hex digits), as they were counted.

    Args:
        conn: with events staged (store/counting.py).
        version: the catalog that they are counted by.
        silent: a silent job counts them.
    """
    await conn.execute(FORGET_UNHEARD, {"unheard": UNHEARD})
    parameters = {
        "version": version,
        "silent": silent,
        "unheard": UNHEARD,
        "no_version": _UNHEARD_VERSION,
    }
    left = await conn.execute(DEDUPE, parameters)
    keys = [row.event_key for row in left if row.is_first]
    if not keys:
        return {}
    found = {
        row.event_key: CountedEvent(row.fingerprint, row.silent)
        for row in await conn.execute(FIND, {"keys": keys})
    }
    # One that was forgotten between the two statements has left the staging table all the same.
    return {key.hex: found.get(key, _FORGOTTEN) for key in keys}


async def end_silence(conn: Connection, keys: Collection[str]) -> frozenset[str]:
    """Note that the stream brings the events `keys`; return those that it brings first."""
    if not keys:
        return frozenset()
    rows = await conn.execute(END_SILENCE, {"keys": sorted(keys)})
    return frozenset(row.event_key.hex for row in rows)
