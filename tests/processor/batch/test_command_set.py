"""The commands of a batch: once for each id, in their order, each seeing the ones before it."""

from collections import Counter
from uuid import UUID

import pytest

from processor.batch.command_rules import (
    Accepted,
    BadgeState,
    Command,
    CommandDecision,
    CommandState,
    Repeated,
    decide_commands,
)
from processor.batch.command_set import Claims, CommandDecisions, CommandSet, settle
from processor.batch.staging import PlacedCommand
from processor.events.reader import BadgeCommand
from processor.events.rejection import Rejected
from processor.rules.levels import Rulebook
from store import command_log
from store.engine import Database
from store.values import CommandType, RawAddress, Reason
from tests.builders.catalogs import BADGE, TENANT, USER, a_catalog, a_type, an_instance
from tests.builders.commands import a_badge_command, a_badge_state, other_badge
from tests.builders.sql import rows
from tests.builders.world import World

MINT, BURN, REVOKE = CommandType.MINT, CommandType.BURN, CommandType.REVOKE
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
    return decide_commands(commands, CommandState(RULEBOOK, applied or {}, by_id, by_holder))


def said(decision: CommandDecision) -> str:
    """The decision in a word: what is asked for, or why not."""
    match decision:
        case Accepted():
            names = [name for name in ("mint", "burn", "revoke") if getattr(decision, name)]
            return "+".join(names) or "nothing to do"
        case Repeated():
            return "repeated"
        case Rejected():
            return decision.reason.value


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
    commands = (a_badge_command(BURN, "x"), a_badge_command(MINT, "x"), a_badge_command(BURN, "x"))
    assert words(*commands) == ["no_token", "mint", "external_id_conflict"]


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ((MINT, BURN, REVOKE), ["mint", "burn", "revoke"]),
        ((BURN, MINT, REVOKE), ["no_token", "mint", "revoke"]),
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
        ({"type_code": "runner"}, "no_such_badge"),
        ({"type_code": "runner", "instance_id": BADGE}, "no_such_badge"),
        ({"type_code": None, "instance_id": UUID(int=7)}, "no_such_badge"),
        ({"type_code": "walker", "user_id": TENANT}, "no_such_badge"),
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
    first, second = decide_commands(commands, state)
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


def test_decisions_are_kept_beside_the_commands_that_brought_them() -> None:
    commands = [a_badge_command(MINT, "x"), a_badge_command(MINT, "x"), a_badge_command(BURN, "x")]
    placed = tuple(PlacedCommand(command) for command in commands)
    state = CommandState(RULEBOOK, {}, {BADGE: a_badge_state()}, {(USER, WALKER.id): BADGE})
    found = CommandSet(placed).decide(state)
    assert [command for command, _ in found.accepted] == commands[:1]
    assert found.repeated == commands[1:2]
    assert [(each, why.reason) for each, why in found.rejected] == [
        (placed[2], Reason.EXTERNAL_ID_CONFLICT)
    ]
    kinds = Counter(type(decision).__name__ for _, decision in found.each)
    assert kinds == Counter(Accepted=1, Repeated=1, Rejected=1)
    assert (CommandDecisions().accepted, CommandDecisions().rejected) == ([], [])


def test_a_set_knows_which_badges_its_commands_may_name() -> None:
    commands = CommandSet(
        (
            PlacedCommand(a_badge_command(MINT, "a")),
            PlacedCommand(a_badge_command(MINT, "b", type_code=None, instance_id=BADGE)),
            PlacedCommand(a_badge_command(MINT, "c", type_code="swimmer")),
        )
    )
    assert commands.holders(RULEBOOK) == {(USER, WALKER.id)}
    assert commands.instance_ids == {BADGE}
    assert commands
    assert not CommandSet(())


def a_set(*commands: BadgeCommand) -> CommandSet:
    return CommandSet(tuple(PlacedCommand(command) for command in commands))


async def claimed(database: Database, *commands: BadgeCommand) -> tuple[Claims, dict[str, bytes]]:
    """Return the claims of a batch of its own, and what the log says within its transaction."""
    async with database.transaction() as conn:
        claims = await a_set(*commands).claim(conn)
        return claims, await command_log.hashes(conn, ["x", "y"])


async def test_of_two_commands_with_one_id_the_first_is_claimed(database: Database) -> None:
    first, second = a_badge_command(MINT, "x"), a_badge_command(REVOKE, "x", reason="r")
    other = a_badge_command(BURN, "y")
    claims, log = await claimed(database, first, other, second)
    assert claims == Claims(frozenset({"x", "y"}), {})
    assert log == {"x": first.content_hash, "y": other.content_hash}


async def test_an_id_that_the_log_knows_is_not_new_and_comes_with_what_was_applied(
    database: Database,
) -> None:
    before, again = a_badge_command(MINT, "x"), a_badge_command(REVOKE, "x", reason="r")
    await claimed(database, before)
    claims, _ = await claimed(database, again, a_badge_command(MINT, "y"))
    assert claims == Claims(frozenset({"y"}), {"x": before.content_hash})


async def test_only_the_claims_of_this_batch_that_do_not_stand_are_withdrawn(
    database: Database,
) -> None:
    """Who rejects a repetition with other content must not free the id of what was applied."""
    world = World(database)
    (badge,) = await world.badges()
    applied = a_badge_command(MINT, "applied before")
    await claimed(database, applied)
    commands = a_set(
        a_badge_command(REVOKE, "applied before", reason="r"),
        a_badge_command(BURN, "rejected"),
        a_badge_command(BURN, "rejected first"),
        a_badge_command(MINT, "accepted"),
        a_badge_command(REVOKE, "rejected first", reason="r"),
    )
    async with database.transaction() as conn:
        claims = await commands.claim(conn)
        known = a_badge_state(id=badge.id)
        holders = {(USER, WALKER.id): badge.id}
        decisions = commands.decide(
            CommandState(RULEBOOK, claims.applied, {badge.id: known}, holders)
        )
        assert [said(decision) for _, decision in decisions.each] == [
            "external_id_conflict",
            "no_token",
            "no_token",
            "mint",
            "revoke",
        ]
        await settle(conn, claims, decisions)
    log = await rows(
        database, "SELECT external_id, type, nft_instance_id FROM command_log ORDER BY external_id"
    )
    assert log == [
        ("accepted", "badge.mint", badge.id),
        ("applied before", "badge.mint", None),
        ("rejected first", "badge.revoke", badge.id),
    ]
