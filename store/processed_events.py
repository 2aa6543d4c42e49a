"""processed_event: which events were counted, and by what they are known again.

An event enters once, by its key; its first row stays as it was written, but for `silent`, and for
one that no counter listened to: a catalog that counts it makes it new. Between
two batches the first to commit decides what the key stands for, within one the first record.

A batch asks for its keys, and writes those that are not there by COPY, which costs a third of
INSERT ... ON CONFLICT (that one writes three WAL records a row). The primary key is what keeps an
event from counting twice: where another batch has written one of the keys since this one asked,
the COPY fails as a TransactionConflict (store/engine.py), and the batch runs again and finds it.
"""

import struct
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sqlalchemy import text

from store.binary_format import UuidArray, copy_rows, day_number
from store.engine import Connection

# Of no catalog: no counter has listened to the event yet.
UNHEARD_VERSION = 0

KNOWN = text("""
    SELECT event_key, first_version, fingerprint, silent FROM processed_event
     WHERE event_key = ANY(:keys)
""")

# Another batch may have the same: then this one waits for it, and the row is gone.
FORGET_UNHEARD = text("""
    WITH unheard AS MATERIALIZED (
         SELECT event_key FROM processed_event
          WHERE event_key = ANY(:keys) AND first_version = 0
          ORDER BY event_key
            FOR UPDATE)
    DELETE FROM processed_event AS event
     USING unheard WHERE event.event_key = unheard.event_key
""")

REMEMBER = """
    COPY processed_event (event_key, first_version, fingerprint, occurred_on, silent)
    FROM STDIN (FORMAT binary)
"""
# Five fields, each after its length: 16 bytes, three times 4, and 1.
_ROW = struct.Struct("!hi16siiiiiii?").pack

# What others are writing at this moment is waited for, and left to them.
REMEMBER_WHAT_IS_LEFT = text("""
    INSERT INTO processed_event (event_key, first_version, fingerprint, occurred_on, silent)
    SELECT event_key, first_version, fingerprint, occurred_on, :silent
      FROM unnest(:keys, CAST(:versions AS integer[]), CAST(:fingerprints AS integer[]),
                  CAST(:days AS date[]))
           AS listed (event_key, first_version, fingerprint, occurred_on)
     ORDER BY event_key
        ON CONFLICT DO NOTHING
    RETURNING event_key
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


class IdentifiedEvent(Protocol):
    """An event as it is counted once. `key`: 32 hex digits; `heard`: some counter listens to it."""

    @property
    def key(self) -> str: ...  # noqa: D102
    @property
    def fingerprint(self) -> int: ...  # noqa: D102
    @property
    def time(self) -> datetime: ...  # noqa: D102
    @property
    def heard(self) -> bool: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class CountedEvent:
    """An event as it was counted before. `fingerprint` 0: unknown; `silent`: by a silent job."""

    fingerprint: int
    silent: bool

    def is_other_than(self, fingerprint: int) -> bool:
        """Return whether an event with the same key and `fingerprint` is another one."""
        return self.fingerprint not in (0, fingerprint)


@dataclass(frozen=True, slots=True)
class CountedBy:
    """Who counts. `version`: of the catalog; `silent`: a silent job; `waits`: for other batches.

    One that does not wait is to run again after a conflict.
    """

    version: int
    silent: bool = False
    waits: bool = False


async def remember(
    conn: Connection, events: Iterable[IdentifiedEvent], by: CountedBy
) -> Mapping[str, CountedEvent]:
    """Note that `events` are counted now; return by key those that were before.

    Args:
        conn: in the batch's transaction.
        events: of one batch, each with a key of its own.
        by: who counts them.

    Raises:
        psycopg.errors.UniqueViolation: another batch has just counted one of them; store/engine.py
            makes it a TransactionConflict.
    """
    left = list(events)
    if by.waits:
        taken = await _remember_what_is_left(conn, left, by)
        left = [event for event in left if event.key not in taken]
    if not left:
        return {}
    rows = await conn.execute(KNOWN, {"keys": UuidArray([event.key for event in left])})
    known, unheard = dict[str, CountedEvent](), dict[str, int]()
    for row in rows:
        known[row.event_key.hex] = CountedEvent(row.fingerprint, row.silent)
        if row.first_version == UNHEARD_VERSION:
            unheard[row.event_key.hex] = row.fingerprint
    # An event that no counter listened to when it came first, and that comes again now that one
    # does, is new.
    new = [
        event.key for event in left if event.heard and unheard.get(event.key) == event.fingerprint
    ]
    if new:
        await conn.execute(FORGET_UNHEARD, {"keys": UuidArray(new)})
        for key in new:
            del known[key]
    fresh = [event for event in left if event.key not in known] if known else left
    if fresh:
        # Batches that share events wait for each other in one order, and never in a circle.
        await copy_rows(conn, REMEMBER, sorted(_rows(fresh, by)))
    return known


def _rows(events: Iterable[IdentifiedEvent], by: CountedBy) -> Iterable[bytes]:
    """Yield the rows of REMEMBER; they begin with the key."""
    silent = by.silent
    for event in events:
        key, day = bytes.fromhex(event.key), day_number(event.time)
        version = by.version if event.heard else UNHEARD_VERSION
        yield _ROW(5, 16, key, 4, version, 4, event.fingerprint, 4, day, 1, silent)


async def _remember_what_is_left(
    conn: Connection, events: Sequence[IdentifiedEvent], by: CountedBy
) -> frozenset[str]:
    parameters = {
        "keys": UuidArray([event.key for event in events]),
        "versions": [by.version if event.heard else UNHEARD_VERSION for event in events],
        "fingerprints": [event.fingerprint for event in events],
        "days": [event.time.date() for event in events],
        "silent": by.silent,
    }
    rows = await conn.execute(REMEMBER_WHAT_IS_LEFT, parameters)
    return frozenset(row.event_key.hex for row in rows)


async def end_silence(conn: Connection, keys: Collection[str]) -> frozenset[str]:
    """Note that the stream brings the events `keys`; return those that it brings first."""
    if not keys:
        return frozenset()
    rows = await conn.execute(END_SILENCE, {"keys": sorted(keys)})
    return frozenset(row.event_key.hex for row in rows)
