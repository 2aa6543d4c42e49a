"""Chunks become batches in their order, within the bound, and are acknowledged once counted.

Nothing here waits: what is queued moves by turns of the loop, time by a clock that stands still.
"""

import asyncio
from collections.abc import Iterable
from datetime import timedelta

import pytest

from ops import metrics
from ops.errors import InvariantBroken, LaurelError
from ops.lifecycle import Part
from processor.batch.bisection import PartitionRefused
from processor.batch.staging import ReadChunk
from processor.events.chunks import Chunk, PlainRecord
from processor.stream.batcher import InFlight
from store.engine import (
    ConstraintRefused,
    DatabaseUnreachable,
    DataRefused,
    TransactionConflict,
)
from store.login import LoginRefused
from store.values.stream import LedgerEntry
from tests.builders.batching import CITIES, QUESTS, REVIEWS, Bench, a_chunk, settle
from tests.builders.metrics import Moved, series


async def test_chunks_are_counted_in_their_order_and_then_acknowledged() -> None:
    bench = Bench(records_max=100)
    for first in (0, 3, 6):
        await bench.add(a_chunk(first, 3))
    assert (bench.counted, bench.acked) == ([], [])
    async with bench.running():
        assert (bench.counted, bench.acked) == ([[0, 3, 6]], [0, 3, 6])


async def test_what_comes_during_a_commit_becomes_the_next_batch() -> None:
    bench = Bench(records_max=100)
    async with bench.running():
        bench.gate.clear()
        await bench.add(a_chunk(0, 2))
        await settle()
        for first in (2, 4, 6):
            await bench.add(a_chunk(first, 2))
        await settle()
        assert (bench.counted, bench.acked) == ([[0]], [])
        bench.gate.set()
        await settle()
    assert bench.counted == [[0], [2, 4, 6]]


async def test_a_batch_keeps_to_its_bound_and_a_larger_chunk_is_one_by_itself() -> None:
    bench = Bench(records_max=10)
    adding = asyncio.create_task(add_all(bench, [(0, 4), (4, 6), (10, 25), (35, 1)]))
    await settle()
    async with bench.running():
        await adding
        await settle()
    assert bench.counted == [[0, 4], [10], [35]]


async def test_a_batch_keeps_to_its_bound_of_bytes_and_so_does_what_waits() -> None:
    bench = Bench(records_max=100, bytes_max=10)
    await bench.add(a_chunk(0, 1), memory=6)
    second = asyncio.create_task(bench.add(a_chunk(1, 1), memory=4))
    await settle()
    assert not second.done()
    async with bench.running():
        await second
        for first, memory in ((2, 6), (3, 5), (4, 25), (5, 1)):
            await bench.add(a_chunk(first, 1), memory=memory)
        await settle()
    assert bench.counted == [[0, 1], [2], [3], [4], [5]]


async def add_all(bench: Bench, chunks: Iterable[tuple[int, int]]) -> None:
    for first, records in chunks:
        await bench.add(a_chunk(first, records))


async def test_a_full_queue_makes_the_reader_wait_until_a_batch_was_taken() -> None:
    bench = Bench(records_max=10)
    await bench.add(a_chunk(0, 6))
    second = asyncio.create_task(bench.add(a_chunk(6, 6)))
    await settle()
    assert not second.done()
    bench.gate.clear()
    async with bench.running():
        assert bench.counted == [[0]]
        # There is room while the first batch is still being counted: reading goes on meanwhile.
        assert second.done()
        third = asyncio.create_task(bench.add(a_chunk(12, 6)))
        await settle()
        assert not third.done()
        bench.gate.set()
        await third


async def test_counted_to_is_the_next_offset_of_what_was_committed() -> None:
    bench = Bench()
    async with bench.running():
        await bench.add(a_chunk(40, 3))
        await bench.add(a_chunk(7, 1, CITIES))
        await settle()
        assert bench.batcher.counted_to == {QUESTS: 43, CITIES: 8}


async def test_chunks_of_revoked_partitions_are_dropped() -> None:
    bench = Bench()
    async with bench.running():
        await bench.add(a_chunk(0, 2))
        await settle()
        bench.gate.clear()
        await bench.add(a_chunk(0, 1, CITIES))
        await settle()
        await bench.add(a_chunk(2, 2))
        await bench.add(a_chunk(1, 1, CITIES))
        bench.batcher.drop_partitions([QUESTS])
        assert QUESTS not in bench.batcher.counted_to
        bench.gate.set()
        await settle()
    assert bench.counted == [[0], [0], [1]]
    assert bench.acked == [0, 0, 1]
    assert bench.batcher.counted_to == {CITIES: 2}


