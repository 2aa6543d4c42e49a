"""What was read of some sources, held the slow and obvious way: events in a list, added up by hand.

Of Laurel it takes an event's own contributions, which the reader said, and nothing else.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from fractions import Fraction
from uuid import UUID

import numpy as np

from processor.events.event import Event
from processor.history.user_slice import Member, SliceEvents, Total, UserSlice
from store.values.catalog import CounterOperation
from store.values.names import Number

_FIRST_DAY = date(2000, 1, 1)


class PlainHistory:
    """Events of one source, in their order; of several with one identity the first counts.

    `place` of an event is its offset.
    """

    def __init__(self, events: Iterable[Event], slices: int = 3) -> None:
        self.all = list(events)
        self.kept: dict[str, Event] = {}
        self.conflicts: list[Event] = []
        self.repeated = 0
        for event in self.all:
            first = self.kept.setdefault(event.key, event)
            if first is not event and first.fingerprint != event.fingerprint:
                self.conflicts.append(event)
            elif first is not event:
                self.repeated += 1
        self.slices = slices

    @property
    def digest(self) -> bytes:
        content = [(each.offset, each.key, each.fingerprint) for each in self.all]
        return hashlib.sha256(repr((self.slices, content)).encode()).digest()

    def slice(self, number: int, without: Collection[bytes] = ()) -> UserSlice:
        events = sorted(self._events(number, without), key=lambda each: each.key)
        return UserSlice(number, _columns(events), _totals(events), _members(events))

    def origins(
        self, number: int, counters: Mapping[UUID, Collection[int]], without: Collection[bytes] = ()
    ) -> Mapping[UUID, Event]:
        found: dict[UUID, Event] = {}
        for event in sorted(
            self._events(number, without), key=lambda each: (each.time, each.source, each.id)
        ):
            wanted = counters.get(event.user_id, ())
            if any(part.counter_id in wanted for part in event.contributions):
                found[event.user_id] = event
        return found

    def events(self, keys: Collection[bytes]) -> Sequence[Event]:
        return [self.kept[key.hex()] for key in sorted(keys)]

    def _events(self, number: int, without: Collection[bytes]) -> list[Event]:
        left_out = {key.hex() for key in without}
        return [
            event
            for event in self.kept.values()
            if event.user_id.int % self.slices == number and event.key not in left_out
        ]


def _columns(events: Sequence[Event]) -> SliceEvents:
    keys = b"".join(bytes.fromhex(each.key) for each in events)
    return SliceEvents(
        np.frombuffer(keys, np.uint8).reshape(-1, 16),
        np.array([each.fingerprint for each in events], np.int32),
        np.array([(each.time.date() - _FIRST_DAY).days for each in events], np.int32),
        np.array([each.heard for each in events], np.bool_),
        np.array([each.offset for each in events], np.int64),
    )


def _totals(events: Sequence[Event]) -> list[Total]:
    found: dict[tuple[bytes, int], Total] = {}
    for event in events:
        for part in event.contributions:
            key = event.user_id.bytes, part.counter_id
            added = part.amount if part.amount is not None else 0
            old = found.get(key)
            if old is None:
                found[key] = Total(*key, added, event.time)
                continue
            is_max = part.operation is CounterOperation.MAX
            total = max(old.amount, added) if is_max else _sum(old.amount, added)
            found[key] = Total(*key, total, max(old.latest, event.time))
    return list(found.values())


def _sum(one: Number, other: Number) -> Number:
    exact = Fraction(one) + Fraction(other)
    if exact.denominator == 1:
        return int(exact)
    # Decimals alone have made it: its denominator is a product of twos and fives.
    places = 0
    while (exact * 10**places).denominator != 1:
        places += 1
    return Decimal(f"{exact * 10**places}e-{places}")


def _members(events: Sequence[Event]) -> list[Member]:
    flags: dict[tuple[bytes, int, str], tuple[bool, bool]] = {}
    for event in events:
        for part in event.contributions:
            if part.member is None:
                continue
            key = event.user_id.bytes, part.counter_id, part.member
            posted, undone = flags.get(key, (False, False))
            undoes = part.operation is CounterOperation.UNDO
            flags[key] = posted or not undoes, undone or undoes
    return [Member(*key, *each) for key, each in flags.items()]
