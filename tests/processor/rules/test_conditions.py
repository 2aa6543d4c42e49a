from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.rules import conditions
from processor.rules.conditions import (
    All,
    AnyOf,
    Compare,
    Condition,
    Not,
    Number,
    Op,
    RuleError,
    holds,
    is_monotone,
    matches,
    parse_condition,
    parse_filter,
    shortfalls,
)
from processor.rules.diagnostics import Diagnostic
from store.values import CounterName

NAMES = ("a", "b", "c")

numbers = st.integers(0, 12) | st.decimals(0, 12, places=1)
counter_maps = st.dictionaries(st.sampled_from(NAMES).map(CounterName), numbers)
comparisons = st.dictionaries(
    st.sampled_from(["gte", "gt", "lte", "lt", "eq", "ne"]), numbers, min_size=1, max_size=2
)
rising = st.dictionaries(st.sampled_from(["gte", "gt"]), numbers, min_size=1)


def documents(
    leaves: st.SearchStrategy[Any], *, negation: bool = True
) -> st.SearchStrategy[dict[str, Any]]:
    plain = st.dictionaries(st.sampled_from(NAMES), leaves, min_size=1)

    def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
        groups: dict[Any, st.SearchStrategy[Any]] = {
            "all": st.lists(inner, min_size=1, max_size=3),
            "any": st.lists(inner, min_size=1, max_size=3),
            **({"not": inner} if negation else {}),
        }
        return st.fixed_dictionaries({}, optional=groups | dict.fromkeys(NAMES, leaves)).filter(
            bool
        )

    return st.recursive(plain, nested, max_leaves=6)


def truth(document: Mapping[str, Any], counters: Mapping[Any, Number]) -> bool:
    """The grammar read a second time, straight from its prose."""
    results = []
    for key, value in document.items():
        if key == "all":
            results.append(all(truth(part, counters) for part in value))
        elif key == "any":
            results.append(any(truth(part, counters) for part in value))
        elif key == "not":
            results.append(not truth(value, counters))
        else:
            found = counters.get(key, 0)
            outcome = {
                "gte": lambda bound, found=found: found >= bound,
                "gt": lambda bound, found=found: found > bound,
                "lte": lambda bound, found=found: found <= bound,
                "lt": lambda bound, found=found: found < bound,
                "eq": lambda bound, found=found: found == bound,
                "ne": lambda bound, found=found: found != bound,
            }
            results += [outcome[op](bound) for op, bound in value.items()]
    return all(results)


@given(documents(comparisons), counter_maps)
def test_a_condition_holds_as_its_prose_says(
    document: dict[str, Any], counters: dict[CounterName, Number]
) -> None:
    assert holds(parse_condition(document), counters) == truth(document, counters)


@given(documents(comparisons), counter_maps)
def test_there_are_shortfalls_exactly_when_it_does_not_hold(
    document: dict[str, Any], counters: dict[CounterName, Number]
) -> None:
    condition = parse_condition(document)
    assert (shortfalls(condition, counters) == ()) == holds(condition, counters)


@given(documents(rising, negation=False), counter_maps, counter_maps)
def test_growing_counters_never_break_a_monotone_condition(
    document: dict[str, Any], counters: dict[CounterName, Number], growth: dict[CounterName, Number]
) -> None:
    condition = parse_condition(document)
    grown = {
        name: Decimal(counters.get(name, 0)) + growth.get(name, 0) for name in {*counters, *growth}
    }
    assert is_monotone(condition)
    assert holds(condition, grown) or not holds(condition, counters)


@given(documents(rising, negation=False), counter_maps)
def test_what_is_said_to_be_missing_is_enough(
    document: dict[str, Any], counters: dict[CounterName, Number]
) -> None:
    condition = parse_condition(document)
    grown: dict[CounterName, Number] = dict(counters)
    for short in shortfalls(condition, counters):
        assert isinstance(short.part, Compare)
        assert short.missing is not None
        name = CounterName(short.part.name)
        grown[name] = max(grown.get(name, 0), Decimal(short.value or 0) + short.missing)
    assert holds(condition, grown)


