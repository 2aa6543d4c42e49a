"""Commands one after the other: each sees the ones before it, and what waits is tried again."""

from uuid import UUID

import pytest

from processor.batch.command_rules import (
    Accepted,
    BadgeState,
    Command,
    CommandDecision,
    Repeated,
)
from processor.batch.command_sequence import CommandState, Waiting, decide_commands
from processor.events.rejection import Rejected
from processor.rules.levels import Rulebook
from store.values.names import RawAddress
from store.values.stream import CommandType, Reason
from tests.builders.catalogs import BADGE, TENANT, USER, a_catalog, a_type, an_instance
from tests.builders.commands import a_badge_command, a_badge_state, other_badge, said

MINT, BURN, REVOKE = CommandType.MINT, CommandType.BURN, CommandType.REVOKE
AWARD = CommandType.AWARD
WALKER, RUNNER = a_type(), a_type(code="runner")
RULEBOOK = Rulebook.compile(a_catalog(WALKER, RUNNER))
BADGE_WITH_TOKEN = a_badge_state(onchain_token_id=RawAddress("0:" + "a" * 64))


def decided(
    *commands: Command,
    badges: tuple[BadgeState, ...] = (a_badge_state(),),
    applied: dict[str, bytes] | None = None,
) -> tuple[CommandDecision, ...]:
    by_id = {badge.instance.id: badge for badge in badges}
    by_holder = {
        (badge.instance.user_id, badge.instance.type_id): badge.instance.id for badge in badges
    }
    found = decide_commands(commands, CommandState(RULEBOOK, applied or {}, by_id, by_holder))
    assert sorted(place for place, _ in found) == list(range(len(commands)))
    return tuple(decision for _, decision in sorted(found, key=lambda each: each[0]))


def words(*commands: Command, badges: tuple[BadgeState, ...] = (a_badge_state(),)) -> list[str]:
    return [said(decision) for decision in decided(*commands, badges=badges)]


def test_the_same_id_with_the_same_content_is_a_repetition() -> None:
    assert words(a_badge_command(MINT, "x"), a_badge_command(MINT, "x")) == ["mint", "repeated"]


def test_the_same_id_with_other_content_is_a_conflict() -> None:
    commands = (a_badge_command(MINT, "x"), a_badge_command(REVOKE, "x", reason="r"))
    assert words(*commands) == ["mint", "external_id_conflict"]


def test_what_was_applied_before_the_batch_counts_as_applied() -> None:
    command = a_badge_command(MINT, "x")
    before = {"x": command.content_hash}
    assert decided(command, applied=before) == (Repeated(),)
    assert [said(each) for each in decided(command, applied={"x": b"other"})] == [
        "external_id_conflict"
    ]


def test_another_id_with_the_same_content_is_another_command() -> None:
    assert words(a_badge_command(MINT, "x"), a_badge_command(MINT, "y")) == [
        "mint",
        "nothing to do",
    ]


def test_a_rejected_command_leaves_its_id_free() -> None:
    unknown = a_badge_command(MINT, "x", type_code="swimmer")
    commands = (unknown, a_badge_command(MINT, "x"), unknown)
    assert words(*commands) == ["unknown_badge_type", "mint", "external_id_conflict"]


def test_a_command_that_waits_keeps_its_id() -> None:
    burn, mint = a_badge_command(BURN, "x"), a_badge_command(MINT, "x")
    assert words(burn, burn, mint) == [
        "waits: no_token",
        "waits again: no_token",
        "external_id_conflict",
    ]


def test_what_waits_elsewhere_under_an_id_is_a_repetition_or_a_conflict() -> None:
    mint = a_badge_command(MINT, "x")
    why = Rejected(Reason.NO_SUCH_BADGE, "the user has no such badge", "badge.mint")
    for content, expected in (
        (mint.content_hash, "waits again: no_such_badge"),
        (b"other", "external_id_conflict"),
    ):
        badge = a_badge_state()
        state = CommandState(
            RULEBOOK, {}, {BADGE: badge}, {(USER, WALKER.id): BADGE}, {"x": Waiting(content, why)}
        )
        ((_, decision),) = decide_commands([mint], state)
        assert said(decision) == expected


def test_a_command_that_waits_is_carried_out_once_a_later_one_makes_it_right() -> None:
    """In the order in which they become right: a burn after the mint that it waited for."""
    commands = (
        a_badge_command(BURN, "b"),
        a_badge_command(MINT, "m"),
        a_badge_command(AWARD, "a", level=1),
        a_badge_command(REVOKE, "r", reason="r"),
    )
    found = decide_commands(commands, CommandState(RULEBOOK, {}, {}, {}))
    assert [(place, said(each)) for place, each in found] == [
        (2, "award"),
        (1, "mint"),
        (0, "burn"),
        (3, "revoke"),
    ]


