from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.rules.levels import (
    Award,
    LevelUp,
    Rulebook,
    TypeRules,
    Unchanged,
    award,
    evaluate,
    metadata,
)
from store.values.badges import Instance, InstanceStatus
from store.values.catalog import TypeSpec
from store.values.names import CounterName, Number
from tests.builders.catalogs import a_catalog, a_level, a_type, an_instance

POINTS, CITIES = CounterName("points"), CounterName("cities")
STEPS = TypeRules.compile(a_type(a_level(1), a_level(2), a_level(3)))  # 5, 10 and 15 points


def levels_of(decision: Award | LevelUp | Unchanged) -> list[int]:
    return [] if isinstance(decision, Unchanged) else [level.level for level in decision.passed]


@pytest.mark.parametrize(
    ("points", "passed"),
    [(0, []), (4, []), (5, [1]), (9, [1]), (10, [1, 2]), (15, [1, 2, 3]), (99, [1, 2, 3])],
)
def test_a_first_badge_comes_at_the_highest_level_that_holds(
    points: int, passed: list[int]
) -> None:
    decision = evaluate(STEPS, {POINTS: points}, None)
    assert levels_of(decision) == passed
    if passed:
        assert isinstance(decision, Award)
        assert decision.level.level == passed[-1]


@pytest.mark.parametrize("held", [1, 2, 3])
@pytest.mark.parametrize("points", [0, 5, 10, 15])
def test_a_badge_rises_and_never_falls(held: int, points: int) -> None:
    decision = evaluate(STEPS, {POINTS: points}, an_instance(held))
    above = [level for level in (1, 2, 3) if level > held and points >= level * 5]
    assert levels_of(decision) == above
    if above:
        assert isinstance(decision, LevelUp)
        assert decision.level.level == above[-1]


@pytest.mark.parametrize("status", [InstanceStatus.REVOKED, InstanceStatus.BURNED_ONCHAIN])
@pytest.mark.parametrize("held", [1, 2, 3])
def test_events_give_nothing_to_a_badge_that_is_gone(status: InstanceStatus, held: int) -> None:
    assert evaluate(STEPS, {POINTS: 99}, an_instance(held, status=status)) == Unchanged()


def test_a_level_between_whose_conditions_do_not_hold_is_not_passed() -> None:
    rules = TypeRules.compile(
        a_type(
            a_level(1),
            a_level(2, {"cities": {"gte": 1}}),
            a_level(3),
            counters=("points", "cities"),
        )
    )
    assert levels_of(evaluate(rules, {POINTS: 15}, None)) == [1, 3]
    assert levels_of(evaluate(rules, {POINTS: 15, CITIES: 1}, an_instance(1))) == [2, 3]


def test_highest_means_by_order() -> None:
    # Lint keeps order and level together; the rule itself goes by order, as the seed's field says.
    rules = TypeRules.compile(
        a_type(
            a_level(2, {"points": {"gte": 1}}, order=1), a_level(1, {"points": {"gte": 1}}, order=2)
        )
    )
    decision = evaluate(rules, {POINTS: 1}, None)
    assert isinstance(decision, Award)
    assert (decision.level.level, levels_of(decision)) == (1, [2, 1])


def test_metadata_holds_the_level_and_the_mapped_counters() -> None:
    spec = a_type(
        metadata_fields={"city_count": CITIES, "points": POINTS}, counters=("points", "cities")
    )
    decision = evaluate(TypeRules.compile(spec), {POINTS: Decimal("5.5")}, None)
    assert isinstance(decision, Award)
    assert decision.metadata == {"level": 1, "city_count": 0, "points": Decimal("5.5")}
    raised = evaluate(TypeRules.compile(spec), {POINTS: 10, CITIES: 2}, an_instance(1))
    assert isinstance(raised, LevelUp)
    assert raised.metadata == {"level": 2, "city_count": 2, "points": 10}
    assert metadata(spec, 3, {}) == {"level": 3, "city_count": 0, "points": 0}


def test_a_badge_at_a_level_that_the_type_does_not_have_is_an_error() -> None:
    with pytest.raises(ValueError, match="walker has no level 9"):
        evaluate(STEPS, {}, an_instance(9))


