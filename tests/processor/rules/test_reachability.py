from decimal import Decimal
from itertools import combinations, product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.rules import reachability
from processor.rules.conditions import Condition, holds, parse_condition
from processor.rules.reachability import reachable
from store.values.names import CounterName
from tests.processor.rules.test_conditions import documents

OPERATORS = ["gte", "gt", "lte", "lt", "eq", "ne"]
LEAVES = st.dictionaries(st.sampled_from(OPERATORS), st.integers(0, 4), min_size=1, max_size=2)
# All that matters lies between 0 and 5 for bounds up to 4: whole numbers, and for decimals the
# middles between them.
WHOLE = [
    {CounterName(name): value for name, value in zip("abc", values, strict=True)}
    for values in product(range(6), repeat=3)
]
HALVES = [Decimal(number) / 2 for number in range(11)]


def brute(wanted: Condition, unwanted: list[Condition]) -> bool:
    return any(
        holds(wanted, counters) and not any(holds(other, counters) for other in unwanted)
        for counters in WHOLE
    )


@given(documents(LEAVES), st.lists(documents(LEAVES), max_size=2))
def test_the_search_finds_what_trying_everything_finds(
    wanted: dict[str, Any], unwanted: list[dict[str, Any]]
) -> None:
    parsed, others = parse_condition(wanted), [parse_condition(other) for other in unwanted]
    assert reachable(parsed, others, lambda _name: True) == brute(parsed, others)


@given(st.dictionaries(st.just("a"), LEAVES, min_size=1))
def test_decimals_have_room_between_whole_numbers(document: dict[str, Any]) -> None:
    condition = parse_condition(document)
    assert reachable(condition, [], lambda _name: False) == any(
        holds(condition, {CounterName("a"): value}) for value in HALVES
    )


@pytest.mark.parametrize(
    ("document", "whole", "decimal"),
    [
        ({"a": {"gt": 5, "lt": 6}}, False, True),
        ({"a": {"gt": 5, "lt": 7}}, True, True),
        ({"a": {"eq": Decimal("2.5")}}, False, True),
        ({"a": {"lt": 0}}, False, False),
        ({"a": {"gte": 5, "lt": 5}}, False, False),
        ({"a": {"gt": Decimal("1e-30"), "lt": Decimal("2e-30")}}, False, True),
        ({"a": {"gte": 10**29}, "not": {"a": {"gt": 10**29}}}, True, True),
    ],
)
def test_edges(document: dict[str, Any], whole: bool, decimal: bool) -> None:
    condition = parse_condition(document)
    assert reachable(condition, [], lambda _name: True) is whole
    assert reachable(condition, [], lambda _name: False) is decimal


def test_many_counters_are_no_obstacle() -> None:
    # Three levels over twelve counters: 7 ** 12 combinations, settled in a few thousand steps.
    levels = [
        parse_condition({f"c{number}": {"gte": level * 5} for number in range(12)})
        for level in (1, 2, 3)
    ]
    assert reachable(levels[0], levels[1:], lambda _name: True)


def test_what_cannot_be_settled_in_time_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # Twelve pigeons, eleven holes: hard for any search. Lint refuses only what it has proved wrong.
    pigeons, holes = [f"c{number}" for number in range(12)], range(1, 12)
    somewhere = [{"any": [{pigeon: {"eq": hole}} for hole in holes]} for pigeon in pigeons]
    apart = [
        {"not": {one: {"eq": hole}, other: {"eq": hole}}}
        for one, other in combinations(pigeons, 2)
        for hole in holes
    ]
    # No bound that anybody waits for settles it; a tenth of Laurel's is reached sooner.
    monkeypatch.setattr(reachability, "WORK_MAX", reachability.WORK_MAX // 10)
    assert reachable(parse_condition({"all": somewhere + apart}), [], lambda _name: True)


@pytest.mark.parametrize(
    ("document", "work"),
    [
        # Two comparisons at the root, and for each of the values 0, 1, 5 and 6.
        ({"a": {"gte": 5, "lt": 5}}, 10),
        # Settled by `a` alone: `b` is never tried, and its bound is no value of `a`.
        ({"a": {"gte": 5, "lt": 5}, "b": {"gte": 3}}, 15),
    ],
)
def test_the_search_tries_the_values_that_matter_and_stops_when_settled(
    document: dict[str, Any], work: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    condition = parse_condition(document)
    monkeypatch.setattr(reachability, "WORK_MAX", work)
    assert not reachable(condition, [], lambda _name: True)
    monkeypatch.setattr(reachability, "WORK_MAX", work - 1)
    assert reachable(condition, [], lambda _name: True)
