"""What of fetched records is new, and whether it is the topic that was counted."""

from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.events.chunks import ChunkBounds, PlainRecord
from processor.stream.positions import (
    FetchedChunk,
    PartitionPosition,
    PartitionPositions,
    RecordsMissing,
    SeekTo,
    made_anew,
    seek_offset,
)
from store.values.stream import LedgerEntry, PausedPartition, PauseReason

QUESTS = ("laurel.quests", 0)
CITIES = ("laurel.cities", 3)


def records(*offsets: int) -> list[PlainRecord]:
    return [PlainRecord(offset, b"", timestamp=1_000 + offset) for offset in offsets]


def positions(*entries: LedgerEntry, records_max: int = 3) -> PartitionPositions:
    made = PartitionPositions(ChunkBounds(records_max, 1 << 20, 1 << 20))
    for entry in entries:
        made.seek(entry)
    return made


def chunks(where: PartitionPositions, *offsets: int) -> list[FetchedChunk]:
    found = where.chunks(QUESTS, records(*offsets))
    assert not isinstance(found, PausedPartition)
    return found


def shape(found: list[FetchedChunk]) -> list[tuple[int, list[int]]]:
    return [
        (each.chunk.position, [record.offset for record in each.chunk.records]) for each in found
    ]


def test_chunks_continue_each_other_over_gaps() -> None:
    where = positions(LedgerEntry(*QUESTS, 4))
    found = chunks(where, 4, 5, 9, 10, 11) + chunks(where, 20)
    assert shape(found) == [(4, [4, 5, 9]), (10, [10, 11]), (12, [20])]
    assert {each.chunk.key for each in found} == {QUESTS}


def test_records_below_the_ledger_are_not_new() -> None:
    where = positions(LedgerEntry(*QUESTS, 4))
    assert shape(chunks(where, 1, 2, 3)) == []
    assert shape(chunks(where, 3, 4)) == [(4, [4])]
    assert shape(chunks(where, 4)) == []


@given(
    steps=st.lists(st.integers(1, 4), min_size=1, max_size=40),
    cuts=st.sets(st.integers(1, 39)),
    again=st.integers(0, 3),
    records_max=st.integers(1, 7),
    start=st.integers(0, 60),
)
def test_records_fetched_in_any_slices_come_out_once_and_in_order(
    steps: list[int], cuts: set[int], again: int, records_max: int, start: int
) -> None:
    """A fetch may bring records of the one before again; offsets have gaps."""
    offsets = [sum(steps[: number + 1]) for number in range(len(steps))]
    bounds = [0, *sorted(cut for cut in cuts if cut < len(offsets)), len(offsets)]
    where = positions(LedgerEntry(*QUESTS, start), records_max=records_max)
    found = []
    for first, end in pairwise(bounds):
        found += chunks(where, *offsets[max(0, first - again) : end])
    assert [offset for _, part in shape(found) for offset in part] == [
        offset for offset in offsets if offset >= start
    ]
    assert all(1 <= len(each.chunk.records) <= records_max for each in found)
    # The ledger takes them: each continues the one before, the first where the ledger stands.
    ends = [start, *(each.chunk.reached.next_offset for each in found)]
    assert [each.chunk.position for each in found] == ends[:-1]


def test_a_partition_that_is_not_read_yields_nothing() -> None:
    where = positions(LedgerEntry(*CITIES, 0))
    assert shape(chunks(where, 0, 1)) == []
    assert where.out_of_range(QUESTS, 0) is None
    assert where.position(QUESTS, 0, 0, 0.0) is None


def test_a_revoked_partition_yields_nothing_and_the_others_go_on() -> None:
    where = positions(LedgerEntry(*QUESTS, 0), LedgerEntry(*CITIES, 0))
    where.forget([QUESTS, ("laurel.never-read", 1)])
    assert shape(chunks(where, 0, 1)) == []
    found = where.chunks(CITIES, records(0))
    assert isinstance(found, list)
    assert shape(found) == [(0, [0])]