def test_what_is_missing_is_no_more_than_needed() -> None:
    condition = parse_condition({"a": {"gte": 10}, "b": {"gt": 10}, "c": {"lt": 3}})
    counters = {CounterName("a"): 7, CounterName("b"): 10, CounterName("c"): 5}
    assert [(short.value, short.missing) for short in shortfalls(condition, counters)] == [
        (7, 3),
        (10, 1),
        (5, None),
    ]


def test_of_alternatives_the_nearest_is_told() -> None:
    condition = parse_condition({"any": [{"a": {"gte": 5}, "b": {"gte": 5}}, {"c": {"gte": 100}}]})
    [short] = shortfalls(condition, {})
    assert short.part == Compare("c", Op.GTE, 100)


def test_a_document_becomes_this_tree() -> None:
    document = {
        "a": {"gte": 5, "lt": 9},
        "any": [{"b": {"eq": 1}}, {"not": {"c": {"ne": Decimal("0.1")}}}],
    }
    assert parse_condition(document) == All(
        (
            Compare("a", Op.GTE, 5),
            Compare("a", Op.LT, 9),
            AnyOf((Compare("b", Op.EQ, 1), Not(Compare("c", Op.NE, Decimal("0.1"))))),
        )
    )
    assert str(parse_condition(document)) == "a >= 5 and a < 9 and (b = 1 or not (c != 0.1))"
    assert [each.name for each in conditions.comparisons(parse_condition(document))] == list("aabc")


@pytest.mark.parametrize(
    ("document", "monotone"),
    [
        ({"a": {"gte": 1}}, True),
        ({"any": [{"a": {"gt": 1}}, {"b": {"gte": 2}}]}, True),
        ({"a": {"lt": 1}}, False),
        ({"a": {"lte": 1}}, False),
        ({"a": {"eq": 1}}, False),
        ({"a": {"ne": 1}}, False),
        ({"all": [{"a": {"gte": 1}}, {"not": {"a": {"lt": 2}}}]}, False),
    ],
)
def test_only_gte_and_gt_are_monotone(document: dict[str, Any], monotone: bool) -> None:
    assert is_monotone(parse_condition(document)) is monotone


def test_numbers_are_exact() -> None:
    condition = parse_condition({"a": {"eq": Decimal("0.3")}})
    assert holds(condition, {CounterName("a"): Decimal("0.1") + Decimal("0.2")})
    huge = 10**29 + 1
    assert not holds(parse_condition({"a": {"gte": huge}}), {CounterName("a"): huge - 1})


NO_MAPPING = "expected a mapping that names at least a counter, like `name: {gte: 5}`"


@pytest.mark.parametrize(
    ("document", "diagnostic"),
    [
        ({}, Diagnostic((), NO_MAPPING)),
        ([], Diagnostic((), NO_MAPPING)),
        ({"a": 5}, Diagnostic(("a",), "expected comparisons, like `a: {gte: 5}`")),
        ({"a": {}}, Diagnostic(("a",), "expected comparisons, like `a: {gte: 5}`")),
        ({"a": {"in": [1]}}, Diagnostic(("a",), "'in' is no comparison: take one of eq, gt, gte, lt, lte, ne")),
        ({"a": {"gte": 0.5}}, Diagnostic(("a", "gte"), "0.5 cannot be compared by gte: expected a number")),
        ({"a": {"gte": True}}, Diagnostic(("a", "gte"), "True cannot be compared by gte: expected a number")),
        ({"a": {"gte": "5"}}, Diagnostic(("a", "gte"), "'5' cannot be compared by gte: expected a number")),
        ({"a": {"gte": Decimal("NaN")}}, Diagnostic(("a", "gte"), "Decimal('NaN') cannot be compared by gte: expected a number")),
        ({"a": {"gte": 10**30}}, Diagnostic(("a", "gte"), f"{10**30} has more than 30 digits")),
        ({"all": {"a": {"gte": 1}}}, Diagnostic(("all",), "expected a list of conditions under `all`")),
        ({"any": []}, Diagnostic(("any",), "expected a list of conditions under `any`")),
        ({"any": [{"a": {"gte": 1}}, 7]}, Diagnostic(("any", 1), NO_MAPPING)),
        ({1: {"gte": 1}}, Diagnostic((), "1 is no name: put it in quotes if it is meant as one")),
    ],
)  # fmt: skip
def test_a_diagnostic_says_where_and_what(document: object, diagnostic: Diagnostic) -> None:
    with pytest.raises(RuleError) as refused:
        parse_condition(document)
    assert refused.value.diagnostics == (diagnostic,)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(RuleError) as refused:
        parse_condition({"a": {"gtee": 1, "lt": "x"}, "not": {"b": 3}})
    assert [diagnostic.path for diagnostic in refused.value.diagnostics] == [
        ("a",),
        ("a", "lt"),
        ("not", "b"),
    ]


