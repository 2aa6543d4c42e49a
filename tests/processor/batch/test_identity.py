"""An event is known by tenant, source and id: repeated it counts once, and nothing else is lost."""

import asyncio
import random
from datetime import date
from typing import Any
from uuid import UUID

import pytest

from processor.batch.attempt import BatchOutcome
from store import catalogs, processed_events, retention
from store.binary_format import copy_rows
from store.engine import Database
from store.processed_events import CountedBy
from tests.builders.catalogs import a_catalog, a_counter, a_level, a_type
from tests.builders.catalogs import an_event as an_event_type
from tests.builders.messages import (
    ALICE,
    BOB,
    Log,
    a_partner,
    a_pipeline,
    a_quest,
    a_visit,
    an_event,
    encoded,
    open_ledger,
)
from tests.builders.sql import rows, value

TOPIC = "laurel.partners"


async def counted(database: Database, who: UUID, counter: str = "partners_invited") -> int:
    return int(
        await value(
            database,
            "SELECT coalesce(sum((counters->>CAST(:counter AS text))::int), 0)"
            "  FROM nft_progress WHERE user_id = :who",
            who=who,
            counter=counter,
        )
    )


async def letters(database: Database) -> list[tuple[int, str, bytes]]:
    found = await rows(database, 'SELECT "offset", reason, value FROM dead_letter ORDER BY 1')
    return [(offset, reason, bytes(whole)) for offset, reason, whole in found]


async def run(database: Database, log: Log, *, records_max: int = 5_000) -> list[BatchOutcome]:
    """Count what `log` has, each chunk in a batch of its own."""
    chunks = log.chunks(records_max=records_max)
    await open_ledger(database, chunks)
    pipeline = await a_pipeline(database)
    return [await pipeline.run([chunk]) for chunk in chunks]


async def test_two_tenants_may_use_the_same_source_and_ids(counting: Database) -> None:
    log = Log()
    for number in range(3):
        for tenant, who in ((UUID(int=1), ALICE), (UUID(int=2), BOB)):
            log.append(a_partner(who, id=str(number), tenantid=str(tenant)))
    (outcome,) = await run(counting, log)
    assert (outcome.counted, outcome.duplicates, outcome.rejected) == (6, 0, [])
    assert [await counted(counting, who) for who in (ALICE, BOB)] == [3, 3]


async def test_an_event_that_comes_again_with_another_time_counts_once(counting: Database) -> None:
    id_ = "018f2f6e-1a2b-7c3d-8e4f-0123456789ab"
    log = Log()
    log.append(a_partner(id=id_, time="2026-01-01T00:00:00Z"))
    log.append(a_partner(id=id_, time="2026-02-02T00:00:00Z"))
    outcomes = await run(counting, log, records_max=1)
    assert [(each.counted, each.duplicates) for each in outcomes] == [(1, 0), (0, 1)]
    assert await counted(counting, ALICE) == 1


@pytest.mark.parametrize("records_max", [1, 2, 3])
async def test_another_event_under_a_used_id_is_a_dead_letter_and_its_neighbours_count(
    counting: Database, records_max: int
) -> None:
    """In one batch with the first, and in a later one."""
    first, good = a_partner(ALICE), a_partner(BOB)
    other = first | {"subject": str(BOB)}
    log = Log()
    log.append(first, other, good)
    outcomes = await run(counting, log, records_max=records_max)
    assert await letters(counting) == [(1, "event_id_conflict", encoded(other))]
    assert [await counted(counting, who) for who in (ALICE, BOB)] == [1, 1]
    assert sum(each.counted for each in outcomes) == 2
    assert sum(each.duplicates for each in outcomes) == 0
    assert sum(len(each.rejected) for each in outcomes) == 1


async def test_another_type_under_a_used_id_is_a_dead_letter(counting: Database) -> None:
    quest = a_quest(ALICE)
    log = Log()
    log.append(quest)
    log.append(quest | {"type": "quest.published"})
    await run(counting, log)
    assert [reason for _, reason, _ in await letters(counting)] == ["event_id_conflict"]
    assert await counted(counting, ALICE, "quests_published_count") == 0


@pytest.mark.parametrize("seed", range(4))
async def test_what_becomes_of_a_partition_does_not_depend_on_how_it_is_cut(
    counting: Database, seed: int
) -> None:
    """Repetitions and conflicts among five ids: a model says what each record is."""
    chance = random.Random(seed)
    events = [
        a_partner(who, id=f"id-{chance.randint(1, 5)}")
        for who in (chance.choice([ALICE, BOB]) for _ in range(40))
    ]
    meaning: dict[str, str] = {}
    expected = [
        offset
        for offset, event in enumerate(events)
        if meaning.setdefault(event["id"], event["subject"]) != event["subject"]
    ]
    log = Log()
    log.append(*events)
    outcomes = await run(counting, log, records_max=chance.randint(1, 12))
    assert [offset for offset, _, _ in await letters(counting)] == expected
    assert sum(each.counted for each in outcomes) == len(meaning)
    assert sum(each.duplicates for each in outcomes) == 40 - len(expected) - len(meaning)
    for who in (ALICE, BOB):
        assert await counted(counting, who) == list(meaning.values()).count(str(who))


