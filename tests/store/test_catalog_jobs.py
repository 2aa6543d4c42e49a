"""The row of a job: with its version, one open at a time, and whose it is."""

from dataclasses import replace
from datetime import timedelta

from store import catalog_jobs
from store.catalog_jobs import CatalogWork, Job
from store.engine import Database
from store.values.catalog import Catalog, JobState
from store.values.names import CounterName
from tests.builders.catalogs import a_catalog, a_level, a_type
from tests.builders.sql import rows
from tests.store.test_catalogs import WALKER, applied


def points(threshold: int, **changes: object) -> Catalog:
    return a_catalog(a_type(a_level(1, {"points": {"gte": threshold}}), **changes))  # type: ignore[arg-type]


async def the_open_one(database: Database) -> Job | None:
    async with database.transaction() as conn:
        return await catalog_jobs.current(conn)


async def test_a_version_that_nothing_follows_from_has_no_job(database: Database) -> None:
    await applied(database, points(5))
    await applied(database, points(5, title="Rambler"))
    assert await rows(database, "SELECT * FROM catalog_job") == []


async def test_what_follows_from_a_version_is_written_with_it(database: Database) -> None:
    await applied(database, points(5))
    await applied(database, points(4))
    assert await the_open_one(database) == Job(
        2, CatalogWork(rules=(WALKER,)), silent=False, no_mint=False, state=JobState.LEVELS
    )


async def test_the_next_version_takes_over_what_is_left_and_nothing_that_is_done(
    database: Database,
) -> None:
    await applied(database, points(5))
    await applied(database, points(4, metadata_fields={"points": CounterName("points")}))
    both = await the_open_one(database)
    assert both is not None
    assert both.work == CatalogWork(rules=(WALKER,), metadata=(WALKER,))
    async with database.transaction() as conn:
        await catalog_jobs.save(conn, replace(both, state=JobState.METADATA, users=9))
    await applied(
        database,
        points(4, title="Rambler", metadata_fields={"points": CounterName("points")}),
    )
    left = await the_open_one(database)
    assert left is not None
    assert (left.version, left.work, left.users) == (3, CatalogWork(metadata=(WALKER,)), 0)
    assert await rows(database, "SELECT state, users FROM catalog_job WHERE version = 2") == [
        ("superseded", 9)
    ]


async def test_only_an_idle_job_is_taken_from_its_owner(database: Database) -> None:
    await applied(database, points(5))
    await applied(database, points(4))
    away = timedelta(minutes=1)
    async with database.transaction() as conn:
        assert await catalog_jobs.take(conn, away) is None
    await rows(database, "UPDATE catalog_job SET updated_at = now() - interval '61 seconds'")
    async with database.transaction() as conn:
        taken = await catalog_jobs.take(conn, away)
        assert taken is not None
        async with database.transaction() as other:
            assert await catalog_jobs.take(other, away) is None
        await catalog_jobs.save(conn, taken)
    async with database.transaction() as conn:
        assert await catalog_jobs.take(conn, away) is None
