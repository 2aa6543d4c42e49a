"""What is worked out once of a catalog version."""

from datetime import date, timedelta
from decimal import Decimal

import pytest

from processor.batch.compiled_catalog import CompiledCatalog
from processor.rules.conditions import RuleError
from store.merge_statement import MergeStatement
from store.values.catalog import Catalog, CounterBinding, CounterKind
from store.values.names import CounterName
from tests.builders.catalogs import TENANT, a_catalog, a_counter, a_level, a_type

POINTS, LONGEST = CounterName("points"), CounterName("longest")
WALKER = a_type(
    a_level(1, {"points": {"gte": 5}}),
    a_level(2, {"points": {"gte": 9}, "longest": {"gt": 30}}),
    counters=("points", "longest"),
)
RUNNER = a_type(a_level(1, {"longest": {"gte": 30}}), code="runner", counters=("longest",))


def compiled(catalog: Catalog) -> CompiledCatalog:
    return CompiledCatalog.of(catalog, TENANT, timedelta(minutes=1), date.min)


def a_numbered_catalog() -> Catalog:
    counters = (
        a_counter("points", id=1),
        a_counter("longest", id=2, kind=CounterKind.MAX, field="metres"),
    )
    return a_catalog(RUNNER, WALKER, counters=counters)


def test_each_type_binds_its_counters_with_the_numbers_that_it_compares() -> None:
    found = compiled(a_numbered_catalog())
    assert found.merge_statement == MergeStatement.of(
        [
            CounterBinding(2, RUNNER.id, LONGEST, True, (Decimal(30),)),
            CounterBinding(1, WALKER.id, POINTS, False, (Decimal(5), Decimal(9))),
            CounterBinding(2, WALKER.id, LONGEST, True, (Decimal(30),)),
        ]
    )


def test_a_type_knows_which_counters_make_an_event_its_source() -> None:
    found = compiled(a_numbered_catalog())
    assert found.counters_of == {WALKER.id: frozenset({1, 2}), RUNNER.id: frozenset({2})}


def test_reader_and_rules_are_of_the_same_version() -> None:
    catalog = a_numbered_catalog()
    found = compiled(catalog)
    assert found.version == found.rulebook.version == catalog.version
    assert found.reader.catalog is catalog
    assert found.reader.floor == date.min
    assert set(found.rulebook.by_id) == {WALKER.id, RUNNER.id}


def test_a_catalog_that_breaks_the_grammar_is_not_compiled() -> None:
    with pytest.raises(RuleError):
        compiled(a_catalog(a_type(a_level(1, {"points": {"roughly": 5}}))))
