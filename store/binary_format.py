"""PostgreSQL's binary formats, for what a batch has by the ten thousand: rows, and arrays of UUIDs.

As text they cost both sides more: PostgreSQL has to read a UUID, a date and numbers again from what
Python took the time to write.

Sources: PostgreSQL's manual, COPY, "Binary Format"; array_recv of its source.
"""

import struct
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Self

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.types.numeric import DecimalBinaryDumper

from ops.errors import InvariantBroken
from store.engine import Connection
from store.values.names import Number

# Of a COPY: the signature, no flags, no extension of the header; in place of a row, the end.
_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
# A field that is null, in place of its length.
NULL = b"\xff\xff\xff\xff"
# PostgreSQL counts days and microseconds from this one.
_FIRST_DAY = date(2000, 1, 1).toordinal()
_FIRST_MOMENT = datetime(2000, 1, 1, tzinfo=UTC)
# pg_type.oid of uuid and uuid[].
_UUID, _UUIDS = 2950, 2951
# One dimension, no null, elements of this type; how many there are, and the number of the first.
_ARRAY = struct.Struct("!iiiii")


class UuidArray:
    """A parameter of a statement, of the type uuid[].

    Args:
        uuids: each as 32 hex digits.
    """

    def __init__(self, uuids: Sequence[str]) -> None:
        # Each after its length, all decoded at once: a UUID object for each takes ten times as
        # long.
        elements = bytes.fromhex("00000010".join(["", *uuids]))
        self.encoded = _ARRAY.pack(1, 0, _UUID, len(uuids), 1) + elements

    @classmethod
    def of_elements(cls, elements: bytes, number: int) -> Self:
        """Return an array of so many UUIDs, each after its length (int32)."""
        made = cls(())
        made.encoded = _ARRAY.pack(1, 0, _UUID, number, 1) + elements
        return made


class _UuidArrayDumper(Dumper):
    format = Format.BINARY
    oid = _UUIDS

    def dump(self, obj: UuidArray) -> bytes:
        return obj.encoded


psycopg.adapters.register_dumper(UuidArray, _UuidArrayDumper)


def day_number(day: date) -> int:
    """Return a date as PostgreSQL stores it: days since 2000-01-01, negative before."""
    return day.toordinal() - _FIRST_DAY


def moment_number(moment: datetime) -> int:
    """Return an instant as PostgreSQL stores it: microseconds since 2000-01-01 in UTC."""
    passed = moment - _FIRST_MOMENT  # to divide it by a microsecond takes half as long again
    return (passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds


def numeric_field(value: Number) -> bytes:
    """Return a field of the type numeric, its length before it; no digit is lost."""
    return _integer_field(value) if type(value) is int else _decimal_field(Decimal(value))


def _decimal_field(value: Decimal) -> bytes:
    encoded = _NUMERIC.dump(value)
    if encoded is None:
        raise InvariantBroken("a number that is null")
    return len(encoded).to_bytes(4, "big") + encoded


# Most amounts are small: nearly all of a batch are of ten or twenty values.
@lru_cache(maxsize=1024)
def _integer_field(value: int) -> bytes:
    return _decimal_field(Decimal(value))


_NUMERIC = DecimalBinaryDumper(Decimal)


async def copy_rows(conn: Connection, statement: str, rows: Iterable[bytes]) -> None:
    """Run a `COPY ... FROM STDIN (FORMAT binary)`.

    Args:
        conn: in a transaction.
        statement: names the table and its columns.
        rows: each the number of its fields (int16), then each field's length (int32, -1: null) and
            bytes; struct writes them in one call.
    """
    raw = await conn.get_raw_connection()
    driver = raw.driver_connection
    if driver is None:
        raise InvariantBroken("a connection without a driver")
    async with driver.cursor() as cursor, cursor.copy(statement) as copy:
        await copy.write(b"".join((_HEADER, *rows, _TRAILER)))
