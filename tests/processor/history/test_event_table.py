"""What DuckDB adds up is what a person adds up by hand, whatever the messages, pieces and slices."""

import random
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.settings import DEFAULT_TENANT
from processor.events.chunks import PlainRecord
from processor.events.event import Event
from processor.events.reader import EventReader
from processor.history import event_table
from processor.history.event_rows import rows_of
from processor.history.event_table import EventTable, RepeatedEvent
from processor.history.pieces import Piece, place_of
from processor.history.reading import PieceReader, ReadBy, ReadPiece
from store.exact_json import dumped
from store.values.catalog import (
    Catalog,
    CounterKind,
    CounterOperation,
    FieldKind,
    FieldSpec,
)
from store.values.names import Number
from tests.builders.catalogs import a_catalog, a_counter, a_type, an_event
from tests.builders.chance import CatalogTeller, MessageTeller, compiled
from tests.builders.clock import FakeClock
from tests.builders.messages import NOW

TOLERANCE = timedelta(minutes=10)


def numbered(catalog: Catalog) -> Catalog:
    """Return the catalog as the store gives it: every counter with an id."""
    counters = tuple(replace(each, id=n) for n, each in enumerate(catalog.counters, 1))
    return replace(catalog, counters=counters)


def read_by(catalog: Catalog) -> ReadBy:
    return ReadBy(catalog, DEFAULT_TENANT, TOLERANCE, date(2000, 1, 1), 1 << 20)


def lines_of(messages: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(dumped(message).encode() + b"\n" for message in messages)


def pieces_of(messages: Sequence[dict[str, Any]], chance: random.Random) -> Iterator[Piece]:
    """Cut messages into sources and pieces of chance."""
    source = first = 0
    left = list(messages)
    while left:
        size = chance.randint(1, 9)
        yield Piece(source, first, lines_of(left[:size]))
        first += len(left[:size])
        left = left[size:]
        if chance.random() < 0.3:
            source, first = source + 1, 0


@contextmanager
def a_table(read: Sequence[ReadPiece], slice_events: int = 7) -> Iterator[EventTable]:
    with event_table.opened(None, 200 << 20, 1) as table:
        for each in read:
            for rows in each.rows:
                table.add(rows)
        table.seal(b"a test", slice_events)
        yield table


# ------------------------------------------------------------------ by hand


@dataclass
class ByHand:
    """The same as a table, from events one after the other."""

    first: dict[str, Event] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)
    repeated: list[RepeatedEvent] = field(default_factory=list)

    def take(self, place: int, event: Event) -> None:
        known = self.first.setdefault(event.key, event)
        if known is event:
            self.places[event.key] = place
        else:
            conflicts = known.fingerprint != event.fingerprint
            self.repeated.append(
                RepeatedEvent(
                    place, self.places[event.key], conflicts, event.id, event.source, event.type
                )
            )

    def counted(self, without: Collection[bytes]) -> list[Event]:
        return [e for e in self.first.values() if bytes.fromhex(e.key) not in without]

    def totals(self, without: Collection[bytes]) -> dict[tuple[UUID, int], tuple[Number, datetime]]:
        found: dict[tuple[UUID, int], tuple[Number, datetime]] = {}
        for event in self.counted(without):
            for part in event.contributions:
                key = (event.user_id, part.counter_id)
                old = found.get(key)
                amount = Decimal(part.amount or 0)
                if old is None:
                    found[key] = amount, event.time
                elif part.operation == CounterOperation.MAX:
                    found[key] = max(Decimal(old[0]), amount), max(old[1], event.time)
                else:
                    total = event_table._EXACT.add(Decimal(old[0]), amount)
                    found[key] = total, max(old[1], event.time)
        return found

    def members(self, without: Collection[bytes]) -> dict[tuple[UUID, int, str], tuple[bool, bool]]:
        found: dict[tuple[UUID, int, str], tuple[bool, bool]] = {}
        for event in self.counted(without):
            for part in event.contributions:
                if part.member is not None:
                    key = (event.user_id, part.counter_id, part.member)
                    posted, undone = found.get(key, (False, False))
                    is_undo = part.operation == CounterOperation.UNDO
                    found[key] = posted or not is_undo, undone or is_undo
        return found