def test_each_seek_begins_another_generation() -> None:
    where = PartitionPositions(ChunkBounds(3, 1 << 20, 1 << 20))
    first = where.seek(LedgerEntry(*QUESTS, 0))
    (before,) = chunks(where, 0, 1)
    other = where.seek(LedgerEntry(*CITIES, 0))
    second = where.seek(LedgerEntry(*QUESTS, 0))
    (after,) = chunks(where, 0, 1)
    assert len({first, other, second}) == 3
    assert (before.generation, after.generation) == (first, second)
    assert before.chunk == after.chunk


def test_a_generation_is_not_used_again_after_a_partition_came_back() -> None:
    where = PartitionPositions(ChunkBounds(3, 1 << 20, 1 << 20))
    before = where.seek(LedgerEntry(*QUESTS, 0))
    where.forget([QUESTS])
    assert where.seek(LedgerEntry(*QUESTS, 0)) != before


def test_a_partition_is_fetched_from_its_last_counted_record() -> None:
    assert seek_offset(LedgerEntry(*QUESTS, 7, 4, 1_004)) == 4
    assert seek_offset(LedgerEntry(*QUESTS, 7)) == 7


def test_the_last_counted_record_is_looked_at_and_not_counted_again() -> None:
    where = positions(LedgerEntry(*QUESTS, 5, 4, 1_004))
    assert shape(chunks(where, 4, 5)) == [(5, [5])]


def test_another_record_in_place_of_the_last_counted_one_is_another_topic() -> None:
    where = positions(LedgerEntry(*QUESTS, 5, 4, 999))
    found = where.chunks(QUESTS, records(4, 5))
    assert isinstance(found, PausedPartition)
    assert (found.key, found.offset) == (QUESTS, 5)
    assert found.reason is PauseReason.TOPIC_RECREATED
    assert "timestamp 1004, was 999" in found.detail
    assert "made anew" in found.detail
    assert "laurel partitions skip laurel.quests 0 --to OFFSET" in found.way_out
    # Nothing of it is new later on either.
    assert isinstance(where.chunks(QUESTS, records(4, 5)), PausedPartition)


def test_a_compacted_last_record_cannot_be_looked_at_and_is_no_reason_to_stop() -> None:
    where = positions(LedgerEntry(*QUESTS, 5, 4, 1_004))
    assert shape(chunks(where, 7)) == [(5, [7])]


def test_only_the_first_fetch_after_a_seek_is_compared() -> None:
    where = positions(LedgerEntry(*QUESTS, 5, 4, 1_004))
    assert shape(chunks(where, 4)) == []
    late = where.chunks(QUESTS, [PlainRecord(4, b"", timestamp=1)])
    assert late == []


def test_a_last_counted_record_that_is_gone_is_no_loss() -> None:
    where = positions(LedgerEntry(*QUESTS, 7, 4, 1_004))
    assert where.out_of_range(QUESTS, 4) == SeekTo(7)
    # Once: the same answer again would be a loop of seeks.
    assert where.out_of_range(QUESTS, 4) == RecordsMissing(QUESTS, 4)
    assert shape(chunks(where, 7, 8)) == [(7, [7, 8])]


def test_the_next_record_out_of_range_is_a_loss_also_after_the_last_was_found_gone() -> None:
    where = positions(LedgerEntry(*QUESTS, 5, 4, 1_004))
    assert where.out_of_range(QUESTS, 4) == SeekTo(5)
    assert where.out_of_range(QUESTS, 5) == RecordsMissing(QUESTS, 5)


@pytest.mark.parametrize("offset", [3, 5, 7, 8])
def test_another_offset_than_the_last_counted_out_of_range_is_a_loss_before_the_first_fetch(
    offset: int,
) -> None:
    """Seeking on over it would lose records without a word."""
    where = positions(LedgerEntry(*QUESTS, 7, 4, 1_004))
    assert where.out_of_range(QUESTS, offset) == RecordsMissing(QUESTS, offset)
    assert where.out_of_range(QUESTS, 4) == SeekTo(7), "that is still no loss"


