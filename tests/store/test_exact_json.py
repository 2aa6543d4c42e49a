"""Numbers leave the database as they went in, whoever reads them."""

import ast
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert, select

import store
from processor.rules.counters import Contribution
from store import (
    catalogs,
    counting,
    exact_json,
    inspection,
    instances,
    reevaluation,
    user_badges,
)
from store.counting import Progress, Sums
from store.engine import Connection, Database
from store.instances import NewInstance, Provenance
from store.merge_statement import MergeStatement
from store.models.badges import NFTAuditLog, NFTProgress
from store.values.catalog import CounterBinding, CounterOperation
from store.values.names import CounterName
from tests.builders.catalogs import TENANT, USER, a_catalog, a_level, a_type

NUMBERS: Mapping[str, int | Decimal] = {
    "tenth": Decimal("0.1"),
    "long_fraction": Decimal("0.123456789012345678901234567891"),
    "long_whole": 123456789012345678901234567891,
    "beyond_64_bits": 2**64,
    "large": Decimal("1E+30"),
    "small": Decimal("1E-30"),
    "negative": Decimal("-2.50"),
    "zero": Decimal("-0"),
}
TYPE = a_type(
    a_level(1, {"tenth": {"gte": Decimal("0.1")}}),
    a_level(2, {"long_whole": {"gte": NUMBERS["long_whole"]}}),
    counters=tuple(NUMBERS),
    metadata_fields={name: CounterName(name) for name in NUMBERS},
)


async def count(conn: Connection) -> list[Progress]:
    """Add every number to the counter of its name, as one event each."""
    catalog = await catalogs.current(conn)
    assert catalog is not None
    ids = {counter.name: counter.id for counter in catalog.counters}
    bindings = [
        CounterBinding(ids[name], TYPE.id, name, False, (NUMBERS[name],))
        for name in map(CounterName, NUMBERS)
    ]
    sums, now = Sums(MergeStatement.of(bindings)), datetime.now(UTC)
    for name, number in NUMBERS.items():
        added = Contribution(ids[CounterName(name)], CounterOperation.ADD, amount=number)
        sums.add(USER, now, [added])
    await counting.prepare(conn, sums.statement)
    return await counting.merge(conn, sums)


async def in_the_driver(conn: Connection, *, binary: bool) -> object:
    """Return the counters as psycopg itself reads them, as COPY's connection does."""
    driver = (await conn.get_raw_connection()).driver_connection
    assert driver is not None
    async with driver.cursor(binary=binary) as cursor:
        await cursor.execute("SELECT counters FROM nft_progress")
        ((found,),) = await cursor.fetchall()
    return found


def spelled(numbers: object) -> object:
    """Return `numbers` with the type of each beside it: 1 == 1.0 == Decimal(1) tells nothing."""
    assert isinstance(numbers, Mapping)
    return {name: (type(number), number) for name, number in numbers.items()}


async def test_a_number_is_read_as_it_was_written_by_every_reader(database: Database) -> None:
    badge = NewInstance(
        UUID(int=7), TYPE.id, USER, 1, 1, NUMBERS, Provenance("test_service", None, TENANT)
    )
    async with database.transaction() as conn:
        await catalogs.apply(conn, a_catalog(TYPE), "admin")
        (merged,) = await count(conn)
        await instances.create(conn, [badge])
    async with database.transaction() as conn:
        (progress,) = await reevaluation.counters(conn, {TYPE.id}, [USER])
        (shown,) = await reevaluation.lock_badges(conn, {TYPE.id}, None, 10)
        (standing,) = await user_badges.of_user(conn, USER)
        (row,) = (await inspection.snapshot(conn)).progress
        found: dict[str, object] = {
            "counting.merge": merged.counters,
            "reevaluation.counters": progress.counters,
            "reevaluation.lock_badges, counters": shown.counters,
            "reevaluation.lock_badges, metadata": shown.metadata,
            "user_badges.of_user": standing.counters,
            "inspection.snapshot": row.counters,
            "a model's column": await conn.scalar(select(NFTProgress.counters)),
            "the driver, text": await in_the_driver(conn, binary=False),
            "the driver, binary": await in_the_driver(conn, binary=True),
        }
    # PostgreSQL writes a numeric without an exponent, so 1E+30 comes back as a whole number, and it
    # knows no negative zero.
    expected = spelled({**NUMBERS, "large": 10**30, "zero": 0})
    for reader, numbers in found.items():
        assert spelled(numbers) == expected, reader


