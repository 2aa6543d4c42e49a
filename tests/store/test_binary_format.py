"""PostgreSQL reads our binary formats as what they mean."""

import struct
from datetime import date
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from store.binary_format import UuidArray, copy_rows, day_number
from store.engine import Database, DataRefused

LISTED = text("SELECT listed FROM unnest(:uuids) WITH ORDINALITY AS each (listed, n) ORDER BY n")
TABLE = text("CREATE TEMPORARY TABLE copied (day date, number integer)")
COPY = "COPY copied (day, number) FROM STDIN (FORMAT binary)"


def row(day: int, number: int) -> bytes:
    return struct.pack("!hiiii", 2, 4, day, 4, number)


@pytest.mark.parametrize("size", [0, 1, 3])
async def test_an_array_is_the_uuids_in_their_order(database: Database, size: int) -> None:
    uuids = [uuid4() for _ in range(size)]
    async with database.transaction() as conn:
        found = await conn.execute(LISTED, {"uuids": UuidArray([each.hex for each in uuids])})
        assert list(found.scalars()) == uuids


def test_an_array_of_what_are_no_uuids_is_refused() -> None:
    with pytest.raises(ValueError, match="non-hexadecimal"):
        UuidArray([UUID(int=1).hex, "x" * 32])


@pytest.mark.parametrize("number", [0, 1, 20_000])
async def test_rows_are_copied_whole(database: Database, number: int) -> None:
    days = (date.min, date(2000, 1, 1), date.max)
    async with database.transaction() as conn:
        await conn.execute(TABLE)
        rows = (row(day_number(days[each % 3]), -each) for each in range(number))
        await copy_rows(conn, COPY, rows)
        found = await conn.execute(text("SELECT day, number FROM copied ORDER BY number DESC"))
        assert [tuple(each) for each in found] == [
            (days[each % 3], -each) for each in range(number)
        ]


async def test_rows_that_postgresql_cannot_read_are_refused(database: Database) -> None:
    async def copy() -> None:
        async with database.transaction() as conn:
            await conn.execute(TABLE)
            await copy_rows(conn, COPY, [struct.pack("!hi", 1, -1)])

    with pytest.raises(DataRefused):
        await copy()