def test_a_rulebook_finds_types_by_id_and_by_code() -> None:
    spec, other = a_type(), a_type(code="runner")
    book = Rulebook.compile(replace(a_catalog(spec, other), version=7))
    assert book.version == 7
    assert {code: rules.spec for code, rules in book.by_code.items()} == {
        spec.code: spec,
        other.code: other,
    }
    assert book.by_id == {rules.spec.id: rules for rules in book.by_code.values()}


# ---------------------------------------------------------------- properties

bounds = st.integers(0, 12)


def types(
    operators: tuple[str, ...] = ("gte", "gt", "lte", "lt", "eq", "ne"),
) -> st.SearchStrategy[TypeSpec]:
    # One strategy for all levels: made anew inside of a draw, it costs three times as much.
    comparisons = st.dictionaries(st.sampled_from(operators), bounds, min_size=1)
    conditions = st.dictionaries(st.sampled_from(["points", "cities"]), comparisons, min_size=1)
    return st.lists(conditions, min_size=1, max_size=4).map(
        lambda levels: a_type(
            *(a_level(number, document) for number, document in enumerate(levels, 1)),
            counters=("points", "cities"),
        )
    )


histories = st.lists(st.fixed_dictionaries({POINTS: bounds, CITIES: bounds}), max_size=8)


def played(rules: TypeRules, history: list[dict[CounterName, int]]) -> Iterator[Instance | None]:
    """Yield the badge after each evaluation, as a batch would store it."""
    badge: Instance | None = None
    for counters in history:
        decision = evaluate(rules, counters, badge)
        if not isinstance(decision, Unchanged):
            badge = an_instance(decision.level.level)
        yield badge


@given(types(), histories)
def test_levels_never_fall_whatever_the_counters_do(
    spec: TypeSpec, history: list[dict[CounterName, int]]
) -> None:
    levels = [
        badge.current_level if badge else 0 for badge in played(TypeRules.compile(spec), history)
    ]
    assert levels == sorted(levels)


@given(types(operators=("gte", "gt")), histories)
def test_with_monotone_conditions_the_batching_changes_nothing(
    spec: TypeSpec, history: list[dict[CounterName, int]]
) -> None:
    rules = TypeRules.compile(spec)
    rising = [
        {name: sum(step[name] for step in history[: place + 1]) for name in (POINTS, CITIES)}
        for place in range(len(history))
    ]
    *_, one_by_one = [None, *played(rules, rising)]
    *_, all_at_once = [None, *played(rules, rising[-1:])]
    assert one_by_one == all_at_once


@given(types(), st.fixed_dictionaries({POINTS: bounds, CITIES: bounds}))
def test_evaluating_the_same_counters_again_changes_nothing(
    spec: TypeSpec, counters: dict[CounterName, Number]
) -> None:
    rules = TypeRules.compile(spec)
    first = evaluate(rules, counters, None)
    if not isinstance(first, Unchanged):
        assert evaluate(rules, counters, an_instance(first.level.level)) == Unchanged()
        assert first.level == first.passed[-1]


@pytest.mark.parametrize("held", [None, 1, 2, 3])
@pytest.mark.parametrize("points", [0, 5, 10, 15])
@pytest.mark.parametrize("asked", [None, 1, 2, 3])
def test_an_award_gives_the_level_that_is_asked_for_and_never_a_lower_one(
    held: int | None, points: int, asked: int | None
) -> None:
    """Without a level it is the one that the counters reach, and at least the lowest."""
    badge = None if held is None else an_instance(held)
    decision = award(STEPS, {POINTS: points}, badge, asked)
    wanted = asked or max(1, points // 5)
    if wanted <= (held or 0):
        assert decision == Unchanged()
        return
    assert isinstance(decision, Award if held is None else LevelUp)
    assert decision.level.level == wanted
    earned = [level for level in range((held or 0) + 1, wanted) if points >= level * 5]
    assert levels_of(decision) == [*earned, wanted]
    assert decision.metadata == {"level": wanted}


@pytest.mark.parametrize("status", [InstanceStatus.REVOKED, InstanceStatus.BURNED_ONCHAIN])
def test_an_award_follows_a_badge_that_is_gone_with_a_new_one(status: InstanceStatus) -> None:
    decision = award(STEPS, {POINTS: 5}, an_instance(3, status=status), 2)
    assert isinstance(decision, Award)
    assert levels_of(decision) == [1, 2]


def test_an_award_of_a_level_that_the_type_does_not_have_is_an_error() -> None:
    with pytest.raises(ValueError, match="walker has no level 4"):
        award(STEPS, {}, None, 4)