@pytest.mark.parametrize(
    ("first_offset", "words"),
    [
        pytest.param(8, "records 5 to 7 were removed before they were counted", id="retention"),
        pytest.param(6, "records 5 to 5 were removed before they were counted", id="one record"),
        pytest.param(5, "the topic ends before record 5", id="emptied"),
        pytest.param(0, "the topic ends before record 5", id="made anew and shorter"),
    ],
)
def test_missing_records_are_named_with_the_way_out(first_offset: int, words: str) -> None:
    where = positions(LedgerEntry(*QUESTS, 5))
    missing = where.out_of_range(QUESTS, 5)
    assert isinstance(missing, RecordsMissing)
    found = missing.pause(first_offset)
    assert (found.key, found.offset, found.skip_to) == (QUESTS, 5, first_offset)
    assert found.detail.startswith(words)
    assert f"laurel partitions skip laurel.quests 0 --to {first_offset}" in found.way_out


def test_a_position_tells_where_the_partition_was_sought_and_what_is_in_flight() -> None:
    where = positions(LedgerEntry(*QUESTS, 40))
    chunks(where, 40, 44)
    assert where.position(QUESTS, 45, 100, 7.0) == PartitionPosition(45, 100, 40, 45, 7.0)


@pytest.mark.parametrize(
    ("position", "counted_to", "lag"),
    [
        pytest.param(
            PartitionPosition(100, 100, 100, 100, 0.0),
            0,
            0,
            id="a seek to the end, nothing counted by this worker yet",
        ),
        pytest.param(
            PartitionPosition(100, 100, 40, 99, 0.0), 99, 0, id="a marker after the last record"
        ),
        pytest.param(
            PartitionPosition(100, 100, 40, 100, 0.0), 70, 30, id="fetched, and not counted yet"
        ),
        pytest.param(
            PartitionPosition(100, 100, 40, 100, 0.0), 0, 60, id="fetched, and none counted yet"
        ),
        pytest.param(
            PartitionPosition(60, 100, 40, 60, 0.0),
            60,
            40,
            id="counted as far as fetched, and more to fetch",
        ),
        pytest.param(PartitionPosition(101, 100, 40, 100, 0.0), 100, 0, id="past the last answer"),
        pytest.param(PartitionPosition(None, None, 40, 40, 0.0), 0, 0, id="no answer yet"),
    ],
)
def test_lag_is_work_and_nothing_else(
    position: PartitionPosition, counted_to: int, lag: int
) -> None:
    assert position.lag(counted_to) == lag


@pytest.mark.parametrize(("counted_to", "in_flight"), [(0, True), (59, True), (60, False)])
def test_a_chunk_is_in_flight_until_it_is_counted(counted_to: int, in_flight: bool) -> None:
    assert PartitionPosition(60, 100, 40, 60, 0.0).is_in_flight(counted_to) is in_flight


def test_nothing_is_in_flight_after_a_seek() -> None:
    assert not PartitionPosition(40, 100, 40, 40, 0.0).is_in_flight(0)


def test_a_topic_of_another_id_is_another_topic() -> None:
    old, new = UUID(int=1), UUID(int=2)
    assert made_anew(LedgerEntry(*QUESTS, 5, topic_id=None), new) is None
    assert made_anew(LedgerEntry(*QUESTS, 5, topic_id=new), new) is None
    found = made_anew(LedgerEntry(*QUESTS, 5, topic_id=old), new)
    assert found is not None
    assert (found.key, found.offset, found.reason) == (QUESTS, 5, PauseReason.TOPIC_RECREATED)
    assert (found.topic_id, found.skip_to) == (new, 0)
