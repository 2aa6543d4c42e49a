"""What was read of history as columns: a row for each event, and a row for each part that it adds.

This is the whole definition that an engine has to know. What an event adds to which counter is said
by the code of the stream (processor/rules/counters.py); an engine drops repetitions and adds up,
and nothing in that depends on the catalog.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from processor.events.event import Event
from processor.history.pieces import place_of
from store.values.names import Number

# Amounts up to here fit their column, and ten thousand million of them into a sum of 38 digits.
# Others are texts beside it, to be added up exactly by whoever takes the sums.
_AMOUNT_MAX = 10**18
_PLACES = 9
_AMOUNT = pa.decimal128(38, _PLACES)
_WHOLE_OR_NONE = {int, type(None)}
_MICROSECOND = pa.timestamp("us")
_INSTANT = pa.timestamp("us", "UTC")

# What becomes a column: a list, an array of numpy's or one of Arrow's.
Values: TypeAlias = "Sequence[object] | NDArray[Any] | pa.Array"

EVENTS = pa.schema(
    [
        ("place", pa.int64()),  # of its record: processor/history/pieces.py
        ("key", pa.binary(16)),
        ("fingerprint", pa.int32()),
        ("user_id", pa.binary(16)),
        ("bucket", pa.uint32()),  # the last 32 bits of user_id: slices of users are made by it
        ("time", _MICROSECOND),  # UTC
        ("type", pa.string()),
        ("source", pa.string()),
        ("id", pa.string()),
        ("tenant_id", pa.binary(16)),
        ("heard", pa.bool_()),
    ]
)
CONTRIBUTIONS = pa.schema(
    [
        ("place", pa.int64()),
        ("user_id", pa.binary(16)),
        ("bucket", pa.uint32()),
        ("time", _MICROSECOND),
        ("counter_id", pa.int16()),
        ("operation", pa.int8()),  # store.values.catalog.CounterOperation
        ("amount", _AMOUNT),
        ("odd_amount", pa.string()),  # an amount that does not fit the column before
        ("member", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class EventRows:
    """Rows of EVENTS, and those of CONTRIBUTIONS that belong to them."""

    events: pa.RecordBatch
    contributions: pa.RecordBatch


def rows_of(source: int, events: Sequence[Event]) -> EventRows:
    """Return the rows of `events`, which come of the source with this number."""
    rows = event_rows(
        places=[place_of(source, each.offset) for each in events],
        keys=bytes.fromhex("".join([each.key for each in events])),
        fingerprints=[each.fingerprint for each in events],
        users=b"".join([each.user_id.bytes for each in events]),
        # With its zone, then without: to take it off each one costs as much as half of the rest.
        times=pa.array([each.time for each in events], _INSTANT).cast(_MICROSECOND),
        types=[each.type for each in events],
        sources=[each.source for each in events],
        ids=[each.id for each in events],
        tenants=b"".join([each.tenant_id.bytes for each in events]),
        heard=[each.heard for each in events],
    )
    owners = [number for number, event in enumerate(events) for _ in event.contributions]
    parts = [part for event in events for part in event.contributions]
    added = contribution_rows(
        rows,
        owners=owners,
        counters=[part.counter_id for part in parts],
        operations=[part.operation for part in parts],
        amounts=[part.amount for part in parts],
        members=[part.member for part in parts],
    )
    return EventRows(rows, added)


def event_rows(
    *,
    places: Values,
    keys: bytes,
    fingerprints: Values,
    users: bytes,
    times: Values,
    types: Values,
    sources: Values,
    ids: Values,
    tenants: bytes,
    heard: Values,
) -> pa.RecordBatch:
    """Return rows of EVENTS: `keys`, `users` and `tenants` lie one after the other."""
    columns = [
        pa.array(places, pa.int64()),
        _sixteen(keys),
        pa.array(fingerprints, pa.int32()),
        _sixteen(users),
        pa.array(np.frombuffer(users, ">u4")[3::4].astype(np.uint32)),
        pa.array(times, _MICROSECOND),
        pa.array(types, pa.string()),
        pa.array(sources, pa.string()),
        pa.array(ids, pa.string()),
        _sixteen(tenants),
        pa.array(heard, pa.bool_()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=EVENTS)


def contribution_rows(
    events: pa.RecordBatch,
    *,
    owners: Values,
    counters: Values,
    operations: Values,
    amounts: Sequence[Number | None],
    members: Values,
) -> pa.RecordBatch:
    """Return rows of CONTRIBUTIONS; `owners` are the numbers of the rows of `events`."""
    shared = events.select(["place", "user_id", "bucket", "time"])
    of_event = shared.take(pa.array(owners, pa.int32()))
    fitting, odd = _amounts(amounts)
    columns = [
        *of_event.columns,
        pa.array(counters, pa.int16()),
        pa.array(operations, pa.int8()),
        fitting,
        odd,
        pa.array(members, pa.string()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=CONTRIBUTIONS)


def _amounts(amounts: Sequence[Number | None]) -> tuple[pa.Array, pa.Array]:
    """Return the columns amount and odd_amount."""
    if set(map(type, amounts)) <= _WHOLE_OR_NONE:  # nearly always
        small = [each for each in amounts if each is not None]
        if not small or -_AMOUNT_MAX < min(small) <= max(small) < _AMOUNT_MAX:
            whole = pa.array(amounts, pa.int64()).cast(_AMOUNT)
            return whole, pa.nulls(len(whole), pa.string())
    each_and_fit = [(each, _fits(each)) for each in amounts]
    listed = [Decimal(each) if ok and each is not None else None for each, ok in each_and_fit]
    odd = [None if ok or each is None else str(each) for each, ok in each_and_fit]
    return pa.array(listed, _AMOUNT), pa.array(odd, pa.string())


def _fits(amount: Number | None) -> bool:
    if amount is None:
        return False
    exact = Decimal(amount)
    _, _, exponent = exact.as_tuple()
    return abs(exact) < _AMOUNT_MAX and isinstance(exponent, int) and exponent >= -_PLACES


def _sixteen(values: bytes) -> pa.Array:
    """Return values of 16 bytes that lie one after the other as a column."""
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(16), len(values) // 16, [None, pa.py_buffer(values)]
    )
