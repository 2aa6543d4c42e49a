"""The outbox: messages to publish, written in the transaction that made them true.

`seq` is each user's own count. It comes from a row that stays locked to the end of the transaction,
so that it is in commit order; a database sequence is not. Callers write the outbox after the badges
and tasks that it tells of (docs/architecture.md, lock order).
"""

from collections.abc import Sequence

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
