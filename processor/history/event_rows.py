"""What was read of history as columns: a row for each event, and a row for each part that it adds.

This is the whole definition that an engine has to know. What an event adds to which counter is said
by the code of the stream (processor/rules/counters.py); an engine drops repetitions and adds up,
and nothing in that depends on the catalog. Pure.
"""

from collections.abc import Sequence
from decimal import Decimal

import pyarrow as pa

from processor.events.event import Event
from processor.history.pieces import place_of
from store.values.names import Number

# Amounts up to here fit their column, and ten thousand million of them into a sum of 38 digits.
# Others are texts beside it, to be added up exactly by whoever takes the sums.
_AMOUNT_MAX = 10**18
_AMOUNT = pa.decimal128(38, 9)
_MICROSECOND = pa.timestamp("us")

EVENTS = pa.schema(
    [
        ("place", pa.int64()),  # of its record: processor/history/pieces.py
        ("key", pa.binary(16)),
        ("fingerprint", pa.int32()),
        ("user_id", pa.binary(16)),
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
        ("time", _MICROSECOND),
        ("counter_id", pa.int16()),
        ("operation", pa.int8()),  # store.values.catalog.CounterOperation
        ("amount", _AMOUNT),
        ("odd_amount", pa.string()),  # an amount that does not fit the column before
        ("member", pa.string()),
    ]
)


def event_rows(source: int, events: Sequence[Event]) -> pa.RecordBatch:
    """Return the rows of `events`, which come of the source with this number."""
    columns: list[object] = [
        [place_of(source, each.offset) for each in events],
        [bytes.fromhex(each.key) for each in events],
        [each.fingerprint for each in events],
        [each.user_id.bytes for each in events],
        [each.time.replace(tzinfo=None) for each in events],
        [each.type for each in events],
        [each.source for each in events],
        [each.id for each in events],
        [each.tenant_id.bytes for each in events],
        [each.heard for each in events],
    ]
    return _batch(EVENTS, columns)


def contribution_rows(source: int, events: Sequence[Event]) -> pa.RecordBatch:
    """Return a row for each counter that one of `events` adds to."""
    parts = [
        (place_of(source, event.offset), event, part)
        for event in events
        for part in event.contributions
    ]
    fits = [_fits(part.amount) for _, _, part in parts]
    columns: list[object] = [
        [place for place, _, _ in parts],
        [event.user_id.bytes for _, event, _ in parts],
        [event.time.replace(tzinfo=None) for _, event, _ in parts],
        [part.counter_id for _, _, part in parts],
        [part.operation for _, _, part in parts],
        [part.amount if fit else None for (_, _, part), fit in zip(parts, fits, strict=True)],
        [
            None if fit or part.amount is None else str(part.amount)
            for (_, _, part), fit in zip(parts, fits, strict=True)
        ],
        [part.member for _, _, part in parts],
    ]
    return _batch(CONTRIBUTIONS, columns)


def _batch(schema: pa.Schema, columns: Sequence[object]) -> pa.RecordBatch:
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _fits(amount: Number | None) -> bool:
    if amount is None:
        return False
    if type(amount) is int:
        return -_AMOUNT_MAX < amount < _AMOUNT_MAX
    exact = Decimal(amount)
    _, _, exponent = exact.as_tuple()
    return abs(exact) < _AMOUNT_MAX and isinstance(exponent, int) and exponent >= -9
