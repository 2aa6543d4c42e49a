"""What a worker shows of the database as a whole: what waits, how far a job is, and what it costs."""

import asyncio
import math
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from ops import metrics
from processor.stream.database_figures import DatabaseFigures
from store import catalog_jobs, catalogs, outbox
from store.engine import Connection, Database, DatabaseUnreachable, StatementTimedOut
from store.values.catalog import JobState
from tests.builders.clock import FakeClock
from tests.builders.messages import Log, a_partner, a_visit, count, user
from tests.builders.metrics import Moved, series, value
from tests.builders.sql import rows

PEOPLE = [user(number) for number in range(5)]


def users() -> tuple[float, float]:
    """How many the job has evaluated, and has not."""
    found = series("laurel_catalog_job_users")
    return found["done",], found["left",]


async def with_people(database: Database) -> None:
    """Five with a partner, one more with a city."""
    log = Log()
    log.append(*(a_partner(who) for who in PEOPLE), a_visit(user(9)))
    await count(database, log)


async def with_a_job(database: Database) -> None:
    """Put a catalog in force that asks those with partners for more."""
    async with database.transaction() as conn:
        found = await catalogs.current(conn)
        assert found is not None
        (ambassador,) = (each for each in found.types if each.code == "ambassador")
        first, *others = ambassador.levels
        later = replace(first, conditions={"partners_invited": {"gte": 2}})
        changed = replace(ambassador, levels=(later, *others))
        types = (changed if each is ambassador else each for each in found.types)
        await catalogs.apply(conn, replace(found, types=tuple(types)), "admin")


async def step(database: Database, **changes: Any) -> None:
    """Leave the job as a slice would."""
    async with database.transaction() as conn:
        job = await catalog_jobs.current(conn)
        assert job is not None
        await catalog_jobs.save(conn, replace(job, **changes))


async def test_a_jobs_users_pass_from_left_to_done(counting: Database) -> None:
    await with_people(counting)
    figures = DatabaseFigures(counting, FakeClock())
    await figures.look()
    assert users() == (0, 0)
    await with_a_job(counting)
    await figures.look()
    assert users() == (0, 5)
    await step(counting, users=3, done_to=sorted(PEOPLE)[2])
    await figures.look()
    assert users() == (3, 2)
    await step(counting, users=5, done_to=None, state=JobState.METADATA)
    await figures.look()
    assert users() == (5, 0)
    await step(counting, state=JobState.DONE)
    await figures.look()
    assert users() == (0, 0)


async def test_nobody_is_evaluated_while_counters_are_taken_over(counting: Database) -> None:
    await with_people(counting)
    await with_a_job(counting)
    # The place of the job is one among the users whose counters it takes over.
    await step(counting, state=JobState.COUNTERS, done_to=UUID(int=2**128 - 1))
    await DatabaseFigures(counting, FakeClock()).look()
    assert users() == (0, 5)


async def test_what_waits_to_be_published_is_shown(counting: Database) -> None:
    await with_people(counting)
    await rows(counting, "UPDATE outbox_message SET occurred_at = now() - interval '1 minute'")
    await rows(
        counting,
        "UPDATE outbox_message SET published_at = to_timestamp(1780000000) WHERE user_id = :who",
        who=PEOPLE[0],
    )
    await DatabaseFigures(counting, FakeClock()).look()
    assert value("laurel_outbox_messages") == 4
    assert 60 <= value("laurel_outbox_oldest_seconds") < 600
    assert value("laurel_outbox_last_published_timestamp_seconds") == 1_780_000_000


async def test_counting_has_a_hundredth_of_the_time(
    counting: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()
    figures = DatabaseFigures(counting, clock)
    unpublished = outbox.unpublished
    counts = 0

    async def slow(conn: Connection) -> int:
        nonlocal counts
        counts += 1
        clock.advance(timedelta(seconds=2))
        return await unpublished(conn)

    monkeypatch.setattr(outbox, "unpublished", slow)
    await figures.look()
    await with_people(counting)
    clock.advance(timedelta(seconds=199))
    await figures.look()
    assert (counts, value("laurel_outbox_messages")) == (1, 0)
    assert value("laurel_outbox_oldest_seconds") > 0, "this costs nothing, and is told each time"
    clock.advance(timedelta(seconds=1))
    await figures.look()
    assert (counts, value("laurel_outbox_messages")) == (2, 5)


async def test_what_cannot_be_counted_is_no_number_and_trouble_does_not_end_it(
    counting: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, moved = FakeClock(), Moved()
    metrics.OUTBOX_MESSAGES.set(3)
    troubles = [DatabaseUnreachable("nobody listens"), StatementTimedOut("it took too long")]
    seen: list[float] = []
    unpublished = outbox.unpublished

    async def troubled(conn: Connection) -> int:
        seen.append(value("laurel_outbox_messages"))
        if troubles:
            raise troubles.pop(0)
        return await unpublished(conn)

    monkeypatch.setattr(outbox, "unpublished", troubled)
    watching = asyncio.create_task(DatabaseFigures(counting, clock).watch())
    while len(seen) < 4:  # noqa: ASYNC110 - only the looks tell
        await asyncio.sleep(0)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert seen[:2] == [3, 3]
    assert math.isnan(seen[2])
    assert seen[3] == 0
    assert set(clock.slept) == {timedelta(seconds=30)}
    assert moved.by("laurel_errors_total") == {("statement_timed_out",): 1}
