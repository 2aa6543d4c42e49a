"""What the outcome of mint tasks changes for badges, the audit log and the outbox."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from uuid import UUID, uuid4

import pytest

from store.settlement_effects import (
    Effects,
    EndedToken,
    LockedBadge,
    MintedBadge,
    Settlement,
    audit_entries,
    effects,
    outbox_entries,
)
from store.values.badges import AuditAction, AuditEntry, InstanceStatus
from store.values.minting import LeasedTask, TaskEvent, TaskOperation, TaskStatus, TokenEnd
from store.values.names import RawAddress, TypeCode
from store.values.outbox import OutboxEntry, OutboxType
from tests.builders.tasks import a_leased_task

TOKEN_ID = RawAddress("0:" + "ab" * 32)
AT = datetime(2026, 1, 1, tzinfo=UTC)
BADGE = LockedBadge(uuid4(), uuid4(), uuid4(), TypeCode("explorer"), InstanceStatus.ACTIVE, 2)
REVOKED = replace(BADGE, status=InstanceStatus.REVOKED)
BURNED = replace(BADGE, status=InstanceStatus.BURNED_ONCHAIN)


def a_task(operation: TaskOperation, badge_id: UUID = BADGE.id) -> LeasedTask:
    return a_leased_task(operation, nft_instance_id=badge_id)


def confirmed(
    operation: TaskOperation,
    token_end: TokenEnd | None = None,
    badge_id: UUID = BADGE.id,
) -> Settlement:
    token_id = TOKEN_ID if operation is TaskOperation.MINT else None
    return Settlement(
        a_task(operation, badge_id),
        TaskStatus.CONFIRMED,
        TaskEvent.CONFIRMED,
        token_id=token_id,
        token_end=token_end,
    )


def of(settlement: Settlement, badge: LockedBadge) -> Effects:
    return effects([settlement], {badge.id: badge})


MINT, BURN = TaskOperation.MINT, TaskOperation.BURN


@pytest.mark.parametrize("badge", [BADGE, REVOKED, BURNED])
def test_a_confirmed_mint_marks_its_badge(badge: LockedBadge) -> None:
    found = of(confirmed(MINT), badge)
    assert found.minted == (MintedBadge(badge, TOKEN_ID),)
    assert found.ended == ()


def test_only_a_badge_revoked_meanwhile_gets_a_burn() -> None:
    given = {
        (badge.status, end): of(confirmed(MINT, end), badge).burns
        for badge, end in product([BADGE, REVOKED, BURNED], [None, TokenEnd.DESTROYED])
    }
    assert {key for key, burns in given.items() if burns} == {(InstanceStatus.REVOKED, None)}
    assert given[InstanceStatus.REVOKED, None] == (BADGE.id,)


@pytest.mark.parametrize("end", list(TokenEnd))
@pytest.mark.parametrize("badge", [BADGE, REVOKED])
def test_a_burn_ends_the_token(badge: LockedBadge, end: TokenEnd) -> None:
    assert of(confirmed(BURN, end), badge) == Effects(ended=(EndedToken(badge, end),))


@pytest.mark.parametrize("badge", [BADGE, REVOKED])
def test_the_audit_says_in_which_state_the_end_of_its_token_met_the_badge(
    badge: LockedBadge,
) -> None:
    """A revoked badge stays revoked: the log is the only place that tells the two apart."""
    found = of(confirmed(BURN, TokenEnd.REVOKED), badge)
    assert audit_entries(found, "system") == [
        AuditEntry(
            BADGE.id,
            AuditAction.BURNED_ONCHAIN,
            "system",
            {"how": "revoked", "status_before": badge.status.value},
        )
    ]


def test_the_end_of_a_token_is_told_once() -> None:
    assert of(confirmed(BURN, TokenEnd.DESTROYED), BURNED) == Effects()


def test_only_a_mint_that_failed_fails_its_badge() -> None:
    failed = {
        operation: of(
            Settlement(a_task(operation), TaskStatus.FAILED, TaskEvent.FAILED, reason="why"), BADGE
        )
        for operation in TaskOperation
    }
    assert failed.pop(MINT) == Effects(failed_mints=(BADGE.id,))
    assert set(failed.values()) == {Effects()}


@pytest.mark.parametrize(
    "event", [TaskEvent.VOID, TaskEvent.INDEX_TAKEN, TaskEvent.PARKED, TaskEvent.HELD]
)
def test_what_goes_back_to_the_queue_changes_no_badge(event: TaskEvent) -> None:
    assert of(Settlement(a_task(MINT), TaskStatus.PENDING, event), BADGE) == Effects()


def test_each_badge_gets_its_own_effect_in_the_order_of_the_settlements() -> None:
    others = [replace(BADGE, id=uuid4()) for _ in range(3)]
    settlements = [
        confirmed(MINT, badge_id=others[2].id),
        confirmed(BURN, TokenEnd.REVOKED, others[0].id),
        confirmed(MINT, badge_id=others[1].id),
    ]
    assert effects(settlements, {badge.id: badge for badge in others}) == Effects(
        minted=(MintedBadge(others[2], TOKEN_ID), MintedBadge(others[1], TOKEN_ID)),
        ended=(EndedToken(others[0], TokenEnd.REVOKED),),
    )


def test_a_token_minted_and_destroyed_at_once_is_audited_and_published_as_both() -> None:
    found = of(confirmed(MINT, TokenEnd.DESTROYED), BADGE)
    assert audit_entries(found, "system") == [
        AuditEntry(
            BADGE.id,
            AuditAction.MINTED_ONCHAIN,
            "system",
            {"token_id": TOKEN_ID, "level": 2},
        ),
        AuditEntry(
            BADGE.id,
            AuditAction.BURNED_ONCHAIN,
            "system",
            {"how": "destroyed", "status_before": "active"},
        ),
    ]
    about = {
        "instance_id": str(BADGE.id),
        "type_code": "explorer",
        "level": 2,
        "user_id": str(BADGE.user_id),
    }
    assert outbox_entries(found, AT) == [
        OutboxEntry(
            BADGE.user_id,
            BADGE.tenant_id,
            OutboxType.BADGE_MINTED,
            {**about, "token_id": TOKEN_ID},
            AT,
        ),
        OutboxEntry(
            BADGE.user_id,
            BADGE.tenant_id,
            OutboxType.BADGE_BURNED,
            {**about, "how": "destroyed"},
            AT,
        ),
    ]
