"""What the outcome of mint tasks changes beside the tasks. Pure.

Records of what the chain showed in; badges to mark, burns to enqueue, audit and outbox rows out.
store/settling.py writes them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from store.values.badges import AuditAction, AuditEntry, InstanceStatus
from store.values.minting import (
    HoldReason,
    LeasedTask,
    TaskEvent,
    TaskOperation,
    TaskStatus,
    TokenEnd,
)
from store.values.names import RawAddress, TypeCode
from store.values.outbox import OutboxEntry, OutboxType


@dataclass(frozen=True, slots=True)
class Settlement:
    """A transition of one leased task.

    `token_id`: the item's address where a mint is confirmed. `token_end`: how its token was seen to
    end, None where it was not. `hold_reason` parks a pending task; `drop_index` gives its index up
    for ever. `unexecuted`: its message is proven to have done nothing, and to do nothing any more;
    a mint that was never part of another one is then free to go to the wallet linked by now.
    """

    task: LeasedTask
    to_status: TaskStatus
    event: TaskEvent
    reason: str | None = None
    hold_reason: HoldReason | None = None
    drop_index: bool = False
    token_id: RawAddress | None = None
    token_end: TokenEnd | None = None
    unexecuted: bool = False


@dataclass(frozen=True, slots=True)
class LockedBadge:
    """An instance under its row lock, as it stood before the settlement."""

    id: UUID
    user_id: UUID
    tenant_id: UUID
    type_code: TypeCode
    status: InstanceStatus
    current_level: int
    token_id: RawAddress | None = None


@dataclass(frozen=True, slots=True)
class MintedBadge:
    """A badge whose token stands on chain from now on."""

    badge: LockedBadge
    token_id: RawAddress


@dataclass(frozen=True, slots=True)
class EndedToken:
    """A badge whose token was seen to end."""

    badge: LockedBadge
    how: TokenEnd


@dataclass(frozen=True, slots=True)
class Effects:
    """Everything that follows for badges; each list in the order of the settlements."""

    minted: tuple[MintedBadge, ...] = ()
    ended: tuple[EndedToken, ...] = ()
    failed_mints: tuple[UUID, ...] = ()
    # Badges whose new token is to be burned at once: they were revoked while it was minted.
    burns: tuple[UUID, ...] = ()


def effects(settlements: Sequence[Settlement], badges: Mapping[UUID, LockedBadge]) -> Effects:
    """Return what `settlements` change for `badges`, which holds the badge of each."""
    minted, ended, failed = [], [], []
    for settlement in settlements:
        badge = badges[settlement.task.nft_instance_id]
        # A badge keeps its first token; a second one is reconcile's to name.
        if settlement.token_id is not None and badge.token_id in (None, settlement.token_id):
            minted.append(MintedBadge(badge, settlement.token_id))
        # Told once: reconcile may have seen the owner destroy the token before the task that was to
        # burn it did.
        if settlement.token_end is not None and badge.status is not InstanceStatus.BURNED_ONCHAIN:
            ended.append(EndedToken(badge, settlement.token_end))
        if settlement.to_status is TaskStatus.FAILED:
            failed.append(settlement.task)
    return Effects(
        tuple(minted),
        tuple(ended),
        tuple(task.nft_instance_id for task in failed if task.operation is TaskOperation.MINT),
        burns_of(minted, ended),
    )


def burns_of(minted: Sequence[MintedBadge], ended: Sequence[EndedToken]) -> tuple[UUID, ...]:
    """Return the badges, revoked meanwhile, whose new token still stands."""
    over = {token.badge.id for token in ended}
    return tuple(
        each.badge.id
        for each in minted
        if each.badge.status is InstanceStatus.REVOKED and each.badge.id not in over
    )


def audit_entries(found: Effects, actor: str) -> list[AuditEntry]:
    """Return the audit log's rows: minted_onchain, then burned_onchain."""
    entries = [
        AuditEntry(
            each.badge.id,
            AuditAction.MINTED_ONCHAIN,
            actor,
            {"token_id": each.token_id, "level": each.badge.current_level},
        )
        for each in found.minted
    ]
    entries += [
        AuditEntry(
            each.badge.id,
            AuditAction.BURNED_ONCHAIN,
            actor,
            {"how": each.how.value, "status_before": each.badge.status.value},
        )
        for each in found.ended
    ]
    return entries


def outbox_entries(found: Effects, occurred_at: datetime) -> list[OutboxEntry]:
    """Return what is published: badge.minted, then badge.burned."""

    def entry(badge: LockedBadge, event: OutboxType, more: dict[str, object]) -> OutboxEntry:
        payload = {
            "instance_id": str(badge.id),
            "type_code": badge.type_code,
            "level": badge.current_level,
            "user_id": str(badge.user_id),
            **more,
        }
        return OutboxEntry(badge.user_id, badge.tenant_id, event, payload, occurred_at)

    entries = [
        entry(each.badge, OutboxType.BADGE_MINTED, {"token_id": each.token_id})
        for each in found.minted
    ]
    entries += [
        entry(each.badge, OutboxType.BADGE_BURNED, {"how": each.how.value}) for each in found.ended
    ]
    return entries
