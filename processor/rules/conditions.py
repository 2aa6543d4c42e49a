"""Parse and evaluate the conditions of levels and the filters of counters.

    {counter: {gte|gt|lte|lt|eq|ne: number}, ..., all: [...], any: [...], not: {...}}

All entries of a mapping must hold. Conditions read counters: numbers, exact, a missing one is 0.
Filters have the same grammar over an event's data: there `eq`, `ne` and `in` take strings and
booleans too, and a comparison with a missing field is false, `ne` included.

Pure. Numbers are int or Decimal, never float: a threshold of 0.1 means 0.1.
"""

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from enum import StrEnum
from typing import Any, TypeGuard, assert_never

from processor.rules.diagnostics import Diagnostic, KeyPath
from store.values.names import CounterName, Number

Scalar = Number | str | bool

# Of a number, and its exponent either way: the contract's bound on summed numbers
# (docs/data-model.md, Events).
DIGITS_MAX = 30
# Of all, any and not within each other; far beyond what a person can read.
DEPTH_MAX = 16
# Wide enough for a difference of two such numbers without rounding.
EXACT = Context(prec=4 * DIGITS_MAX)


class Op(StrEnum):
    """A comparison; `in` is of filters only."""

    GTE = "gte"
    GT = "gt"
    LTE = "lte"
    LT = "lt"
    EQ = "eq"
    NE = "ne"
    IN = "in"

    @property
    def symbol(self) -> str:
        """Return the sign a person would write."""
        return _SYMBOLS[self]


_SYMBOLS = {
    Op.GTE: ">=",
    Op.GT: ">",
    Op.LTE: "<=",
    Op.LT: "<",
    Op.EQ: "=",
    Op.NE: "!=",
    Op.IN: "in",
}
_ORDERED: dict[Op, Callable[[Any, Any], bool]] = {
    Op.GTE: operator.ge,
    Op.GT: operator.gt,
    Op.LTE: operator.le,
    Op.LT: operator.lt,
}
_OPERATORS = _ORDERED | {Op.EQ: operator.eq, Op.NE: operator.ne}
_RISING = frozenset({Op.GTE, Op.GT})
_WORDS = frozenset({"all", "any", "not"})


@dataclass(frozen=True, slots=True)
class Compare:
    """One counter or field against one number.

    In a filter also against a string or a boolean, or several with `in`.
    """

    name: str
    op: Op
    value: Scalar | tuple[Scalar, ...]

    def __str__(self) -> str:
        shown = (
            ", ".join(map(str, self.value)) if isinstance(self.value, tuple) else str(self.value)
        )
        return f"{self.name} {self.op.symbol} {f'[{shown}]' if self.op is Op.IN else shown}"


