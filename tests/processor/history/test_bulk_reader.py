"""What is read in bulk is what the stream's reader says, line by line."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from ops.settings import DEFAULT_TENANT
from processor.events.chunks import PlainRecord
from processor.events.event import Event
from processor.events.identity import fingerprint, key_head, key_of
from processor.events.reader import EventReader
from processor.events.rejection import Rejected
from processor.history import written_times
from processor.history.bulk_identity import fingerprints_of, keys_of
from processor.history.bulk_reader import BulkReader
from processor.history.event_rows import rows_of
from processor.history.pieces import Piece
from processor.history.reading import PieceReader, ReadBy
from store.values.catalog import Catalog, CounterKind
from tests.builders.clock import FakeClock
from tests.builders.messages import NOW, a_visit, encoded, user
from tests.builders.reading import CATALOG
from tests.processor.events.test_quick_reader import (
    FLOOR,
    TOLERANCE,
    a_counter,
    a_trip,
    a_trips_catalog,
    catalogs,
    trips,
)

FIRST = 5


def all_read(
    catalog: Catalog, lines: Sequence[bytes], floor: date | None = FLOOR
) -> tuple[list[Any], list[Any], list[Any], list[Any]]:
    """Rows of events and contributions, refusals, and others, of a piece with these lines."""
    by = ReadBy(catalog, DEFAULT_TENANT, TOLERANCE, floor, 1 << 20)
    piece = Piece(2, FIRST, b"".join(line + b"\n" for line in lines))
    found = PieceReader(by, FakeClock(NOW)).read(piece)
    return (
        in_order([row for rows in found.rows for row in rows.events.to_pylist()]),
        in_order([row for rows in found.rows for row in rows.contributions.to_pylist()]),
        sorted((each.record.offset, repr(each.rejected)) for each in found.refused),
        sorted(each.offset for each in found.others),
    )


def one_by_one(
    catalog: Catalog, lines: Sequence[bytes], floor: date | None = FLOOR
) -> tuple[list[Any], list[Any], list[Any], list[Any]]:
    """The same by the stream's reader."""
    read = EventReader(catalog, DEFAULT_TENANT, TOLERANCE, floor).fully_at(NOW, None)
    parsed = [
        (number, read(PlainRecord(number, line.rstrip(b"\r"))))
        for number, line in enumerate(lines, FIRST)
        if line.strip()
    ]
    rows = rows_of(2, [each for _, each in parsed if isinstance(each, Event)])
    return (
        in_order(rows.events.to_pylist()),
        in_order(rows.contributions.to_pylist()),
        sorted((number, repr(each)) for number, each in parsed if isinstance(each, Rejected)),
        sorted(number for number, each in parsed if not isinstance(each, Event | Rejected)),
    )


def in_order(rows: Sequence[dict[str, Any]]) -> list[Any]:
    return sorted((list(row.items()) for row in rows), key=repr)


@given(
    catalog=catalogs(),
    records=st.lists(trips(), min_size=1, max_size=5),
    ends=st.sampled_from([b"", b"\r", b" "]),
    floor=st.sampled_from([None, FLOOR]),
)
def test_lines_read_in_bulk_as_they_read_one_by_one(
    catalog: Catalog, records: list[PlainRecord], ends: bytes, floor: date | None
) -> None:
    lines = [
        (record.value or b"") + ends for record in records if b"\n" not in (record.value or b"")
    ]
    found, expected = all_read(catalog, lines, floor), one_by_one(catalog, lines, floor)
    event(f"{len(expected[0])} events, {len(expected[2])} refused")
    assert found == expected


@given(good=st.integers(0, 200), broken=st.sets(st.integers(0, 199), max_size=5))
def test_a_broken_line_among_good_ones_is_the_only_one_refused(good: int, broken: set[int]) -> None:
    lines = [
        b"{" if number in broken else encoded(a_visit(user(number % 7), f"c{number}")) or b""
        for number in range(good)
    ]
    found = all_read(CATALOG, lines)
    assert found == one_by_one(CATALOG, lines)
    assert [number - FIRST for number, _ in found[2]] == sorted(n for n in broken if n < good)


