"""A record that PostgreSQL refuses becomes a dead letter, and its neighbours count."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from ops.errors import InvariantBroken
from processor.batch import bisection, pacing
from processor.batch.attempt import BatchOutcome
from processor.batch.bisection import PartitionRefused, cut
from processor.batch.pacing import LONG_S, REFUSED_MIN, REFUSED_SHARE, STRIKES_MAX, Pace
from processor.batch.pipeline import Pipeline
from processor.batch.staging import ReadChunk, as_rejected
from processor.events.chunks import Chunk, PlainRecord
from processor.events.rejection import Rejected
from store.engine import Database, DatabaseUnreachable, DataRefused, StatementRefused
from store.values.stream import Reason
from tests.builders.messages import (
    ALICE,
    BOB,
    Log,
    a_command,
    a_partner,
    a_pipeline,
    a_wallet,
    an_address,
    open_ledger,
)
from tests.builders.metrics import Moved
from tests.builders.sql import column, rows, value

# Who may not be counted: PostgreSQL says so, as it would of a value that nobody thought of.
POISON = UUID(int=0xBAD)


async def refusing(database: Database, table: str, sqlstate: str = "22003") -> None:
    """Let PostgreSQL refuse every row of POISON in a table."""
    async with database.transaction() as conn:
        for statement in (
            f"""
            CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'not this one' USING ERRCODE = '{sqlstate}'; END $$
            """,
            f"""
            CREATE TRIGGER refuse BEFORE INSERT ON {table} FOR EACH ROW
            WHEN (NEW.user_id = '{POISON}') EXECUTE FUNCTION refuse()
            """,
        ):
            await conn.execute(text(statement))


async def committed(database: Database, log: Log, records_max: int = 4) -> BatchOutcome:
    chunks = log.chunks(records_max=records_max)
    await open_ledger(database, chunks)
    pipeline = await a_pipeline(database)
    return await bisection.commit(pipeline, [pipeline.read(chunk) for chunk in chunks])


@pytest.mark.parametrize("sqlstate", ["22003", "22009", "54000"])
async def test_a_refused_record_is_a_dead_letter_and_its_neighbours_count(
    counting: Database, sqlstate: str
) -> None:
    await refusing(counting, "nft_progress", sqlstate)
    log = Log()
    log.append(*(a_partner(ALICE) for _ in range(5)), a_partner(POISON))
    log.append(*(a_partner(BOB) for _ in range(3)), a_partner(POISON), a_partner(BOB))
    log.append(a_wallet(ALICE, an_address(1)), a_command("mint", ALICE, type_code="ambassador"))
    outcome = await committed(counting, log)
    assert (outcome.records, outcome.counted, outcome.fenced) == (13, 9, {})
    assert [each.position.offset for each in outcome.rejected] == [5, 9]
    assert await rows(counting, 'SELECT "offset", reason FROM dead_letter ORDER BY 1') == [
        (5, Reason.REFUSED_BY_DATABASE),
        (9, Reason.REFUSED_BY_DATABASE),
    ]
    assert "not this one" in await value(counting, "SELECT min(detail) FROM dead_letter")
    found = await rows(counting, "SELECT user_id, counters FROM nft_progress ORDER BY user_id")
    assert found == [(ALICE, {"partners_invited": 5}), (BOB, {"partners_invited": 4})]
    ledger = "SELECT next_offset FROM offset_ledger WHERE topic = 'laurel.partners'"
    assert await value(counting, ledger) == 11


async def test_a_refused_wallet_and_a_refused_command_are_dead_letters_too(
    counting: Database,
) -> None:
    await refusing(counting, "user_wallet")
    log = Log()
    log.append(a_wallet(POISON, an_address(1)), a_wallet(BOB, an_address(2)))
    outcome = await committed(counting, log)
    assert [each.rejected.type for each in outcome.rejected] == ["wallet.linked"]
    assert await column(counting, "SELECT user_id FROM user_wallet") == [BOB]


async def test_a_refusal_that_is_not_of_the_data_ends_counting_as_before(
    counting: Database,
) -> None:
    await refusing(counting, "nft_progress", "42501")
    log = Log()
    log.append(a_partner(ALICE), a_partner(POISON))
    with pytest.raises(StatementRefused, match="not this one"):
        await committed(counting, log)
    assert await value(counting, "SELECT count(*) FROM dead_letter") == 0


async def test_what_refuses_everything_is_not_the_records_fault(counting: Database) -> None:
    await refusing(counting, "nft_progress")
    log = Log()
    log.append(*(a_partner(POISON) for _ in range(REFUSED_MIN + 2)))
    with pytest.raises(PartitionRefused) as refused:
        await committed(counting, log)
    assert refused.value.partition == ("laurel.partners", 0)
    assert isinstance(refused.value.fault, DataRefused)
    letters = await value(counting, "SELECT count(*) FROM dead_letter")
    assert letters == REFUSED_MIN
    assert await value(counting, "SELECT next_offset FROM offset_ledger") == letters


@pytest.mark.parametrize("sqlstate", ["22003", "57014", "53200"])
async def test_at_a_trickle_as_many_may_be_refused_as_in_a_batch(
    counting: Database, sqlstate: str
) -> None:
    """A batch a record: where each is refused, the twenty-first is one too many; it takes no more
    time than it needs to find that one, since whoever waits for the database would wait for ever."""
    await refusing(counting, "nft_progress", sqlstate)
    pipeline, pace, log = await a_pipeline(counting), Pace(), Log()
    for number in range(REFUSED_MIN + 1):
        log.append(a_partner(POISON))
        (chunk,) = log.chunks()
        await open_ledger(counting, [chunk])
        if number < REFUSED_MIN:
            outcome = await bisection.commit(pipeline, [pipeline.read(chunk)], pace)
            assert [each.position.offset for each in outcome.rejected] == [number]
        else:
            with pytest.raises(PartitionRefused):
                await bisection.commit(pipeline, [pipeline.read(chunk)], pace)
    assert await value(counting, "SELECT count(*) FROM dead_letter") == REFUSED_MIN


async def test_refusals_that_stay_rare_never_pause_a_partition(counting: Database) -> None:
    await refusing(counting, "nft_progress")
    pipeline, pace, log = await a_pipeline(counting), Pace(), Log()
    for _ in range(REFUSED_MIN + 5):
        log.append(a_partner(POISON), *(a_partner(ALICE) for _ in range(REFUSED_SHARE)))
        (chunk,) = log.chunks()
        await open_ledger(counting, [chunk])
        await bisection.commit(pipeline, [pipeline.read(chunk)], pace)
    assert await value(counting, "SELECT count(*) FROM dead_letter") == REFUSED_MIN + 5


async def test_refusals_are_judged_by_partition(counting: Database) -> None:
    """As many as each may have, and more than one may have in all."""
    await refusing(counting, "nft_progress")
    log = Log()
    for partition in range(3):
        log.append(*(a_partner(POISON) for _ in range(REFUSED_MIN)), partition=partition)
        log.append(a_partner(ALICE), partition=partition)
    outcome = await committed(counting, log)
    assert (outcome.counted, len(outcome.rejected)) == (3, 3 * REFUSED_MIN)


async def test_a_constraint_that_refuses_in_two_partitions_is_no_fault_of_either(
    counting: Database,
) -> None:
    """The record before each of them passed; between them, in another partition, none did."""
    await refusing(counting, "nft_progress", "23514")
    log = Log()
    log.append(a_partner(ALICE), a_partner(ALICE), a_partner(POISON), partition=0)
    log.append(a_partner(POISON), a_partner(BOB), partition=1)
    outcome = await committed(counting, log, records_max=1)
    assert (outcome.counted, len(outcome.rejected)) == (3, 2)


@pytest.mark.parametrize("sqlstate", ["23514", "23502", "23505"])
async def test_a_record_that_a_constraint_refuses_is_a_dead_letter_where_its_neighbour_passed(
    counting: Database, sqlstate: str
) -> None:
    await refusing(counting, "nft_progress", sqlstate)
    log = Log()
    log.append(*(a_partner(ALICE) for _ in range(3)), a_partner(POISON), a_partner(BOB))
    log.append(a_partner(POISON), a_partner(BOB))
    outcome = await committed(counting, log)
    assert (outcome.records, outcome.counted) == (7, 5)
    found = await rows(counting, 'SELECT "offset", reason FROM dead_letter ORDER BY 1')
    assert found == [(3, Reason.REFUSED_BY_DATABASE), (5, Reason.REFUSED_BY_DATABASE)]


async def test_what_a_constraint_refuses_one_after_the_other_is_not_the_records_fault(
    counting: Database,
) -> None:
    await refusing(counting, "nft_progress", "23514")
    log = Log()
    log.append(a_partner(ALICE), a_partner(POISON), a_partner(POISON), a_partner(BOB))
    with pytest.raises(PartitionRefused, match="not this one") as refused:
        await committed(counting, log, records_max=1)
    assert isinstance(refused.value.fault, InvariantBroken)
    assert await column(counting, 'SELECT "offset" FROM dead_letter') == [1]
    assert await value(counting, "SELECT next_offset FROM offset_ledger") == 2


async def test_the_first_record_of_all_is_not_judged_by_a_constraint(counting: Database) -> None:
    await refusing(counting, "nft_progress", "23514")
    log = Log()
    log.append(a_partner(POISON))
    with pytest.raises(PartitionRefused, match="not this one") as refused:
        await committed(counting, log)
    assert isinstance(refused.value.fault, InvariantBroken)
    assert await value(counting, "SELECT count(*) FROM dead_letter") == 0


async def test_a_refused_record_is_a_dead_letter_also_where_the_catalog_changes_meanwhile(
    counting: Database,
) -> None:
    await refusing(counting, "nft_progress")
    log = Log()
    log.append(a_partner(POISON))
    chunks = log.chunks()
    await open_ledger(counting, chunks)
    pipeline = await a_pipeline(counting)
    refused = Rejected(Reason.REFUSED_BY_DATABASE, "not this one", "partner.joined")
    read = as_rejected(pipeline.read(chunks[0]), refused)
    await rows(
        counting,
        "INSERT INTO catalog_version (id, content_hash, document, is_current)"
        " SELECT id + 1, content_hash || 'x', document, false FROM catalog_version",
    )
    await rows(counting, "UPDATE catalog_version SET is_current = false")
    await rows(counting, "UPDATE catalog_version SET is_current = true WHERE id = 2")
    outcome = await pipeline.commit([read])
    assert [each.rejected for each in outcome.rejected] == [refused]


@pytest.mark.parametrize(
    ("sqlstate", "rows_max", "code"),
    [
        ("57014", 3, "statement_timed_out"),
        ("53200", 3, "connection_lost"),
        ("53200", 1, "connection_lost"),
    ],
    ids=str,
)
async def test_a_batch_that_is_too_much_is_cut_until_it_fits(
    counting: Database, sqlstate: str, rows_max: int, code: str
) -> None:
    """Here more than so many rows of a statement take too long, or too much memory."""
    await breaking(counting, sqlstate, rows_max)
    log, moved = Log(), Moved()
    log.append(*(a_partner(ALICE) for _ in range(11)))
    outcome = await committed(counting, log)
    assert moved.by("laurel_errors_total").keys() == {(code,)}
    # Each part is a batch; what was too much is none.
    assert moved.by("laurel_batch_records_sum") == {(): 11}
    assert moved.by("laurel_event_age_seconds_count") == {("laurel.partners",): 11}
    assert (outcome.records, outcome.counted, list(outcome.rejected)) == (11, 11, [])
    assert await value(counting, "SELECT counters->'partners_invited' FROM nft_progress") == 11


async def test_a_batch_that_is_cut_after_one_timeout_and_another_shows_progress_at_each(
    counting: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them together may outlast what the watchdog takes for a stall; none does alone."""
    await breaking(counting, "57014", 1)
    pipeline = await a_pipeline(counting)
    attempts: list[int] = []
    attempts_at_progress: list[int] = []
    commit = pipeline.commit

    async def noted(chunks: Sequence[ReadChunk]) -> BatchOutcome:
        attempts.append(sum(len(each.chunk.records) for each in chunks))
        return await commit(chunks)

    monkeypatch.setattr(pipeline, "commit", noted)
    log = Log()
    log.append(*(a_partner(ALICE) for _ in range(8)))
    chunks = log.chunks()
    await open_ledger(counting, chunks)
    read = [pipeline.read(chunk) for chunk in chunks]
    await bisection.commit(
        pipeline, read, progressed=lambda: attempts_at_progress.append(len(attempts))
    )
    assert attempts[:4] == [8, 4, 2, 1]
    assert attempts_at_progress == list(range(1, len(attempts) + 1))


