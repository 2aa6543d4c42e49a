"""Ids for rows that nothing outside names, in the order in which the rows are made.

UUIDs of version 7 (RFC 9562, section 5.7): the time comes first, so new rows are neighbours in
their index, however many there are. A random id lands on any page of it, and the first change of a
page after a checkpoint writes the whole page to the WAL. PostgreSQL makes such ids itself from
version 18 on only, and its random ones cost 4 us each where it is built without OpenSSL
(2026-11-25, also for a row that is there already).

Ids that mean something follow from what they mean: a type's from its code, a badge's from user,
type and ordinal (processor/rules/badge_ids.py).
"""

import secrets
import time
from uuid import UUID

# Each below its bits: 48 of milliseconds, 4 of version, 12 of chance, 2 of variant, 30 of chance.
_VERSION_7 = 0x7 << 44
_VARIANT = 0b10 << 30


def id_prefix() -> str:
    """Return the first 24 of the 32 hex digits of the ids that one statement gives its rows.

    The last 8 are the row's number in the statement:
    `CAST(:id_prefix || lpad(to_hex(number), 8, '0') AS uuid)`.
    Two prefixes of one millisecond differ in 42 bits of chance.
    """
    milliseconds = time.time_ns() // 1_000_000
    chance = secrets.randbits(42)
    high, low = chance >> 30, chance & (1 << 30) - 1
    return f"{milliseconds << 48 | _VERSION_7 | high << 32 | _VARIANT | low:024x}"


def ordered_id() -> UUID:
    """Return the id of one row."""
    return UUID(f"{id_prefix()}{secrets.randbits(32):08x}")
