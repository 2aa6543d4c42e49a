"""The audit log: append only, in sets. The database itself refuses UPDATE, DELETE and TRUNCATE."""

from collections.abc import Sequence

from sqlalchemy import text

from store.engine import Connection
from store.exact_json import dumped
from store.ids import id_prefix
from store.values.badges import AuditEntry

# One statement for a whole batch: a row at a time takes three times as long.
APPEND = text("""
    INSERT INTO nft_audit_log (id, nft_instance_id, action, actor_service, details)
    SELECT CAST(:id_prefix || lpad(to_hex(position), 8, '0') AS uuid),
           (entry->>'instance_id')::uuid, entry->>'action', entry->>'actor_service',
           entry->'details'
      FROM jsonb_array_elements(CAST(:entries AS jsonb)) WITH ORDINALITY AS listed (entry, position)
     ORDER BY position
""")


async def append(conn: Connection, entries: Sequence[AuditEntry]) -> None:
    """Write `entries` in their order; none is fine."""
    if entries:
        await conn.execute(APPEND, {"entries": dumped(entries), "id_prefix": id_prefix()})