# ------------------------------------------------------------------ what it takes, and what not

COUNTED = a_trips_catalog(
    a_counter(CounterKind.DISTINCT, 1, field="city"),
    a_counter(CounterKind.SUM, 2, field="km", filter={"tier": {"in": ["gold"]}}),
)
BOUNDS = (datetime(2026, 5, 1, tzinfo=UTC), NOW + TOLERANCE)


@pytest.mark.parametrize(
    ("record", "left"),
    [
        pytest.param(a_trip(), [], id="as it should be"),
        pytest.param(a_trip(tier='"gold"'), [], id="with an undeclared field"),
        pytest.param(a_trip({"time": '"2026-06-01T12:00:00.5+00:00"'}), [], id="with an offset"),
        pytest.param(a_trip({"tenantid": f'"{UUID(int=9)}"'}), [], id="of a tenant"),
        pytest.param(
            a_trip({"subject": f'"{str(user(10)).upper()}"'}), [], id="a subject in capitals"
        ),
        pytest.param(a_trip({"time": '"2026-06-01T14:00:00+02:00"'}), [0], id="another zone"),
        pytest.param(a_trip({"time": '"2026-02-29T12:00:00Z"'}), [0], id="no such day"),
        pytest.param(a_trip({"time": '"2026-04-30T23:59:59Z"'}), [0], id="before the floor"),
        pytest.param(a_trip({"time": '"2027-01-01T00:00:00Z"'}), [0], id="ahead of the clock"),
        pytest.param(a_trip({"subject": f'"{str(user(1))[:-1]}g"'}), [0], id="no hex digit"),
        pytest.param(a_trip({"subject": f'"{"a" * 32}----"'}), [0], id="hyphens elsewhere"),
        pytest.param(a_trip(km="-1"), [0], id="a number out of range"),
        pytest.param(a_trip(km="9" * 31), None, id="a number that may be too long"),
        pytest.param(a_trip({"subject": f'"{user(1).hex}"'}), None, id="without hyphens"),
        pytest.param(a_trip(city="5"), None, id="a number for an id"),
        pytest.param(a_trip(mood='"\\u0000"'), None, id="NUL"),
        pytest.param(PlainRecord(0, b"\xff"), None, id="no UTF-8"),
        pytest.param(PlainRecord(0, b""), None, id="blank"),
    ],
)
def test_what_is_taken_in_bulk(record: PlainRecord, left: list[int] | None) -> None:
    reader = BulkReader.of(COUNTED, DEFAULT_TENANT)
    assert reader is not None
    found = reader.read(0, 0, (record.value or b"") + b"\n", BOUNDS)
    assert (found and found.left) == left


def test_a_catalog_without_event_types_reads_one_by_one() -> None:
    lines = [encoded(a_visit()) or b""]
    assert BulkReader.of(Catalog(1, (), (), ()), DEFAULT_TENANT) is None
    assert all_read(Catalog(1, (), (), ()), lines) == one_by_one(Catalog(1, (), (), ()), lines)


def test_a_field_that_no_decoder_has_a_name_for_is_read_one_by_one() -> None:
    catalog = a_trips_catalog(a_counter(CounterKind.DISTINCT, 1, field='od"d'))
    lines = [a_trip().value or b"", a_trip({"type": '"trip.undone"'}).value or b""]
    assert all_read(catalog, lines) == one_by_one(catalog, lines)


# ------------------------------------------------------------------ its parts


