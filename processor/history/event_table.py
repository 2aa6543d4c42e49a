"""All events of some sources in DuckDB, each once, added up by slices of users.

The rows lie in a database file of its own, which goes when the work is done: however long the
history is, memory stays within its bound. What an event is and adds was said by the stream's reader
(event_rows.py); here the first record of each identity is kept, and sums, maxima and members are
taken by user. No statement here depends on the catalog.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Context, Decimal, Inexact
from itertools import starmap
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import duckdb
import numpy as np
import pyarrow as pa

from processor.events.event import Event
from processor.history.event_rows import CONTRIBUTIONS, EVENTS, EventRows
from processor.history.user_slice import Member, SliceEvents, Total, UserSlice
from processor.rules.counters import Contribution
from store.values.catalog import CounterOperation
from store.values.names import Number

# As many events go into a transaction of PostgreSQL's as take some seconds there.
SLICE_EVENTS = 50_000
# A statement costs as much as some thousand rows; DuckDB writes them in groups of 122 880.
_INSERT_ROWS = 122_880
# PostgreSQL counts days from this one.
_FIRST_DAY = "DATE '2000-01-01'"
# As store/counting.py: wider than any sum of the numbers that events may have.
_EXACT = Context(prec=400, traps=[Inexact])

_MAX, _UNDO = CounterOperation.MAX.value, CounterOperation.UNDO.value

# An identity that came more than once is rare: they are told first, by the narrowest rows there
# are, and only theirs are put in order.
_REPEATS = """
    CREATE TABLE repeat AS
      WITH twice AS (SELECT key FROM event GROUP BY key HAVING count(*) > 1)
    SELECT place, key, fingerprint <> first_fingerprint AS conflicts, first_place
      FROM (SELECT place, key, fingerprint,
                   first_value(fingerprint) OVER by_place AS first_fingerprint,
                   first_value(place) OVER by_place AS first_place
              FROM event SEMI JOIN twice USING (key)
            WINDOW by_place AS (PARTITION BY key ORDER BY place))
     WHERE place <> first_place
"""
_DIGEST = """
    SELECT count(*), sum(hash(place, key, fingerprint, user_id, time)::HUGEINT) FROM event
     UNION ALL
    SELECT count(*), sum(hash(place, counter_id, operation, amount, odd_amount, member)::HUGEINT)
      FROM contribution
"""
_SLICE_EVENTS = f"""
    SELECT key, fingerprint, (time::DATE - {_FIRST_DAY})::INTEGER AS day, heard, place
      FROM event
     WHERE bucket % $slices = $number
       AND place NOT IN (SELECT place FROM repeat) AND key NOT IN (SELECT key FROM left_out)
     ORDER BY key
"""  # noqa: S608 - a constant of this module
# What a slice adds up, without what its events are not counted for.
_PARTS = """
    CREATE OR REPLACE TEMP TABLE part AS
    SELECT user_id, time, counter_id, operation, amount, odd_amount, member
      FROM contribution
     WHERE bucket % $slices = $number
       AND place NOT IN (SELECT place FROM repeat) AND place NOT IN (SELECT place FROM left_out)
"""
_TOTALS = f"""
    SELECT user_id, counter_id, any_value(operation) = {_MAX} AS is_max,
           sum(amount) AS total, max(amount) AS greatest,
           list(odd_amount) FILTER (odd_amount IS NOT NULL) AS odd, max(time) AS latest
      FROM part GROUP BY user_id, counter_id
"""  # noqa: S608
_MEMBERS = f"""
    SELECT user_id, counter_id, member,
           bool_or(operation <> {_UNDO}) AS posted, bool_or(operation = {_UNDO}) AS undone
      FROM part WHERE member IS NOT NULL GROUP BY user_id, counter_id, member
"""  # noqa: S608
_EVENT = "e.place, e.key, e.fingerprint, e.user_id, e.time, e.type, e.source, e.id, e.tenant_id"
_ORIGINS = f"""
    SELECT {_EVENT}, e.heard
      FROM (SELECT DISTINCT place
              FROM contribution JOIN wanted USING (user_id, counter_id)
             WHERE bucket % $slices = $number
               AND place NOT IN (SELECT place FROM repeat)
               AND place NOT IN (SELECT place FROM left_out))
           JOIN event AS e USING (place)
   QUALIFY row_number() OVER (PARTITION BY e.user_id
                                  ORDER BY e.time DESC, e.source DESC, e.id DESC) = 1
"""  # noqa: S608
_BY_KEYS = f"""
    SELECT {_EVENT}, e.heard FROM event AS e SEMI JOIN wanted USING (key)
     WHERE place NOT IN (SELECT place FROM repeat)
     ORDER BY key
"""  # noqa: S608
_BY_PLACES = f"""
    SELECT {_EVENT}, e.heard FROM event AS e SEMI JOIN wanted USING (place) ORDER BY place
