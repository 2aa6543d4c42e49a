"""What was read of history as columns: a row for each event, and a row for each part that it adds.

This is the whole definition that an engine has to know. What an event adds to which counter is said
by the code of the stream (processor/rules/counters.py); an engine drops repetitions and adds up,
and nothing in that depends on the catalog. Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import pyarrow as pa

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
    places = pa.array(np.array([place_of(source, 0)]) + [each.offset for each in events])
    users = b"".join([each.user_id.bytes for each in events])
    buckets = np.frombuffer(users, ">u4")[3::4].astype(np.uint32)
    # With its zone, then without: to take it off each one costs as much as half of the rest.
    times = pa.array([each.time for each in events], _INSTANT).cast(_MICROSECOND)
    columns = [
        places,
        _sixteen(bytes.fromhex("".join([each.key for each in events]))),
        pa.array([each.fingerprint for each in events], pa.int32()),
        _sixteen(users),
        pa.array(buckets),
        times,
        pa.array([each.type for each in events], pa.string()),
        pa.array([each.source for each in events], pa.string()),
        pa.array([each.id for each in events], pa.string()),
        _sixteen(b"".join([each.tenant_id.bytes for each in events])),
        pa.array([each.heard for each in events], pa.bool_()),
    ]
    rows = pa.RecordBatch.from_arrays(columns, schema=EVENTS)
    return EventRows(rows, _contributions(rows, events))


def _contributions(rows: pa.RecordBatch, events: Sequence[Event]) -> pa.RecordBatch:
    owners = [number for number, event in enumerate(events) for _ in event.contributions]
    parts = [part for event in events for part in event.contributions]
    of_event = rows.select(["place", "user_id", "bucket", "time"]).take(
        pa.array(owners, pa.int32())
    )
    amounts, odd = _amounts([part.amount for part in parts])
    columns = [
        *of_event.columns,
        pa.array([part.counter_id for part in parts], pa.int16()),
        pa.array([part.operation for part in parts], pa.int8()),
        amounts,
        odd,
        pa.array([part.member for part in parts], pa.string()),
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
