"""What one event adds to which counters.

Pure. Counting commutes: a contribution never depends on what was counted before, so any order, any
batching and any number of workers give the same counters (docs/data-model.md, Counters). The
database adds the contributions up (store/counting.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Self

import msgspec

from processor.rules.conditions import (
    DIGITS_MAX,
    Condition,
    comparisons,
    is_number,
    matches,
    parse_condition,
    parse_filter,
    within_bounds,
)
from store.values.catalog import (
    Catalog,
    CounterBinding,
    CounterKind,
    CounterOperation,
    CounterSpec,
    FieldKind,
    TypeSpec,
)
from store.values.names import CounterName, Number

# As of every opaque id of the contract (docs/data-model.md, Events).
MEMBER_LENGTH_MAX = 128
# The least whole number of more digits than an amount may have.
_TOO_LONG = 10**DIGITS_MAX


@dataclass(frozen=True, slots=True)
class Kind:
    """How the counters of one kind count.

    `field_kinds` are the kinds of the field that they read, empty where they count events.
    `is_integer`: they take whole numbers only, whatever the field. `is_undoable`: an undo event may
    take out what was counted; then the two events are paired by an id.
    """

    operation: CounterOperation
    field_kinds: frozenset[FieldKind]
    is_integer: bool
    is_undoable: bool = False


NUMERIC = frozenset({FieldKind.INTEGER, FieldKind.NUMBER})
_ID = frozenset({FieldKind.ID})

# A new kind is a row here, and its operation a branch of the merge (store/counting.py).
KINDS: Mapping[CounterKind, Kind] = {
    CounterKind.COUNT: Kind(CounterOperation.ADD, frozenset(), is_integer=True, is_undoable=True),
    CounterKind.DISTINCT: Kind(CounterOperation.DISTINCT, _ID, is_integer=True),
    CounterKind.SUM: Kind(CounterOperation.ADD, NUMERIC, is_integer=False),
    CounterKind.MAX: Kind(CounterOperation.MAX, NUMERIC, is_integer=False),
}


def operation_of(counter: CounterSpec) -> CounterOperation:
    """Return how an event of the counter's own type changes it."""
    return CounterOperation.POST if _is_paired(counter) else KINDS[counter.kind].operation


def field_kinds_of(counter: CounterSpec) -> frozenset[FieldKind]:
    """Return the kinds of field that the counter may read; none where it counts events."""
    return _ID if _is_paired(counter) else KINDS[counter.kind].field_kinds


def can_fall(counter: CounterSpec) -> bool:
    """Return whether an event can make the counter smaller."""
    return counter.undo_event_type is not None


def _is_paired(counter: CounterSpec) -> bool:
    return counter.undo_event_type is not None and KINDS[counter.kind].is_undoable


class Contribution(msgspec.Struct, frozen=True, gc=False):
    """One event's part in one counter: an amount (ADD, MAX) or a member (the others)."""

    counter_id: int
    operation: CounterOperation
    amount: Number | None = None
    member: str | None = None


# Of an event's data, in whatever form it was decoded: takes the value of one field, None where that
# is missing or null.
FieldGetter = Callable[[Any], object]
# Says what data in that form adds. It raises ValueError where a field holds something that cannot
# be counted; only an undeclared field can, declared ones were checked.
Adding = Callable[[Any], Contribution | None]
AddingAll = Callable[[Any], tuple[Contribution, ...]]


@dataclass(frozen=True, slots=True)
class Listener:
    """A counter as one event type sees it."""

    counter_id: int
    operation: CounterOperation
    field: str | None
    filter: Condition | None

    @property
    def constant(self) -> Contribution | None:
        """Return the contribution that is the same for every event; None if it needs the data."""
        return self._one if self.filter is None else None

    @property
    def reads(self) -> frozenset[str]:
        """Return the names of the fields that it looks at."""
        filtered = () if self.filter is None else comparisons(self.filter)
        own = () if self._one is not None else (self.field or "",)
        return frozenset((*own, *(each.name for each in filtered)))

    def adding(self, getter: Callable[[str], FieldGetter]) -> Adding:
        """Return the function that says what data adds to the counter.

        It adds nothing where the filter does not match, or the field is missing or null.

        Args:
            getter: how the field of a name is taken from the data.
        """
        add = self._adding_any(getter)
        condition = self.filter
        if condition is None:
            return add
        getters = {each.name: getter(each.name) for each in comparisons(condition)}

        def add_if(data: object) -> Contribution | None:
            found = {name: get(data) for name, get in getters.items()}
            return add(data) if matches(condition, found) else None

        return add_if

    def _adding_any(self, getter: Callable[[str], FieldGetter]) -> Adding:
        """Return what `adding` does but for the filter."""
        one, counter_id, operation = self._one, self.counter_id, self.operation
        if one is not None:
            return lambda _: one
        get, amount, member = getter(self.field or ""), self._amount, self._member

        def add_amount(data: object) -> Contribution | None:
            value = get(data)
            return None if value is None else Contribution(counter_id, operation, amount(value))

        def add_member(data: object) -> Contribution | None:
            value = get(data)
            if value is None:
                return None
            return Contribution(counter_id, operation, None, member(value))

        return add_amount if operation in _OF_AMOUNTS else add_member

    @property
    def _one(self) -> Contribution | None:
        """Return what each event adds that the filter lets through, where events are counted."""
        if self.operation is CounterOperation.ADD and self.field is None:
            return Contribution(self.counter_id, self.operation, amount=1)
        return None

    def _amount(self, value: object) -> Number:
        if type(value) is int and 0 <= value < _TOO_LONG:
            return value  # nearly every one; to look at its digits takes ten times as long
        if not is_number(value) or not within_bounds(value):
            raise ValueError(f"`{self.field}` is no number of at most {DIGITS_MAX} digits")
        if self.operation is CounterOperation.ADD and value < 0:
            raise ValueError(
                f"`{self.field}` is negative: a sum would not commute with its conditions"
            )
        return value

    def _member(self, value: object) -> str:
        if type(value) is str and 0 < len(value) <= MEMBER_LENGTH_MAX:
            return value  # nearly every one
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str) or not 0 < len(value) <= MEMBER_LENGTH_MAX:
            raise ValueError(f"`{self.field}` is no id of 1 to {MEMBER_LENGTH_MAX} characters")
        return value


