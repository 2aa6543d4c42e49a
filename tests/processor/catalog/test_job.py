"""The job of a new catalog: exact beside batches, interrupted wherever it may be."""

import asyncio
import random
from collections import defaultdict
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from processor.batch.pipeline import Pipeline
from processor.catalog.job import SLICE_MAX, JobRunner, SliceSize, take_up_idle_jobs
from store import catalog_jobs, catalogs, reevaluation
from store.catalog_jobs import Job
from store.engine import Connection, Database, StatementTimedOut
from store.values.catalog import Catalog, CounterKind, FieldKind, FieldSpec, JobState
from tests.builders.catalogs import TENANT, a_catalog, a_counter, a_level, a_type, an_event
from tests.builders.clock import FakeClock
from tests.builders.messages import NOW, Log, a_pipeline, open_ledger
from tests.builders.messages import an_event as a_message
from tests.builders.metrics import Moved
from tests.builders.sql import rows, somebody_waits

PEOPLE = [UUID(int=0x30000 + number) for number in range(40)]
EVENTS = (
    an_event(
        "step.made",
        FieldSpec("place", FieldKind.ID, required=True),
        FieldSpec("height", FieldKind.INTEGER, required=True, minimum=0),
    ),
)
COUNTERS = (
    a_counter("points"),
    a_counter("places", kind=CounterKind.DISTINCT, field="place"),
    a_counter("highest", kind=CounterKind.MAX, field="height"),
    a_counter("climbed", kind=CounterKind.SUM, field="height"),
)


def catalog(walker: tuple[str, ...], runner: tuple[str, ...]) -> Catalog:
    """Two types; each level asks for the first counter of its type."""
    return a_catalog(
        *(
            a_type(
                *(a_level(level, {names[0]: {"gte": 3 * level}}) for level in (1, 2, 3)),
                code=code,
                counters=names,
                metadata_fields={"first": names[0]},
            )
            for code, names in (("walker", walker), ("runner", runner))
        ),
        counters=COUNTERS,
        events=EVENTS,
    )


# Runner takes `points` over, which walker keeps, and `highest` and `climbed`, which walker drops.
FIRST = catalog(("points", "highest", "climbed"), ("places",))
SECOND = catalog(("points",), ("points", "places", "highest", "climbed"))


class Interrupted(Exception):
    """The process ends after a slice."""


def interrupt(_job: Job) -> None:
    raise Interrupted


def messages(chance: random.Random, number: int) -> list[dict[str, Any]]:
    return [
        a_message(
            "step.made",
            chance.choice(PEOPLE),
            {"place": f"p{chance.randrange(5)}", "height": chance.randrange(9)},
        )
        for _ in range(number)
    ]


def truth(sent: list[dict[str, Any]]) -> dict[tuple[UUID, str], dict[str, int]]:
    """What the second catalog's counters come to, counted the slow and obvious way."""
    of_user: dict[UUID, list[dict[str, Any]]] = defaultdict(list)
    for message in sent:
        of_user[UUID(message["subject"])].append(message["data"])
    found = {}
    for user, data in of_user.items():
        heights = [each["height"] for each in data]
        found[user, "walker"] = {"points": len(data)}
        found[user, "runner"] = {
            "points": len(data),
            "places": len({each["place"] for each in data}),
            "highest": max(heights),
            "climbed": sum(heights),
        }
    return found


