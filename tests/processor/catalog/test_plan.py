"""The plan of an apply, held to what applying then does."""

from dataclasses import replace
from decimal import Decimal

import pytest

from processor.catalog.apply import apply_catalog
from processor.catalog.plan import FieldChange, adopted, plan
from store.catalog_changes import Adoption
from store.counting import Progress
from store.engine import Database
from store.values.catalog import Catalog
from store.values.names import CounterName, Number, TypeCode
from tests.builders.catalogs import TENANT, a_catalog, a_level, a_type
from tests.builders.messages import ALICE
from tests.builders.sql import rows
from tests.store.test_catalogs import RUNNER, WALKER, applied, some_progress

POINTS = CounterName("points")


def with_runner(**changes: object) -> Catalog:
    runner = a_type(a_level(1, {"points": {"gte": 2}}), code="runner")
    return a_catalog(a_type(**changes), runner)  # type: ignore[arg-type]


async def test_the_plan_is_what_applying_does(database: Database) -> None:
    await applied(database, a_catalog())
    for number in range(12):
        user = (await rows(database, "SELECT gen_random_uuid()"))[0][0]
        await some_progress(database, user, f'{{"points": {number}}}')
    easier = with_runner(metadata_fields={"points": POINTS})
    easier = replace(
        easier,
        types=(
            easier.types[0],
            replace(
                easier.types[1],
                levels=(a_level(1, {"points": {"gte": 1}}), *easier.types[1].levels[1:]),
            ),
        ),
    )
    expected = await plan(database, easier)
    outcome = await apply_catalog(database, easier, tenant_id=TENANT)
    totals = expected.totals
    assert (totals["created"], totals["raised"]) == (outcome.awarded, outcome.raised) == (21, 0)
    given = await rows(
        database,
        "SELECT code, current_level, count(*)::int FROM nft_instance"
        " JOIN nft_type ON nft_type.id = type_id GROUP BY 1, 2 ORDER BY 1, 2",
    )
    assert given == [(code, level, each.created) for (code, level), each in expected.levels.items()]
    again = await plan(database, easier)
    assert (again.changes, again.levels, again.rewritten) == (None, {}, 0)


async def test_the_first_users_of_each_level_are_named(database: Database) -> None:
    await applied(database, a_catalog())
    for _ in range(11):
        user = (await rows(database, "SELECT gen_random_uuid()"))[0][0]
        await some_progress(database, user, '{"points": 3}')
    found = await plan(database, with_runner())
    users = [
        user for (user,) in await rows(database, "SELECT user_id FROM nft_progress ORDER BY 1")
    ]
    assert found.levels[TypeCode("runner"), 1].sample == users[:10]


async def test_every_field_that_changes_is_named_with_both_values(database: Database) -> None:
    await applied(database, a_catalog())
    new = a_type(a_level(1, title="One"), a_level(2), a_level(3), a_level(4), title="Rambler")
    assert (await plan(database, a_catalog(new))).fields == [
        FieldChange(TypeCode("walker"), None, "title", "Walker", "Rambler"),
        FieldChange(TypeCode("walker"), 1, "title", "Level 1", "One"),
        FieldChange(TypeCode("walker"), 4, "level", None, "there"),
    ]


@pytest.mark.parametrize(
    ("moves", "is_max", "own", "whole"),
    [
        (False, False, None, Decimal("7.5")),
        (False, False, 2, Decimal("7.5")),
        (True, False, 2, Decimal("9.5")),
        (True, True, 2, Decimal("7.5")),
        (True, True, 9, 9),
        (True, True, None, Decimal("7.5")),
    ],
)
def test_counters_are_taken_over_as_the_job_would(
    moves: bool, is_max: bool, own: Number | None, whole: Number
) -> None:
    found = [Progress(ALICE, WALKER, {POINTS: Decimal("7.5")})]
    if own is not None:
        found.append(Progress(ALICE, RUNNER, {POINTS: own}))
    after = adopted(found, [Adoption(RUNNER, POINTS, WALKER, moves, is_max)])
    assert {each.type_id: each.counters for each in after} == {
        WALKER: {POINTS: Decimal("7.5")},
        RUNNER: {POINTS: whole},
    }