def held_equal(table: EventTable, hand: ByHand, without: Collection[bytes] = ()) -> None:
    slices = [table.slice(number, without) for number in range(table.slices)]
    totals = {
        (UUID(bytes=t.user), t.counter_id): (t.amount, t.latest) for s in slices for t in s.totals
    }
    assert totals == hand.totals(without)
    members = {
        (UUID(bytes=m.user), m.counter_id, m.member): (m.posted, m.undone)
        for s in slices
        for m in s.members
    }
    assert members == hand.members(without)
    assert len(members) == sum(len(s.members) for s in slices)
    events = {
        keys.tobytes().hex(): (fingerprint, day, heard, place)
        for s in slices
        for keys, fingerprint, day, heard, place in zip(
            s.events.keys,
            s.events.fingerprints.tolist(),
            s.events.days.tolist(),
            s.events.heard.tolist(),
            s.events.places.tolist(),
            strict=True,
        )
    }
    first_day = date(2000, 1, 1)
    assert events == {
        event.key: (
            event.fingerprint,
            (event.time.astimezone(UTC).date() - first_day).days,
            event.heard,
            hand.places[event.key],
        )
        for event in hand.counted(without)
    }
    # Users are dealt out: each has all that is theirs in one slice.
    for each in slices:
        users = {total.user for total in each.totals}
        assert all(int.from_bytes(user[-4:], "big") % table.slices == each.number for user in users)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_history_of_chance_adds_up_as_by_hand(seed: int) -> None:
    chance = random.Random(seed)
    catalog = numbered(compiled(CatalogTeller(chance).first()))
    messages = MessageTeller(chance).some(chance.randint(1, 80))
    read = EventReader(catalog, DEFAULT_TENANT, TOLERANCE, date(2000, 1, 1)).fully_at(NOW, None)
    reader = PieceReader(read_by(catalog), FakeClock(NOW))
    hand, done, left = ByHand(), [], list(messages)
    for piece in pieces_of(messages, chance):
        found = reader.read(piece)
        done.append(found)
        refused = []
        for number in range(found.records):
            parsed = read(PlainRecord(piece.first + number, dumped(left.pop(0)).encode()))
            if isinstance(parsed, Event):
                hand.take(place_of(piece.source, parsed.offset), parsed)
            else:
                refused.append((piece.source, piece.first + number, parsed))
        assert [
            (each.source, each.record.offset, each.rejected) for each in found.refused
        ] == refused
    with a_table(done, slice_events=chance.randint(1, 100)) as table:
        held_equal(table, hand)
        assert list(table.repeated()) == sorted(hand.repeated, key=lambda each: each.place)
        keys = sorted(bytes.fromhex(key) for key in hand.first)
        known = chance.sample(keys, chance.randint(0, len(keys)))
        held_equal(table, hand, known)
        by_key = {bytes.fromhex(event.key): event for event in hand.first.values()}
        for event in table.events(known):
            said = by_key[bytes.fromhex(event.key)]
            assert event.contributions == said.contributions or sorted(
                event.contributions, key=repr
            ) == sorted(said.contributions, key=repr)
            assert (event.user_id, event.time, event.source, event.id, event.tenant_id) == (
                said.user_id,
                said.time,
                said.source,
                said.id,
                said.tenant_id,
            )
        assert len(table.events(known)) == len(known)
        latest_are_origins(table, hand, known)


def latest_are_origins(table: EventTable, hand: ByHand, without: Collection[bytes]) -> None:
    """Hold the origin of each user and counter to the latest event that added to it."""
    expected: dict[tuple[UUID, int], Event] = {}
    for event in hand.counted(without):
        for part in event.contributions:
            key = (event.user_id, part.counter_id)
            old = expected.get(key, event)
            expected[key] = max(old, event, key=lambda each: (each.time, each.source, each.id))
    for number in range(table.slices):
        for (user, counter), event in expected.items():
            found = table.origins(number, {user: [counter]}, without)
            if int.from_bytes(user.bytes[-4:], "big") % table.slices == number:
                assert found[user].key == event.key
            else:
                assert not found


# ------------------------------------------------------------------ amounts


def an_amount_catalog() -> Catalog:
    counters = (
        a_counter("total", kind=CounterKind.SUM, event_type="paid", field="amount"),
        a_counter("most", kind=CounterKind.MAX, event_type="paid", field="amount"),
    )
    return numbered(
        a_catalog(
            a_type(counters=("total", "most")),
            counters=counters,
            events=(an_event("paid", FieldSpec("amount", FieldKind.NUMBER)),),
        )
    )


@pytest.mark.parametrize(
    "amounts",
    [
        ["1", "2"],
        ["0.1", "0.2"],
        ["999999999999999999", "1"],
        ["1000000000000000000", "1"],
        ["999999999999999999999999999999", "1"],
        ["1E-30", "1E+29"],
        ["0.0000000001", "3"],
        ["1E-9", "2.500000000"],
        ["123456789012345678.123456789", "0.000000001"],
        ["0", "0.00"],
    ],
)
def test_sums_and_maxima_keep_every_digit(amounts: list[str]) -> None:
    """Also where some amounts fit the engine's decimals and others do not."""
    user = str(UUID(int=1))
    messages = [
        b'{"specversion":"1.0","id":"e%d","source":"/s","type":"paid","subject":"%s",'
        b'"time":"2026-01-02T03:04:05Z","data":{"amount":%s}}\n'
        % (number, user.encode(), amount.encode())
        for number, amount in enumerate(amounts)
    ]
    found = PieceReader(read_by(an_amount_catalog()), FakeClock(NOW)).read(
        Piece(0, 0, b"".join(messages))
    )
    assert not found.refused
    with a_table([found]) as table:
        totals = {each.counter_id: each.amount for each in table.slice(0).totals}
    exact = [Decimal(amount) for amount in amounts]
    assert totals == {1: event_table._EXACT.add(*exact), 2: max(exact)}


def test_rows_of_nothing_are_none() -> None:
    rows = rows_of(0, [])
    assert (len(rows.events), len(rows.contributions)) == (0, 0)


def test_the_digest_tells_inputs_apart_and_not_their_order() -> None:
    chance = random.Random(5)
    catalog = numbered(compiled(CatalogTeller(chance).first()))
    messages = [m for m in MessageTeller(chance).some(40) if m["type"] != "noise.made"]
    reader = PieceReader(read_by(catalog), FakeClock(NOW))
    pieces = list(pieces_of(messages, chance))
    read = [reader.read(piece) for piece in pieces]

    def digest(of: Sequence[ReadPiece]) -> bytes:
        with a_table(of) as table:
            return table.digest

    assert digest(read) == digest(read[::-1])
    messages[0] = {**messages[0], "time": "2026-01-01T00:00:00Z"}
    changed = [reader.read(piece) for piece in pieces_of(messages, random.Random(5))]
    assert digest(changed) != digest(read)
