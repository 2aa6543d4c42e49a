"""The statement that adds a batch to nft_progress, written anew for each version of the catalog.

A row of progress holds all counters of a user and a type in one jsonb. A statement that knows every
type's counters by name changes the two or three of them that moved by `jsonb_set_lax`; one that
must find out takes the document apart and puts it together again, four times the work of the whole
statement (2026-11-25). tests/store/golden has the statement for the shipped catalog, as a reader
should see it.

What the batch brings lies in a temporary table, a row for each user and type: `amount_1` belongs to
the first counter of the type, `amount_2` to the second, null where the batch says nothing of it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Self
from uuid import UUID

from store.values.catalog import CounterBinding
from store.values.names import CounterName, Number


@dataclass(frozen=True, slots=True)
class MergeStatement:
    """A batch's way into nft_progress.

    `table` makes the temporary table unless it is there, `copy` fills it, `merge` adds it to
    nft_progress. `columns` has the counters of each type, by their ids: amount_1 belongs to the
    first. `amounts` is the number of those columns. `maxima` are the counters that keep the largest
    number instead of the sum. `bindings` are what all of it is made of.
    """

    table: str
    copy: str
    merge: str
    columns: Mapping[UUID, Sequence[int]]
    amounts: int
    maxima: frozenset[int]
    bindings: Mapping[UUID, Sequence[CounterBinding]]

    @classmethod
    def of(cls, bindings: Sequence[CounterBinding]) -> Self:
        """Write the statements for the counters of all types; of one type in their order."""
        types: dict[UUID, list[CounterBinding]] = {}
        for binding in bindings:
            types.setdefault(binding.type_id, []).append(binding)
        amounts = max(map(len, types.values()), default=0)
        # In its name, since a table of another catalog may be there, and have other columns.
        table = f"batch_progress_{amounts}"
        columns = "".join(f", amount_{number} numeric" for number in range(1, amounts + 1))
        return cls(
            "CREATE TEMPORARY TABLE IF NOT EXISTS "
            f"{table} (id uuid NOT NULL, user_id uuid NOT NULL, type_id uuid NOT NULL,"
            f" last_event_at timestamptz NOT NULL{columns}) ON COMMIT DELETE ROWS",
            f"COPY {table} FROM STDIN (FORMAT binary)",
            _merge(table, types) if types else "",
            {type_id: [each.counter_id for each in of] for type_id, of in types.items()},
            amounts,
            frozenset(binding.counter_id for binding in bindings if binding.is_max),
            types,
        )


def may_change_level(
    bindings: Sequence[CounterBinding],
    before: Mapping[CounterName, Number] | None,
    added: Mapping[CounterName, Number],
) -> bool:
    """Return whether the statement would give back a row: the same conditions, for a forecast.

    Args:
        bindings: of the row's type.
        before: the row's counters; None where there is no row.
        added: what is added to some of them.
    """
    for binding in bindings:
        amount = added.get(binding.name)
        if not binding.thresholds or amount is None:
            continue
        lowest, old = min(binding.thresholds), 0 if before is None else before.get(binding.name, 0)
        if binding.is_max:
            now = amount if before is None else max(before.get(binding.name, amount), amount)
            rises = now >= lowest if before is None else amount != 0 and now >= lowest
            found = rises or (now <= 0 if before is None else amount <= 0 and now <= 0)
        elif before is None:
            found = amount >= lowest or amount < 0 if lowest > 0 else amount != 0
        else:
            ends = sorted((Decimal(old), Decimal(old) + Decimal(amount)))
            found = amount != 0 and any(ends[0] <= each <= ends[1] for each in binding.thresholds)
        if found:
            return True
    return False


_MARGIN = " " * 25


def _merge(table: str, types: Mapping[UUID, Sequence[CounterBinding]]) -> str:
    first, added, added_meanwhile = [], [], []
    crossed, reached = [], []
    for type_id, bindings in types.items():
        first.append((type_id, _first_counters(bindings)))
        added.append((type_id, _counters_and(bindings, _staged)))
        added_meanwhile.append((type_id, _counters_and(bindings, _excluded)))
        crossed.append((type_id, _any(_crossings(bindings))))
        reached.append((type_id, _any(_reached(bindings))))
    return f"""\
WITH -- Rows that are there. They are locked in the order of the ids, which is that of users and
     -- types, by every batch: two of them never wait in a circle.
     updated AS (
     UPDATE nft_progress AS progress
        SET counters = {_by_type("batch.type_id", added)},
            last_event_at = greatest(progress.last_event_at, batch.last_event_at),
            -- now() is the transaction's begin, which may lie before what it waited for.
            updated_at = clock_timestamp()
       FROM (SELECT * FROM {table} ORDER BY id) AS batch
      WHERE progress.user_id = batch.user_id AND progress.type_id = batch.type_id
     -- The counters come back of whom one reached or passed a number that some level asks for.
     RETURNING batch.id, progress.user_id, progress.type_id,
               CASE WHEN {_by_type("batch.type_id", crossed)}
                    THEN progress.counters END AS counters),
     -- Rows that are not there: `id NOT IN` is a hash of ids, where NOT EXISTS would be a join.
     created AS (
     INSERT INTO nft_progress AS progress (id, user_id, type_id, counters, last_event_at)
     SELECT id, user_id, type_id,
            {_by_type("type_id", first)},
            last_event_at
       FROM (SELECT * FROM {table} WHERE id NOT IN (SELECT id FROM updated) ORDER BY id) AS batch
         -- Another transaction made the row since this statement began: what would have been the
         -- first counters is added to those.
         ON CONFLICT (user_id, type_id) DO UPDATE
        SET counters = {_by_type("excluded.type_id", added_meanwhile)},
            last_event_at = greatest(progress.last_event_at, excluded.last_event_at),
            updated_at = clock_timestamp()
     -- What such a row had before is not known here (it alone was updated after it was created):
     -- whoever decides finds out.
     RETURNING progress.user_id, progress.type_id,
               CASE WHEN progress.updated_at <> progress.created_at
                      OR {_by_type("progress.type_id", reached)}
                    THEN progress.counters END AS counters)