_OF_AMOUNTS = frozenset({CounterOperation.ADD, CounterOperation.MAX})


@dataclass(frozen=True, slots=True)
class Listeners:
    """All counters that listen to one event type."""

    counters: tuple[Listener, ...]
    # The contributions, where none of them depends on the data.
    constant: tuple[Contribution, ...] | None
    # Says what an event with such data adds to each counter that takes it.
    contributions: Callable[[Mapping[str, object]], tuple[Contribution, ...]]

    @classmethod
    def of(cls, counters: tuple[Listener, ...]) -> Self:
        """Return `counters` with their constant contributions worked out once."""
        fixed = tuple(listener.constant for listener in counters)
        known = tuple(contribution for contribution in fixed if contribution is not None)
        by_name = _adding_all(counters, lambda name: lambda data: data.get(name))
        return cls(counters, known if len(known) == len(fixed) else None, by_name)

    @property
    def reads(self) -> frozenset[str]:
        """Return the names of the fields that some counter looks at."""
        return frozenset(name for listener in self.counters for name in listener.reads)

    def adding(self, getter: Callable[[str], FieldGetter]) -> AddingAll:
        """Return `contributions` for data whose fields are taken by `getter`."""
        return _adding_all(self.counters, getter)


def _adding_all(counters: tuple[Listener, ...], getter: Callable[[str], FieldGetter]) -> AddingAll:
    each = [listener.adding(getter) for listener in counters]
    if len(each) != 1:
        return lambda data: tuple([found for add in each if (found := add(data)) is not None])
    (only,) = each

    def add(data: object) -> tuple[Contribution, ...]:
        found = only(data)
        return () if found is None else (found,)

    return add


def listeners_by_type(catalog: Catalog) -> dict[str, Listeners]:
    """Return, for each event type that some counter listens to, those counters.

    Raises:
        RuleError: a filter does not keep to the grammar; a catalog that was applied does.
    """
    found: dict[str, list[Listener]] = {}
    for counter in catalog.counters:
        found.setdefault(counter.event_type, []).append(_listener(counter))
        if counter.undo_event_type is not None:
            undo = Listener(
                counter.id, CounterOperation.UNDO, counter.undo_field or counter.field, None
            )
            found.setdefault(counter.undo_event_type, []).append(undo)
    return {event_type: Listeners.of(tuple(listeners)) for event_type, listeners in found.items()}


def counter_bindings(catalog: Catalog) -> tuple[CounterBinding, ...]:
    """Return each counter of each type, with the thresholds that matter to that type."""
    by_name: dict[CounterName, CounterSpec] = {
        counter.name: counter for counter in catalog.counters
    }
    return tuple(
        CounterBinding(
            by_name[name].id,
            badge_type.id,
            name,
            KINDS[by_name[name].kind].operation is CounterOperation.MAX,
            _thresholds(badge_type, name),
        )
        for badge_type in catalog.types
        for name in badge_type.counters
    )


def _listener(counter: CounterSpec) -> Listener:
    condition = None if counter.filter is None else parse_filter(counter.filter)
    return Listener(counter.id, operation_of(counter), counter.field, condition)


def _thresholds(badge_type: TypeSpec, name: CounterName) -> tuple[Number, ...]:
    found = {
        Decimal(comparison.value)
        for level in badge_type.levels
        for comparison in comparisons(parse_condition(level.conditions))
        if comparison.name == name and is_number(comparison.value)
    }
    return tuple(sorted(found))
