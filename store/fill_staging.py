"""fill_event, fill_progress, fill_member: what a fill has taken, a slice of a source at a time.

Of an event processed_event says whether it is the fill's: it was counted, and by a catalog that had
the counter not yet. One that fill_event has was brought by another source of the same fill, or by
the same one before it was interrupted. All under the lock of the fill's row (store/fills.py).
"""

import struct
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import numpy as np
from sqlalchemy import text

from store.binary_format import copy_rows, moment_number, numeric_field
from store.counting import LOOK_UP, PLAN_AS_EVER
from store.engine import Connection
from store.event_columns import EventColumns
from store.fills import FillableCounter
from store.values.names import Number

# As of a batch: IF NOT EXISTS is meant, its notice says nothing.
PREPARE = (
    text("SET LOCAL work_mem = '64MB'"),
    text("SET LOCAL client_min_messages = warning"),
    text("""
    CREATE TEMPORARY TABLE IF NOT EXISTS fill_slice_event (
           event_key uuid NOT NULL, fingerprint integer NOT NULL
           ) ON COMMIT DELETE ROWS
    """),
    text("""
    CREATE TEMPORARY TABLE IF NOT EXISTS fill_slice_total (
           user_id uuid NOT NULL, amount numeric NOT NULL, latest timestamptz NOT NULL
           ) ON COMMIT DELETE ROWS
    """),
    text("""
    CREATE TEMPORARY TABLE IF NOT EXISTS fill_slice_member (
           user_id uuid NOT NULL, member text COLLATE "C" NOT NULL,
           posted boolean NOT NULL, undone boolean NOT NULL
           ) ON COMMIT DELETE ROWS
    """),
)

COPY_EVENTS = "COPY fill_slice_event FROM STDIN (FORMAT binary)"
COPY_TOTALS = "COPY fill_slice_total FROM STDIN (FORMAT binary)"
COPY_MEMBERS = "COPY fill_slice_member FROM STDIN (FORMAT binary)"
# The number of fields, and each after its length.
_EVENT = np.dtype(
    [
        ("fields", ">i2"),
        ("key_length", ">i4"),
        ("key", "V16"),
        ("fingerprint_length", ">i4"),
        ("fingerprint", ">i4"),
    ]
)
_TOTAL_HEAD = struct.Struct("!hi16s").pack
_TOTAL_END = struct.Struct("!iq").pack
_MEMBER_HEAD = struct.Struct("!hi16si").pack
_MEMBER_END = struct.Struct("!i?i?").pack

TAKE_EVENTS = text("""
    WITH standing AS MATERIALIZED (
         SELECT staged.event_key,
                CASE WHEN known.event_key IS NULL THEN 'unknown'
                     WHEN known.fingerprint NOT IN (0, staged.fingerprint) THEN 'conflicting'
                     WHEN known.first_version = 0 THEN 'unheard'
                     WHEN known.first_version >= :first_version THEN 'counted'
                     WHEN taken.event_key IS NOT NULL THEN 'taken_before'
                     ELSE 'taken' END AS word
           FROM fill_slice_event AS staged
                LEFT JOIN processed_event AS known USING (event_key)
                LEFT JOIN fill_event AS taken
                       ON taken.counter_id = CAST(:counter_id AS smallint)
                      AND taken.event_key = staged.event_key),
         added AS (
         INSERT INTO fill_event (counter_id, event_key)
         SELECT :counter_id, event_key FROM standing WHERE word = 'taken' ORDER BY event_key)
    -- Thousands of keys are one value for Python, and no row each.
    SELECT word, count(*) AS events,
           CASE WHEN word <> 'taken' THEN string_agg(uuid_send(event_key), '') END AS others
      FROM standing GROUP BY word
""")

ADD_TOTALS = text("""
    INSERT INTO fill_progress AS held (counter_id, user_id, amount, latest)
    SELECT :counter_id, user_id, amount, latest FROM fill_slice_total ORDER BY user_id
        ON CONFLICT (counter_id, user_id) DO UPDATE
       SET amount = CASE WHEN CAST(:is_max AS boolean) THEN greatest(held.amount, excluded.amount)
                         ELSE held.amount + excluded.amount END,
           latest = greatest(held.latest, excluded.latest)
""")
ADD_MEMBERS = text("""
    INSERT INTO fill_member AS held (counter_id, user_id, member, posted, undone)
    SELECT :counter_id, user_id, member, posted, undone FROM fill_slice_member
     ORDER BY user_id, member
        ON CONFLICT (counter_id, user_id, member) DO UPDATE
       SET posted = held.posted OR excluded.posted, undone = held.undone OR excluded.undone
     WHERE (excluded.posted AND NOT held.posted) OR (excluded.undone AND NOT held.undone)
""")