async def breaking(counting: Database, sqlstate: str, rows_max: int) -> None:
    """Let PostgreSQL end a statement that counts more than so many events."""
    async with counting.transaction() as conn:
        for statement in (
            f"""
            CREATE FUNCTION too_long() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN
                 IF (SELECT count(*) FROM added) > {rows_max} THEN
                    RAISE EXCEPTION 'too much' USING ERRCODE = '{sqlstate}';
                 END IF;
                 RETURN NULL;
               END $$
            """,
            """
            CREATE TRIGGER too_long AFTER INSERT ON processed_event
            REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION too_long()
            """,
        ):
            await conn.execute(text(statement))


@pytest.mark.parametrize("sqlstate", ["57014", "53200"])
async def test_a_record_that_is_too_much_by_itself_is_a_dead_letter(
    counting: Database, sqlstate: str
) -> None:
    await refusing(counting, "nft_progress", sqlstate)
    log = Log()
    log.append(a_partner(ALICE), a_partner(POISON), a_partner(BOB))
    outcome = await committed(counting, log)
    assert (outcome.records, outcome.counted) == (3, 2)
    found = await rows(counting, 'SELECT "offset", reason FROM dead_letter')
    assert found == [(1, Reason.REFUSED_BY_DATABASE)]


async def test_a_connection_that_a_person_ends_is_an_outage_and_nobodys_fault(
    counting: Database,
) -> None:
    async with counting.transaction() as conn:
        for statement in (
            """
            CREATE FUNCTION ended() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$
            """,
            """
            CREATE TRIGGER ended BEFORE INSERT ON nft_progress FOR EACH ROW
            EXECUTE FUNCTION ended()
            """,
        ):
            await conn.execute(text(statement))
    for _ in range(STRIKES_MAX + 1):
        log = Log()
        log.append(a_partner(ALICE))
        with pytest.raises(DatabaseUnreachable):
            await committed(counting, log)
    assert await value(counting, "SELECT count(*) FROM dead_letter") == 0