async def test_of_two_workers_the_first_to_commit_says_what_an_id_stands_for(
    counting: Database,
) -> None:
    log = Log()
    shared: list[dict[str, Any]] = [a_partner(ALICE, id=f"id-{n}") for n in range(20)]
    log.append(*shared, partition=0)
    log.append(*(event | {"subject": str(BOB)} for event in reversed(shared)), partition=1)
    chunks = log.chunks()
    await open_ledger(counting, chunks)
    pipelines = [await a_pipeline(counting) for _ in chunks]
    outcomes = await asyncio.gather(
        *(pipeline.run([chunk]) for pipeline, chunk in zip(pipelines, chunks, strict=True))
    )
    assert sorted((each.counted, len(each.rejected)) for each in outcomes) == [(0, 20), (20, 0)]
    assert await counted(counting, ALICE) + await counted(counting, BOB) == 20
    assert len(await letters(counting)) == 20


async def test_an_id_remembers_the_catalog_that_first_counted_it(counting: Database) -> None:
    log = Log()
    visit = a_visit()
    log.append(visit)
    await run(counting, log)
    version = await value(counting, "SELECT id FROM catalog_version WHERE is_current")
    await rows(
        counting,
        "INSERT INTO catalog_version (id, content_hash, document, is_current)"
        " SELECT id + 1, content_hash || 'x', document, false FROM catalog_version",
    )
    await rows(counting, "UPDATE catalog_version SET is_current = false")
    await rows(
        counting,
        "UPDATE catalog_version SET is_current = true WHERE id = (SELECT max(id)"
        " FROM catalog_version)",
    )
    log.append(visit, a_visit())
    await run(counting, log)
    assert await rows(
        counting, "SELECT first_version FROM processed_event ORDER BY first_version"
    ) == [(version,), (version + 1,)]


async def test_an_event_is_too_old_by_the_floor_and_by_nothing_else(counting: Database) -> None:
    """A pipeline that runs notices a floor that rose, also for chunks that it has read before."""
    ancient, old = a_partner(time="1999-12-31T12:00:00Z"), a_partner(time="2025-12-31T12:00:00Z")
    log = Log()
    log.append(ancient, old)
    chunks = log.chunks()
    await open_ledger(counting, chunks)
    pipeline = await a_pipeline(counting)
    assert (await pipeline.run(chunks)).counted == 2
    log.append(a_partner(time="2025-12-31T12:00:00Z"), a_partner(time="2026-01-01T00:00:00Z"))
    read = [pipeline.read(chunk) for chunk in log.chunks()]
    await rows(counting, "UPDATE dedupe_floor SET floor = '2026-01-01'")
    outcome = await pipeline.commit(read)
    assert (outcome.counted, [each.rejected.reason for each in outcome.rejected]) == (
        1,
        ["too_old"],
    )
    assert await counted(counting, ALICE) == 3


async def test_a_chunk_that_was_read_by_an_older_floor_is_read_again(counting: Database) -> None:
    """Also where the pipeline knows the new one by then: another batch has met it."""
    old = a_partner(time="2025-12-31T12:00:00Z")
    log = Log()
    log.append(old, partition=0)
    log.append(a_partner(), partition=1)
    first, second = log.chunks()
    await open_ledger(counting, [first, second])
    pipeline = await a_pipeline(counting)
    read = pipeline.read(first)
    await rows(counting, "UPDATE dedupe_floor SET floor = '2026-01-01'")
    await pipeline.run([second])
    outcome = await pipeline.commit([read])
    assert [each.rejected.reason for each in outcome.rejected] == ["too_old"]


async def test_what_is_forgotten_is_refused_and_never_counts_twice(counting: Database) -> None:
    old = a_partner(time="2025-12-31T12:00:00Z")
    log = Log()
    log.append(old)
    await run(counting, log)
    async with counting.transaction() as conn:
        await retention.raise_floor(conn, date(2026, 1, 1))
    async with counting.transaction() as conn:
        assert await retention.forget(conn, 0) == 1
    log.append(old)
    (outcome,) = await run(counting, log)
    assert (outcome.counted, outcome.duplicates, len(outcome.rejected)) == (0, 0, 1)
    assert await counted(counting, ALICE) == 1


WALKS = (an_event_type("step.made"), an_event_type("walk.done"))


async def put_in_force(database: Database, *heard: str) -> None:
    """A catalog of the types of WALKS, of which it counts those that are `heard`."""
    counters = tuple(a_counter(f"{name[:4]}s", event_type=name) for name in heard)
    badge_type = a_type(
        a_level(1, {"steps": {"gte": 99}}), counters=tuple(counter.name for counter in counters)
    )
    async with database.transaction() as conn:
        new = a_catalog(badge_type, counters=counters, events=WALKS)
        await catalogs.apply(conn, new, "admin")