class Standing(StrEnum):
    """What an event of a source is to a fill; it is counted where it is `taken`."""

    TAKEN = "taken"
    # By another source of the fill, or by this one before.
    TAKEN_BEFORE = "taken_before"
    # Into the counter, by the stream or a backfill.
    COUNTED = "counted"
    # Known, but by a catalog in which no counter listened to its type: `laurel backfill` counts it.
    UNHEARD = "unheard"
    # Not known at all: the same.
    UNKNOWN = "unknown"
    # Another event was counted under its id.
    CONFLICTING = "conflicting"


@dataclass(frozen=True, slots=True)
class Standings:
    """What the events of a slice are: how many, and the keys of those that are not taken.

    `conflicts` are among those.
    """

    numbers: Counter[Standing]
    others: frozenset[bytes]
    conflicts: frozenset[bytes]


async def prepare(conn: Connection) -> None:
    """Make this connection ready to take a slice."""
    for each in PREPARE:
        await conn.execute(each)


async def take_events(
    conn: Connection,
    counter: FillableCounter,
    events: EventColumns,
) -> Standings:
    """Take those of a slice's events that are the fill's.

    Args:
        conn: prepared, in a transaction that holds the fill.
        counter: that is given its past.
        events: of a slice; those that no counter listens to are none of the fill's.
    """
    # What the counter does not listen to, it has not missed.
    keys, fingerprints = events.keys[events.heard], events.fingerprints[events.heard]
    rows = np.zeros(len(fingerprints), _EVENT)
    rows["fields"], rows["key_length"], rows["fingerprint_length"] = 2, 16, 4
    rows["key"] = np.ascontiguousarray(keys).view("V16").ravel()
    rows["fingerprint"] = fingerprints
    await copy_rows(conn, COPY_EVENTS, [rows.tobytes()])
    await conn.execute(LOOK_UP)
    parameters = {"counter_id": counter.id, "first_version": counter.first_version}
    found = (await conn.execute(TAKE_EVENTS, parameters)).all()
    await conn.execute(PLAN_AS_EVER)
    others = {Standing(row.word): _keys(row.others or b"") for row in found}
    return Standings(
        Counter({Standing(row.word): row.events for row in found}),
        frozenset[bytes]().union(*others.values()),
        others.get(Standing.CONFLICTING, frozenset()),
    )


def _keys(together: bytes) -> frozenset[bytes]:
    return frozenset(together[start : start + 16] for start in range(0, len(together), 16))


async def add(
    conn: Connection,
    counter: FillableCounter,
    totals: Iterable[tuple[bytes, Number, datetime]],
    members: Iterable[tuple[bytes, str, bool, bool]],
) -> None:
    """Add up what the events of a slice that were taken come to.

    Args:
        conn: as of `take_events`.
        counter: as of `take_events`.
        totals: user, amount, and time of the latest event, of each user.
        members: user, member, posted and undone.
    """
    of_counter = {"counter_id": counter.id}
    await copy_rows(conn, COPY_TOTALS, _total_rows(totals))
    await conn.execute(ADD_TOTALS, of_counter | {"is_max": counter.is_max})
    if rows := list(_member_rows(members)):
        await copy_rows(conn, COPY_MEMBERS, rows)
        await conn.execute(ADD_MEMBERS, of_counter)


def _total_rows(totals: Iterable[tuple[bytes, Number, datetime]]) -> Iterable[bytes]:
    for user, amount, latest in totals:
        end = _TOTAL_END(8, moment_number(latest))
        yield b"".join((_TOTAL_HEAD(3, 16, user), numeric_field(amount), end))


def _member_rows(members: Iterable[tuple[bytes, str, bool, bool]]) -> Iterable[bytes]:
    for user, member, posted, undone in members:
        encoded = member.encode()
        head = _MEMBER_HEAD(4, 16, user, len(encoded))
        yield b"".join((head, encoded, _MEMBER_END(1, posted, 1, undone)))
