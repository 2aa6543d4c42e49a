"""Which database this is, and how minting is shut and opened, on real servers."""

import asyncio
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import make_url

from sandbox.postgres import PostgresServer, postgres
from store import chain, chain_messages, fence, migrations
from store.chain import MintingShut
from store.engine import Database
from store.fence import DatabaseIdentity, Shut
from tests.builders.restoring import dump, restored
from tests.builders.sql import rows
from tests.store.desk import NOW, Desk

FOREVER = NOW + timedelta(days=1)


async def identity(url: str) -> DatabaseIdentity:
    async with Database(url) as db, db.transaction() as conn:
        return await fence.identity(conn)


async def test_a_database_is_the_same_one_however_often_it_is_asked(database_url: str) -> None:
    assert await identity(database_url) == await identity(database_url)


async def test_a_dump_that_was_restored_is_another_database(
    database_server: PostgresServer, database_url: str, tmp_path: Path
) -> None:
    """On the same server, with the same system identifier and timeline."""
    original = await identity(database_url)
    backup = await dump(database_url, tmp_path / "backup")
    async with restored(database_server, backup) as url:
        found = await identity(url)
    assert found.epoch.split("/")[:2] == original.epoch.split("/")[:2]
    assert not found.same_database(original.epoch)


@pytest.fixture
def server_directory() -> Iterator[Path]:
    """A directory that a server's account may enter, unlike those of pytest."""
    path = Path(tempfile.mkdtemp(prefix="laurel-fence-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


async def test_a_server_that_was_promoted_is_another_one_and_one_started_again_is_not(
    server_directory: Path,
) -> None:
    """A promotion begins a timeline, and so does a recovery from an archive."""
    with postgres(server_directory, keep=True) as server:
        await migrations.upgrade(server.url)
        first = await identity(server.url)
    with postgres(server_directory, keep=True) as server:
        again = await identity(server.url)
    data = server_directory / "data"
    (data / "recovery.signal").touch()
    with (data / "postgresql.auto.conf").open("a") as settings:
        settings.write("restore_command = 'false'\n")
    with postgres(server_directory, keep=True) as server:
        promoted = await identity(server.url)
        while promoted.epoch.split("/")[1] == "-":  # it answers while it recovers
            await asyncio.sleep(0.05)
            promoted = await identity(server.url)
    assert again.same_database(first.epoch)
    assert again.server_started_at > first.server_started_at
    assert not promoted.same_database(first.epoch)
    assert promoted.epoch.split("/")[0] == first.epoch.split("/")[0]


async def test_a_role_without_any_right_of_its_own_may_ask(
    database: Database, database_url: str
) -> None:
    name = f"minter_{uuid.uuid4().hex}"
    await rows(database, f"CREATE ROLE {name} LOGIN PASSWORD 'p'")
    try:
        url = make_url(database_url).set(username=name, password="p")
        found = await identity(url.render_as_string(hide_password=False))
    finally:
        await rows(database, f"DROP ROLE {name}")
    assert "-" not in found.epoch.split("/")
    assert found == await identity(database_url)


async def test_what_a_role_may_not_ask_is_left_out_of_the_comparison(
    database: Database, database_url: str
) -> None:
    name = f"minter_{uuid.uuid4().hex}"
    await rows(database, f"CREATE ROLE {name} LOGIN PASSWORD 'p'")
    for function in ("pg_control_system()", "pg_current_wal_lsn()"):
        await rows(database, f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC")
    try:
        url = make_url(database_url).set(username=name, password="p")
        found = await identity(url.render_as_string(hide_password=False))
    finally:
        for function in ("pg_control_system()", "pg_current_wal_lsn()"):
            await rows(database, f"GRANT EXECUTE ON FUNCTION {function} TO PUBLIC")
        await rows(database, f"DROP ROLE {name}")
    whole = await identity(database_url)
    assert found.epoch.split("/")[:2] == ["-", "-"]
    assert found.same_database(whole.epoch)
    other = DatabaseIdentity(f"-/-/1/{whole.epoch.split('/')[3]}", NOW)
    assert not other.same_database(whole.epoch)


async def shut(desk: Desk, until: datetime = NOW, *, needs_repair: bool = True) -> None:
    async with desk.world.db.transaction() as conn:
        await fence.shut(conn, desk.wallet_id, Shut("because", until, needs_repair))


async def opened(desk: Desk, time: datetime, *, repaired: bool) -> bool:
    async with desk.world.db.transaction() as conn:
        return await fence.reopen(conn, desk.wallet_id, time, repaired=repaired)


async def stored(desk: Desk) -> Shut | None:
    async with desk.world.db.transaction() as conn:
        return (await fence.fence(conn, desk.wallet_id)).shut


async def test_minting_opens_after_its_time_and_where_it_takes_a_repair_after_that(
    desk: Desk,
) -> None:
    await shut(desk)
    later = NOW + timedelta(seconds=1)
    assert not await opened(desk, NOW, repaired=True), "not before its time"
    assert not await opened(desk, later, repaired=False), "not unrepaired"
    assert await opened(desk, later, repaired=True)
    assert await stored(desk) is None
    assert not await opened(desk, later, repaired=True), "it was open"
    await shut(desk, needs_repair=False)
    assert await opened(desk, later, repaired=False)


async def test_minting_is_shut_for_the_longest_and_hardest_of_its_reasons(desk: Desk) -> None:
    await shut(desk, FOREVER)
    async with desk.world.db.transaction() as conn:
        await fence.ask_repair(conn, desk.wallet_id)
        await fence.shut(conn, desk.wallet_id, Shut("less", NOW, needs_repair=False))
    assert await stored(desk) == Shut("because", FOREVER, needs_repair=True, repair_asked=True)


async def test_a_repair_that_was_asked_for_counts_for_what_is_noticed_later(desk: Desk) -> None:
    """After a restart what was under way arrives once the person has gone home."""
    await shut(desk, needs_repair=False)
    async with desk.world.db.transaction() as conn:
        await fence.ask_repair(conn, desk.wallet_id)
    await shut(desk, FOREVER)
    assert await stored(desk) == Shut("because", FOREVER, needs_repair=True, repair_asked=True)
    assert await opened(desk, FOREVER + timedelta(seconds=1), repaired=True)
    async with desk.world.db.transaction() as conn:
        await fence.ask_repair(conn, desk.wallet_id)
    await shut(desk, needs_repair=False)
    found = await stored(desk)
    assert found is not None
    assert not found.repair_asked, "nothing is asked of a wallet that is open"


async def test_no_query_number_is_given_out_while_minting_is_shut(desk: Desk) -> None:
    await shut(desk)
    async with desk.world.db.transaction() as conn:
        with pytest.raises(MintingShut):
            await chain.take_query_seq(conn, desk.wallet_id)


async def test_query_numbers_jump_past_what_the_chain_has_seen(desk: Desk) -> None:
    async with desk.world.db.transaction() as conn:
        assert await chain.take_query_seq(conn, desk.wallet_id, unused=17) == 17
        assert await chain.take_query_seq(conn, desk.wallet_id, unused=3) == 18


async def holds(desk: Desk) -> list[str | None]:
    return [
        row.hold_reason for row in await desk.world.sql("SELECT hold_reason FROM nft_mint_queue")
    ]


async def test_the_breaker_holds_what_waits_and_frees_it_only_where_nothing_stands_against_it(
    desk: Desk,
) -> None:
    """Whoever set a hold, and when: one that is left behind is freed by the next sweep."""
    await desk.world.to_mint(2)
    async with desk.world.db.transaction() as conn:
        await fence.hold_waiting(conn, "because")
    assert await holds(desk) == ["breaker", "breaker"]
    await shut(desk)
    async with desk.world.db.transaction() as conn:
        assert await fence.free_held(conn) == 0, "minting is shut"
    await opened(desk, FOREVER, repaired=True)
    async with desk.world.db.transaction() as conn:
        await fence.break_collection(conn, desk.collection_id, "the counts differ")
        assert await fence.free_held(conn) == 0, "the collection is"
        await fence.break_collection(conn, desk.collection_id, None)
        assert await fence.free_held(conn) == 2
    assert await holds(desk) == [None, None]


async def test_only_messages_of_this_database_are_known(desk: Desk) -> None:
    async with desk.world.db.transaction() as conn:
        message = await chain_messages.add(conn, await desk.new_message(conn))
        hashes = [message.message_hash, b"another's"]
        assert await fence.known_messages(conn, hashes) == {message.message_hash}
        assert await fence.known_messages(conn, []) == frozenset()
