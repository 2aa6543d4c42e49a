"""Who waits for whom when a catalog is applied while batches run."""

import asyncio

import pytest

from store import catalogs
from store.catalogs import Applied
from store.engine import Connection, Database
from tests.builders.catalogs import a_catalog, a_type
from tests.builders.sql import somebody_waits
from tests.store.test_catalogs import applied, everything


async def test_a_new_catalog_waits_for_the_batches_under_way_and_they_see_one_version(
    database: Database,
) -> None:
    first = (await applied(database, a_catalog())).version
    holding, release = asyncio.Event(), asyncio.Event()

    async def batch() -> int:
        async with database.transaction() as conn:
            version = await catalogs.current_for_share(conn)
            holding.set()
            await release.wait()
            assert await catalogs.current_for_share(conn) == version
            return version

    async def another() -> Applied:
        await holding.wait()
        return await applied(database, a_catalog(a_type(title="Rambler")))

    async def let_go() -> None:
        await holding.wait()
        await somebody_waits(database)
        release.set()

    seen, outcome, _ = await asyncio.gather(batch(), another(), let_go())
    assert (seen, outcome.version) == (first, first + 1)


async def test_a_batch_that_waited_for_a_new_catalog_gets_the_new_version(
    database: Database,
) -> None:
    first = (await applied(database, a_catalog())).version
    writing = asyncio.Event()

    async def another() -> None:
        async with database.transaction() as conn:
            await catalogs.apply(conn, a_catalog(a_type(title="Rambler")), "admin")
            writing.set()
            await somebody_waits(database)

    async def batch() -> int:
        await writing.wait()
        async with database.transaction() as conn:
            return await catalogs.current_for_share(conn)

    _, seen = await asyncio.gather(another(), batch())
    assert seen == first + 1


async def test_batches_that_never_pause_do_not_keep_a_new_catalog_out(database: Database) -> None:
    first = (await applied(database, a_catalog())).version
    holding, release = asyncio.Event(), asyncio.Event()

    async def batch_under_way() -> None:
        async with database.transaction() as conn:
            await catalogs.current_for_share(conn)
            holding.set()
            await release.wait()

    async def another() -> None:
        await holding.wait()
        await applied(database, a_catalog(a_type(title="Rambler")))

    async def next_batch() -> int:
        await holding.wait()
        await somebody_waits(database)
        async with database.transaction() as conn:
            return await catalogs.current_for_share(conn)

    async def let_go() -> None:
        await holding.wait()
        await somebody_waits(database, 2)
        release.set()

    _, _, seen, _ = await asyncio.gather(batch_under_way(), another(), next_batch(), let_go())
    assert seen == first + 1


async def test_two_first_applies_at_once_make_one_version(database: Database) -> None:
    outcomes = await asyncio.gather(*(applied(database, a_catalog()) for _ in range(3)))
    assert sorted(outcome.is_new for outcome in outcomes) == [False, False, True]
    assert len({outcome.version for outcome in outcomes}) == 1


async def test_a_rolled_back_apply_leaves_nothing(database: Database) -> None:
    before = await everything(database)

    async def interrupted(conn: Connection) -> None:
        await catalogs.apply(conn, a_catalog(), "admin")
        raise KeyError("the power went out")

    with pytest.raises(KeyError):
        await database.retried("apply", interrupted)
    assert await everything(database) == before
