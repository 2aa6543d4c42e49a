"""rebuild_event: what sources have brought to the open rebuild, each event once.

Which events its shadows lack is known for good: those whose first version (processed_event) lies
before the rebuild's. All of this is read and written under the rebuild's lock.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text

from store.binary_format import UuidArray, copy_rows
from store.engine import Connection
from store.rebuilds import OpenRebuild

KNOWN = text("""
    SELECT event_key, first_version, fingerprint,
           EXISTS (SELECT FROM rebuild_event AS taken WHERE taken.event_key = event.event_key)
               AS is_taken
      FROM processed_event AS event
     WHERE event_key = ANY(:keys)
""")
KEEP = "COPY rebuild_event (event_key) FROM STDIN (FORMAT binary)"
_KEY = struct.Struct("!hi16s").pack

# The whole table, once: no index has the version.
MISSING = text("""
    SELECT count(*) FROM processed_event AS event
     WHERE first_version >= :since AND first_version < :barrier
       AND NOT EXISTS (SELECT FROM rebuild_event AS taken
                        WHERE taken.event_key = event.event_key)
""")

REMOVE = text("""
    WITH part AS MATERIALIZED (
         SELECT event_key FROM rebuild_event
          WHERE event_key >= :after ORDER BY event_key LIMIT :limit),
         removed AS (
         DELETE FROM rebuild_event AS held USING part WHERE held.event_key = part.event_key)
    SELECT event_key FROM part ORDER BY event_key DESC LIMIT 1
""")
_REMOVED_AT_ONCE = 20_000


@dataclass(frozen=True, slots=True)
class KnownEvent:
    """An event of a source that was counted before, or `is_taken`: filled in already."""

    first_version: int
    fingerprint: int
    is_taken: bool


async def known(conn: Connection, keys: Sequence[bytes]) -> Mapping[bytes, KnownEvent]:
    """Return by key those of the events that were counted, or filled in, before."""
    rows = await conn.execute(KNOWN, {"keys": UuidArray([key.hex() for key in keys])})
    return {
        row.event_key.bytes: KnownEvent(row.first_version, row.fingerprint, row.is_taken)
        for row in rows
    }


async def keep(conn: Connection, keys: Iterable[bytes]) -> None:
    """Note that the events with these keys are filled in, under the rebuild's lock."""
    await copy_rows(conn, KEEP, [_KEY(1, 16, key) for key in sorted(keys)])


async def missing(conn: Connection, rebuild: OpenRebuild) -> int:
    """Return how many events are counted in some of the counters, and no source brought them."""
    parameters = {"since": rebuild.since, "barrier": rebuild.version}
    return int((await conn.execute(MISSING, parameters)).scalar_one())


async def remove(conn: Connection, after: UUID) -> UUID | None:
    """Remove keys of events that were filled in, from `after` on; return how far."""
    parameters = {"after": after, "limit": _REMOVED_AT_ONCE}
    found: UUID | None = (await conn.execute(REMOVE, parameters)).scalar_one_or_none()
    return found