def test_a_document_without_end_is_refused() -> None:
    endless: dict[str, Any] = {}
    endless["not"] = endless
    with pytest.raises(RuleError, match="nested deeper than 16"):
        parse_condition(endless)


class TestFilters:
    @pytest.mark.parametrize(
        ("document", "data", "passes"),
        [
            ({"tier": {"eq": "gold"}}, {"tier": "gold"}, True),
            ({"tier": {"eq": "gold"}}, {"tier": "tin"}, False),
            ({"tier": {"ne": "gold"}}, {"tier": "tin"}, True),
            ({"tier": {"in": ["gold", "silver"]}}, {"tier": "silver"}, True),
            ({"tier": {"in": ["gold", 3]}}, {"tier": 3}, True),
            ({"paid": {"eq": True}}, {"paid": True}, True),
            ({"paid": {"eq": True}}, {"paid": 1}, False),
            ({"stars": {"eq": 1}}, {"stars": True}, False),
            ({"stars": {"gte": 4}}, {"stars": 5}, True),
            ({"stars": {"gte": 4}}, {"stars": "5"}, False),
            ({"price": {"eq": Decimal("0.10")}}, {"price": Decimal("0.1")}, True),
            ({"tags": {"ne": "x"}}, {"tags": ["x"]}, True),
        ],
    )
    def test_values_are_compared_by_kind(
        self, document: object, data: dict[str, object], passes: bool
    ) -> None:
        assert matches(parse_filter(document), data) is passes

    @pytest.mark.parametrize("op", ["gte", "gt", "lte", "lt", "eq", "ne"])
    @pytest.mark.parametrize("data", [{}, {"stars": None}])
    def test_a_comparison_with_a_missing_field_is_false(
        self, op: str, data: dict[str, object]
    ) -> None:
        assert matches(parse_filter({"stars": {op: 0}}), data) is False
        assert matches(parse_filter({"not": {"stars": {op: 0}}}), data) is True

    @pytest.mark.parametrize("bound", [[], "gold", {}, None])
    def test_in_takes_a_list(self, bound: object) -> None:
        with pytest.raises(RuleError, match="expected a list of values under `in`"):
            parse_filter({"tier": {"in": bound}})

    def test_strings_have_no_order(self) -> None:
        with pytest.raises(RuleError, match="'gold' cannot be compared by gte: expected a number"):
            parse_filter({"tier": {"gte": "gold"}})

    @given(documents(comparisons), counter_maps)
    def test_on_complete_numbers_a_filter_is_a_condition(
        self, document: dict[str, Any], counters: dict[CounterName, Number]
    ) -> None:
        complete = {CounterName(name): counters.get(CounterName(name), 0) for name in NAMES}
        filtered: Condition = parse_filter(document)
        assert matches(filtered, complete) == holds(parse_condition(document), complete)  # type: ignore[arg-type]
