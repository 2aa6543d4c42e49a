"""The outbox: messages to publish, written in the transaction that made them true.

`seq` is each user's own count. It comes from a row that stays locked to the end of the transaction,
so that it is in commit order; a database sequence is not. Callers write the outbox after the badges
and tasks that it tells of (docs/architecture.md, lock order).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text

from store.engine import Connection
from store.exact_json import dumped
from store.ids import id_prefix
from store.values.outbox import OutboxEntry

APPEND = text("""
    WITH message AS MATERIALIZED (
         SELECT position, (entry->>'user_id')::uuid AS user_id, entry
           FROM jsonb_array_elements(CAST(:entries AS jsonb)) WITH ORDINALITY
                AS listed (entry, position)),
         counted AS (
         SELECT user_id, count(*) AS messages FROM message GROUP BY user_id ORDER BY user_id),
         given AS (
         INSERT INTO outbox_sequence AS sequence (user_id, last_seq)
         SELECT user_id, messages FROM counted ORDER BY user_id
             ON CONFLICT (user_id) DO UPDATE SET last_seq = sequence.last_seq + excluded.last_seq
         RETURNING user_id, last_seq)
    INSERT INTO outbox_message (id, tenant_id, event_type, payload, occurred_at, user_id, seq)
    SELECT CAST(:id_prefix || lpad(to_hex(position), 8, '0') AS uuid),
           (entry->>'tenant_id')::uuid, entry->>'event_type', entry->'payload',
           (entry->>'occurred_at')::timestamptz, user_id,
           -- `last_seq` is the last of this batch's: its messages end there, in their order.
           last_seq - messages + row_number() OVER (PARTITION BY user_id ORDER BY position)
      FROM message JOIN given USING (user_id) JOIN counted USING (user_id)
     ORDER BY position
""")

# Two steps into one index, whatever waits there and whatever went out.
ENDS = text("""
    SELECT (SELECT extract(epoch FROM clock_timestamp() - occurred_at)
              FROM outbox_message
             WHERE published_at IS NULL
             ORDER BY published_at, occurred_at
             LIMIT 1) AS oldest,
           (SELECT extract(epoch FROM max(published_at)) FROM outbox_message) AS last_published
""")
# An entry of an index for each: a million in 20 ms, in 130 before they were vacuumed (2026-11-27).
UNPUBLISHED = text("SELECT count(*) FROM outbox_message WHERE published_at IS NULL")


@dataclass(frozen=True, slots=True)
class OutboxEnds:
    """How old the oldest message is that is not published, and when one was published last.

    Args:
        oldest_seconds: its age by the database's clock; 0 where there is none.
        last_published_at: Unix time; 0 where none ever was.
    """

    oldest_seconds: float
    last_published_at: float


async def append(conn: Connection, entries: Sequence[OutboxEntry]) -> None:
    """Write `entries` with the next seq of their users, in their order; none is fine."""
    if not entries:
        return
    rows = [
        {
            "user_id": str(entry.user_id),
            "tenant_id": str(entry.tenant_id),
            "event_type": entry.event_type.value,
            "payload": dict(entry.payload),
            "occurred_at": entry.occurred_at.isoformat(),
        }
        for entry in entries
    ]
    await conn.execute(APPEND, {"entries": dumped(rows), "id_prefix": id_prefix()})


async def ends(conn: Connection) -> OutboxEnds:
    """Return both ends of what waits to be published."""
    found = (await conn.execute(ENDS)).one()
    return OutboxEnds(max(0.0, float(found.oldest or 0)), float(found.last_published or 0))


async def unpublished(conn: Connection) -> int:
    """Return how many messages are not published; the time it takes grows with them."""
    return int((await conn.execute(UNPUBLISHED)).scalar_one())