def of_type(kind: str, id_: str, who: UUID = ALICE) -> dict[str, Any]:
    return an_event(kind, who, {"step_id": "s"}, id=id_)


async def brought(database: Database, log: Log, *events: dict[str, Any]) -> BatchOutcome:
    log.append(*events, topic="laurel.steps")
    (outcome,) = await run(database, log)
    return outcome


@pytest.mark.parametrize("heard", [("step.made",), ("step.made", "walk.done")])
@pytest.mark.parametrize("kinds", [("step.made", "walk.done"), ("walk.done", "step.made")])
@pytest.mark.parametrize("together", [True, False])
async def test_an_id_is_used_whether_a_counter_listens_to_its_event_or_not(
    database: Database, heard: tuple[str, ...], kinds: tuple[str, str], *, together: bool
) -> None:
    await put_in_force(database, *heard)
    log = Log()
    events = [of_type(kind, "used") for kind in kinds]
    for batch in [events] if together else [[event] for event in events]:
        await brought(database, log, *batch)
    assert await letters(database) == [(1, "event_id_conflict", encoded(events[1]))]


async def test_what_nobody_heard_is_new_to_the_catalog_that_counts_it(database: Database) -> None:
    await put_in_force(database, "step.made")
    log = Log()
    events = [of_type("walk.done", f"w{number}") for number in range(3)]
    outcome = await brought(database, log, *events, events[0])
    assert (outcome.counted, outcome.duplicates) == (0, 1)
    # Nobody hears it yet: it stays what it is.
    outcome = await brought(database, log, events[0])
    assert (outcome.counted, outcome.duplicates) == (0, 1)
    await put_in_force(database, "step.made", "walk.done")
    # Each once, also beside one that comes for the first time; and under a used id still nothing.
    other = of_type("walk.done", "w0", BOB)
    outcome = await brought(database, log, *events, events[0], other, of_type("walk.done", "w3"))
    assert (outcome.counted, outcome.duplicates, len(outcome.rejected)) == (4, 1, 1)
    outcome = await brought(database, log, *events)
    assert (outcome.counted, outcome.duplicates) == (0, 3)
    assert await counted(database, ALICE, "walks") == 4
    assert await counted(database, BOB, "walks") == 0


async def test_of_two_batches_that_find_it_unheard_one_counts_it(database: Database) -> None:
    await put_in_force(database, "step.made")
    events = [of_type("walk.done", f"w{number}") for number in range(50)]
    await brought(database, Log(), *events)
    await put_in_force(database, "step.made", "walk.done")
    log = Log()
    log.append(*events, topic="laurel.steps", partition=1)
    log.append(*reversed(events), topic="laurel.steps", partition=2)
    chunks = log.chunks()
    await open_ledger(database, chunks)
    pipelines = [await a_pipeline(database) for _ in chunks]
    outcomes = await asyncio.gather(
        *(pipeline.run([chunk]) for pipeline, chunk in zip(pipelines, chunks, strict=True))
    )
    assert sum(outcome.counted for outcome in outcomes) == 50
    assert await counted(database, ALICE, "walks") == 50


async def test_two_workers_that_are_given_one_event_at_once_count_it_once(
    counting: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have asked whether it was counted before either writes that it is."""
    both_have_asked, asked = asyncio.Barrier(2), 0

    async def together(*arguments: Any) -> None:
        nonlocal asked
        asked += 1
        if asked <= 2:
            await both_have_asked.wait()
        await copy_rows(*arguments)

    monkeypatch.setattr(processed_events, "copy_rows", together)
    shared, logs = a_partner(ALICE), (Log(), Log())
    for partition, log in enumerate(logs):
        log.append(shared, a_partner(BOB), partition=partition)
    outcomes = await asyncio.gather(*(run(counting, log) for log in logs))
    counts = sorted((each.counted, each.duplicates) for (each,) in outcomes)
    assert counts == [(1, 1), (2, 0)]
    assert asked == 3
    assert (await counted(counting, ALICE), await counted(counting, BOB)) == (1, 2)


async def test_a_batch_that_others_keep_forestalling_waits_for_them_at_last(
    counting: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log()
    log.append(*(a_partner(ALICE) for _ in range(5)))
    pipeline = await a_pipeline(counting)
    chunks = log.chunks()
    await open_ledger(counting, chunks)
    events = iter(pipeline.read(chunks[0]).events)

    async def forestalled(*arguments: Any) -> None:
        monkeypatch.setattr(processed_events, "copy_rows", copy_rows)
        async with counting.transaction() as other:
            await processed_events.remember(other, [next(events)], CountedBy(1))
        monkeypatch.setattr(processed_events, "copy_rows", forestalled)
        await copy_rows(*arguments)

    monkeypatch.setattr(processed_events, "copy_rows", forestalled)
    outcome = await pipeline.run(chunks)
    assert (outcome.counted, outcome.duplicates) == (2, 3)
    assert await counted(counting, ALICE) == 2
