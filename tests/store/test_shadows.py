"""A row's counters and their shadows change places once, whatever is there and whoever asks."""

from collections.abc import Mapping
from itertools import chain, combinations
from uuid import UUID

import pytest

from store import shadows
from store.engine import Database
from store.exact_json import dumped
from store.values.names import CounterName
from store.values.shadows import MARK, ShadowChange, ShadowStep, filled, replaced
from tests.builders.catalogs import a_catalog, a_counter, a_level, a_type
from tests.builders.sql import rows
from tests.store.test_catalogs import WALKER, applied, some_progress

NAMES = (CounterName("points"), CounterName("leaps"))
VALUES = {"points": 3, "leaps": 5, "~points": 4, "~leaps": 6}
# Every row that there may be.
ROWS = [
    {name: VALUES[name] for name in chosen}
    for chosen in chain.from_iterable(combinations(VALUES, number) for number in range(1, 5))
]
USERS = [UUID(int=number) for number in range(len(ROWS))]


@pytest.fixture
async def held(database: Database) -> Database:
    """A database in which each user has one of ROWS."""
    counters = tuple(map(a_counter, NAMES))
    walker = a_type(a_level(1, {"points": {"gte": 5}}), counters=NAMES)
    await applied(database, a_catalog(walker, counters=counters))
    for user, row in zip(USERS, ROWS, strict=True):
        await some_progress(database, user, dumped(row))
    return database


async def changed(
    database: Database, step: ShadowStep, users: list[UUID] = USERS
) -> list[Mapping[str, int]]:
    """Change the rows of `users`; return everybody's counters."""
    async with database.transaction() as conn:
        await shadows.change(conn, [ShadowChange(WALKER, NAMES, step)], users)
    statement = "SELECT counters FROM nft_progress ORDER BY user_id"
    return [held for (held,) in await rows(database, statement)]


def swapped(row: Mapping[str, int]) -> dict[str, int]:
    """What a swap leaves of a row, put plainly."""
    found = {MARK: 1}
    for name in NAMES:
        if filled(name) in row:
            found[name] = row[filled(name)]
        if name in row:
            found[replaced(name)] = row[name]
    return found


async def test_two_values_change_places_once_and_back_again(held: Database) -> None:
    there = [swapped(row) for row in ROWS]
    # Half of the users first, as a batch does; then everybody.
    await changed(held, ShadowStep.SWAP, USERS[::2])
    assert await changed(held, ShadowStep.SWAP) == there
    assert await changed(held, ShadowStep.SWAP) == there
    await changed(held, ShadowStep.UNDO, USERS[1::3])
    assert await changed(held, ShadowStep.UNDO) == ROWS
    assert await changed(held, ShadowStep.UNDO) == ROWS


async def test_what_a_batch_has_made_since_is_as_it_was_made(held: Database) -> None:
    made, other = {"points": 2, "^points": 1}, UUID(int=99)
    await some_progress(held, other, dumped(made))
    assert (await changed(held, ShadowStep.SWAP, [other]))[-1] == made
    assert (await changed(held, ShadowStep.UNDO, [other]))[-1] == {"points": 1, "~points": 2}


@pytest.mark.parametrize("after_swap", [False, True])
async def test_what_is_not_in_force_goes_with_rows_that_have_nothing_else(
    held: Database, after_swap: bool
) -> None:
    if after_swap:
        await changed(held, ShadowStep.SWAP)
    in_force = [
        {name: row[kept(name)] for name in NAMES if kept(name) in row}
        for row in ROWS
        for kept in [filled if after_swap else str]
    ]
    assert await changed(held, ShadowStep.CLEAR) == [row for row in in_force if row]


async def test_only_names_with_a_sign_are_shadows(held: Database) -> None:
    async with held.transaction() as conn:
        assert await shadows.counted(conn) == {}
    await rows(held, "UPDATE counter_definition SET name = '~' || name WHERE name = 'leaps'")
    await rows(held, "UPDATE counter_definition SET name = '!' || name WHERE name = 'points'")
    async with held.transaction() as conn:
        assert set(await shadows.counted(conn)) == {"~leaps"}
