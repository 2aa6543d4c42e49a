"""The merge that is written for a catalog: as it reads, and beside the statements that were before.

A change of the statement is a change of tests/store/golden/merge.sql; UPDATE_GOLDEN=1 writes it.
"""

import asyncio
import os
import random
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from store import counting
from store.counting import Progress, Sums
from store.engine import Connection, Database
from store.merge_statement import MergeStatement
from store.values.catalog import CounterBinding, CounterOperation
from store.values.names import CounterName, Number
from tests.builders.sql import rows, somebody_waits
from tests.store import former_counting
from tests.store.former_counting import Part

GOLDEN = Path(__file__).parent / "golden" / "merge.sql"
EXPLORER, RUNNER = UUID(int=1), UUID(int=2)
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
ADD, MAX, DISTINCT, POST, UNDO = CounterOperation
# Those of the statements before are other users: both count into one database.
FORMER = 1 << 64


class Added(NamedTuple):
    """What an event adds to one counter."""

    counter_id: int
    operation: int
    amount: Number | None
    member: str | None


def binding(
    counter_id: int, type_id: UUID, name: str, *thresholds: Number, is_max: bool = False
) -> CounterBinding:
    return CounterBinding(counter_id, type_id, CounterName(name), is_max, thresholds)


TWO_TYPES = (
    binding(1, EXPLORER, "quests", 5, 10),
    binding(2, EXPLORER, "cities"),
    binding(3, RUNNER, "longest", 30, is_max=True),
    binding(1, RUNNER, "quests", Decimal("2.5")),
)


def test_the_statement_reads_as_in_the_golden_file() -> None:
    statement = MergeStatement.of(TWO_TYPES)
    shown = f"{statement.table};\n{statement.copy};\n{statement.merge}"
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(shown)
    assert shown == GOLDEN.read_text()


def test_a_counter_has_a_column_in_each_type_that_shows_it() -> None:
    statement = MergeStatement.of(TWO_TYPES)
    assert statement.columns == {EXPLORER: [1, 2], RUNNER: [3, 1]}
    assert statement.maxima == {3}


# ---------------------------------------------------------------- beside the statements before

COUNTERS: dict[int, tuple[str, bool]] = {
    1: ("count", False),
    2: ("sum", False),
    3: ("distinct", False),
    4: ("max", True),
    5: ("undoable", False),
    6: ("shown_by_no_type", False),
}
THRESHOLDS: tuple[Number, ...] = (1, 2, 3, 5, Decimal("2.6"), 10**29)
AMOUNTS: tuple[Number, ...] = (
    0,
    1,
    3,
    Decimal("0.1"),
    Decimal("2.50"),
    10**29 + 1,
    Decimal("1E-30"),
    2**53 - 1,
)


def some_bindings(chance: random.Random, types: list[UUID]) -> list[CounterBinding]:
    shown = [each for each in COUNTERS if each != 6]
    return [
        binding(
            counter_id,
            type_id,
            COUNTERS[counter_id][0],
            *sorted(chance.sample(THRESHOLDS, chance.randint(0, 3))),
            is_max=COUNTERS[counter_id][1],
        )
        for type_id in types
        for counter_id in chance.sample(shown, chance.randint(1, len(shown)))
    ]


def an_addition(chance: random.Random) -> Added:
    member = chance.choice(("a", "b\tc", "Zürich", "\\N", "d" * 128))
    made: Callable[[], Added] = chance.choice(
        (
            lambda: Added(1, ADD, 1, None),
            lambda: Added(2, ADD, chance.choice(AMOUNTS), None),
            lambda: Added(3, DISTINCT, None, member),
            lambda: Added(4, MAX, chance.choice((*AMOUNTS, -4)), None),
            lambda: Added(5, chance.choice((POST, UNDO)), None, member),
            lambda: Added(6, DISTINCT, None, member),
        )
    )
    return made()


def some_events(chance: random.Random) -> list[Part]:
    return [
        (
            UUID(int=chance.randint(1, 4)),
            NOON + timedelta(microseconds=chance.randint(-(10**12), 10**12)),
            [an_addition(chance) for _ in range(chance.randint(0, 3))],
        )
        for _ in range(chance.choice((0, 1, 2, 30)))
    ]


async def count(
    conn: Connection, events: Iterable[Part], statement: MergeStatement
) -> list[Progress]:
    sums = Sums(statement)
    for user_id, moment, additions in events:
        sums.add(user_id, moment, additions)
    await counting.prepare(conn, statement)
    await counting.stage_members(conn, sums)
    await counting.add_members(conn, sums)
    return await counting.merge(conn, sums)


