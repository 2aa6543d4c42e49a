"""What was decided as the rows that are written: badges, audit, mints, burns and messages."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from processor.batch.command_rules import Accepted, BadgeState, decide_award
from processor.batch.decisions import Decisions, provenance_of
from processor.events.event import Event
from processor.rules.badge_ids import instance_id
from processor.rules.levels import Award, LevelUp, TypeRules
from store.counting import Progress
from store.instances import NewInstance, Provenance, RaisedInstance
from store.silenced_badges import Silenced
from store.values.badges import (
    Actor,
    AuditAction,
    AuditEntry,
    Instance,
    InstanceStatus,
    OnchainStatus,
)
from store.values.catalog import OnchainPolicy
from store.values.minting import TokenState
from store.values.names import CounterName
from store.values.outbox import OutboxEntry, OutboxType
from store.values.stream import CommandType
from tests.builders.catalogs import BADGE, TENANT, USER, a_level, a_type, an_instance
from tests.builders.commands import a_badge_command, a_badge_state
from tests.builders.messages import NOW

OTHER_TENANT = UUID(int=9)
SOURCE = Provenance("quest_service", "event-7", TENANT)
# Level 3 mints by itself.
RULES = TypeRules.compile(
    a_type(
        a_level(1),
        a_level(2),
        a_level(3, auto_mint_onchain=True),
        metadata_fields={"points": CounterName("points")},
    )
)


def level_taken(
    points: int, instance: Instance | None, source: Provenance = SOURCE, **options: Any
) -> tuple[Decisions, Instance | None]:
    """Take the level that so many points make; 5, 10 and 15 reach the levels."""
    decisions = Decisions(NOW, **options)
    progress = Progress(USER, RULES.spec.id, {CounterName("points"): points})
    return decisions, decisions.take_level(RULES, progress, instance, source)


def a_payload(badge: UUID, level: int, **more: object) -> Mapping[str, object]:
    named = {"instance_id": str(badge), "type_code": "walker", "level": level}
    return named | {"user_id": str(USER)} | more


def an_entry(badge: UUID, level: int, action: AuditAction) -> AuditEntry:
    details = {"level": level, "source_service": "quest_service", "source_event_id": "event-7"}
    return AuditEntry(badge, action, Actor.SYSTEM.value, details)


def test_a_first_badge_is_created_with_every_level_on_the_way_in_the_audit_log() -> None:
    decisions, after = level_taken(12, None)
    assert after is not None
    assert after == an_instance(2, id=instance_id(USER, RULES.spec.code, 1))
    shown = {"level": 2, "points": 12}
    assert decisions.created == [
        NewInstance(after.id, RULES.spec.id, USER, 1, 2, shown, SOURCE),
    ]
    assert decisions.audit == [
        an_entry(after.id, 1, AuditAction.CREATED),
        an_entry(after.id, 2, AuditAction.LEVEL_UP),
    ]
    assert decisions.outbox == [
        OutboxEntry(USER, TENANT, OutboxType.BADGE_CREATED, a_payload(after.id, 2), NOW)
    ]
    assert decisions.levels == Counter({("walker", 2): 1})
    assert (decisions.raised, decisions.mints, decisions.burns) == ([], {}, set())


def test_a_badge_that_rises_keeps_its_tenant() -> None:
    source = Provenance("quest_service", "event-7", OTHER_TENANT)
    decisions, after = level_taken(12, an_instance(1), source)
    assert after == an_instance(2, tenant_id=TENANT)
    shown = {"level": 2, "points": 12}
    assert decisions.raised == [RaisedInstance(BADGE, 2, shown, source)]
    assert decisions.audit == [an_entry(BADGE, 2, AuditAction.LEVEL_UP)]
    assert decisions.outbox == [
        OutboxEntry(USER, TENANT, OutboxType.BADGE_LEVELED_UP, a_payload(BADGE, 2), NOW)
    ]
    assert (decisions.created, decisions.levels) == ([], Counter({("walker", 2): 1}))


@pytest.mark.parametrize(
    ("points", "instance"),
    [(4, None), (12, an_instance(2)), (99, an_instance(1, status=InstanceStatus.REVOKED))],
)
def test_without_a_new_level_nothing_is_written(points: int, instance: Instance | None) -> None:
    decisions, after = level_taken(points, instance)
    assert after == instance
    assert decisions == Decisions(NOW)


def test_a_level_that_mints_by_itself_asks_for_the_token() -> None:
    decisions, after = level_taken(15, None)
    assert after is not None
    assert decisions.mints == {after.id: USER}


@pytest.mark.parametrize(
    "status", [each for each in OnchainStatus if each is not OnchainStatus.NOT_MINTED]
)
def test_a_badge_whose_mint_was_begun_is_not_minted_by_a_level(status: OnchainStatus) -> None:
    decisions, after = level_taken(15, an_instance(2, onchain_status=status))
    assert after is not None
    assert (after.current_level, decisions.mints) == (3, {})


def test_history_neither_publishes_nor_mints() -> None:
    decisions, after = level_taken(15, None, publish=False, mint=False)
    assert after is not None
    assert (decisions.outbox, decisions.mints) == ([], {})
    assert (len(decisions.created), len(decisions.audit)) == (1, 3)


def command_taken(kind: CommandType, accepted: Accepted, **given: Any) -> Decisions:
    decisions = Decisions(NOW, **given)
    command = a_badge_command(kind, reason="why" if kind is CommandType.REVOKE else None)
    decisions.take_command(command, RULES, accepted)
    return decisions


def test_a_mint_and_a_burn_are_asked_for_where_the_rules_say_so() -> None:
    minted = command_taken(CommandType.MINT, Accepted(a_badge_state(), mint=True))
    burned = command_taken(CommandType.BURN, Accepted(a_badge_state(), burn=True))
    assert minted == Decisions(NOW, mints={BADGE: USER})
    assert burned == Decisions(NOW, burns={BADGE})
    for kind in (CommandType.MINT, CommandType.BURN):
        assert command_taken(kind, Accepted(a_badge_state())) == Decisions(NOW)


@pytest.mark.parametrize("stored", [True, False])
def test_a_revocation_is_written_with_its_reason_and_takes_the_batchs_mint_back(
    stored: bool,
) -> None:
    state = a_badge_state(level=2, mint_open=stored)
    found = command_taken(
        CommandType.REVOKE, Accepted(state, revoke=True), mints={BADGE: USER}, burns={BADGE}
    )
    details = {"reason": "why", "external_id": "c1"}
    assert found == Decisions(
        NOW,
        revoked={BADGE: stored},
        audit=[AuditEntry(BADGE, AuditAction.REVOKED, "connect_service", details)],
        outbox=[
            OutboxEntry(
                USER, TENANT, OutboxType.BADGE_REVOKED, a_payload(BADGE, 2, reason="why"), NOW
            )
        ],
    )


def test_a_revocation_keeps_the_burn_of_a_token_that_is_there() -> None:
    state = a_badge_state(burn_open=True)
    asked_before = command_taken(
        CommandType.REVOKE, Accepted(state, revoke=True), burns={BADGE}, publish=False
    )
    assert (asked_before.burns, asked_before.outbox) == ({BADGE}, [])
    together = command_taken(CommandType.REVOKE, Accepted(state, burn=True, revoke=True))
    assert together.burns == {BADGE}


def test_a_badge_names_the_service_and_the_id_of_its_event() -> None:
    event = Event(
        type="t",
        offset=0,
        key="k",
        fingerprint=1,
        user_id=USER,
        time=NOW,
        source="/quest-service/eu",
        id="event-7",
        tenant_id=TENANT,
        contributions=(),
    )
    assert provenance_of(event) == SOURCE


def test_a_type_that_never_goes_on_chain_mints_nothing_by_itself() -> None:
    rules = TypeRules.compile(
        a_type(a_level(1, auto_mint_onchain=True), default_onchain_policy=OnchainPolicy.NEVER)
    )
    decisions = Decisions(NOW)
    progress = Progress(USER, rules.spec.id, {CounterName("points"): 5})
    assert decisions.take_level(rules, progress, None, SOURCE) is not None
    assert decisions.mints == {}


@pytest.mark.parametrize(
    ("points", "options", "left_out"),
    [
        (5, {"publish": False, "mint": False}, (OutboxType.BADGE_CREATED, False)),
        (15, {"publish": False, "mint": False}, (OutboxType.BADGE_CREATED, True)),
        (15, {"publish": False}, (OutboxType.BADGE_CREATED, False)),
        (15, {"mint": False}, (None, True)),
        (5, {"mint": False}, None),
        (15, {}, None),
    ],
)
def test_what_a_silent_job_leaves_out_is_noted(
    points: int, options: dict[str, bool], left_out: tuple[OutboxType | None, bool] | None
) -> None:
    decisions, after = level_taken(points, None, SOURCE, **options)
    assert after is not None
    assert decisions.silenced == ([] if left_out is None else [Silenced(after.id, *left_out)])


def test_a_level_up_in_silence_is_noted_as_one() -> None:
    decisions, _ = level_taken(10, an_instance(1, id=BADGE), publish=False, mint=False)
    assert decisions.silenced == [Silenced(BADGE, OutboxType.BADGE_LEVELED_UP, False)]


def test_an_award_in_silence_is_noted_with_what_was_earned_before_it() -> None:
    decisions, badge = level_taken(5, None, SOURCE, publish=False, mint=False)
    assert badge is not None
    command = a_badge_command(CommandType.AWARD, level=3)
    state = BadgeState.of(badge, TokenState(), minting=False)
    accepted = decide_award(command, RULES, state, {}, auto_mint=False)
    assert isinstance(accepted, Accepted)
    decisions.take_command(command, RULES, accepted)
    assert decisions.silenced == [Silenced(badge.id, OutboxType.BADGE_CREATED, True)]


def test_what_was_left_out_is_said_of_the_badge_as_it_is() -> None:
    decisions = Decisions(NOW)
    badge = an_instance(2, id=BADGE)
    decisions.end_silence(badge, RULES, Silenced(BADGE, OutboxType.BADGE_CREATED, True))
    assert decisions.outbox == [
        OutboxEntry(USER, TENANT, OutboxType.BADGE_CREATED, a_payload(BADGE, 2), NOW)
    ]
    assert decisions.mints == {BADGE: USER}
    assert (decisions.audit, decisions.levels) == ([], Counter())


@pytest.mark.parametrize(
    ("silenced", "status"),
    [
        (Silenced(BADGE, OutboxType.BADGE_CREATED, False), OnchainStatus.NOT_MINTED),
        (Silenced(BADGE, OutboxType.BADGE_CREATED, True), OnchainStatus.PENDING),
        (Silenced(BADGE, OutboxType.BADGE_CREATED, True), OnchainStatus.MINTED),
    ],
)
def test_a_token_is_asked_for_only_where_there_is_none(
    silenced: Silenced, status: OnchainStatus
) -> None:
    decisions = Decisions(NOW)
    decisions.end_silence(an_instance(3, id=BADGE, onchain_status=status), RULES, silenced)
    assert decisions.mints == {}
    assert len(decisions.outbox) == 1


def test_a_mint_alone_is_no_message() -> None:
    decisions = Decisions(NOW)
    decisions.end_silence(an_instance(3, id=BADGE), RULES, Silenced(BADGE, None, True))
    assert (decisions.outbox, decisions.mints) == ([], {BADGE: USER})


def test_a_badge_that_a_command_makes_and_takes_away_is_written_as_it_ends() -> None:
    made = a_badge_state(id=instance_id(USER, RULES.spec.code, 1), tenant_id=OTHER_TENANT)
    decisions = Decisions(NOW)
    given = a_badge_command(CommandType.AWARD, "a1", tenant_id=OTHER_TENANT, event_id="e1")
    award = Award(RULES.levels[0].spec, (RULES.levels[0].spec,), {"level": 1})
    decisions.take_command(given, RULES, Accepted(made, award=award))
    by_admin = a_badge_command(CommandType.AWARD, "a2", actor="admin", reason="won")
    rise = LevelUp(RULES.levels[2].spec, (RULES.levels[2].spec,), {"level": 3})
    raised = replace(made, instance=replace(made.instance, current_level=3))
    decisions.take_command(by_admin, RULES, Accepted(raised, award=rise, mint=True))
    gone = replace(raised, instance=replace(raised.instance, status=InstanceStatus.REVOKED))
    revoked = a_badge_command(CommandType.REVOKE, "r1", reason="why")
    decisions.take_command(revoked, RULES, Accepted(gone, revoke=True))
    assert (decisions.raised, decisions.mints) == ([], {})
    assert decisions.created == [
        NewInstance(
            made.instance.id,
            RULES.spec.id,
            USER,
            1,
            3,
            {"level": 3},
            Provenance("admin", None, OTHER_TENANT),
            external_id="a1",
            status=InstanceStatus.REVOKED,
        )
    ]
    told = [(entry.action, entry.actor_service, dict(entry.details)) for entry in decisions.audit]
    source = {"source_service": "connect_service", "source_event_id": "e1", "external_id": "a1"}
    by_hand = {"source_service": "admin", "source_event_id": None, "external_id": "a2"}
    assert told == [
        (AuditAction.CREATED, "connect_service", {"level": 1, **source}),
        (AuditAction.LEVEL_UP, "admin", {"level": 3, **by_hand, "reason": "won"}),
        (AuditAction.REVOKED, "connect_service", {"reason": "why", "external_id": "r1"}),
    ]
    assert [(entry.event_type, entry.tenant_id) for entry in decisions.outbox] == [
        (OutboxType.BADGE_CREATED, OTHER_TENANT),
        (OutboxType.BADGE_LEVELED_UP, OTHER_TENANT),
        (OutboxType.BADGE_REVOKED, OTHER_TENANT),
    ]


def test_a_badge_that_rises_twice_in_a_batch_is_raised_once() -> None:
    decisions, after = level_taken(10, an_instance(1))
    assert after is not None
    state = a_badge_state(level=3)
    rise = LevelUp(RULES.levels[2].spec, (RULES.levels[2].spec,), {"level": 3})
    award = a_badge_command(CommandType.AWARD, "a1", event_id="e1")
    decisions.take_command(award, RULES, Accepted(state, award=rise))
    source = Provenance("connect_service", "e1", TENANT)
    assert decisions.raised == [RaisedInstance(BADGE, 3, {"level": 3}, source)]
