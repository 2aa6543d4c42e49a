"""One user's counters and badge of each type. Read only; `laurel explain` shows it.

And where one badge stands on its way to the chain, which `laurel badge` says of what it did.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import text

from store.engine import Connection
from store.values.badges import Instance, InstanceStatus, OnchainStatus
from store.values.names import CounterName, RawAddress, TypeCode

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

# A task that is over says no more than the badge itself.
STANDING = text("""
    SELECT badge.status, badge.onchain_status, task.operation, task.status AS task_status,
           task.hold_reason
      FROM nft_instance AS badge
           JOIN nft_type AS type ON type.id = badge.type_id AND type.code = :type_code
           LEFT JOIN nft_mint_queue AS task
                  ON task.nft_instance_id = badge.id AND task.status <> 'confirmed'
     WHERE badge.user_id = :user_id
     ORDER BY badge.ordinal DESC, task.created_at DESC NULLS LAST
     LIMIT 1
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


async def standing(
    conn: Connection, user_id: UUID, type_code: TypeCode
) -> dict[str, str | None] | None:
    """Return the states of the user's latest badge of the type, and of its task in the queue.

    None where there is no badge; `task`, `task_status` and `hold` are None where nothing is to do.
    """
    row = (await conn.execute(STANDING, {"user_id": user_id, "type_code": type_code})).one_or_none()
    if row is None:
        return None
    return {
        "status": row.status,
        "onchain_status": row.onchain_status,
        "task": row.operation,
        "task_status": row.task_status,
        "hold": row.hold_reason,
    }
