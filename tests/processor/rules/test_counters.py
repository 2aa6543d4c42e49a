"""What one event adds to which counters, kind by kind."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.rules.conditions import DIGITS_MAX
from processor.rules.counters import (
    KINDS,
    MEMBER_LENGTH_MAX,
    Contribution,
    Kind,
    Listeners,
    can_fall,
    counter_bindings,
    field_kinds_of,
    listeners_by_type,
    operation_of,
)
from store.values.catalog import (
    CounterBinding,
    CounterKind,
    CounterOperation,
    CounterSpec,
    FieldKind,
)
from store.values.names import CounterName
from tests.builders.catalogs import a_catalog, a_counter, a_level, a_type

ADD, MAX, DISTINCT, POST, UNDO = CounterOperation
NUMERIC = {FieldKind.INTEGER, FieldKind.NUMBER}


def undone(**changes: Any) -> CounterSpec:
    plain = {"field": "step_id", "undo_event_type": "step.undone", "undo_field": "undone_id"}
    return a_counter(**{**plain, **changes})


def listening(*counters: CounterSpec) -> dict[str, Listeners]:
    return listeners_by_type(a_catalog(counters=counters))


def contributions(counter: CounterSpec, data: Mapping[str, object]) -> tuple[Contribution, ...]:
    return listening(counter)["step.made"].contributions(data)


class TestKinds:
    def test_every_kind_is_one_row(self) -> None:
        assert {
            CounterKind.COUNT: Kind(ADD, frozenset(), is_integer=True, is_undoable=True),
            CounterKind.DISTINCT: Kind(DISTINCT, frozenset({FieldKind.ID}), is_integer=True),
            CounterKind.SUM: Kind(ADD, frozenset(NUMERIC), is_integer=False),
            CounterKind.MAX: Kind(MAX, frozenset(NUMERIC), is_integer=False),
        } == KINDS
        assert set(KINDS) == set(CounterKind)

    @pytest.mark.parametrize("kind", CounterKind)
    def test_without_undo_a_counter_works_as_its_row_says(self, kind: CounterKind) -> None:
        counter = a_counter(kind=kind)
        assert operation_of(counter) is KINDS[kind].operation
        assert field_kinds_of(counter) == KINDS[kind].field_kinds
        assert not can_fall(counter)

    def test_with_undo_a_count_pairs_two_events_by_an_id_and_can_fall(self) -> None:
        assert operation_of(undone()) is POST
        assert field_kinds_of(undone()) == {FieldKind.ID}
        assert can_fall(undone())

    @pytest.mark.parametrize("kind", [kind for kind in CounterKind if not KINDS[kind].is_undoable])
    def test_undo_changes_nothing_about_a_kind_that_has_none(self, kind: CounterKind) -> None:
        # Lint refuses such a counter; until it does, its own row says what it reads.
        assert operation_of(undone(kind=kind)) is KINDS[kind].operation
        assert field_kinds_of(undone(kind=kind)) == KINDS[kind].field_kinds

    def test_the_numbers_of_the_operations_are_those_of_the_staging_table(self) -> None:
        assert [(operation.name, operation.value) for operation in CounterOperation] == [
            ("ADD", 1),
            ("MAX", 2),
            ("DISTINCT", 3),
            ("POST", 4),
            ("UNDO", 5),
        ]


class TestContributions:
    def test_a_count_adds_one_whatever_the_data(self) -> None:
        assert contributions(a_counter(id=3), {"x": 5}) == (Contribution(3, ADD, amount=1),)

    def test_a_sum_adds_the_field_exactly(self) -> None:
        counter = a_counter(id=3, kind=CounterKind.SUM, field="km")
        assert contributions(counter, {"km": Decimal("0.1")}) == (
            Contribution(3, ADD, amount=Decimal("0.1")),
        )
        assert contributions(counter, {"km": 0}) == (Contribution(3, ADD, amount=0),)

    def test_a_max_brings_the_field_negative_or_not(self) -> None:
        counter = a_counter(id=3, kind=CounterKind.MAX, field="km")
        assert contributions(counter, {"km": -2}) == (Contribution(3, MAX, amount=-2),)

    @pytest.mark.parametrize(("value", "member"), [("berlin", "berlin"), (7, "7"), (0, "0")])
    def test_a_distinct_brings_a_member(self, value: object, member: str) -> None:
        counter = a_counter(id=3, kind=CounterKind.DISTINCT, field="city")
        assert contributions(counter, {"city": value}) == (
            Contribution(3, DISTINCT, member=member),
        )

    def test_an_undone_count_posts_by_one_event_and_undoes_by_the_other(self) -> None:
        found = listening(undone(id=3))
        assert found["step.made"].contributions({"step_id": "a"}) == (
            Contribution(3, POST, member="a"),
        )
        assert found["step.undone"].contributions({"undone_id": "a", "step_id": "b"}) == (
            Contribution(3, UNDO, member="a"),
        )

    def test_the_undo_event_may_name_the_id_as_the_other_does(self) -> None:
        found = listening(undone(id=3, undo_field=None))
        assert found["step.undone"].contributions({"step_id": "a"}) == (
            Contribution(3, UNDO, member="a"),
        )

    def test_a_filter_is_not_asked_about_what_undoes(self) -> None:
        found = listening(undone(filter={"tier": {"eq": "gold"}}))
        assert found["step.made"].contributions({"step_id": "a", "tier": "tin"}) == ()
        assert len(found["step.undone"].contributions({"undone_id": "a", "tier": "tin"})) == 1

    @pytest.mark.parametrize("data", [{}, {"city": None}, {"": "berlin"}])
    def test_without_the_field_an_event_adds_nothing(self, data: dict[str, object]) -> None:
        for kind in (CounterKind.DISTINCT, CounterKind.SUM, CounterKind.MAX):
            assert contributions(a_counter(kind=kind, field="city"), data) == ()

    def test_a_filter_lets_through_what_matches(self) -> None:
        counter = a_counter(id=3, filter={"tier": {"eq": "gold"}})
        assert contributions(counter, {"tier": "gold"}) == (Contribution(3, ADD, amount=1),)
        assert contributions(counter, {"tier": "tin"}) == ()

    def test_one_event_adds_to_every_counter_that_listens(self) -> None:
        counters = (
            a_counter("steps", id=1),
            a_counter("km", id=2, kind=CounterKind.SUM, field="km"),
            a_counter("places", id=3, kind=CounterKind.DISTINCT, field="place"),
            a_counter("elsewhere", id=4, event_type="step.undone"),
        )
        found = listening(*counters)
        assert found["step.made"].contributions({"km": 2}) == (
            Contribution(1, ADD, amount=1),
            Contribution(2, ADD, amount=2),
        )
        assert found.keys() == {"step.made", "step.undone"}


class TestWhatCannotBeCounted:
    @pytest.mark.parametrize(
        "value",
        [
            "5",
            True,
            0.5,
            Decimal("NaN"),
            Decimal("1e31"),
            10**DIGITS_MAX,
            -(10**DIGITS_MAX),
            [],
            {},
        ],
    )
    @pytest.mark.parametrize("kind", [CounterKind.SUM, CounterKind.MAX])
    def test_an_amount_is_a_number_within_bounds(self, kind: CounterKind, value: object) -> None:
        with pytest.raises(ValueError, match=f"^`km` is no number of at most {DIGITS_MAX} digits$"):
            contributions(a_counter(kind=kind, field="km"), {"km": value})

    @pytest.mark.parametrize("value", [10**DIGITS_MAX - 1, Decimal("1e30"), Decimal("1e-30")])
    def test_the_largest_and_finest_amounts_are_counted(self, value: int | Decimal) -> None:
        counter = a_counter(id=3, kind=CounterKind.SUM, field="km")
        assert contributions(counter, {"km": value}) == (Contribution(3, ADD, amount=value),)

    @pytest.mark.parametrize("value", [Decimal("-0.1"), -1])
    def test_a_sum_takes_nothing_negative(self, value: int | Decimal) -> None:
        counter = a_counter(kind=CounterKind.SUM, field="km")
        with pytest.raises(
            ValueError, match=r"^`km` is negative: a sum would not commute with its conditions$"
        ):
            contributions(counter, {"km": value})

    @pytest.mark.parametrize("value", ["", "x" * (MEMBER_LENGTH_MAX + 1), True, 1.5, [], {}])
    def test_a_member_is_an_id(self, value: object) -> None:
        counter = a_counter(kind=CounterKind.DISTINCT, field="city")
        with pytest.raises(
            ValueError, match=f"^`city` is no id of 1 to {MEMBER_LENGTH_MAX} characters$"
        ):
            contributions(counter, {"city": value})

    def test_an_id_may_be_as_long_as_the_contract_allows(self) -> None:
        longest = "x" * MEMBER_LENGTH_MAX
        counter = a_counter(id=3, kind=CounterKind.DISTINCT, field="city")
        assert contributions(counter, {"city": longest}) == (
            Contribution(3, DISTINCT, member=longest),
        )


class TestConstantContributions:
    def test_plain_counts_are_worked_out_once(self) -> None:
        counters = (a_counter("steps", id=1), a_counter("more", id=2))
        assert listening(*counters)["step.made"].constant == (
            Contribution(1, ADD, amount=1),
            Contribution(2, ADD, amount=1),
        )

    @pytest.mark.parametrize(
        "other",
        [
            a_counter("other", filter={"tier": {"eq": "gold"}}),
            a_counter("other", kind=CounterKind.SUM, field="km"),
            a_counter("other", kind=CounterKind.MAX, field="km"),
            a_counter("other", kind=CounterKind.DISTINCT, field="city"),
            undone(name="other"),
        ],
        ids=["filter", "sum", "max", "distinct", "undo"],
    )
    def test_one_counter_that_depends_on_the_data_makes_all_depend(
        self, other: CounterSpec
    ) -> None:
        assert listening(a_counter("steps"), other)["step.made"].constant is None

    @given(st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3)))
    def test_they_are_what_any_data_would_add(self, data: dict[str, object]) -> None:
        listeners = listening(a_counter("steps", id=1), a_counter("more", id=2))["step.made"]
        assert listeners.contributions(data) == listeners.constant


class TestUses:
    def test_each_type_has_the_thresholds_of_its_own_conditions(self) -> None:
        walker = a_type(
            a_level(1, {"points": {"gte": 5}, "cities": {"gte": 2}}),
            a_level(
                2, {"any": [{"points": {"gte": Decimal("7.5")}}, {"not": {"points": {"lt": 5}}}]}
            ),
            counters=("points", "cities"),
        )
        runner = a_type(a_level(1, {"points": {"gt": 1}}), code="runner")
        counters = (a_counter("points", id=1), a_counter("cities", id=2))
        points, cities = counters
        assert counter_bindings(a_catalog(walker, runner, counters=counters)) == (
            CounterBinding(points.id, runner.id, points.name, False, (1,)),
            CounterBinding(points.id, walker.id, points.name, False, (5, Decimal("7.5"))),
            CounterBinding(cities.id, walker.id, cities.name, False, (2,)),
        )

    def test_a_counter_that_no_condition_names_has_none(self) -> None:
        shown = a_type(counters=("points", "cities"))
        found = {binding.name: binding.thresholds for binding in counter_bindings(a_catalog(shown))}
        assert found == {CounterName("points"): (5, 10, 15), CounterName("cities"): ()}
