from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.rules import conditions
from processor.rules.conditions import (
    DEPTH_MAX,
    All,
    AnyOf,
    Compare,
    Condition,
    Not,
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
from store.values.names import CounterName, Number

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


def test_the_error_names_every_place_and_message() -> None:
    with pytest.raises(RuleError) as refused:
        parse_condition({"a": {"gte": "x"}, "any": []})
    assert str(refused.value) == (
        "a.gte: 'x' cannot be compared by gte: expected a number; "
        "any: expected a list of conditions under `any`"
    )


def test_lists_of_conditions_nest_sixteen_deep_and_no_deeper() -> None:
    document: dict[str, Any] = {"a": {"gte": 1}}
    for _ in range(DEPTH_MAX):
        document = {"all": [document]}
    assert holds(parse_condition(document), {CounterName("a"): 1})
    with pytest.raises(RuleError, match=f"nested deeper than {DEPTH_MAX}: write it flatter$"):
        parse_condition({"all": [document]})


@pytest.mark.parametrize(
    ("document", "text"),
    [
        (
            {"a": {"gte": 1, "gt": 2, "lte": 3, "lt": 4, "eq": 5, "ne": Decimal("0.10")}},
            "a >= 1 and a > 2 and a <= 3 and a < 4 and a = 5 and a != 0.10",
        ),
        ({"a": {"in": [1, "b", True]}}, "a in [1, b, True]"),
        (
            {"any": [{"a": {"gt": 1}, "b": {"gt": 2}}, {"c": {"gt": 3}}]},
            "(a > 1 and b > 2) or c > 3",
        ),
        (
            {"all": [{"any": [{"a": {"gt": 1}}, {"b": {"gt": 2}}]}, {"c": {"gt": 3}}]},
            "(a > 1 or b > 2) and c > 3",
        ),
        ({"not": {"a": {"gt": 1}, "b": {"gt": 2}}}, "not (a > 1 and b > 2)"),
    ],
)
def test_a_condition_is_shown_as_a_person_would_write_it(document: object, text: str) -> None:
    assert str(parse_filter(document)) == text


@pytest.mark.parametrize(
    ("value", "within"),
    [
        (0, True),
        (-(10**30) + 1, True),
        (10**30, False),
        (Decimal("1e30"), True),
        (Decimal("1e31"), False),
        (Decimal("1e-30"), True),
        (Decimal("1e-31"), False),
        (Decimal("Infinity"), False),
    ],
)
def test_numbers_have_bounds(value: Number, within: bool) -> None:
    assert conditions.within_bounds(value) is within


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (0, True),
        (Decimal("-0.5"), True),
        (True, False),
        (0.5, False),
        ("5", False),
        (None, False),
        (Decimal("NaN"), False),
        (Decimal("Infinity"), False),
    ],
)
def test_a_number_is_an_int_or_a_finite_decimal(value: object, number: bool) -> None:
    assert conditions.is_number(value) is number


@pytest.mark.parametrize(
    ("bound", "value", "missing"),
    [
        ({"gte": Decimal("2.5")}, 1, Decimal("1.5")),
        ({"gt": Decimal("2.5")}, 1, 2),
        ({"gt": 2}, Decimal("0.5"), Decimal("2.5")),
        # More digits than Python's own context keeps.
        ({"gte": 10}, Decimal(f"0.{'1' * 30}"), Decimal(f"9.{'8' * 29}9")),
        ({"eq": 5}, 1, None),
    ],
)
def test_what_is_missing_is_exact(bound: object, value: Number, missing: Number | None) -> None:
    [short] = shortfalls(parse_condition({"a": bound}), {CounterName("a"): value})
    assert (short.value, short.missing) == (value, missing)


class TestFilters:
    @pytest.mark.parametrize(
        ("data", "passes"),
        [({"a": 1}, True), ({"b": "x"}, True), ({"a": 2, "b": "y"}, False), ({}, False)],
    )
    def test_one_of_several_is_enough_under_any(
        self, data: dict[str, object], passes: bool
    ) -> None:
        assert (
            matches(parse_filter({"any": [{"a": {"eq": 1}}, {"b": {"eq": "x"}}]}), data) is passes
        )

    @pytest.mark.parametrize(
        ("document", "hint"),
        [
            (
                {"a": {"eq": None}},
                "None cannot be compared by eq: expected a number, a string or true/false",
            ),
            (
                {"a": {"in": ["b", None]}},
                "None cannot be compared by in: expected a number, a string or true/false",
            ),
            ({"a": {"lt": True}}, "True cannot be compared by lt: expected a number"),
            (
                {"a": {"like": "b"}},
                "'like' is no comparison: take one of eq, gt, gte, in, lt, lte, ne",
            ),
            ({}, "expected a mapping that names at least a field, like `name: {gte: 5}`"),
        ],
    )
    def test_the_way_out_is_that_of_filters(self, document: object, hint: str) -> None:
        with pytest.raises(RuleError) as refused:
            parse_filter(document)
        assert [each.message for each in refused.value.diagnostics] == [hint]

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
        with pytest.raises(RuleError, match=r"^tier\.in: expected a list of values under `in`$"):
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
