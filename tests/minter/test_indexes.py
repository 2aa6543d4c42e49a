"""Indexes continue the collection without a hole, and stay with their badge."""

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minter.indexes import HeadOfLineBlocked, IndexMismatch, IndexPlan, ReservedIndex, assign

A, B, C, D = (UUID(int=number) for number in range(1, 5))


def test_new_mints_continue_where_the_collection_stands() -> None:
    assert assign([], [A, B], next_item_index=7, next_index=7, room=10) == IndexPlan(
        ((A, 7), (B, 8)), 9
    )


def test_void_mints_go_first_with_their_own_indexes() -> None:
    reserved = [ReservedIndex(B, 8, held=False), ReservedIndex(A, 7, held=False)]
    plan = assign(reserved, [C, D], next_item_index=7, next_index=9, room=3)
    assert plan == IndexPlan(((A, 7), (B, 8), (C, 9)), 10)


def test_an_index_that_the_collection_passed_is_minted_again_at_its_place() -> None:
    plan = assign([ReservedIndex(A, 3, held=False)], [B], next_item_index=7, next_index=7, room=10)
    assert plan == IndexPlan(((A, 3), (B, 7)), 8)


def test_too_little_room_takes_the_lowest_indexes() -> None:
    reserved = [ReservedIndex(A, 7, held=False), ReservedIndex(B, 8, held=False)]
    assert assign(reserved, [C], next_item_index=7, next_index=9, room=1) == IndexPlan(((A, 7),), 9)


def test_a_held_mint_blocks_what_would_come_behind_it() -> None:
    reserved = [ReservedIndex(A, 7, held=True), ReservedIndex(B, 8, held=False)]
    assert isinstance(
        assign(reserved, [C], next_item_index=7, next_index=9, room=9), HeadOfLineBlocked
    )


def test_a_held_mint_below_the_collections_count_blocks_nobody() -> None:
    plan = assign([ReservedIndex(A, 6, held=True)], [B], next_item_index=7, next_index=7, room=9)
    assert plan == IndexPlan(((B, 7),), 8)


def parked(task: UUID, index: int) -> ReservedIndex:
    return ReservedIndex(task, index, held=False, parked=True)


def test_a_parked_mint_goes_along_with_those_behind_it() -> None:
    plan = assign([parked(A, 7)], [B], next_item_index=7, next_index=8, room=9)
    assert plan == IndexPlan(((A, 7), (B, 8)), 9)
    behind = [parked(A, 7), ReservedIndex(B, 8, held=False)]
    plan = assign(behind, [], next_item_index=7, next_index=9, room=9)
    assert plan == IndexPlan(((A, 7), (B, 8)), 9)


def test_nothing_is_signed_for_parked_mints_alone() -> None:
    alone = [parked(A, 7), parked(B, 8)]
    assert assign(alone, [], next_item_index=7, next_index=9, room=9) == HeadOfLineBlocked(
        "the mint with index 7 is parked"
    )


def test_a_parked_mint_that_is_in_nobodys_way_is_left() -> None:
    passed = assign([parked(A, 6)], [B], next_item_index=7, next_index=7, room=9)
    assert passed == IndexPlan(((B, 7),), 8)
    last = [ReservedIndex(A, 7, held=False), parked(B, 8)]
    assert assign(last, [], next_item_index=7, next_index=9, room=9) == IndexPlan(((A, 7),), 9)


def movable(task: UUID, index: int, *, held: bool = False) -> ReservedIndex:
    return ReservedIndex(task, index, held=held, movable=True)


def test_mints_that_were_never_executed_keep_their_indexes() -> None:
    plan = assign([movable(B, 8), movable(A, 7)], [C], next_item_index=7, next_index=9, room=9)
    assert plan == IndexPlan(((A, 7), (B, 8), (C, 9)), 10, given_up=(A, B))


def test_a_held_mint_that_was_never_executed_stops_nobody() -> None:
    reserved = [movable(A, 7, held=True), movable(B, 8)]
    plan = assign(reserved, [C], next_item_index=7, next_index=9, room=9)
    assert plan == IndexPlan(((B, 7), (C, 8)), 9, given_up=(A, B))


def test_what_has_no_room_is_assigned_anew() -> None:
    reserved = [movable(A, 7), movable(B, 8)]
    plan = assign(reserved, [C], next_item_index=7, next_index=9, room=1)
    assert plan == IndexPlan(((A, 7),), 8, given_up=(A, B))


def test_an_index_that_may_have_been_executed_goes_before_those_that_were_not() -> None:
    reserved = [ReservedIndex(A, 7, held=False), movable(B, 8, held=True), movable(C, 9)]
    plan = assign(reserved, [], next_item_index=7, next_index=10, room=9)
    assert plan == IndexPlan(((A, 7), (C, 8)), 9, given_up=(B, C))
    stuck = [ReservedIndex(A, 7, held=True), movable(C, 8)]
    assert isinstance(assign(stuck, [], next_item_index=7, next_index=9, room=9), HeadOfLineBlocked)


@pytest.mark.parametrize(
    ("reserved", "next_item_index", "next_index"),
    [
        ([], 8, 7),  # the chain is ahead: a restored database
        ([], 7, 8),  # an index was assigned and nobody holds it
        ([ReservedIndex(A, 8, held=False)], 7, 9),  # a hole
        ([ReservedIndex(A, 9, held=False)], 7, 9),
    ],
)
def test_nothing_is_signed_where_chain_and_database_disagree(
    reserved: list[ReservedIndex], next_item_index: int, next_index: int
) -> None:
    assert isinstance(
        assign(reserved, [B], next_item_index=next_item_index, next_index=next_index, room=9),
        IndexMismatch,
    )


@given(
    next_item_index=st.integers(0, 50),
    waiting=st.integers(0, 20),
    below=st.sets(st.integers(0, 49)),
    fresh=st.integers(0, 20),
    room=st.integers(0, 30),
)
def test_a_message_never_leaves_a_hole_and_never_gives_an_index_twice(
    next_item_index: int, waiting: int, below: set[int], fresh: int, room: int
) -> None:
    indexes = [index for index in below if index < next_item_index] + [
        next_item_index + n for n in range(waiting)
    ]
    reserved = [ReservedIndex(uuid4(), index, held=False) for index in indexes]
    new = [uuid4() for _ in range(fresh)]
    plan = assign(
        reserved,
        new,
        next_item_index=next_item_index,
        next_index=next_item_index + waiting,
        room=room,
    )
    assert isinstance(plan, IndexPlan)
    given_out = [index for _, index in plan.indexes]
    assert len(given_out) <= room
    assert len(set(given_out)) == len(given_out)
    above = [index for index in given_out if index >= next_item_index]
    assert above == list(range(next_item_index, next_item_index + len(above)))
    own = {each.task_id: each.index for each in reserved}
    assert all(own.get(task_id, index) == index for task_id, index in plan.indexes)
