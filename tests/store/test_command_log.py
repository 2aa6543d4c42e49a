"""The log of commands: an external id is written once, and a claim may be withdrawn."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text

from store import command_log
from store.command_log import AppliedCommand, NewCommand
from store.engine import Database
from store.values.stream import CommandType
from tests.store.locks import until_somebody_waits

ONE = NewCommand("one", b"1" * 32, CommandType.MINT)
TWO = NewCommand("two", b"2" * 32, CommandType.REVOKE)


async def rows(database: Database) -> list[tuple[Any, ...]]:
    async with database.transaction() as conn:
        found = await conn.execute(
            text(
                "SELECT external_id, content_hash, type, nft_instance_id FROM command_log"
                " ORDER BY external_id"
            )
        )
        return [(row[0], bytes(row[1]), row[2], row[3]) for row in found]


async def test_an_id_is_claimed_once(database: Database) -> None:
    async with database.transaction() as conn:
        assert await command_log.claim(conn, [ONE]) == {"one"}
    async with database.transaction() as conn:
        other = NewCommand("one", b"x" * 32, CommandType.BURN)
        assert await command_log.claim(conn, [TWO, other]) == {"two"}
        assert await command_log.claim(conn, []) == frozenset()
    assert await rows(database) == [
        ("one", b"1" * 32, "badge.mint", None),
        ("two", b"2" * 32, "badge.revoke", None),
    ]


async def test_of_two_transactions_with_one_id_the_later_learns_what_the_first_applied(
    database: Database,
) -> None:
    async def second() -> tuple[frozenset[str], dict[str, bytes]]:
        async with database.transaction() as conn:
            new = await command_log.claim(conn, [NewCommand("one", b"x" * 32, CommandType.MINT)])
            return new, await command_log.hashes(conn, ["one"])

    async with database.transaction() as conn:
        await command_log.claim(conn, [ONE])
        other = asyncio.create_task(second())
        await until_somebody_waits(conn)
    assert await other == (frozenset(), {"one": b"1" * 32})


async def test_two_batches_with_the_same_ids_in_another_order_do_not_block_each_other(
    database: Database,
) -> None:
    """A batch that waits for an id holds none that sorts behind it: no circle of waits."""
    commands = {each: NewCommand(each, b"1" * 32, CommandType.MINT) for each in "amz"}

    async def other() -> frozenset[str]:
        async with database.transaction() as conn:
            return await command_log.claim(conn, [commands[each] for each in "zma"])

    async with database.transaction() as conn:
        assert await command_log.claim(conn, [commands["m"]]) == {"m"}
        waiting = asyncio.create_task(other())
        await until_somebody_waits(conn)
        assert await command_log.claim(conn, [commands["z"]]) == {"z"}
    assert await waiting == {"a"}


async def test_hashes_are_those_of_the_ids_asked_for(database: Database) -> None:
    async with database.transaction() as conn:
        await command_log.claim(conn, [ONE, TWO])
        assert await command_log.hashes(conn, ["two", "three"]) == {"two": b"2" * 32}
        assert await command_log.hashes(conn, []) == {}


async def test_a_silence_ends_once(database: Database) -> None:
    badge: UUID = uuid4()
    async with database.transaction() as conn:
        await command_log.claim(conn, [ONE, TWO])
        await command_log.applied(
            conn, [AppliedCommand(ONE, badge, silent=True), AppliedCommand(TWO, uuid4())]
        )
    for ended in ({"one": badge}, {}):
        async with database.transaction() as conn:
            assert await command_log.end_silence(conn, ["two", "one", "three"]) == ended
    async with database.transaction() as conn:
        assert await command_log.end_silence(conn, []) == {}


async def test_an_applied_command_names_its_badge_and_what_was_applied(database: Database) -> None:
    """Of several commands with one id in a batch the first claims, and another may be applied."""
    badge: UUID = uuid4()
    other = NewCommand("one", b"y" * 32, CommandType.REVOKE)
    async with database.transaction() as conn:
        await command_log.claim(conn, [ONE, TWO])
        await command_log.applied(conn, [AppliedCommand(other, badge)])
        await command_log.applied(conn, [])
    assert await rows(database) == [
        ("one", b"y" * 32, "badge.revoke", badge),
        ("two", b"2" * 32, "badge.revoke", None),
    ]


async def test_a_withdrawn_claim_leaves_no_trace(database: Database) -> None:
    async with database.transaction() as conn:
        await command_log.claim(conn, [ONE, TWO])
        await command_log.withdraw(conn, ["one"])
        await command_log.withdraw(conn, [])
    assert [row[0] for row in await rows(database)] == ["two"]
    async with database.transaction() as conn:
        assert await command_log.claim(conn, [ONE]) == {"one"}