def test_what_others_do_makes_no_command_of_a_user_right() -> None:
    wanted = a_badge_command(MINT, "m")
    other = a_badge_command(AWARD, "a", user_id=TENANT, level=1)
    assert words(wanted, other, badges=()) == ["waits: no_such_badge", "award"]


def test_a_command_that_waited_may_turn_out_to_be_wrong() -> None:
    commands = (a_badge_command(MINT, "m"), a_badge_command(REVOKE, "r", reason="r"))
    award = a_badge_command(AWARD, "a", level=1)
    assert words(commands[1], commands[0], award, badges=()) == [
        "revoke",
        "not_active",
        "award",
    ]


def test_a_command_goes_on_waiting_for_what_is_missing_now() -> None:
    commands = (a_badge_command(BURN, "b"), a_badge_command(AWARD, "a", level=1))
    assert words(*commands, badges=()) == ["waits: no_token", "award"]


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ((MINT, BURN, REVOKE), ["mint", "burn", "revoke"]),
        ((BURN, MINT, REVOKE), ["burn", "mint", "revoke"]),
        ((REVOKE, MINT, BURN), ["revoke", "not_active", "not_active"]),
        ((REVOKE, REVOKE), ["revoke", "nothing to do"]),
    ],
)
def test_each_command_sees_what_the_ones_before_it_did(
    kinds: tuple[CommandType, ...], expected: list[str]
) -> None:
    assert words(*(a_badge_command(kind, f"c{n}") for n, kind in enumerate(kinds))) == expected


def test_a_revocation_after_a_burn_burns_once() -> None:
    commands = (a_badge_command(BURN, "a"), a_badge_command(REVOKE, "b"))
    assert words(*commands, badges=(BADGE_WITH_TOKEN,)) == ["burn", "revoke"]
    assert words(commands[1], badges=(BADGE_WITH_TOKEN,)) == ["burn+revoke"]


def test_commands_about_two_badges_do_not_meet() -> None:
    runner = other_badge(a_badge_state(), 7, type_id=RUNNER.id)
    commands = (a_badge_command(REVOKE, "a"), a_badge_command(MINT, "b", type_code="runner"))
    assert words(*commands, badges=(a_badge_state(), runner)) == ["revoke", "mint"]


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ({"type_code": "walker"}, "mint"),
        ({"type_code": None, "instance_id": BADGE}, "mint"),
        ({"type_code": "walker", "instance_id": BADGE}, "mint"),
        ({"type_code": "swimmer"}, "unknown_badge_type"),
        ({"type_code": "swimmer", "instance_id": BADGE}, "unknown_badge_type"),
        ({"type_code": "runner"}, "waits: no_such_badge"),
        ({"type_code": "runner", "instance_id": BADGE}, "no_such_badge"),
        ({"type_code": None, "instance_id": UUID(int=7)}, "waits: no_such_badge"),
        ({"type_code": "walker", "instance_id": UUID(int=7)}, "waits: no_such_badge"),
        ({"type_code": "walker", "user_id": TENANT}, "waits: no_such_badge"),
        ({"type_code": None, "instance_id": BADGE, "user_id": TENANT}, "no_such_badge"),
    ],
)
def test_a_badge_is_named_by_its_type_its_id_or_both(
    named: dict[str, object], expected: str
) -> None:
    assert words(a_badge_command(MINT, **named)) == [expected]


def test_an_id_names_a_badge_that_does_not_speak_for_its_holder() -> None:
    """A user may have two badges of a type, one revoked; by the type the active is meant."""
    old = other_badge(a_badge_state(), 7)
    by_id = {BADGE: a_badge_state(), UUID(int=7): old}
    state = CommandState(RULEBOOK, {}, by_id, {(USER, WALKER.id): BADGE})
    commands = (a_badge_command(MINT, "a", instance_id=UUID(int=7)), a_badge_command(MINT, "b"))
    (_, first), (_, second) = decide_commands(commands, state)
    assert isinstance(first, Accepted)
    assert isinstance(second, Accepted)
    assert (first.badge.instance.id, second.badge.instance.id) == (UUID(int=7), BADGE)


def test_deciding_changes_nothing_that_was_given() -> None:
    applied: dict[str, bytes] = {}
    badges = {BADGE: a_badge_state()}
    holder = (USER, an_instance().type_id)
    state = CommandState(RULEBOOK, applied, badges, {holder: BADGE})
    first = decide_commands([a_badge_command(REVOKE)], state)
    assert (applied, badges) == ({}, {BADGE: a_badge_state()})
    assert decide_commands([a_badge_command(REVOKE)], state) == first