@given(st.lists(st.tuples(st.text(max_size=40), st.text(min_size=1, max_size=128)), max_size=5))
def test_keys_are_those_of_single_events(named: list[tuple[str, str]]) -> None:
    uuid7, ulid = "018f2f6e-1a2b-7c3d-8e4f-0123456789ab", "01ARZ3NDEKTSV4RRFFQ69G5FAV"
    named = [
        (source.encode(errors="replace").decode(), name.encode(errors="replace").decode())
        for source, name in [*named, ("/s", uuid7), ("/s", ulid), ("/s", uuid7.upper())]
    ]
    heads = [key_head(DEFAULT_TENANT, source) for source, _ in named]
    expected = [key_of(head, name) for head, (_, name) in zip(heads, named, strict=True)]
    assert keys_of(heads, [name for _, name in named]).hex() == "".join(expected)


@given(st.lists(st.tuples(st.sampled_from(["a", "quest.completed"]), st.uuids()), max_size=5))
def test_fingerprints_are_those_of_single_events(events: list[tuple[str, UUID]]) -> None:
    from processor.events.identity import fingerprint_head

    heads = np.array([fingerprint_head(kind) for kind, _ in events], np.uint32)
    subjects = np.frombuffer(b"".join(who.bytes for _, who in events), np.uint8).reshape(-1, 16)
    assert fingerprints_of(heads, subjects).tolist() == [fingerprint(*each) for each in events]


@given(st.datetimes(timezones=st.just(UTC)), st.sampled_from(["Z", "+00:00"]), st.integers(0, 6))
def test_times_are_those_of_single_events(moment: datetime, end: str, decimals: int) -> None:
    moment -= timedelta(microseconds=moment.microsecond % 10 ** (6 - decimals))
    text = moment.replace(tzinfo=None).isoformat(timespec="microseconds")
    text = text[: 20 + decimals].removesuffix(".") + end
    times, certain = written_times.parsed([text])
    assert certain.tolist() == [True]
    assert times.tolist() == [written_times.microseconds(moment)]


@pytest.mark.parametrize(
    "text",
    [
        "", "Z", "2026-06-01", "2026-06-01T12:00Z", "2026-06-01T12:00:00", "2026-06-01 12:00:00Z",
        "2026-06-01T12:00:00.Z", "2026-06-01T12:00:00.1234567Z", "2026-06-01T24:00:00Z",
        "2026-06-01T12:60:00Z", "2026-06-01T12:00:60Z", "2026-00-01T12:00:00Z", "2026-13-01T12:00:00Z",
        "2026-06-00T12:00:00Z", "2026-06-31T12:00:00Z", "2025-02-29T12:00:00Z", "1900-02-29T12:00:00Z",
        "0000-01-01T00:00:00Z", "2026-06-01T12:00:00z", "2026-06-01t12:00:00Z", "+026-06-01T12:00:00Z",
        "2026-06-01T12:00:0éZ", "2026-06-01T12:00:00+01:00",
    ],
)  # fmt: skip
def test_other_times_are_left(text: str) -> None:
    times, certain = written_times.parsed([text, "2026-06-01T12:00:00Z"])
    assert certain.tolist() == [False, True]
    assert times[1] == written_times.microseconds(datetime(2026, 6, 1, 12, tzinfo=UTC))


def test_days_are_told_by_the_calendar() -> None:
    for day in ("2024-02-29", "2000-02-29", "1999-12-31", "9999-12-31", "0001-01-01"):
        times, certain = written_times.parsed([f"{day}T23:59:59.999999Z"])
        assert certain.tolist() == [True]
        expected = datetime.fromisoformat(f"{day}T23:59:59.999999+00:00")
        assert times.tolist() == [written_times.microseconds(expected)]


def test_one_kind_with_numbers_to_check_and_a_count() -> None:
    catalog = a_trips_catalog(a_counter(CounterKind.COUNT, 1))
    lines = [a_trip().value or b"", a_trip(km="9" * 31).value or b""]
    found = all_read(catalog, lines)
    assert found == one_by_one(catalog, lines)
    assert (len(found[1]), len(found[2])) == (1, 1)