async def test_dropping_partitions_makes_room() -> None:
    bench = Bench(records_max=10)
    await bench.add(a_chunk(0, 6))
    waiting = asyncio.create_task(bench.add(a_chunk(0, 6, CITIES)))
    await settle()
    assert not waiting.done()
    bench.batcher.drop_partitions([QUESTS])
    await settle()
    assert waiting.done()
    # Of ten records six are queued: three more fit, a fourth does not.
    await bench.add(a_chunk(6, 3, CITIES))
    full = asyncio.create_task(bench.add(a_chunk(9, 1, CITIES)))
    await settle()
    assert not full.done()
    async with bench.running():
        await full


async def test_a_fenced_partition_is_rewound_to_the_ledger_and_not_acknowledged() -> None:
    bench = Bench()
    moved = Moved()
    entry = LedgerEntry(*QUESTS, 17, 16, 5)
    bench.fenced = {QUESTS: entry}
    await bench.add(a_chunk(3, 2))
    await bench.add(a_chunk(5, 2, CITIES))
    async with bench.running():
        pass
    assert (bench.rewound, bench.acked) == ([entry], [5])
    assert bench.batcher.counted_to == {CITIES: 7}
    assert moved.by("laurel_ledger_events_total") == {("fenced",): 1, ("seek",): 1}


async def test_each_partition_that_is_rewound_counts_as_a_seek() -> None:
    bench = Bench()
    moved = Moved()
    entries = [LedgerEntry(*QUESTS, 17, 16, 5), LedgerEntry(*CITIES, 4)]
    bench.fenced = {entry.key: entry for entry in entries}
    await bench.add(a_chunk(3, 2))
    await bench.add(a_chunk(5, 2, CITIES))
    async with bench.running():
        pass
    assert (bench.rewound, bench.acked) == (entries, [])
    assert moved.by("laurel_ledger_events_total") == {("fenced",): 2, ("seek",): 2}


async def test_a_stale_chunk_is_acknowledged_and_skipped() -> None:
    bench = Bench()
    moved = Moved()
    await bench.add(a_chunk(0, 4), is_current=False)
    await bench.add(a_chunk(4, 2))
    async with bench.running():
        pass
    assert (bench.counted, bench.acked) == ([[4]], [0, 4])
    assert moved.by("laurel_ledger_events_total") == {("skipped",): 4}


async def test_a_batch_of_stale_chunks_alone_is_not_counted() -> None:
    bench = Bench()
    await bench.add(a_chunk(0, 4), is_current=False)
    async with bench.running():
        assert (bench.counted, bench.acked) == ([], [0])


async def test_stop_commits_the_batch_in_flight_and_takes_no_other() -> None:
    bench = Bench()
    bench.gate.clear()
    await bench.add(a_chunk(0, 2))
    running = asyncio.create_task(bench.batcher.run(bench.rewind, bench.set_aside))
    await settle()
    await bench.add(a_chunk(2, 2))
    bench.batcher.stop()
    await settle()
    assert not running.done()
    bench.gate.set()
    await running
    assert (bench.counted, bench.acked) == ([[0]], [0])


async def test_stop_leaves_a_chunk_that_no_batch_took_yet() -> None:
    bench = Bench()
    async with bench.running():
        await bench.add(a_chunk(0, 2))  # returns without a turn of the loop: there is room
        bench.batcher.stop()
    assert (bench.counted, bench.acked) == ([], [])


async def test_stop_ends_a_batcher_that_has_nothing_to_do() -> None:
    bench = Bench()
    async with bench.running() as task:
        assert not task.done()


async def test_a_batch_is_tried_again_until_postgresql_answers_and_no_lock_is_kept() -> None:
    bench = Bench()
    moved = Moved()
    bench.errors = [DatabaseUnreachable("nobody listens"), TransactionConflict("locked")]
    waits: list[dict[Part, str]] = []
    sleep = bench.clock.sleep

    async def watched(duration: timedelta) -> None:
        waits.append(bench.readiness.waits)
        await sleep(duration)

    bench.clock.sleep = watched  # type: ignore[method-assign]
    await bench.add(a_chunk(0, 2))
    async with bench.running():
        pass
    assert bench.counted == [[0], [0], [0]]
    assert bench.acked == [0]
    assert waits == [{Part.POSTGRESQL: "nobody listens"}, {Part.POSTGRESQL: "locked"}]
    assert bench.readiness.ready
    assert moved.by("laurel_retries_total") == {
        ("postgresql", "database_unreachable"): 1,
        ("postgresql", "transaction_conflict"): 1,
    }


async def test_of_a_partition_that_was_lost_while_it_was_counted_no_age_is_shown() -> None:
    """Its new owner tells it; a figure that nobody moves would stay for ever."""
    bench = Bench()
    metrics.EVENT_LAG_SECONDS.clear()
    lost = False
    for partition, is_current in ((QUESTS, lambda: not lost), (CITIES, lambda: True)):
        chunk = ReadChunk(a_chunk(0, 2, partition), 1)
        await bench.batcher.add(InFlight(chunk, is_current, lambda: None))
    bench.gate.clear()
    async with bench.running():
        lost = True
        bench.gate.set()
        await settle()
    assert set(series("laurel_event_lag_seconds")) == {("laurel.cities",)}