"""  # noqa: S608
_ADDED = """
    SELECT place, counter_id, operation, amount, odd_amount, member
      FROM contribution WHERE place IN (SELECT place FROM wanted_place)
"""
_REPEATED = """
    SELECT repeat.place, first_place, conflicts, id, source, type
      FROM repeat JOIN event USING (place) ORDER BY repeat.place
"""


@dataclass(frozen=True, slots=True)
class RepeatedEvent:
    """A record whose identity an earlier one of the input has taken.

    `conflicts`: it is another event under that identity.
    """

    place: int
    first_place: int
    conflicts: bool
    id: str
    source: str
    type: str


@contextmanager
def opened(directory: Path | None, memory_bytes: int, threads: int) -> "Iterator[EventTable]":
    """Give an empty table in a directory of its own, which goes afterwards.

    Args:
        directory: where that is made; None: where temporary files go.
        memory_bytes: DuckDB's bound.
        threads: DuckDB's.
    """
    with database(directory, memory_bytes, threads) as connection:
        yield EventTable(connection)


@contextmanager
def database(
    directory: Path | None, memory_bytes: int, threads: int
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Give a database without tables; arguments as those of `opened`."""
    with TemporaryDirectory(prefix="laurel-history-", dir=directory) as place:
        config: dict[str, Any] = {
            "memory_limit": f"{memory_bytes // 2**20}MiB",
            "threads": threads,
            "temp_directory": str(Path(place) / "spill"),
            "preserve_insertion_order": False,
            # Nothing is fetched, whatever the machine's settings say.
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        connection = duckdb.connect(str(Path(place) / "events.duckdb"), config=config)
        try:
            yield connection
        finally:
            connection.close()


class SealedEvents:
    """What was read, as a `History` (user_slice.py): event, contribution and repeat in DuckDB.

    Args:
        connection: to a database without tables.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = self._db = connection
        self._slices = 0
        self._digest = b""
        self.number_of_events = 0
        self.number_of_repeats = 0
        self.number_of_conflicts = 0
        self._db.execute("CREATE TEMP TABLE left_out (key BLOB, place BIGINT)")

    def _sealed(self, read_by: bytes, slices: int) -> None:
        """Take in that nothing is added any more."""
        counted = "SELECT count(*), count(*) FILTER (conflicts) FROM repeat"
        self.number_of_repeats, self.number_of_conflicts = self._db.execute(counted).fetchall()[0]
        self._slices = slices
        content = self._db.execute(_DIGEST).fetchall()
        # DuckDB's hash may become another one with its version; then a job begins anew.
        said = (read_by, duckdb.__version__, self._slices, content)
        self._digest = hashlib.sha256(repr(said).encode()).digest()

    @property
    def slices(self) -> int:
        """Return how many slices there are."""
        return self._slices

    @property
    def digest(self) -> bytes:
        """Return what tells this input from another one."""
        return self._digest

    def repeated(self) -> Iterator[RepeatedEvent]:
        """Give the records that repeat or contradict an earlier one, in their order."""
        # A cursor of its own: others are asked meanwhile.
        cursor = self._db.cursor().execute(_REPEATED)
        while rows := cursor.fetchmany(10_000):
            for row in rows:
                yield RepeatedEvent(*row)

    def slice(self, number: int, without: Collection[bytes] = ()) -> UserSlice:
        """Return a slice as if the events with the keys `without` were not in the input."""
        self._leave_out(without)
        which = {"slices": self._slices, "number": number}
        events = self._db.sql(_SLICE_EVENTS, params=which).to_arrow_table()
        self._db.execute(_PARTS, which)
        totals = self._db.execute(_TOTALS).fetchall()
        members = self._db.execute(_MEMBERS).fetchall()
        return UserSlice(
            number,
            _slice_events(events),
            [
                Total(user, counter, _amount(is_max, total, greatest, odd), _aware(latest))
                for user, counter, is_max, total, greatest, odd, latest in totals
            ],
            list(starmap(Member, members)),
        )

    def origins(
        self, number: int, counters: Mapping[UUID, Collection[int]], without: Collection[bytes] = ()
    ) -> Mapping[UUID, Event]:
        """Return of users the latest event that added to one of the counters listed for them."""
        self._leave_out(without)
        wanted = [(user.bytes, each) for user, listed in counters.items() for each in listed]
        self._register(
            "wanted",
            pa.table(
                {
                    "user_id": pa.array([user for user, _ in wanted], pa.binary()),
                    "counter_id": pa.array([each for _, each in wanted], pa.int16()),
                }
            ),
        )
        rows = self._db.execute(_ORIGINS, {"slices": self._slices, "number": number}).fetchall()
        return {event.user_id: event for event in self._events(rows)}

    def events(self, keys: Collection[bytes]) -> Sequence[Event]:
        """Return events by their keys, in the order of these."""
        self._register("wanted", pa.table({"key": pa.array(list(keys), pa.binary())}))
        return self._events(self._db.execute(_BY_KEYS).fetchall())

    def at(self, places: Collection[int]) -> Sequence[Event]:
        """Return the events at `places`, in their order; an event's offset is its place."""
        self._register("wanted", pa.table({"place": pa.array(list(places), pa.int64())}))
        return self._events(self._db.execute(_BY_PLACES).fetchall())

    def _events(self, rows: Sequence[tuple[Any, ...]]) -> list[Event]:
        places = pa.array([row[0] for row in rows], pa.int64())
        self._register("wanted_place", pa.table({"place": places}))
        added: dict[int, list[Contribution]] = {}
        for place, counter, operation, amount, odd, member in self._db.execute(_ADDED).fetchall():
            exact = None if member is not None else _number(amount, odd)
            part = Contribution(counter, CounterOperation(operation), exact, member)
            added.setdefault(place, []).append(part)
        return [_event(row, tuple(added.get(row[0], ()))) for row in rows]

    def _leave_out(self, keys: Collection[bytes]) -> None:
        self._db.execute("TRUNCATE left_out")
        if keys:
            self._register("wanted", pa.table({"key": pa.array(list(keys), pa.binary())}))
            self._db.execute(
                "INSERT INTO left_out SELECT key, place FROM event SEMI JOIN wanted USING (key)"
            )

    def _register(self, name: str, table: pa.Table) -> None:
        self._db.register(name, table)


class EventTable(SealedEvents):
    """Takes in what was read, in tables of its own.

    Args:
        connection: to a database without tables.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        super().__init__(connection)
        self._waiting: list[EventRows] = []
        for name, schema in (("event", EVENTS), ("contribution", CONTRIBUTIONS)):
            self._register("rows", schema.empty_table())
            self._db.execute(f"CREATE TABLE {name} AS FROM rows")
        # One transaction for all: nothing of it outlives this process anyway.
        self._db.execute("BEGIN")

    def add(self, rows: EventRows) -> None:
        """Take in rows, in any order."""
        self._waiting.append(rows)
        self.number_of_events += len(rows.events)
        if sum(len(each.events) for each in self._waiting) >= _INSERT_ROWS:
            self._insert()

    def _insert(self) -> None:
        for name in ("event", "contribution"):
            batches = [getattr(each, f"{name}s") for each in self._waiting]
            if batches:
                self._register("rows", pa.Table.from_batches(batches))
                self._db.execute(f"INSERT INTO {name} FROM rows")
        self._waiting.clear()

    def seal(self, read_by: bytes, slice_events: int = SLICE_EVENTS) -> None:
        """Find repetitions and deal out users; nothing is added afterwards.

        Args:
            read_by: names what the rows were read by; goes into the digest.
            slice_events: about how many events there are to be in a slice.
        """
        self._insert()
        self._db.execute("COMMIT")
        self._db.execute(_REPEATS)
        self._sealed(read_by, slices_of(self.number_of_events, slice_events))


def slices_of(events: int, slice_events: int = SLICE_EVENTS) -> int:
    """Return in how many slices so many events are dealt out."""
    return max(1, -(-events // slice_events))


def _slice_events(table: pa.Table) -> SliceEvents:
    keys = b"".join(table.column("key").to_pylist())
    return SliceEvents(
        np.frombuffer(keys, np.uint8).reshape(-1, 16),
        table.column("fingerprint").to_numpy(),
        table.column("day").to_numpy(),
        table.column("heard").to_numpy(),
        table.column("place").to_numpy(),
    )


def _amount(
    is_max: bool, total: Decimal | None, greatest: Decimal | None, odd: Sequence[str] | None
) -> Number:
    """Return what a counter of a user is added; 0 where members say it."""
    found = greatest if is_max else total
    if not odd:
        return 0 if found is None else _plain(found)
    listed = [Decimal(each) for each in odd] + ([] if found is None else [found])
    if is_max:
        return _plain(max(listed))
    result = listed[0]
    for each in listed[1:]:
        result = _EXACT.add(result, each)
    return _plain(result)


def _number(amount: Decimal | None, odd: str | None) -> Number:
    if odd is not None:
        return _plain(Decimal(odd))
    return 0 if amount is None else _plain(amount)


def _plain(number: Decimal) -> Number:
    """Return a whole number as an int: the column's decimals are not the event's."""
    return int(number) if number == number.to_integral_value() else number.normalize(_EXACT)


def _event(row: tuple[Any, ...], added: tuple[Contribution, ...]) -> Event:
    place, key, fingerprint, user, time, kind, source, number, tenant, heard = row
    return Event(
        kind,
        place,
        key.hex(),
        fingerprint,
        UUID(bytes=user),
        _aware(time),
        source,
        number,
        UUID(bytes=tenant),
        added,
        heard,
    )


def _aware(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC)
