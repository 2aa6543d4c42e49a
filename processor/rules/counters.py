"""What one event adds to which counters.

Pure. Counting commutes: a contribution never depends on what was counted before, so any order, any
batching and any number of workers give the same counters (docs/data-model.md, Counters). The
database adds the contributions up (store/counting.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Self

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


@dataclass(frozen=True, slots=True)
class Contribution:
    """One event's part in one counter: an amount (ADD, MAX) or a member (the others)."""

    counter_id: int
    operation: CounterOperation
    amount: Number | None = None
    member: str | None = None


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
        if self.operation is CounterOperation.ADD and self.field is None and self.filter is None:
            return Contribution(self.counter_id, CounterOperation.ADD, amount=1)
        return None

    def contribution(self, data: Mapping[str, object]) -> Contribution | None:
        """Return what an event with `data` adds to the counter.

        None where the filter does not match, or the field is missing or null.

        Raises:
            ValueError: the field holds something that cannot be counted. Only an undeclared field
                can: declared ones were checked.
        """
        if self.filter is not None and not matches(self.filter, data):
            return None
        if self.operation is CounterOperation.ADD and self.field is None:
            return Contribution(self.counter_id, self.operation, amount=1)
        value = data.get(self.field or "")
        if value is None:
            return None
        if self.operation in (CounterOperation.ADD, CounterOperation.MAX):
            return Contribution(self.counter_id, self.operation, amount=self._amount(value))
        return Contribution(self.counter_id, self.operation, member=self._member(value))

    def _amount(self, value: object) -> Number:
        if not is_number(value) or not within_bounds(value):
            raise ValueError(f"`{self.field}` is no number of at most {DIGITS_MAX} digits")
        if self.operation is CounterOperation.ADD and value < 0:
            raise ValueError(
                f"`{self.field}` is negative: a sum would not commute with its conditions"
            )
        return value

    def _member(self, value: object) -> str:
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str) or not 0 < len(value) <= MEMBER_LENGTH_MAX:
            raise ValueError(f"`{self.field}` is no id of 1 to {MEMBER_LENGTH_MAX} characters")
        return value


@dataclass(frozen=True, slots=True)
class Listeners:
    """All counters that listen to one event type."""

    counters: tuple[Listener, ...]
    # The contributions, where none of them depends on the data.
    constant: tuple[Contribution, ...] | None

    @classmethod
    def of(cls, counters: tuple[Listener, ...]) -> Self:
        """Return `counters` with their constant contributions worked out once."""
        fixed = tuple(listener.constant for listener in counters)
        known = tuple(contribution for contribution in fixed if contribution is not None)
        return cls(counters, known if len(known) == len(fixed) else None)

    def contributions(self, data: Mapping[str, object]) -> tuple[Contribution, ...]:
        """Return what an event with `data` adds to each counter that takes it."""
        found = (listener.contribution(data) for listener in self.counters)
        return tuple(contribution for contribution in found if contribution is not None)


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
