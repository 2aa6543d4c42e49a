"""What a new catalog changes about the old one, without a database."""

from dataclasses import replace
from typing import Any

import pytest

from store.catalog_changes import NOTHING, Adoption, Changes, TypeChange, begin_at_zero, between
from store.values.catalog import Catalog, CounterKind, EventSpec, TypeSpec
from store.values.names import CounterName
from tests.builders.catalogs import a_catalog, a_counter, a_level, a_type

WALKER = a_type()
RUNNER = a_type(code="runner")
POINTS, CITIES = CounterName("points"), CounterName("cities")
UNCHANGED = Changes((), (), (), (), (), (), ())


def changed(old: TypeSpec, new: TypeSpec) -> TypeChange:
    """Return the one change between two catalogs that have a version of WALKER each."""
    [change] = between(a_catalog(old), a_catalog(new)).changed
    return change


def test_the_same_catalog_changes_nothing() -> None:
    assert between(a_catalog(WALKER, RUNNER), a_catalog(WALKER, RUNNER)) == UNCHANGED


def test_the_ids_that_the_database_gives_are_no_difference() -> None:
    old = replace(a_catalog(), version=7, counters=(a_counter(id=3),))
    assert between(old, a_catalog()) == UNCHANGED


def test_the_order_in_which_a_catalog_is_written_is_no_difference() -> None:
    old = a_catalog(a_type(counters=("points", "cities")), RUNNER)
    turned = replace(old, types=old.types[::-1], counters=old.counters[::-1])
    assert between(old, turned) == UNCHANGED


def test_everything_is_new_at_first_in_the_order_of_the_names() -> None:
    walker = a_type(counters=("points", "cities"))
    new = Catalog(0, (), (a_counter("points"), a_counter("cities")), (walker, RUNNER))
    assert between(NOTHING, new) == replace(
        UNCHANGED,
        created=(RUNNER, walker),
        new_counters=(a_counter("cities"), a_counter("points")),
    )


def test_what_is_there_no_more_is_removed() -> None:
    walker = a_type(counters=("points", "cities"))
    found = between(a_catalog(walker, RUNNER), a_catalog(RUNNER))
    assert found == replace(UNCHANGED, removed=(walker,), removed_counters=(a_counter("cities"),))


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": CounterKind.MAX},
        {"event_type": "step.undone"},
        {"field": "step_id"},
        {"filter": {"tier": {"eq": "gold"}}},
        {"undo_event_type": "step.undone"},
        {"undo_field": "step_id"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_counter_that_counts_otherwise_is_altered(changes: dict[str, Any]) -> None:
    other = a_counter(**changes)
    found = between(a_catalog(), a_catalog(counters=(other,)))
    assert found == replace(UNCHANGED, altered_counters=((a_counter(), other),))


class TestTypeChanges:
    def test_the_fields_that_differ_are_named(self) -> None:
        new = a_type(title="Hiker", is_onchain_capable=False)
        assert changed(WALKER, new) == TypeChange(WALKER, new, ("title", "is_onchain_capable"))

    def test_levels_are_named_by_their_numbers(self) -> None:
        new = a_type(a_level(1), a_level(2, title="Two"), a_level(4))
        assert changed(WALKER, new).what == ("levels.2", "levels.3", "levels.4")
        assert changed(WALKER, new).removed_levels == (3,)

    def test_a_counter_that_is_used_no_more_is_dropped(self) -> None:
        old = a_type(counters=("points", "cities"))
        assert changed(old, WALKER).dropped_counters == (CITIES,)
        assert changed(WALKER, old).dropped_counters == ()


class TestAdoptions:
    def test_a_type_takes_over_a_counter_that_another_one_kept(self) -> None:
        both = a_type(code="runner", counters=("points", "cities"))
        found = between(
            a_catalog(WALKER, a_type(code="runner", counters=("cities",))), a_catalog(WALKER, both)
        )
        assert found.adoptions == (Adoption(RUNNER.id, POINTS, WALKER.id),)
        assert found.rules_changed == {RUNNER.id}

    def test_so_does_a_new_type(self) -> None:
        found = between(a_catalog(WALKER), a_catalog(WALKER, RUNNER))
        assert found.adoptions == (Adoption(RUNNER.id, POINTS, WALKER.id),)

    def test_a_counter_that_nobody_kept_starts_from_nothing(self) -> None:
        new = a_type(counters=("points", "cities"))
        assert between(a_catalog(WALKER), a_catalog(new)).adoptions == ()


class TestWhatIsEvaluatedAgain:
    @pytest.mark.parametrize(
        ("new", "rules", "metadata"),
        [
            (a_type(title="Hiker"), False, False),
            (a_type(a_level(1, title="One"), a_level(2), a_level(3)), False, False),
            (a_type(a_level(1), a_level(2)), True, False),
            (a_type(a_level(1), a_level(2), a_level(3), a_level(4)), True, False),
            (a_type(a_level(1, order=5), a_level(2), a_level(3)), True, False),
            (a_type(a_level(1, {"points": {"gte": 1}}), a_level(2), a_level(3)), True, False),
            (a_type(metadata_fields={"points": POINTS}), False, True),
        ],
        ids=["title", "level's title", "level gone", "level new", "order", "conditions", "field"],
    )
    def test_only_what_may_end_otherwise(self, new: TypeSpec, rules: bool, metadata: bool) -> None:
        found = between(a_catalog(WALKER, RUNNER), a_catalog(new, RUNNER))
        assert found.rules_changed == ({WALKER.id} if rules else set())
        assert found.metadata_changed == ({WALKER.id} if metadata else set())

    def test_nothing_of_a_new_or_removed_type(self) -> None:
        found = between(a_catalog(WALKER), a_catalog(a_type(code="runner", counters=("x",))))
        assert found.rules_changed == set()
        assert found.metadata_changed == set()


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        (["step.made"], ("cities",)),
        (["step.undone"], ("cities",)),
        (["weather.changed"], ()),
        ([], ()),
    ],
)
def test_a_new_counter_begins_at_zero_where_its_events_could_come_before(
    declared: list[str], expected: tuple[str, ...]
) -> None:
    cities = a_counter(
        "cities", event_type="step.made", undo_event_type="step.undone", field="step_id"
    )
    old = replace(a_catalog(), events=tuple(EventSpec(kind, "t", ()) for kind in declared))
    new = replace(old, counters=(*old.counters, cities))
    assert begin_at_zero(old, new) == expected
    assert begin_at_zero(new, new) == ()
    assert begin_at_zero(NOTHING, new) == ()