async def test_any_other_error_ends_the_batcher_and_acknowledges_nothing() -> None:
    bench = Bench()
    bench.errors = [LoginRefused("no longer")]
    await bench.add(a_chunk(0, 2))
    with pytest.raises(LoginRefused):
        await bench.batcher.run(bench.rewind, bench.set_aside)
    assert (bench.acked, bench.batcher.counted_to, bench.aside) == ([], {}, [])


@pytest.mark.parametrize(
    "fault",
    [
        InvariantBroken("counters changed without an event"),
        DataRefused("too many", sqlstate="22003", constraint=None),
        ConstraintRefused("not so", sqlstate="23514", constraint="nft_progress_check"),
    ],
)
async def test_a_partition_that_cannot_be_counted_is_set_aside_and_the_others_count(
    fault: LaurelError,
) -> None:
    bench, moved = Bench(records_max=100), Moved()
    bench.bad = {QUESTS: fault}
    await bench.add(a_chunk(0, 2, QUESTS))
    await bench.add(a_chunk(10, 2, CITIES))
    await bench.add(a_chunk(2, 2, QUESTS))
    await bench.add(a_chunk(12, 2, CITIES))
    async with bench.running():
        pass
    assert bench.counted == [[0, 10, 2, 12], [0, 2], [10, 12]]
    assert bench.aside == [(QUESTS, str(fault))]
    assert moved.by("laurel_errors_total") == {(fault.code,): 1}
    assert bench.batcher.counted_to == {CITIES: 14}
    # All are released, so that nothing waits for them.
    assert sorted(bench.acked) == [0, 2, 10, 12]


async def test_the_partition_that_is_named_is_set_aside_at_once_and_the_others_count() -> None:
    """What was committed of the others before it stood out is fenced, and read again."""
    bench, moved = Bench(records_max=100), Moved()
    fault = DataRefused("too many", sqlstate="22003", constraint=None)
    bench.bad = {QUESTS: PartitionRefused(QUESTS, fault)}
    bench.fenced = {CITIES: LedgerEntry(*CITIES, 11, 10, 5)}
    await bench.add(a_chunk(0, 2, QUESTS))
    await bench.add(a_chunk(10, 2, CITIES))
    await bench.add(a_chunk(0, 1, REVIEWS))
    async with bench.running():
        pass
    assert bench.counted == [[0, 10, 0], [10, 0]]
    assert bench.aside == [(QUESTS, "too many")]
    assert moved.by("laurel_errors_total") == {("data_refused",): 1}
    assert bench.rewound == [LedgerEntry(*CITIES, 11, 10, 5)]
    assert bench.batcher.counted_to == {REVIEWS: 1}
    assert sorted(bench.acked) == [0, 0]


async def test_a_commit_is_dated_by_the_clock_and_the_age_of_its_last_record_is_published() -> None:
    bench = Bench()
    began = bench.batcher.committed_at
    epoch = bench.clock.now().timestamp()
    record = PlainRecord(0, b"", timestamp=round((epoch - 30) * 1_000))
    bench.clock.advance(timedelta(seconds=12))
    async with bench.running():
        await bench.add(Chunk(*CITIES, 0, [record]))
        await settle()
    assert bench.batcher.committed_at == began + 12
    age = metrics.EVENT_LAG_SECONDS.labels(CITIES[0])._value.get()
    assert age == pytest.approx(42.0)


async def test_a_record_without_a_time_has_no_age() -> None:
    bench = Bench()
    metrics.EVENT_LAG_SECONDS.labels(CITIES[0]).set(7.0)
    async with bench.running():
        await bench.add(Chunk(*CITIES, 0, [PlainRecord(0, b"", timestamp=-1)]))
        await settle()
    assert metrics.EVENT_LAG_SECONDS.labels(CITIES[0])._value.get() == 7.0


async def test_a_record_of_a_clock_that_is_ahead_has_no_negative_age() -> None:
    bench = Bench()
    ahead = PlainRecord(0, b"", timestamp=round((bench.clock.now().timestamp() + 30) * 1_000))
    metrics.EVENT_LAG_SECONDS.labels(CITIES[0]).set(7.0)
    async with bench.running():
        await bench.add(Chunk(*CITIES, 0, [ahead]))
        await settle()
    assert metrics.EVENT_LAG_SECONDS.labels(CITIES[0])._value.get() == 0.0


def test_a_part_of_a_batch_that_is_through_is_progress() -> None:
    bench = Bench()
    began = bench.batcher.committed_at
    bench.clock.advance(timedelta(seconds=12))
    bench.batcher.progressed()
    assert bench.batcher.committed_at == began + 12
