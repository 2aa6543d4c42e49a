"""Durations and amounts are read as people write them, and nothing is guessed."""

from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.quantities import coins, duration, nanograms, shown_age, shown_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("30s", 30),
        ("5m", 300),
        ("1h30m", 5_400),
        ("1h 30m", 5_400),
        (" 2D ", 172_800),
        ("1.5h", 5_400),
    ],
)
def test_a_duration_has_a_unit(text: str, seconds: float) -> None:
    assert duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("value", ["10", "-3", "1.5", 10, 2.5])
def test_a_number_without_a_unit_is_refused_with_the_way_out(value: object) -> None:
    with pytest.raises(ValueError, match=r"has no unit: write 500ms, 30s"):
        duration(value)


@pytest.mark.parametrize("text", ["PT30S", "-PT30S", "0:00:30"])
def test_other_writings_are_left_to_the_next_reader(text: str) -> None:
    assert duration(text) == text


@pytest.mark.parametrize(
    "text", ["soon", "5 parsecs", "m", "5mm", "", "-1s", "+5s", "0,5s", "1e3", "1m30", "p"]
)
def test_what_is_no_duration_is_refused_with_the_way_out(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no duration: write 500ms, 30s"):
        duration(text)


def test_a_duration_beyond_all_time_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than any duration"):
        duration("99999999999999d")


@given(st.integers(0, 10**11).map(lambda number: timedelta(milliseconds=number)))
def test_what_is_shown_is_read_back(value: timedelta) -> None:
    assert duration(shown_duration(value)) == value


@pytest.mark.parametrize("text", ["0.05", " 0.05 ", "0.05 TON", "0.05 Gram", "0.05grams"])
def test_an_amount_may_name_its_coin(text: str) -> None:
    assert coins(text) == Decimal("0.05")


@pytest.mark.parametrize("text", ["", "much", "0,05", "5 EUR", "TON"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"write Grams, as 0\.05"):
        coins(text)


def test_a_gram_is_a_thousand_million_nanograms() -> None:
    assert nanograms(Decimal("0.0012816")) == 1_281_600
    assert nanograms(Decimal("1000000.000000001")) == 10**15 + 1


@pytest.mark.parametrize(
    ("age", "shown"),
    [
        (-3, "0 s"),
        (0.4, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (timedelta(hours=1, minutes=59), "119 min"),
        (timedelta(hours=47), "47 h"),
        (timedelta(days=9, hours=23), "9 d"),
    ],
)
def test_an_age_is_told_to_its_largest_unit(age: timedelta | float, shown: str) -> None:
    assert shown_age(age) == shown