async def assert_true(database: Database, sent: list[dict[str, Any]]) -> None:
    """Counters and levels are those of `sent` under the second catalog."""
    expected = truth(sent)
    found = await rows(
        database,
        "SELECT user_id, code, counters FROM nft_progress JOIN nft_type ON nft_type.id = type_id",
    )
    assert {(user, code): counters for user, code, counters in found} == expected
    badges = await rows(
        database,
        "SELECT user_id, code, current_level FROM nft_instance JOIN nft_type ON nft_type.id = type_id",
    )
    # A walker's level stays as it was reached; both types ask for the same number of points.
    assert {(user, code): level for user, code, level in badges} == {
        holder: min(3, counters["points"] // 3)
        for holder, counters in expected.items()
        if counters["points"] >= 3 and (holder[1] == "runner" or counters["points"] >= 3)
    }


async def put_in_force(database: Database, new: Catalog, **options: bool) -> None:
    async with database.transaction() as conn:
        await catalogs.apply(conn, new, "admin", **options)


def runner_of(database: Database, size: int = 7) -> JobRunner:
    return JobRunner(database, TENANT, FakeClock(NOW), SliceSize(size))


async def counted(
    database: Database, log: Log, pipeline: Pipeline, sent: list[dict[str, Any]], partition: int = 0
) -> None:
    log.append(*sent, topic="laurel.steps", partition=partition)
    chunks = log.chunks()
    await open_ledger(database, chunks)
    await pipeline.run(chunks)


@pytest.mark.parametrize("seed", range(4))
async def test_batches_between_the_slices_and_the_job_come_to_what_was_sent(
    database: Database, seed: int
) -> None:
    chance = random.Random(seed)
    await put_in_force(database, FIRST)
    log, pipeline = Log(), await a_pipeline(database)
    sent = messages(chance, 60)
    await counted(database, log, pipeline, sent)
    await put_in_force(database, SECOND)
    slices = 0
    while True:
        more = messages(chance, 8)
        await counted(database, log, pipeline, more)
        sent += more
        # Another process each time: the one before was killed after its slice.
        with suppress(Interrupted):
            if await runner_of(database).work_off(interrupt) is None:
                break
        slices += 1
    assert slices > 2 * len(PEOPLE) // 7
    await assert_true(database, sent)


async def test_batches_beside_the_job_come_to_what_was_sent(database: Database) -> None:
    chance = random.Random(5)
    await put_in_force(database, FIRST)
    log, first = Log(), await a_pipeline(database)
    sent = messages(chance, 60)
    await counted(database, log, first, sent)
    logs = [Log() for _ in range(3)]

    async def stream(number: int) -> None:
        pipeline = await a_pipeline(database)
        for _ in range(15):
            more = messages(random.Random(number), 0) or messages(chance, 6)
            sent.extend(more)
            await counted(database, logs[number], pipeline, more, partition=number + 1)

    async def change() -> None:
        await put_in_force(database, SECOND)
        await runner_of(database, 3).work_off()

    await asyncio.gather(stream(0), change(), stream(1), stream(2))
    await assert_true(database, sent)


async def test_a_batch_shows_whole_counters_in_the_badges_that_it_gives(database: Database) -> None:
    await put_in_force(database, FIRST)
    log, pipeline = Log(), await a_pipeline(database)
    user = PEOPLE[0]
    step = {"place": "p", "height": 1}
    await counted(database, log, pipeline, [a_message("step.made", user, step) for _ in range(5)])
    await put_in_force(database, SECOND)
    await counted(database, log, pipeline, [a_message("step.made", user, step)])
    assert await rows(
        database,
        "SELECT current_level, metadata FROM nft_instance JOIN nft_type ON nft_type.id = type_id"
        " WHERE code = 'runner'",
    ) == [(2, {"level": 2, "first": 6})]


async def test_the_job_waits_for_a_batch_that_is_giving_the_same_badge(
    database: Database,
) -> None:
    def points(threshold: int) -> Catalog:
        return a_catalog(a_type(a_level(1, {"points": {"gte": threshold}})))

    await put_in_force(database, points(9))
    statement = """
        INSERT INTO nft_progress (type_id, user_id, counters, last_event_at)
        SELECT id, :user, '{"points": 5}', now() FROM nft_type
    """
    await rows(database, statement, user=PEOPLE[0])
    await put_in_force(database, points(4))
    giving = asyncio.Event()

    async def batch() -> None:
        async with database.transaction() as conn:
            await catalogs.current_for_share(conn)
            await conn.execute(text("UPDATE nft_progress SET counters = '{\"points\": 6}'"))
            given = """
                INSERT INTO nft_instance (type_id, user_id, current_level, source_service, tenant_id)
                SELECT type_id, user_id, 1, 'the batch', :tenant FROM nft_progress
            """
            await conn.execute(text(given), {"tenant": TENANT})
            giving.set()
            await somebody_waits(database)

    async def job() -> Job | None:
        await giving.wait()
        return await runner_of(database).work_off()

    _, done = await asyncio.gather(batch(), job())
    assert done is not None
    assert done.awarded == 0
    assert await rows(database, "SELECT source_service FROM nft_instance") == [("the batch",)]


async def test_another_catalog_takes_over_what_was_left_and_keeps_its_silence(
    database: Database,
) -> None:
    def points(threshold: int, **changes: Any) -> Catalog:
        return a_catalog(a_type(a_level(1, {"points": {"gte": threshold}}), **changes))

    await put_in_force(database, points(9))
    for user in PEOPLE:
        await rows(
            database,
            "INSERT INTO nft_progress (type_id, user_id, counters, last_event_at)"
            " SELECT id, :user, '{\"points\": 5}', now() FROM nft_type",
            user=user,
        )
    await put_in_force(database, points(4), silent=True)
    with suppress(Interrupted):
        await runner_of(database, 10).work_off(interrupt)
    await put_in_force(database, points(4, title="Rambler"))
    assert await rows(database, "SELECT version, state FROM catalog_job ORDER BY version") == [
        (2, "superseded"),
        (3, "levels"),
    ]
    await runner_of(database).work_off()
    assert await rows(database, "SELECT count(*) FROM nft_instance") == [(len(PEOPLE),)]
    assert await rows(database, "SELECT * FROM outbox_message") == []


async def test_what_a_silent_job_left_out_is_said_by_the_stream_that_brings_its_events(
    database: Database,
) -> None:
    """The events were counted in silence too: the stream alone would have told of the badge."""

    def points(threshold: int) -> Catalog:
        return a_catalog(a_type(a_level(1, {"points": {"gte": threshold}}, auto_mint_onchain=True)))

    await put_in_force(database, points(9))
    sent = [
        a_message("step.made", user, {"step_id": str(number)})
        for user in PEOPLE[:2]
        for number in range(5)
    ]
    silent = await a_pipeline(database, publish=False, mint=False)
    await counted(database, Log(), silent, sent)
    await put_in_force(database, points(4), silent=True, no_mint=True)
    await runner_of(database).work_off()
    assert await rows(database, "SELECT count(*) FROM nft_instance") == [(2,)]
    assert await rows(database, "SELECT * FROM outbox_message") == []
    left_out = await rows(database, "SELECT message, mint FROM silenced_badge")
    assert left_out == [("badge.created", True)] * 2
    await counted(database, Log(), await a_pipeline(database), sent[:1], partition=1)
    said = await rows(database, "SELECT user_id, event_type FROM outbox_message")
    assert said == [(PEOPLE[0], "badge.created")]
    assert await rows(database, "SELECT count(*) FROM nft_mint_queue") == [(1,)]


async def test_a_slice_that_times_out_is_halved_and_nothing_is_done_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put_in_force(database, FIRST)
    log, pipeline = Log(), await a_pipeline(database)
    sent = messages(random.Random(6), 200)
    await counted(database, log, pipeline, sent)
    await put_in_force(database, SECOND)
    real = reevaluation.users
    sizes = []

    async def slow(conn: Connection, types: Any, after: UUID | None, limit: int) -> list[UUID]:
        """PostgreSQL has the time for eight users."""
        sizes.append(limit)
        if limit > 8:
            await conn.execute(text("SET LOCAL statement_timeout = 1"))
            await conn.execute(text("SELECT pg_sleep(600)"))
        return await real(conn, types, after, limit)

    monkeypatch.setattr(reevaluation, "users", slow)
    # Slices take no time on this clock, so that each is followed by one of twice the size.
    await runner_of(database, 64).work_off()
    assert sizes[:4] == [64, 32, 16, 8]
    await assert_true(database, sent)


async def test_one_user_who_takes_too_long_is_told(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put_in_force(database, FIRST)
    await counted(database, Log(), await a_pipeline(database), messages(random.Random(6), 9))
    await put_in_force(database, SECOND)

    async def stuck(conn: Connection, *_: Any) -> list[UUID]:
        await conn.execute(text("SET LOCAL statement_timeout = 1"))
        await conn.execute(text("SELECT pg_sleep(600)"))
        return []

    monkeypatch.setattr(reevaluation, "users", stuck)
    with pytest.raises(StatementTimedOut):
        await runner_of(database, 4).work_off()


async def test_a_job_is_anybodys_once_nobody_has_moved_it_for_a_while(database: Database) -> None:
    await put_in_force(database, FIRST)
    await counted(database, Log(), await a_pipeline(database), messages(random.Random(6), 60))
    await put_in_force(database, SECOND)
    away = timedelta(seconds=30)
    assert await runner_of(database).work_off(idle_for=away) is None
    await rows(database, "UPDATE catalog_job SET updated_at = now() - interval '31 seconds'")
    async with database.transaction() as conn:
        # Somebody is at it at this moment.
        assert await catalog_jobs.take(conn, None) is not None
        assert await runner_of(database).work_off(idle_for=away) is None
    done = await runner_of(database).work_off(idle_for=away)
    assert done is not None
    assert done.state is JobState.DONE


async def test_a_worker_finishes_what_nobody_goes_on_with_and_outlives_its_troubles(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put_in_force(database, FIRST)
    sent = messages(random.Random(6), 60)
    await counted(database, Log(), await a_pipeline(database), sent)
    await put_in_force(database, SECOND)
    await rows(database, "UPDATE catalog_job SET updated_at = now() - interval '31 seconds'")
    real, looks, moved = reevaluation.users, [], Moved()

    async def refused_once(conn: Connection, *arguments: Any) -> list[UUID]:
        looks.append(1)
        if len(looks) == 1:
            await conn.execute(text("SELECT 1 / 0"))
        return await real(conn, *arguments)

    monkeypatch.setattr(reevaluation, "users", refused_once)
    clock = FakeClock(NOW)
    part = asyncio.create_task(take_up_idle_jobs(runner_of(database), clock))
    while await rows(database, "SELECT FROM catalog_job WHERE state <> 'done'"):
        assert not part.done()
    part.cancel()
    await assert_true(database, sent)
    assert moved.by("laurel_errors_total") == {("data_refused",): 1}
    ((given,),) = await rows(database, "SELECT awarded + raised FROM catalog_job")
    levels = moved.by("laurel_levels_total")
    assert {code for code, _ in levels} == {"runner"}, "walkers have theirs from before"
    assert sum(levels.values()) == given > 0, "the slice that was refused has given nothing"


def test_slices_follow_what_they_take() -> None:
    size = SliceSize(500)
    size.took(0.2)
    assert size.users == 500
    size.took(0.31)
    assert size.users == 250
    for _ in range(9):
        size.took(0.01)
    assert size.users == SLICE_MAX
    assert SliceSize(1).halve() is False
