"""The commands of a batch: once for each id, in their order, each seeing the ones before it."""

from collections import Counter

from processor.batch.command_sequence import CommandState
from processor.batch.command_set import Claims, CommandDecisions, CommandSet, settle
from processor.batch.staging import PlacedCommand
from processor.events.reader import BadgeCommand
from processor.rules.levels import Rulebook
from store import command_log
from store.engine import Database
from store.values.stream import CommandType, Reason
from tests.builders.catalogs import BADGE, USER, a_catalog, a_type
from tests.builders.commands import a_badge_command, a_badge_state, said
from tests.builders.messages import terms
from tests.builders.sql import rows
from tests.builders.world import World

MINT, BURN, REVOKE = CommandType.MINT, CommandType.BURN, CommandType.REVOKE
WALKER, RUNNER = a_type(), a_type(code="runner")
RULEBOOK = Rulebook.compile(a_catalog(WALKER, RUNNER))


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
        a_badge_command(MINT, "rejected", type_code="swimmer"),
        a_badge_command(MINT, "rejected first", type_code="swimmer"),
        a_badge_command(MINT, "waits", type_code="runner"),
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
            "unknown_badge_type",
            "unknown_badge_type",
            "mint",
            "revoke",
            "waits: no_such_badge",
        ]
        await settle(conn, claims, decisions, terms())
    log = await rows(
        database, "SELECT external_id, type, nft_instance_id FROM command_log ORDER BY external_id"
    )
    assert log == [
        ("accepted", "badge.mint", badge.id),
        ("applied before", "badge.mint", None),
        ("rejected first", "badge.revoke", badge.id),
    ]