async def test_a_batch_is_committed_in_parts_that_take_a_fraction_of_a_second(
    counting: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here by a clock on which a record takes a millisecond; all of them are counted once."""
    few = 500
    monkeypatch.setattr(pacing, "FEW", few)
    pipeline = await a_pipeline(counting)
    took: list[float] = []
    commit = pipeline.commit

    async def noted(chunks: Sequence[ReadChunk]) -> BatchOutcome:
        outcome = await commit(chunks)
        took.append(outcome.records / 1000)
        return replace(outcome, seconds=took[-1])

    monkeypatch.setattr(pipeline, "commit", noted)
    log, pace = Log(), Pace()
    log.append(*(a_partner(ALICE) for _ in range(4 * few)))
    chunks = log.chunks()
    await open_ledger(counting, chunks)
    pace.broke(3 * few)
    outcome = await bisection.commit(pipeline, [pipeline.read(chunk) for chunk in chunks], pace)
    assert (outcome.records, outcome.counted) == (4 * few, 4 * few)
    assert took[0] > LONG_S >= max(took[1:])
    assert await value(counting, "SELECT counters->'partners_invited' FROM nft_progress") == 4 * few


async def test_a_part_ends_with_a_chunk_where_one_fits_and_nothing_is_read_again(
    counting: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = await a_pipeline(counting)
    log = Log()
    log.append(*(a_partner(ALICE) for _ in range(9)))
    chunks = log.chunks(records_max=3)
    await open_ledger(counting, chunks)
    given = [pipeline.read(chunk) for chunk in chunks]
    sizes, commit, read = list[list[int]](), pipeline.commit, list[int]()

    async def noted(parts: Sequence[ReadChunk]) -> BatchOutcome:
        sizes.append([len(each.chunk.records) for each in parts])
        return await commit(parts)

    def read_again(chunk: Chunk) -> ReadChunk:
        read.append(chunk.position)
        return Pipeline.read(pipeline, chunk)

    monkeypatch.setattr(pipeline, "commit", noted)
    monkeypatch.setattr(pipeline, "read", read_again)
    pace = Pace()
    pace.broke(14)  # seven at once are tried
    await bisection.commit(pipeline, given, pace)
    assert (sizes, read) == ([[3, 3], [3]], [])
    log.append(*(a_partner(ALICE) for _ in range(4)))
    large = [Pipeline.read(pipeline, chunk) for chunk in log.chunks()]
    pace.broke(6)  # and three
    await bisection.commit(pipeline, large, pace)
    assert sizes[2][0] == 3
    assert await value(counting, "SELECT counters->'partners_invited' FROM nft_progress") == 13


@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=6), records=st.integers(0, 60))
def test_what_is_cut_continues(sizes: Sequence[int], records: int) -> None:
    chunks, position = [], 0
    for size in sizes:
        made = [PlainRecord(position + 2 * n, b"") for n in range(size)]  # offsets have gaps
        chunks.append(Chunk("t", 0, position, made))
        position = chunks[-1].reached.next_offset
    first, second = cut(chunks, records)
    assert sum(len(chunk.records) for chunk in first) == min(records, sum(sizes))
    parts = [*first, *second]
    assert [r for chunk in parts for r in chunk.records] == [
        r for chunk in chunks for r in chunk.records
    ]
    reached = 0
    for chunk in parts:
        assert chunk.position == reached
        reached = chunk.reached.next_offset
