"""Read what is certainly an event many lines at a time; leave everything else to the reader.

The same idea as processor/events/quick_reader.py, for lines that lie one after the other: msgspec
takes a block of them in one call, and what Python would do event by event (ids, times) is done for
all of them at once. What this leaves is read line by line by the stream's reader, which could read
everything: a block with a line that is no event of a declared type, that is not UTF-8 or escapes
NUL, and single events whose subject or time is written in an unusual way, that lie outside the
bounds of time, or that a counter does not take.

tests/processor/history/test_bulk_reader.py holds the two together.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache, reduce
from operator import or_
from typing import Annotated, Any, Self
from uuid import UUID

import msgspec
import numpy as np
import pyarrow as pa
from msgspec import Meta
from numpy.typing import NDArray

from processor.events.identity import key_head
from processor.events.message_schema import BUILT_IN_TOPICS, exact
from processor.events.quick_reader import (
    MANY_DIGITS,
    NUL_ESCAPED,
    ZEROS_FOR_DIGITS,
    EventKind,
    NoEvent,
    envelope_type,
    kinds_of,
)
from processor.events.rejection import ContractViolation
from processor.history import written_times
from processor.history.bulk_identity import fingerprints_of, keys_of
from processor.history.event_rows import EventRows, contribution_rows, event_rows
from processor.history.pieces import place_of
from processor.rules.counters import Contribution, Listeners, listeners_by_type
from store.values.catalog import Catalog, EventSpec
from store.values.names import Number

# A subject as it is usually written: 32 hex digits, and hyphens at these places.
_SUBJECT_LENGTH = 36
_HYPHENS = (8, 13, 18, 23)
_DIGITS = [place for place in range(_SUBJECT_LENGTH) if place not in _HYPHENS]
_HYPHEN, _NO_DIGIT = ord("-"), 16
_NIBBLES = np.full(256, _NO_DIGIT, np.uint8)
for _value, _character in enumerate("0123456789abcdef"):
    _NIBBLES[[ord(_character), ord(_character.upper())]] = _value
_SOURCES_MAX = 1024

_Subject = Annotated[str, Meta(min_length=_SUBJECT_LENGTH, max_length=_SUBJECT_LENGTH)]


@dataclass(frozen=True, slots=True)
class BulkRows:
    """The events of a block; `left` are the numbers of its lines that are to be read otherwise."""

    rows: EventRows
    left: Sequence[int]


@dataclass(slots=True)
class _Added:
    """What the events of a block add, as columns."""

    owners: list[int] = field(default_factory=list)
    counters: list[int] = field(default_factory=list)
    operations: list[int] = field(default_factory=list)
    amounts: list[Number | None] = field(default_factory=list)
    members: list[str | None] = field(default_factory=list)

    def take(self, owner: int, part: Contribution) -> None:
        """Take in what an event adds."""
        self.owners.append(owner)
        self.counters.append(part.counter_id)
        self.operations.append(part.operation)
        self.amounts.append(part.amount)
        self.members.append(part.member)

    def take_all(self, owners: Sequence[int], part: Contribution) -> None:
        """Take in what many events add alike."""
        many = len(owners)
        self.owners += owners
        self.counters += [part.counter_id] * many
        self.operations += [part.operation] * many
        self.amounts += [part.amount] * many
        self.members += [part.member] * many


class BulkReader:
    """Reads blocks of lines that may hold events of any of these types.

    Args:
        specs: the event types, at least one.
        listeners: the counters, by event type.
        tenant_id: the tenant of an event without `tenantid`.
    """

    def __init__(
        self, specs: Collection[EventSpec], listeners: Mapping[str, Listeners], tenant_id: UUID
    ) -> None:
        self._kinds: list[EventKind] = []
        self._numbers: dict[type[msgspec.Struct], int] = {}
        self._strictly = self._decoder(specs, listeners, strict=True)
        self._leniently = self._decoder(specs, listeners, strict=False)
        self._tenant_id = tenant_id
        self._head = lru_cache(_SOURCES_MAX)(key_head)

    @classmethod
    def of(cls, catalog: Catalog, tenant_id: UUID) -> Self | None:
        """Return the reader of all types of a catalog; None where it has none."""
        specs = [spec for spec in catalog.events if spec.type not in BUILT_IN_TOPICS]
        return cls(specs, listeners_by_type(catalog), tenant_id) if specs else None

    def _decoder(
        self, specs: Collection[EventSpec], listeners: Mapping[str, Listeners], *, strict: bool
    ) -> Callable[[bytes], list[Any]]:
        envelopes: list[Any] = []
        for kind in kinds_of(specs, listeners, strict=strict):
            envelopes.append(envelope := envelope_type(kind, _Subject, str))
            self._numbers[envelope] = len(self._kinds)
            self._kinds.append(kind)
        union = reduce(or_, envelopes, NoEvent)
        return msgspec.json.Decoder(union, float_hook=exact).decode_lines

    def read(
        self, source: int, first: int, lines: bytes, bounds: tuple[datetime, datetime]
    ) -> BulkRows | None:
        """Read whole lines, whose first has the number `first`; None: read them one by one.

        Args:
            source: the number of the source.
            first: as above.
            lines: each with its end.
            bounds: the earliest and the latest time of an event.
        """
        events = self._decoded(lines)
        if events is None or len(events) != lines.count(b"\n"):
            return None  # a blank line has a number too
        users = _users([event.subject for event in events])
        if users is None:
            return None
        times, certain = written_times.parsed([event.time for event in events])
        earliest, latest = map(written_times.microseconds, bounds)
        certain &= users.certain & (earliest <= times) & (times <= latest)
        numbers = self._numbers
        kinds = np.array([numbers[type(event)] for event in events], np.uint8)
        added = self._added(events, kinds, certain)
        rows = self._rows(place_of(source, first), events, kinds, users.ids, times)
        owners = np.asarray(added.owners, np.int32)
        if not certain.all():
            rows = rows.filter(pa.array(certain))
            owners = (np.cumsum(certain, dtype=np.int32) - 1)[owners]
        of_counters = contribution_rows(
            rows,
            owners=owners,
            counters=added.counters,
            operations=added.operations,
            amounts=added.amounts,
            members=added.members,
        )
        return BulkRows(EventRows(rows, of_counters), np.flatnonzero(~certain).tolist())

    def _decoded(self, lines: bytes) -> list[Any] | None:
        if NUL_ESCAPED in lines:
            return None
        try:
            if not lines.isascii():
                lines.decode()
            return self._strictly(lines)
        except msgspec.ValidationError:
            pass
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        try:
            events = self._leniently(lines)
        except (msgspec.DecodeError, RecursionError):
            return None
        # As in quick_reader.py: a number beyond any decimal may be among what is not declared.
        return None if MANY_DIGITS in lines.translate(ZEROS_FOR_DIGITS) else events

    def _rows(
        self,
        first_place: int,
        events: Sequence[Any],
        kinds: NDArray[np.uint8],
        users: NDArray[np.uint8],
        times: NDArray[np.int64],
    ) -> pa.RecordBatch:
        sources, ids = [event.source for event in events], [event.id for event in events]
        tenants = [event.tenantid for event in events]
        if any(tenants):
            named = [tenant or self._tenant_id for tenant in tenants]
            heads = list(map(self._head, named, sources))
            tenant_ids = b"".join([tenant.bytes for tenant in named])
        else:
            own = {source: key_head(self._tenant_id, source) for source in set(sources)}
            heads = [own[source] for source in sources]
            tenant_ids = self._tenant_id.bytes * len(events)
        fingerprint_heads = self._of_kind(kinds, "fingerprint_head", np.uint32)
        return event_rows(
            places=np.arange(first_place, first_place + len(events)),
            keys=keys_of(heads, ids),
            fingerprints=fingerprints_of(fingerprint_heads, users),
            users=users.tobytes(),
            times=times.view("M8[us]"),
            types=pa.array([kind.type for kind in self._kinds]).take(pa.array(kinds)),
            sources=sources,
            ids=ids,
            tenants=tenant_ids,
            heard=self._of_kind(kinds, "heard", np.bool_),
        )

    def _of_kind(self, kinds: NDArray[np.uint8], name: str, to: Any) -> NDArray[Any]:  # noqa: ANN401 - a type of numpy's
        return np.array([getattr(kind, name) for kind in self._kinds], to)[kinds]

    def _added(
        self, events: Sequence[Any], kinds: NDArray[np.uint8], certain: NDArray[np.bool_]
    ) -> _Added:
        """Return what the certain events add; where one is not taken, it is certain no more."""
        added = _Added()
        for number in np.unique(kinds).tolist():
            kind = self._kinds[number]
            of_kind = np.flatnonzero((kinds == number) & certain).tolist()
            if kind.constant is not None and not kind.data_type.numbers:
                for part in kind.constant:
                    added.take_all(of_kind, part)
                continue
            for each in of_kind:
                try:
                    kind.data_type.check_numbers(events[each].data)
                    parts = kind.adding(events[each].data)
                except (ContractViolation, ValueError):
                    certain[each] = False
                    continue
                for part in parts if kind.constant is None else kind.constant:
                    added.take(each, part)
        return added


@dataclass(frozen=True, slots=True)
class _Users:
    """User ids, 16 bytes a row; `certain` says of each whether it is one."""

    ids: NDArray[np.uint8]
    certain: NDArray[np.bool_]


def _users(subjects: Sequence[str]) -> _Users | None:
    """Return the ids of subjects of 36 characters; None where they are no ASCII."""
    joined = "".join(subjects)
    if not joined.isascii():
        return None
    characters = np.frombuffer(joined.encode(), np.uint8).reshape(-1, _SUBJECT_LENGTH)
    digits = _NIBBLES[characters[:, _DIGITS]]
    certain = (characters[:, _HYPHENS] == _HYPHEN).all(1) & (digits < _NO_DIGIT).all(1)
    high, low = digits[:, 0::2], digits[:, 1::2]
    return _Users((high << np.uint8(4)) | low, certain)
