"""The audit log: append only, in sets. The database itself refuses UPDATE, DELETE and TRUNCATE."""

from collections.abc import Sequence

from sqlalchemy import insert

from store.engine import Connection
from store.models import NFTAuditLog
from store.values import AuditEntry


async def append(conn: Connection, entries: Sequence[AuditEntry]) -> None:
    """Write `entries` in their order; none is fine."""
    if not entries:
        return
    rows = [
        {
            "nft_instance_id": entry.instance_id,
            "action": entry.action.value,
            "actor_service": entry.actor_service,
            "details": dict(entry.details),
        }
        for entry in entries
    ]
    await conn.execute(insert(NFTAuditLog), rows)
