"""processed_event by columns: what store/processed_events.py does for a batch's events, for arrays.

A hundred thousand events of history are no objects: their keys, fingerprints and days lie in arrays
of numpy, and go to PostgreSQL as they lie there. What a row means is said there; here it is only
written in another way, and tests hold both ways equal. A module of its own, since a worker loads no
numpy.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import text

from store.binary_format import UuidArray, copy_rows
from store.engine import Connection
from store.processed_events import (
    FORGET_UNHEARD,
    REMEMBER,
    REMEMBER_WHAT_IS_LEFT,
    UNHEARD_VERSION,
    CountedBy,
)

# Nearly all known events have been counted alike: they are two values for Python, and no row each.
# Each is its key and its fingerprint, 20 bytes.
KNOWN = text("""
    SELECT first_version = 0 AS unheard, silent,
           string_agg(uuid_send(event_key) || int4send(fingerprint), '') AS events
      FROM processed_event WHERE event_key = ANY(:keys)
     GROUP BY 1, 2
""")

_KNOWN = np.dtype([("key", "S16"), ("fingerprint", ">i4")])
# As _ROW of store/processed_events.py: the number of fields, and each after its length.
_ROW = np.dtype(
    [
        ("fields", ">i2"),
        ("key_length", ">i4"),
        ("key", "u1", 16),
        ("version_length", ">i4"),
        ("version", ">i4"),
        ("fingerprint_length", ">i4"),
        ("fingerprint", ">i4"),
        ("day_length", ">i4"),
        ("day", ">i4"),
        ("silent_length", ">i4"),
        ("silent", "?"),
    ]
)
# A flag an event.
Mask = np.ndarray[tuple[int], np.dtype[np.bool_]]
_ELEMENT = np.dtype([("length", ">i4"), ("key", "u1", 16)])
# PostgreSQL counts days from this one.
_FIRST_DAY = date(2000, 1, 1)


class EventColumns(Protocol):
    """Events, each with a key of its own, in the order of their keys: arrays of one length.

    `keys`: 16 bytes a row; `days`: from 2000-01-01; `heard`: some counter listens to the event.
    """

    @property
    def keys(self) -> NDArray[np.uint8]: ...  # noqa: D102
    @property
    def fingerprints(self) -> NDArray[np.int32]: ...  # noqa: D102
    @property
    def days(self) -> NDArray[np.int32]: ...  # noqa: D102
    @property
    def heard(self) -> NDArray[np.bool_]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Remembered:
    """What became of events, by their rows.

    `known` were counted before, and of those `conflicts` are other events under the same identity,
    and `silent` repeat one that a silent job had counted.
    """

    known: Mask
    conflicts: Mask
    silent: Mask

    @property
    def fresh(self) -> Mask:
        """Return which events count now."""
        return ~self.known


@dataclass(frozen=True, slots=True)
class Judged(Remembered):
    """The same before anything is written; `unheard` have a row that is to make way for theirs."""

    unheard: Mask


def listed_keys(events: EventColumns, where: Mask) -> list[bytes]:
    """Return the keys of some events."""
    chosen = events.keys[where].tobytes()
    return [chosen[start : start + 16] for start in range(0, len(chosen), 16)]


async def judge(conn: Connection, events: EventColumns, asked: Mask | None = None) -> Judged:
    """Return what would become of events; nothing is written.

    Args:
        conn: in a transaction.
        events: in the order of their keys.
        asked: which of them are looked at; None: all. The others are new.
    """
    nothing = np.zeros(len(events.fingerprints), np.bool_)
    judged = Judged(nothing, nothing.copy(), nothing.copy(), nothing.copy())
    own_keys = np.ascontiguousarray(events.keys).view("S16").ravel()
    wanted = events.keys if asked is None else events.keys[asked]
    if not len(wanted):
        return judged
    for row in await conn.execute(KNOWN, {"keys": _array(wanted)}):
        found = np.frombuffer(row.events, _KNOWN)
        # The end of a key that is zero is cut off on both sides alike.
        at = np.searchsorted(own_keys, found["key"])
        fingerprints = found["fingerprint"]
        same = events.fingerprints[at] == fingerprints
        # An event that no counter listened to when it came first, and that comes again now that
        # one does, is new.
        is_new = same & events.heard[at] if row.unheard else np.zeros(len(at), np.bool_)
        judged.unheard[at[is_new]] = True
        judged.known[at[~is_new]] = True
        other = ~(same | (fingerprints == 0))
        judged.conflicts[at[other]] = True
        judged.silent[at[~is_new & ~other]] = row.silent
    return judged


async def remember(conn: Connection, events: EventColumns, by: CountedBy) -> Remembered:
    """Note that `events` are counted now; return which were before.

    Raises:
        psycopg.errors.UniqueViolation: another batch has just counted one of them; store/engine.py
            makes it a TransactionConflict.
    """
    left = np.ones(len(events.fingerprints), np.bool_)
    if by.waits:
        left = ~await _remember_what_is_left(conn, events, by)
    judged = await judge(conn, events, left)
    if judged.unheard.any():
        await conn.execute(FORGET_UNHEARD, {"keys": _array(events.keys[judged.unheard])})
    fresh = left & judged.fresh
    if fresh.any():
        await copy_rows(conn, REMEMBER, [rows(events, fresh, by)])
    return judged


def rows(events: EventColumns, where: Mask, by: CountedBy) -> bytes:
    """Return the rows of REMEMBER for some events, in the order of their keys."""
    table = np.empty(int(where.sum()), _ROW)
    table["fields"] = 5
    table["key_length"] = 16
    table["key"] = events.keys[where]
    table["version"] = np.where(events.heard[where], by.version, UNHEARD_VERSION)
    table["fingerprint"] = events.fingerprints[where]
    table["day"] = events.days[where]
    table["silent"] = by.silent
    for name in ("version_length", "fingerprint_length", "day_length"):
        table[name] = 4
    table["silent_length"] = 1
    return table.tobytes()


async def _remember_what_is_left(conn: Connection, events: EventColumns, by: CountedBy) -> Mask:
    """Write what nobody has written, waiting for who is about to; return which that is."""
    parameters = {
        "keys": _array(events.keys),
        "versions": np.where(events.heard, by.version, UNHEARD_VERSION).tolist(),
        "fingerprints": events.fingerprints.tolist(),
        "days": [_FIRST_DAY + timedelta(days) for days in events.days.tolist()],
        "silent": by.silent,
    }
    taken = {row.event_key.bytes for row in await conn.execute(REMEMBER_WHAT_IS_LEFT, parameters)}
    everything = np.ones(len(events.fingerprints), np.bool_)
    written = (key in taken for key in listed_keys(events, everything))
    return np.fromiter(written, np.bool_, len(everything))


def _array(keys: NDArray[np.uint8]) -> UuidArray:
    table = np.empty(len(keys), _ELEMENT)
    table["length"] = 16
    table["key"] = keys
    return UuidArray.of_elements(table.tobytes(), len(keys))
