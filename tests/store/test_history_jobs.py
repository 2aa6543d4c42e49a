"""history_job: one open job for the same input, and it moves a slice at a time."""

from dataclasses import replace
from uuid import UUID

import pytest

from store import history_jobs
from store.engine import Database, StatementRefused
from store.history_jobs import JobStanding, NewHistoryJob, SliceFigures
from store.values.history import HistoryJobKind, HistoryJobState
from tests.builders.sql import rows

WANTED = NewHistoryJob(
    HistoryJobKind.BACKFILL, b"digest", ("a.jsonl", "b.jsonl"), {"mint": False}, 3, 2, 100, 7, 5
)


async def opened(database: Database, wanted: NewHistoryJob) -> JobStanding:
    async with database.transaction() as conn:
        return await history_jobs.opened(conn, wanted)


async def moved(database: Database, job: JobStanding, figures: SliceFigures) -> JobStanding:
    async with database.transaction() as conn:
        await history_jobs.move(conn, await history_jobs.lock(conn, job.id), figures)
        return await history_jobs.lock(conn, job.id)


async def closed(database: Database, job: JobStanding) -> HistoryJobState:
    async with database.transaction() as conn:
        await history_jobs.close(conn, job.id)
        return (await history_jobs.lock(conn, job.id)).state


async def test_the_same_input_is_one_job_that_goes_on_where_it_stands(database: Database) -> None:
    job = await opened(database, WANTED)
    first = SliceFigures(40, 1, [3], {"explorer": {"1": 2}, "ambassador": {"2": 1}}, 1)
    second = SliceFigures(50, 2, [2, 9], {"explorer": {"1": 1, "3": 1}}, 2)
    await moved(database, job, first)
    assert (await opened(database, WANTED)).done == 1
    assert await moved(database, job, second) == replace(
        job,
        done=2,
        counted=90,
        duplicates=10,
        refused=8,
        conflicts=[3, 2, 9],
        levels={"explorer": {"1": 3, "3": 1}, "ambassador": {"2": 1}},
        mints=3,
    )


async def test_what_is_done_is_a_new_job_when_it_comes_again(database: Database) -> None:
    job = await opened(database, WANTED)
    assert await closed(database, job) is HistoryJobState.OPEN
    for _ in range(2):
        await moved(database, job, SliceFigures())
    assert await closed(database, job) is HistoryJobState.DONE
    assert (await opened(database, WANTED)).id != job.id


@pytest.mark.parametrize(
    "other",
    [
        replace(WANTED, options={"mint": True}),
        replace(WANTED, digest=b"other", catalog_version=4),
    ],
)
async def test_what_cannot_go_on_ends_where_another_begins(
    database: Database, other: NewHistoryJob
) -> None:
    job = await opened(database, WANTED)
    beside = await opened(database, replace(WANTED, digest=b"beside", catalog_version=3))
    fill = await opened(database, replace(WANTED, kind=HistoryJobKind.FILL))
    new = await opened(database, other)
    states: dict[UUID, str] = dict(await rows(database, "SELECT id, state FROM history_job"))
    assert (states[job.id], states[new.id], states[fill.id]) == ("superseded", "open", "open")
    same_catalog = other.catalog_version == WANTED.catalog_version
    assert states[beside.id] == ("open" if same_catalog else "superseded")


async def test_no_more_slices_are_done_than_there_are(database: Database) -> None:
    job = await opened(database, replace(WANTED, slices=0))
    with pytest.raises(StatementRefused, match="history_job_done_check"):
        await moved(database, job, SliceFigures())