SELECT user_id, type_id, counters FROM updated WHERE counters IS NOT NULL
 UNION ALL
SELECT user_id, type_id, counters FROM created WHERE counters IS NOT NULL
"""  # noqa: S608 - made of UUIDs, numbers, and names that are quoted


def _by_type(type_id: str, expressions: Sequence[tuple[UUID, str]]) -> str:
    cases = "".join(
        f"\n                WHEN '{each}' THEN\n                     {expression}"
        for each, expression in expressions
    )
    return f"CASE {type_id}{cases}\n            END"


def _any(conditions: Sequence[str]) -> str:
    return "\n                     OR ".join(conditions) or "false"


def _first_counters(bindings: Sequence[CounterBinding]) -> str:
    """Return a new row's counters: the amounts, but for those that are null."""
    pairs = (
        f"{_text(binding.name)}, amount_{number}" for number, binding in enumerate(bindings, 1)
    )
    listed = ",\n                         ".join(pairs)
    return f"jsonb_strip_nulls(jsonb_build_object(\n                         {listed}))"


def _staged(number: int, _name: CounterName) -> str:
    return f"batch.amount_{number}"


def _excluded(_number: int, name: CounterName) -> str:
    return f"(excluded.counters -> {_text(name)})::numeric"


def _counters_and(
    bindings: Sequence[CounterBinding], amount_of: Callable[[int, CounterName], str]
) -> str:
    """Return a row's counters with the amounts added.

    `return_target`: a counter whose amount is null stays as it is.
    """
    changes = []
    for number, binding in enumerate(bindings, 1):
        amount, old = amount_of(number, binding.name), _counter(binding.name)
        total = f"greatest({old}, {amount})" if binding.is_max else f"coalesce({old}, 0) + {amount}"
        path = _text(f"{{{binding.name}}}")
        changes.append(f"{path}, to_jsonb({total}),")
    calls = "jsonb_set_lax(" * len(bindings)
    listed = "".join(f"\n{_MARGIN}{each}\n{_MARGIN}true, 'return_target')," for each in changes)
    return f"{calls}progress.counters,{listed}".removesuffix(",")


def _crossings(bindings: Sequence[CounterBinding]) -> list[str]:
    """Return the conditions under which a counter reached or passed one of its thresholds.

    A sum did if one lies between its value before and its value now. Of a max the value before is
    not known here: all that it has reached count, and the rules find nothing new. Nor is it where
    the greatest is not above 0: a first number below 0 makes the counter fall, from nothing, and a
    later one lets it rise up to 0.
    """
    found = []
    for number, binding in enumerate(bindings, 1):
        if not binding.thresholds:
            continue
        thresholds, now = sorted(binding.thresholds), _counter(binding.name)
        amount = f"batch.amount_{number}"
        if binding.is_max:
            found.append(
                f"({amount} <> 0 AND {now} >= {thresholds[0]} OR {amount} <= 0 AND {now} <= 0)"
            )
            continue
        listed = f"'{{{','.join(map(str, thresholds))}}}'::numeric[]"
        # Most counters are below all of their thresholds, or have left them all behind: that is
        # quick to see, and the rest is not looked at; nor is it where the batch says nothing of the
        # counter, which AND would not end at null. width_bucket: how many thresholds are not
        # above a value. They are as many before and now where none was crossed, and where the lower
        # of the two values is one itself.
        found.append(
            f"""coalesce({amount}, 0) <> 0
                         AND ({now} >= {thresholds[0]} OR {amount} < 0)
                         AND ({now} <= {thresholds[-1]} + {amount} OR {amount} < 0)
                         AND (width_bucket({now}, {listed})
                              <> width_bucket({now} - {amount}, {listed})
                              OR least({now}, {now} - {amount}) = ANY ({listed}))"""
        )
    return found


def _reached(bindings: Sequence[CounterBinding]) -> list[str]:
    """Return the same conditions for a new row, whose counters were 0 before."""
    found = []
    for binding in bindings:
        if not binding.thresholds:
            continue
        lowest, now = min(binding.thresholds), _counter(binding.name)
        if binding.is_max:
            found.append(f"({now} >= {lowest} OR {now} <= 0)")
        elif lowest > 0:
            found.append(f"({now} >= {lowest} OR {now} < 0)")
        else:
            found.append(f"{now} <> 0")
    return found


def _counter(name: CounterName) -> str:
    return f"(progress.counters -> {_text(name)})::numeric"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