@pytest.fixture
async def types(database: Database) -> list[UUID]:
    statement = """
        INSERT INTO nft_type (id, code, title, description, category, base_image_url,
                              is_onchain_capable, default_onchain_policy, metadata_schema)
        VALUES (:id, CAST(:id AS text), 't', 'd', 'system', 'u', true, 'never', '{}')
    """
    made = [uuid4() for _ in range(3)]
    for each in made:
        await rows(database, statement, id=each)
    return made


@pytest.mark.parametrize("seed", range(12))
async def test_it_counts_as_the_statements_before(
    database: Database, types: list[UUID], seed: int
) -> None:
    """Counters, times, members, and whose level may have changed, batch after batch.

    The catalog changes with each; so do the columns of the temporary table.
    """
    chance = random.Random(seed)
    for _ in range(8):
        bindings, events = some_bindings(chance, types), some_events(chance)
        formerly = [(UUID(int=user.int + FORMER), at, parts) for user, at, parts in events]
        async with database.transaction() as conn:
            found = await count(conn, events, MergeStatement.of(bindings))
            expected = await former_counting.count(conn, formerly, bindings)
        assert [(each.user_id.int + FORMER, each.type_id, each.counters) for each in found] == [
            (each.user_id.int, each.type_id, each.counters) for each in expected
        ]
    for table, columns in (
        ("nft_progress", "type_id, counters, last_event_at, updated_at > created_at"),
        ("progress_member", "counter_id, member, posted, undone"),
    ):
        written = await rows(database, f"SELECT user_id, {columns} FROM {table} ORDER BY 1, 2, 3")
        ours = [(user.int + FORMER, *rest) for user, *rest in written if user.int < FORMER]
        theirs = [(user.int, *rest) for user, *rest in written if user.int >= FORMER]
        assert ours == theirs
        assert ours


async def test_a_greatest_below_zero_has_passed_what_lies_between(
    database: Database, types: list[UUID]
) -> None:
    """Nothing reads as 0: a first number below 0 falls past -1, a later one rises past it again."""
    statement = MergeStatement.of(
        [binding(1, types[0], "count"), binding(4, types[0], "max", -1, is_max=True)]
    )
    old, new = UUID(int=1), UUID(int=2)

    async def found(*amounts: tuple[UUID, int]) -> list[UUID]:
        events = [(user, NOON, [Added(4, MAX, amount, None)]) for user, amount in amounts]
        async with database.transaction() as conn:
            return [each.user_id for each in await count(conn, events, statement)]

    async with database.transaction() as conn:
        assert await count(conn, [(old, NOON, [Added(1, ADD, 1, None)])], statement) == []
    assert await found((old, -4), (new, -4)) == [old, new]
    assert await found((old, 0), (new, -3)) == [old, new]


async def test_a_row_that_another_transaction_makes_meanwhile_is_added_to(
    database: Database, types: list[UUID]
) -> None:
    """It is not there for the UPDATE, and is there for the INSERT; who decides looks at it."""
    user = UUID(int=1)
    statement = MergeStatement.of(
        [
            binding(1, types[0], "count", 50),
            binding(2, types[0], "sum", 50),
            binding(4, types[0], "max", 50, is_max=True),
        ]
    )
    ours = [(user, NOON, [Added(1, ADD, 2, None), Added(4, MAX, 3, None)])]
    theirs = [(user, NOON + timedelta(days=1), [Added(2, ADD, 5, None), Added(4, MAX, 9, None)])]

    async def second() -> list[Progress]:
        async with database.transaction() as conn:
            return await count(conn, ours, statement)

    async with database.transaction() as first:
        assert await count(first, theirs, statement) == []
        waiting = asyncio.create_task(second())
        await somebody_waits(database)
    whole: dict[CounterName, Number] = {
        CounterName("count"): 2,
        CounterName("sum"): 5,
        CounterName("max"): 9,
    }
    assert await waiting == [Progress(user, types[0], whole)]
    found = await rows(database, "SELECT counters, last_event_at FROM nft_progress")
    assert found == [(whole, NOON + timedelta(days=1))]


async def test_rows_are_looked_up_however_little_the_planner_knows(
    database: Database, types: list[UUID]
) -> None:
    """It takes nft_progress for empty, and is not asked to read it whole for that."""
    statement = MergeStatement.of([binding(1, types[0], "count")])
    async with database.transaction() as conn:
        await counting.prepare(conn, statement)
        await conn.execute(counting.LOOK_UP)
        plan = str((await conn.exec_driver_sql(f"EXPLAIN {statement.merge}")).fetchall())
        await conn.execute(counting.PLAN_AS_EVER)
        after = (await conn.execute(text("SHOW enable_hashjoin"))).scalar_one()
    assert "nft_progress_user_id_type_id_key" in plan
    assert "Seq Scan on nft_progress" not in plan
    assert after == "on"
