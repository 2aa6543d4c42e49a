"""processed_event by columns writes, and finds, what processed_events does for objects."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.history.user_slice import SliceEvents
from store import event_columns, processed_events
from store.binary_format import UuidArray, copy_rows
from store.engine import Database, TransactionConflict
from store.processed_events import CountedBy, CountedEvent
from tests.builders.sql import rows

KEYS = st.binary(min_size=16, max_size=16)
FINGERPRINTS = st.integers(-(2**31), 2**31 - 1)
DAYS = st.integers(-700_000, 2_900_000)
EVERYTHING = "SELECT * FROM processed_event ORDER BY event_key"


@dataclass(frozen=True, slots=True)
class Identified:
    """What an event is known by."""

    key: str
    fingerprint: int
    time: datetime
    heard: bool


def an_event(number: int, fingerprint: int = 1, *, heard: bool = True) -> Identified:
    # Keys that end, and begin, with zeros.
    return Identified(
        f"{number:02x}" + "00" * 15, fingerprint, datetime(2026, 5, 1, 23, tzinfo=UTC), heard
    )


def columns(events: Sequence[Identified]) -> SliceEvents:
    listed = sorted(events, key=lambda each: each.key)
    first = datetime(2000, 1, 1, tzinfo=UTC)
    keys = b"".join(bytes.fromhex(each.key) for each in listed)
    return SliceEvents(
        np.frombuffer(keys, np.uint8).reshape(-1, 16),
        np.array([each.fingerprint for each in listed], np.int32),
        np.array([(each.time - first).days for each in listed], np.int32),
        np.array([each.heard for each in listed], np.bool_),
        np.arange(len(listed), dtype=np.int64),
    )


@given(
    st.lists(st.builds(lambda *each: each, KEYS, FINGERPRINTS, DAYS, st.booleans())),
    st.integers(0, 2**31 - 1),
    st.booleans(),
)
def test_rows_are_those_of_objects(
    drawn: list[tuple[bytes, int, int, bool]], version: int, silent: bool
) -> None:
    by = CountedBy(version, silent)
    first = datetime(2000, 1, 1, tzinfo=UTC)
    events = [
        Identified(key.hex(), fingerprint, first + timedelta(days), heard)
        for key, fingerprint, days, heard in drawn
    ]
    found = columns(events)
    everything = np.ones(len(found), np.bool_)
    objects = sorted(processed_events._rows(events, by), key=lambda row: row[6:22])
    assert sorted(objects) == sorted(_cut(event_columns.rows(found, everything, by)))
    array = event_columns._array(found.keys)
    listed = UuidArray([each.key for each in sorted(events, key=lambda each: each.key)])
    assert array.encoded == listed.encoded


def _cut(table: bytes) -> list[bytes]:
    return [table[start : start + 51] for start in range(0, len(table), 51)]


async def by_objects(
    database: Database, events: Sequence[Identified], by: CountedBy
) -> dict[str, CountedEvent]:
    async with database.transaction() as conn:
        return dict(await processed_events.remember(conn, events, by))


async def by_columns(
    database: Database, events: Sequence[Identified], by: CountedBy
) -> dict[str, str]:
    """Return of each event that was known what was found of it."""
    found = columns(events)
    async with database.transaction() as conn:
        remembered = await event_columns.remember(conn, found, by)
    said = {}
    for place, known in enumerate(remembered.known.tolist()):
        if known:
            words = [name for name in ("conflicts", "silent") if getattr(remembered, name)[place]]
            said[found.keys[place].tobytes().hex()] = " ".join(words)
    return said


def _said(event: Identified, counted: CountedEvent) -> str:
    if counted.is_other_than(event.fingerprint):
        return "conflicts"
    return "silent" if counted.silent else ""


@pytest.mark.parametrize("waits", [False, True])
async def test_what_is_known_is_judged_alike(database: Database, waits: bool) -> None:
    before = [
        an_event(0),
        an_event(1, 5),
        an_event(2, 0),
        an_event(3, 7, heard=False),
        an_event(4, 7, heard=False),
        an_event(5, 7, heard=False),
    ]
    await by_objects(database, before[:1], CountedBy(1))
    await by_objects(database, before[1:], CountedBy(1, silent=True))
    again = [
        an_event(0),
        an_event(1, 6),  # another event
        an_event(2, 9),  # its fingerprint is unknown
        an_event(3, 7),  # new now
        an_event(4, 8),  # another event
        an_event(5, 7, heard=False),
        an_event(6, heard=False),
        an_event(255),
    ]
    by = CountedBy(2, waits=waits)
    async with database.transaction() as conn:
        known = await processed_events.remember(conn, again, by)
        objects = (await conn.exec_driver_sql(EVERYTHING)).all()
        await conn.rollback()
    said = await by_columns(database, again, by)
    assert said == {each.key: _said(each, known[each.key]) for each in again if each.key in known}
    assert await rows(database, EVERYTHING) == objects
    assert len(objects) == 8


async def written_unasked(database: Database, events: SliceEvents) -> None:
    """Write events as if nobody else had done so since this one asked."""
    everything = np.ones(len(events), np.bool_)
    rows = event_columns.rows(events, everything, CountedBy(1))
    async with database.transaction() as conn:
        await copy_rows(conn, processed_events.REMEMBER, [rows])


async def test_who_counts_an_event_that_another_has_just_counted_runs_again(
    database: Database,
) -> None:
    await by_objects(database, [an_event(2)], CountedBy(1))
    with pytest.raises(TransactionConflict):
        await written_unasked(database, columns([an_event(1), an_event(2)]))
