"""The time of a batch is told by phase, and adds up; that of a batch that was not committed is not told."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from processor.batch.phases import Phase, PhaseTimes
from processor.batch.pipeline import Pipeline
from processor.events.chunks import Chunk
from store import catalogs, instances, ledger, outbox, processed_events, wallets
from store import counting as counting_store
from store.engine import Database, DataRefused
from tests.builders.clock import FakeClock
from tests.builders.messages import (
    ALICE,
    NOW,
    Log,
    a_partner,
    a_pipeline,
    open_ledger,
    terms,
)
from tests.builders.metric_tables import PARTNERS, PHASES
from tests.builders.metrics import Labels, Moved


def test_phases_add_up_to_the_whole_and_each_shows_though_nothing_was_done_in_it() -> None:
    clock, moved = FakeClock(), Moved()
    times = PhaseTimes(clock)
    clock.advance(timedelta(seconds=1))
    times.enter(Phase.DEDUPE)
    clock.advance(timedelta(seconds=2))
    times.enter(Phase.MERGE)
    clock.advance(timedelta(seconds=4))
    # The transaction met a conflict, and waited before it began anew.
    times.enter(Phase.FENCE)
    clock.advance(timedelta(seconds=8))
    times.enter(Phase.COMMIT)
    clock.advance(timedelta(seconds=16))
    assert times.observe() == 31
    assert moved.by("laurel_batch_phase_seconds_sum") == {
        ("fence",): 9,
        ("dedupe",): 2,
        ("merge",): 4,
        ("commit",): 16,
    }
    assert moved.by("laurel_batch_phase_seconds_count") == dict.fromkeys(
        ((each,) for each in PHASES), 1
    )
    assert moved.by("laurel_batch_seconds_sum") == {(): 31}


# A sequence counts on, whatever is rolled back.
TRIES = "CREATE SEQUENCE tries"
REFUSE = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF nextval('tries') <= {times} THEN
            RAISE EXCEPTION 'not yet' USING ERRCODE = '{sqlstate}';
        END IF;
        RETURN NULL;
    END $$
"""
DAWDLE = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_sleep(0.3);
        RETURN NULL;
    END $$
"""
AT_MERGE = "CREATE TRIGGER refusal AFTER INSERT ON nft_progress EXECUTE FUNCTION refuse()"
AT_COMMIT = """
    CREATE CONSTRAINT TRIGGER refusal AFTER INSERT ON outbox_message
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()
"""
CONFLICT, OUT_OF_RANGE = "40001", "22003"
COUNTED_ONCE: dict[str, dict[Labels, float]] = {
    "laurel_events_total": {("partner.joined", "counted"): 1, ("unknown", "dead_letter"): 1},
    "laurel_dead_letters_total": {(PARTNERS, "not_json"): 1},
    "laurel_levels_total": {("ambassador", "1"): 1},
    "laurel_event_age_seconds_count": {(PARTNERS,): 2},
    "laurel_batch_records_sum": {(): 2},
    "laurel_batch_seconds_count": {(): 1},
    "laurel_batch_phase_seconds_count": dict.fromkeys(((each,) for each in PHASES), 1),
}


async def refuse(database: Database, trigger: str, sqlstate: str, *, times: int) -> None:
    async with database.transaction() as conn:
        for statement in (TRIES, REFUSE.format(sqlstate=sqlstate, times=times), trigger):
            await conn.execute(text(statement))


async def a_batch(database: Database) -> list[Chunk]:
    """An event that makes a badge, and a message that is broken."""
    log = Log()
    log.append(a_partner(ALICE), b"{", topic=PARTNERS)
    chunks = log.chunks()
    await open_ledger(database, chunks)
    return chunks


async def test_a_batch_that_is_run_again_is_told_once(counting: Database) -> None:
    chunks = await a_batch(counting)
    pipeline = await a_pipeline(counting)
    await refuse(counting, AT_COMMIT, CONFLICT, times=2)
    moved = Moved()
    await pipeline.run(chunks)
    assert moved.by("laurel_retries_total") == {("batch", "transaction_conflict"): 2}
    assert {name: moved.by(name) for name in COUNTED_ONCE} == COUNTED_ONCE


async def test_what_was_not_committed_moves_no_metric(counting: Database) -> None:
    chunks = await a_batch(counting)
    pipeline = await a_pipeline(counting)
    await refuse(counting, AT_COMMIT, OUT_OF_RANGE, times=1)
    moved = Moved()
    with pytest.raises(DataRefused):
        await pipeline.run(chunks)
    assert [name for name in COUNTED_ONCE if moved.by(name)] == []
    await pipeline.run(chunks)
    assert {name: moved.by(name) for name in COUNTED_ONCE} == COUNTED_ONCE


def slow(monkeypatch: pytest.MonkeyPatch, clock: FakeClock, module: Any, name: str) -> None:
    """Let each call of a function of the store take a second."""
    real = getattr(module, name)

    async def slowly(*args: Any, **options: Any) -> Any:
        clock.advance(timedelta(seconds=1))
        return await real(*args, **options)

    monkeypatch.setattr(module, name, slowly)


@pytest.mark.parametrize(
    ("module", "name", "phase"),
    [
        (catalogs, "current_for_share", "fence"),
        (ledger, "lock", "fence"),
        (processed_events, "remember", "dedupe"),
        (wallets, "merge", "merge"),
        (counting_store, "merge", "merge"),
        (instances, "lock", "decide"),
        (instances, "create", "write"),
        (ledger, "advance", "write"),
        (outbox, "append", "write"),
    ],
)
async def test_each_step_of_a_batch_is_in_its_phase(
    counting: Database, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, phase: str
) -> None:
    chunks = await a_batch(counting)
    clock = FakeClock(NOW)
    pipeline = Pipeline(counting, terms(), clock)
    await pipeline.load()
    slow(monkeypatch, clock, module, name)
    moved = Moved()
    await pipeline.run(chunks)
    assert moved.by("laurel_batch_phase_seconds_sum") == {(phase,): 1}


async def test_what_postgresql_does_at_the_commit_is_in_that_phase(counting: Database) -> None:
    chunks = await a_batch(counting)
    pipeline = Pipeline(counting, terms())
    await pipeline.load()
    async with counting.transaction() as conn:
        for statement in (DAWDLE, AT_COMMIT):
            await conn.execute(text(statement))
    moved = Moved()
    await pipeline.run(chunks)
    assert moved.by("laurel_batch_phase_seconds_sum")["commit",] >= 0.3


@pytest.mark.parametrize(
    ("module", "name", "phase"), [(ledger, "lock", "fence"), (counting_store, "merge", "merge")]
)
async def test_an_attempt_that_came_to_nothing_counts_as_the_one_that_was_committed(
    counting: Database, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, phase: str
) -> None:
    chunks = await a_batch(counting)
    clock = FakeClock(NOW)
    pipeline = Pipeline(counting, terms(), clock)
    await pipeline.load()
    await refuse(counting, AT_MERGE, CONFLICT, times=1)
    slow(monkeypatch, clock, module, name)
    moved = Moved()
    await pipeline.run(chunks)
    assert moved.by("laurel_batch_phase_seconds_sum") == {(phase,): 2}
    assert moved.by("laurel_batch_seconds_sum") == {(): 2}
