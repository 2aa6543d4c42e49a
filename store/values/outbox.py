"""What others are told.

Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class OutboxType(StrEnum):
    """CloudEvents types of what Laurel publishes."""

    BADGE_CREATED = "badge.created"
    BADGE_LEVELED_UP = "badge.leveled_up"
    BADGE_MINTED = "badge.minted"
    BADGE_BURNED = "badge.burned"
    BADGE_REVOKED = "badge.revoked"
    ACHIEVEMENT_GRANTED = "achievement.granted"
    ACHIEVEMENT_REVOKED = "achievement.revoked"


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """A message for the outbox; seq is given when it is written."""

    user_id: UUID
    tenant_id: UUID
    event_type: OutboxType
    payload: Mapping[str, object]
    occurred_at: datetime