@dataclass(frozen=True, slots=True)
class All:
    """Every part holds."""

    parts: tuple["Condition", ...]

    def __str__(self) -> str:
        return " and ".join(
            f"({part})" if isinstance(part, AnyOf) else str(part) for part in self.parts
        )


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one part holds."""

    parts: tuple["Condition", ...]

    def __str__(self) -> str:
        return " or ".join(
            f"({part})" if isinstance(part, All) else str(part) for part in self.parts
        )


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: "Condition"

    def __str__(self) -> str:
        return f"not ({self.part})"


Condition = Compare | All | AnyOf | Not


class RuleError(ValueError):
    """A document does not keep to the grammar.

    `diagnostics` has everything that is wrong with it, in its order.
    """

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        super().__init__("; ".join(map(str, diagnostics)))
        self.diagnostics = tuple(diagnostics)


@dataclass(frozen=True, slots=True)
class Shortfall:
    """A part that does not hold yet.

    `value` is the counter's present value; `missing` how much more would do, None where more would
    not help. `value` and `missing` are None for a negation as a whole.
    """

    part: Compare | Not
    value: Number | None
    missing: Number | None


# ------------------------------------------------------------------ parsing


def parse_condition(document: object) -> Condition:
    """Return the condition over counters in `document` (mappings, lists, int, Decimal).

    Raises:
        RuleError: with every diagnostic in it.
    """
    return _parsed(document, filtering=False)


def parse_filter(document: object) -> Condition:
    """Return the filter over an event's data in `document`.

    Raises:
        RuleError: with every diagnostic in it.
    """
    return _parsed(document, filtering=True)


def _parsed(document: object, *, filtering: bool) -> Condition:
    reader = _DocumentReader(filtering=filtering)
    condition = reader.mapping(document, ())
    if reader.diagnostics:
        raise RuleError(reader.diagnostics)
    return condition


class _DocumentReader:
    """Walks one document.

    A faulty part becomes an empty All, which never leaves parse_condition or parse_filter.
    """

    def __init__(self, *, filtering: bool) -> None:
        self.ops = frozenset(Op) if filtering else frozenset(Op) - {Op.IN}
        self.filtering = filtering
        self.diagnostics: list[Diagnostic] = []

    def mapping(self, document: object, path: KeyPath) -> Condition:
        if len(path) > 2 * DEPTH_MAX:
            return self._refused(path, f"nested deeper than {DEPTH_MAX}: write it flatter")
        if not isinstance(document, Mapping) or not document:
            what = "a field" if self.filtering else "a counter"
            return self._refused(
                path, f"expected a mapping that names at least {what}, like `name: {{gte: 5}}`"
            )
        parts = tuple(
            part for key, value in document.items() for part in self._entry(key, value, path)
        )
        return parts[0] if len(parts) == 1 else All(parts)

    def _entry(self, key: object, value: object, path: KeyPath) -> Iterator[Condition]:
        if not isinstance(key, str):
            yield self._refused(path, f"{key!r} is no name: put it in quotes if it is meant as one")
        elif key == "not":
            yield Not(self.mapping(value, (*path, key)))
        elif key in _WORDS:
            yield self._several(key, value, (*path, key))
        elif not isinstance(value, Mapping) or not value:
            yield self._refused((*path, key), f"expected comparisons, like `{key}: {{gte: 5}}`")
        else:
            for op, bound in value.items():
                yield self._comparison(key, op, bound, (*path, key))

    def _several(self, key: str, value: object, path: KeyPath) -> Condition:
        if not isinstance(value, Sequence) or isinstance(value, str) or not value:
            return self._refused(path, f"expected a list of conditions under `{key}`")
        parts = tuple(self.mapping(item, (*path, position)) for position, item in enumerate(value))
        return All(parts) if key == "all" else AnyOf(parts)

    def _comparison(self, name: str, op: object, bound: object, path: KeyPath) -> Condition:
        if not isinstance(op, str) or op not in self.ops:
            return self._refused(
                path, f"{op!r} is no comparison: take one of {', '.join(sorted(self.ops))}"
            )
        chosen = Op(op)
        inner = (*path, chosen.value)
        if chosen is Op.IN:
            if not isinstance(bound, Sequence) or isinstance(bound, str) or not bound:
                return self._refused(inner, "expected a list of values under `in`")
            return Compare(name, chosen, tuple(self._scalar(item, chosen, inner) for item in bound))
        return Compare(name, chosen, self._scalar(bound, chosen, inner))

    def _scalar(self, bound: object, op: Op, path: KeyPath) -> Scalar:
        if is_number(bound):
            return (
                bound
                if within_bounds(bound)
                else self._no_scalar(path, f"{bound} has more than {DIGITS_MAX} digits")
            )
        if self.filtering and op not in _ORDERED and isinstance(bound, (str, bool)):
            return bound
        hint = (
            "a number, a string or true/false"
            if self.filtering and op not in _ORDERED
            else "a number"
        )
        return self._no_scalar(path, f"{bound!r} cannot be compared by {op.value}: expected {hint}")

    def _refused(self, path: KeyPath, message: str) -> Condition:
        self.diagnostics.append(Diagnostic(path, message))
        return All(())

    def _no_scalar(self, path: KeyPath, message: str) -> Scalar:
        self.diagnostics.append(Diagnostic(path, message))
        return 0


# ------------------------------------------------------------------ asking


def compiled(condition: Condition) -> Callable[[Mapping[CounterName, Number]], bool]:
    """Return the function that says whether `condition` holds.

    A counter that is missing reads as 0.

    A level is asked for every user that may have reached it: walking the tree each time takes five
    times as long.
    """
    match condition:
        case Compare(name, op, bound):
            counter, compare = CounterName(name), _OPERATORS[op]
            return lambda counters: compare(counters.get(counter, 0), bound)
        case All(parts):
            return _every([compiled(part) for part in parts])
        case AnyOf(parts):
            none_holds = _every([compiled(Not(part)) for part in parts])
            return lambda counters: not none_holds(counters)
        case Not(part):
            holds_inside = compiled(part)
            return lambda counters: not holds_inside(counters)
        case unreachable:
            assert_never(unreachable)


def holds(condition: Condition, counters: Mapping[CounterName, Number]) -> bool:
    """Return whether `condition` holds, asked once; who asks often compiles it."""
    return compiled(condition)(counters)


def matches(condition: Condition, data: Mapping[str, object]) -> bool:
    """Return whether an event's data passes the filter.

    A comparison with a field that is missing or null is false.
    """
    match condition:
        case Compare(name, op, value):
            found = data.get(name)
            return found is not None and _compared(found, op, value)
        case All(parts):
            return all(matches(part, data) for part in parts)
        case AnyOf(parts):
            return any(matches(part, data) for part in parts)
        case Not(part):
            return not matches(part, data)
        case unreachable:
            assert_never(unreachable)


def shortfalls(
    condition: Condition, counters: Mapping[CounterName, Number]
) -> tuple[Shortfall, ...]:
    """Return what stands in the way of `condition`: nothing if, and only if, it holds.

    Of an `any`, the alternative with the fewest shortfalls, the first of equals.
    """
    match condition:
        case Compare(name, op, bound):
            value = counters.get(CounterName(name), 0)
            if _OPERATORS[op](value, bound):
                return ()
            return (Shortfall(condition, value, _missing(value, op, bound)),)
        case All(parts):
            return tuple(short for part in parts for short in shortfalls(part, counters))
        case AnyOf(parts):
            return min((shortfalls(part, counters) for part in parts), key=len)
        case Not(part):
            return (Shortfall(condition, None, None),) if holds(part, counters) else ()
        case unreachable:
            assert_never(unreachable)


def comparisons(condition: Condition) -> Iterator[Compare]:
    """Yield every comparison in `condition`, in its order."""
    match condition:
        case Compare():
            yield condition
        case All(parts) | AnyOf(parts):
            for part in parts:
                yield from comparisons(part)
        case Not(part):
            yield from comparisons(part)
        case unreachable:
            assert_never(unreachable)


def is_monotone(condition: Condition) -> bool:
    """Return whether growing counters can only make it true.

    `gte` and `gt` alone, joined by `all` and `any`.
    """
    match condition:
        case Compare(op=op):
            return op in _RISING
        case All(parts) | AnyOf(parts):
            return all(is_monotone(part) for part in parts)
        case Not():
            return False
        case unreachable:
            assert_never(unreachable)


def is_number(value: object) -> TypeGuard[Number]:
    """Return whether `value` is an exact number: int or finite Decimal; True and False are not."""
    return (isinstance(value, int) and not isinstance(value, bool)) or (
        isinstance(value, Decimal) and value.is_finite()
    )


def within_bounds(value: Number) -> bool:
    """Return whether `value` has at most DIGITS_MAX digits and an exponent within DIGITS_MAX."""
    _, digits, exponent = Decimal(value).as_tuple()
    return isinstance(exponent, int) and len(digits) <= DIGITS_MAX and abs(exponent) <= DIGITS_MAX


def _every(
    tests: Sequence[Callable[[Mapping[CounterName, Number]], bool]],
) -> Callable[[Mapping[CounterName, Number]], bool]:
    if len(tests) == 1:
        return tests[0]

    def every(counters: Mapping[CounterName, Number]) -> bool:
        for test in tests:  # noqa: SIM110 - all() over a generator takes twice as long
            if not test(counters):
                return False
        return True

    return every


def _compared(found: object, op: Op, bound: Scalar | tuple[Scalar, ...]) -> bool:
    if op in _ORDERED:
        return is_number(found) and is_number(bound) and _ORDERED[op](found, bound)
    if isinstance(bound, tuple):
        return any(_equal(found, item) for item in bound)
    return _equal(found, bound) is (op is Op.EQ)


def _equal(found: object, bound: Scalar) -> bool:
    # In Python True == 1; in an event they are different things.
    return found == bound and isinstance(found, bool) == isinstance(bound, bool)


def _missing(value: Number, op: Op, bound: Scalar | tuple[Scalar, ...]) -> Number | None:
    if op not in _RISING or not is_number(bound):
        return None
    # More than 5 is at least 6 for what counts in ones; for a sum of decimals a step of one is
    # enough too.
    needed = bound if op is Op.GTE else bound.__floor__() + 1
    if isinstance(needed, int) and isinstance(value, int):
        return needed - value
    return EXACT.subtract(Decimal(needed), Decimal(value))