async def test_a_rewritten_badge_keeps_its_numbers(database: Database) -> None:
    badge = NewInstance(
        UUID(int=7), TYPE.id, USER, 1, 1, {}, Provenance("test_service", None, TENANT)
    )
    async with database.transaction() as conn:
        await catalogs.apply(conn, a_catalog(TYPE), "admin")
        await instances.create(conn, [badge])
        await reevaluation.rewrite(conn, [(badge.id, NUMBERS)])
        (shown,) = await reevaluation.lock_badges(conn, {TYPE.id}, None, 10)
    assert shown.metadata == NUMBERS
    assert {type(number) for number in shown.metadata.values()} == {int, Decimal}


async def test_a_catalog_comes_back_with_the_thresholds_it_was_applied_with(
    database: Database,
) -> None:
    async with database.transaction() as conn:
        await catalogs.apply(conn, a_catalog(TYPE), "admin")
        found = await catalogs.current(conn)
    assert found is not None
    assert found.types == (TYPE,)
    conditions = found.types[0].levels[0].conditions["tenth"]
    assert isinstance(conditions, Mapping)
    assert isinstance(conditions["gte"], Decimal)


async def test_a_models_column_writes_numbers_exactly(database: Database) -> None:
    async with database.transaction() as conn:
        row = {"action": "created", "actor_service": "system", "details": {"sum": Decimal("0.1")}}
        await conn.execute(insert(NFTAuditLog).values(row))
        found = await conn.scalar(select(NFTAuditLog.details))
    assert found == {"sum": Decimal("0.1")}


# The catalog's and the contract's limits: 30 digits, an exponent within 30.
decimals = st.decimals(-(10**30), 10**30, allow_nan=False, allow_infinity=False)
documents = st.recursive(
    st.none() | st.booleans() | st.text() | st.integers(-(10**30), 10**30) | decimals,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(documents)
def test_reading_gives_back_what_was_written(document: object) -> None:
    assert exact_json.loaded(exact_json.dumped(document)) == document


def test_equal_values_have_one_document() -> None:
    assert exact_json.dumped({"b": Decimal("1.0"), "a": UUID(int=1)}) == (
        '{"a":"00000000-0000-0000-0000-000000000001","b":1.0}'
    )


@pytest.mark.parametrize("broken", ["", "{", "{'a': 1}", "NaN", b"\xff"])
def test_what_is_no_json_is_refused(broken: str | bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        exact_json.loaded(broken)


@pytest.mark.parametrize("value", [object(), {1, object()}, lambda: 1])
def test_what_json_has_no_word_for_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        exact_json.dumped(value)


def _spells_json(node: ast.AST) -> bool:
    match node:
        case ast.Import(names=names):
            return any(name.name in ("json", "msgspec.json") for name in names)
        case ast.ImportFrom(module=module):
            return module in ("json", "msgspec.json")
        case ast.Attribute(value=ast.Name(id="msgspec"), attr="json"):
            return True
    return False


def test_the_store_has_one_reader_and_one_writer_of_json() -> None:
    folder = Path(str(store.__file__)).parent
    found = {
        path.name
        for path in folder.rglob("*.py")
        if any(map(_spells_json, ast.walk(ast.parse(path.read_text(encoding="utf-8")))))
    }
    assert found == {"exact_json.py"}
