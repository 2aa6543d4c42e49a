"""A transaction holds what takes a fraction of a second, and less where that was too much."""

from hypothesis import given
from hypothesis import strategies as st

from processor.batch.pacing import (
    FEW,
    LONG_S,
    REFUSED_MIN,
    REFUSED_SHARE,
    STRIKES_MAX,
    Pace,
)
from store.engine import ConnectionLost


@given(records=st.integers(1, 10**6))
def test_half_of_what_broke_is_tried_next_and_twice_as_much_after_that(records: int) -> None:
    pace = Pace()
    pace.broke(records)
    half = max(1, records // 2)
    assert pace.records_max == half
    pace.passed(half, 0.0)
    assert pace.records_max == 2 * half


def test_a_smaller_part_that_passes_proves_nothing() -> None:
    pace = Pace()
    pace.broke(100)
    pace.passed(49, 0.0)
    assert pace.records_max == 50


@given(
    rate=st.floats(50, 10**6),
    overhead_s=st.floats(0, LONG_S / 4),
    broken=st.integers(1, 10**6),
)
def test_transactions_settle_at_what_takes_a_fraction_of_a_second(
    rate: float, overhead_s: float, broken: int
) -> None:
    """Whatever the server manages a second, and however little was tried before."""

    def takes(records: int) -> float:
        return overhead_s + records / rate

    pace = Pace()
    pace.broke(broken)
    for _ in range(50):
        tried = pace.records_max
        pace.passed(tried, takes(tried))
    for _ in range(5):
        tried = pace.records_max
        pace.passed(tried, takes(tried))
        assert takes(tried) <= LONG_S or tried <= 2 * FEW
        assert takes(2 * tried) >= LONG_S / 2 or pace.records_max > tried


def test_what_took_long_and_was_small_is_not_cut_for_its_time() -> None:
    pace = Pace()
    pace.broke(2 * FEW)
    pace.passed(FEW, 60.0)
    assert pace.records_max == FEW


def test_a_record_has_several_attempts_by_itself() -> None:
    pace, fault = Pace(), ConnectionLost("lost")
    for _ in range(STRIKES_MAX):
        assert pace.verdict("a") is None
        pace.strike("a", fault)
    assert pace.verdict("a") is fault
    assert pace.verdict("b") is None
    pace.strike("b", fault)
    assert pace.verdict("a") is None


def test_a_refusal_is_one_records_only_after_another_passed() -> None:
    pace = Pace()
    assert not pace.is_one_alone("a")
    pace.passed(3, 0.0, {"a": 3})
    assert pace.is_one_alone("a")
    assert not pace.is_one_alone("a")


def test_what_passes_or_is_refused_in_one_partition_is_no_word_about_another() -> None:
    pace = Pace()
    pace.passed(3, 0.0, {"a": 2, "b": 1})
    assert pace.is_one_alone("a")
    assert pace.is_one_alone("b")
    pace.passed(3, 0.0, {"b": 3})
    assert not pace.is_one_alone("a")
    assert pace.is_one_alone("of which nothing is known yet")
    assert not pace.is_one_alone("of which nothing is known yet")


def test_so_many_may_be_refused_and_one_in_a_hundred_of_what_passes() -> None:
    pace = Pace()
    assert [pace.may_refuse("a", 1) for _ in range(REFUSED_MIN)] == [True] * REFUSED_MIN
    pace.passed(REFUSED_SHARE, 0.0, {"a": REFUSED_SHARE})
    assert pace.may_refuse("b", 1)
    assert pace.may_refuse("a", 1)
    assert not pace.may_refuse("a", 1)
    # Somebody has looked at it, and reads on.
    assert pace.may_refuse("a", 1)


def test_of_a_large_batch_one_in_a_hundred_may_be_refused_at_once() -> None:
    pace, size = Pace(), 3 * REFUSED_MIN * REFUSED_SHARE
    allowed = size // REFUSED_SHARE
    assert [pace.may_refuse("a", size) for _ in range(allowed + 1)] == [True] * allowed + [False]
