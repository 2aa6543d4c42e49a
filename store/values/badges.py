"""Badges: what became of one, and what the audit log says of it.

Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from store.values.names import RawAddress


class InstanceStatus(StrEnum):
    """What became of a badge: active -> revoked | burned_onchain."""

    ACTIVE = "active"
    REVOKED = "revoked"
    BURNED_ONCHAIN = "burned_onchain"


class OnchainStatus(StrEnum):
    """How far its mint came: not_minted -> pending -> minted | failed; failed -> pending.

    Stays `minted` after a burn.
    """

    NOT_MINTED = "not_minted"
    PENDING = "pending"
    MINTED = "minted"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Instance:
    """One user's badge of one type (nft_instance).

    `ordinal` is 1 for the user's first badge of the type, 2 for one awarded after that was revoked
    or burned.
    """

    id: UUID
    type_id: UUID
    user_id: UUID
    tenant_id: UUID
    current_level: int
    status: InstanceStatus
    onchain_status: OnchainStatus
    onchain_token_id: RawAddress | None
    ordinal: int


class Actor(StrEnum):
    """Who acted, in the audit log, beside the services that events and commands come from."""

    SYSTEM = "system"
    ADMIN = "admin"


class AuditAction(StrEnum):
    """The seed's audit actions."""

    CREATED = "created"
    LEVEL_UP = "level_up"
    METADATA_UPDATED = "metadata_updated"
    SUBMITTED_ONCHAIN = "submitted_onchain"
    MINTED_ONCHAIN = "minted_onchain"
    BURNED_ONCHAIN = "burned_onchain"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A row for nft_audit_log; `instance_id` None for a type's own history."""

    instance_id: UUID | None
    action: AuditAction
    actor_service: str
    details: Mapping[str, object]
