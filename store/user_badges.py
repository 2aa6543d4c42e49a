"""One user's counters and badge of each type. Read only; `laurel explain` shows it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import text

from store.engine import Connection
from store.values.badges import Instance, InstanceStatus, OnchainStatus
from store.values.names import CounterName, RawAddress

# The badge that speaks for the user is the latest, as everywhere (store/instances.py).
OF_USER = text("""
    SELECT type.id AS type_id, coalesce(progress.counters, '{}') AS counters,
           progress.last_event_at,
           badge.id, badge.tenant_id, badge.current_level, badge.status, badge.onchain_status,
           badge.onchain_token_id, badge.ordinal
      FROM nft_type AS type
           LEFT JOIN nft_progress AS progress
                  ON progress.type_id = type.id AND progress.user_id = :user_id
           LEFT JOIN (SELECT DISTINCT ON (type_id) * FROM nft_instance WHERE user_id = :user_id
                       ORDER BY type_id, ordinal DESC) AS badge
                  ON badge.type_id = type.id
     ORDER BY type.code
""")


@dataclass(frozen=True, slots=True)
class UserProgress:
    """One type's counters and badge of a user.

    Nothing was counted where `last_event_at` is None.
    """

    type_id: UUID
    counters: Mapping[CounterName, int | Decimal]
    last_event_at: datetime | None
    instance: Instance | None


async def of_user(conn: Connection, user_id: UUID) -> list[UserProgress]:
    """Return the user's progress in every type, by the types' codes.

    Also of a user whom nobody has heard of.
    """
    return [
        UserProgress(
            type_id=row.type_id,
            counters=row.counters,
            last_event_at=row.last_event_at,
            instance=None
            if row.id is None
            else Instance(
                id=row.id,
                type_id=row.type_id,
                user_id=user_id,
                tenant_id=row.tenant_id,
                current_level=row.current_level,
                status=InstanceStatus(row.status),
                onchain_status=OnchainStatus(row.onchain_status),
                onchain_token_id=RawAddress(row.onchain_token_id) if row.onchain_token_id else None,
                ordinal=row.ordinal,
            ),
        )
        for row in await conn.execute(OF_USER, {"user_id": user_id})
    ]
