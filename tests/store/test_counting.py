"""Sums, members and merge, at both ends of the supported PostgreSQL versions."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from store import counting
from store.counting import Progress, Sums
from store.engine import Connection, Database
from store.merge_statement import MergeStatement
from store.values.catalog import CounterBinding, CounterOperation
from store.values.names import CounterName
from tests.builders.sql import column, rows, value

ANN, BEN = UUID(int=1), UUID(int=2)
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
ADD, MAX, DISTINCT, POST, UNDO = CounterOperation
TOTAL, CITIES, REVIEWS, LONGEST = (
    CounterName(name) for name in ("total", "cities", "reviews", "longest")
)


@pytest.fixture
async def type_id(database: Database) -> UUID:
    """A badge type: progress refers to one."""
    made = uuid4()
    statement = """
        INSERT INTO nft_type (id, code, title, description, category, base_image_url,
                              is_onchain_capable, default_onchain_policy, metadata_schema)
        VALUES (:id, 'any', 't', 'd', 'system', 'u', true, 'never', '{}')
    """
    await rows(database, statement, id=made)
    return made


def bindings(type_id: UUID) -> list[CounterBinding]:
    return [
        CounterBinding(1, type_id, TOTAL, False, (Decimal(2), Decimal("2.5"))),
        CounterBinding(2, type_id, CITIES, False, (2,)),
        CounterBinding(3, type_id, REVIEWS, False, (1,)),
        CounterBinding(4, type_id, LONGEST, True, (10,)),
    ]


class Added(NamedTuple):
    """What an event adds to one counter, as the rules say it."""

    counter_id: int
    operation: int
    amount: int | Decimal | None
    member: str | None


def added(counter: int, operation: int, what: Any) -> Added:
    member = isinstance(what, str)
    return Added(counter, operation, None if member else what, what if member else None)


async def count(conn: Connection, type_id: UUID, *lines: tuple[Any, ...]) -> list[Progress]:
    """Count lines of (event number, user, counter, operation, amount or member)."""
    sums = Sums(MergeStatement.of(bindings(type_id)))
    for number, of_event in groupby(lines, key=itemgetter(0)):
        at = NOON + timedelta(minutes=number)
        additions = [line[1:] for line in of_event]
        (user_id,) = {who for who, *_ in additions}
        sums.add(user_id, at, [added(*addition) for _, *addition in additions])
    await counting.prepare(conn, sums.statement)
    await counting.stage_members(conn, sums)
    await counting.add_members(conn, sums)
    return await counting.merge(conn, sums)


async def counters(conn: Connection) -> dict[str, str]:
    found = await conn.execute(
        text("SELECT key, value::text FROM nft_progress, jsonb_each(counters)")
    )
    return {row[0]: row[1] for row in found}


async def test_amounts_add_up_exactly(database: Database, type_id: UUID) -> None:
    async with database.transaction() as conn:
        for number in range(10):
            await count(conn, type_id, (number, ANN, 1, ADD, Decimal("0.1")))
            await conn.execute(text("TRUNCATE batch_progress_4, batch_member"))
        assert await counters(conn) == {"total": "1.0"}


async def test_only_users_who_reach_or_pass_a_threshold_come_back(
    database: Database, type_id: UUID
) -> None:
    async with database.transaction() as conn:
        assert await count(conn, type_id, (1, ANN, 1, ADD, 1), (2, BEN, 1, ADD, 3)) == [
            Progress(BEN, type_id, {TOTAL: 3})
        ]
    async with database.transaction() as conn:
        assert await count(conn, type_id, (3, ANN, 1, ADD, 1), (4, BEN, 1, ADD, 1)) == [
            Progress(ANN, type_id, {TOTAL: 2})
        ]
    async with database.transaction() as conn:
        assert await count(conn, type_id, (5, ANN, 1, ADD, Decimal("0.5"))) == [
            Progress(ANN, type_id, {TOTAL: Decimal("2.5")})
        ]


async def test_what_no_type_shows_changes_nobodys_progress(
    database: Database, type_id: UUID
) -> None:
    """Its members are kept: a type that shows it later has the whole."""
    async with database.transaction() as conn:
        assert (
            await count(conn, type_id, (1, ANN, 9, DISTINCT, "berlin"), (2, ANN, 8, ADD, 1)) == []
        )
        assert await counters(conn) == {}
    assert await column(database, "SELECT counter_id FROM progress_member") == [9]


async def test_a_batch_without_counters_writes_nothing(database: Database, type_id: UUID) -> None:
    async with database.transaction() as conn:
        assert not Sums(MergeStatement.of(bindings(type_id)))
        assert await count(conn, type_id) == []


async def test_a_member_counts_once_whatever_its_characters(
    database: Database, type_id: UUID
) -> None:
    names = ["a\tb", "a\\tb", "a\nb", "\\N", "\\", "Zürich", "Москва", "'", '"', "\r"]
    for start in (0, 100):
        async with database.transaction() as conn:
            await count(
                conn,
                type_id,
                *((start + n, ANN, 2, DISTINCT, name) for n, name in enumerate(names)),
            )
    async with database.transaction() as conn:
        assert await counters(conn) == {"cities": str(len(names))}
    assert set(await column(database, "SELECT member FROM progress_member")) == set(names)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([[POST]], "1"),
        ([[POST], [POST]], "1"),
        ([[POST], [UNDO]], "0"),
        ([[UNDO], [POST]], "0"),
        ([[UNDO, POST]], "0"),
        ([[POST], [UNDO], [POST]], "0"),
        ([[POST], [UNDO], [UNDO]], "0"),
    ],
)
async def test_an_undone_id_stays_out_in_any_order(
    database: Database, type_id: UUID, steps: list[list[int]], expected: str
) -> None:
    number = 0
    for step in steps:
        async with database.transaction() as conn:
            lines = [
                (number + place, ANN, 3, operation, "review")
                for place, operation in enumerate(step)
            ]
            number += len(step)
            await count(conn, type_id, *lines)
    async with database.transaction() as conn:
        assert await counters(conn) == {"reviews": expected}


async def test_a_highest_never_falls(database: Database, type_id: UUID) -> None:
    crossed = []
    for number, amount in enumerate((4, 12, 3)):
        async with database.transaction() as conn:
            crossed.append(bool(await count(conn, type_id, (number, ANN, 4, MAX, amount))))
    async with database.transaction() as conn:
        assert await counters(conn) == {"longest": "12"}
    assert crossed[:2] == [False, True]


async def test_the_last_event_is_the_latest_by_its_own_time(
    database: Database, type_id: UUID
) -> None:
    for number in (5, 3):
        async with database.transaction() as conn:
            await count(conn, type_id, (number, ANN, 1, ADD, 1))
    found = await value(database, "SELECT last_event_at FROM nft_progress")
    assert found == NOON + timedelta(minutes=5)


async def test_members_are_compared_by_bytes_whatever_the_databases_locale(
    database: Database,
) -> None:
    """An index by an operating system's order is broken by the update that changes that order."""
    found = await column(
        database,
        "SELECT collation_name FROM information_schema.columns"
        " WHERE table_name = 'progress_member' AND column_name = 'member'",
    )
    assert found == ["C"]
