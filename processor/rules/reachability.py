"""Prove that a condition can or cannot hold, by search over the few values that matter.

A comparison changes its truth only at its bound, so one value between any two neighbouring bounds,
and the bounds themselves, stand for all values a counter can have. The search fixes one counter
after the other and stops as soon as the outcome is settled.

Pure.
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import assert_never

from processor.rules.conditions import (
    EXACT,
    All,
    AnyOf,
    Compare,
    Condition,
    Not,
    comparisons,
    holds,
    is_number,
)
from store.values.names import CounterName, Number

# Comparisons looked at, a second or so. Beyond it the search says "perhaps": lint refuses only what
# it has proved wrong.
WORK_MAX = 300_000

IsInteger = Callable[[str], bool]  # whether a counter takes whole numbers only


def reachable(wanted: Condition, unwanted: Sequence[Condition], is_integer: IsInteger) -> bool:
    """Return whether counters exist for which `wanted` holds and none of `unwanted` does.

    Args:
        wanted: a level's conditions.
        unwanted: those of the levels above it; () asks whether `wanted` can hold at all.
        is_integer: which counters take whole numbers only (count, distinct); all are 0 or more.
    """
    goal = All((wanted, *(Not(other) for other in unwanted)))
    values = {
        name: _values(name, goal, is_integer(name))
        for name in dict.fromkeys(each.name for each in comparisons(goal))
    }
    return _Search(goal, values).found({}, list(values))


class _Search:
    def __init__(self, goal: Condition, values: Mapping[str, Sequence[Number]]) -> None:
        self.goal = goal
        self.values = values
        self.size = sum(1 for _ in comparisons(goal))
        self.work = 0

    def found(self, fixed: dict[CounterName, Number], left: list[str]) -> bool:
        self.work += self.size
        if self.work > WORK_MAX:
            return True
        settled = _settled(self.goal, fixed)
        if settled is not None or not left:
            return bool(settled)
        name, *rest = left
        return any(
            self.found({**fixed, CounterName(name): value}, rest) for value in self.values[name]
        )


def _values(name: str, goal: Condition, is_integer: bool) -> list[Number]:
    bounds = sorted(
        {each.value for each in comparisons(goal) if each.name == name and is_number(each.value)}
        | {0}
    )
    if is_integer:
        return sorted(
            {
                around
                for bound in bounds
                for around in (bound.__floor__(), bound.__floor__() + 1)
                if around >= 0
            }
        )
    between = [
        EXACT.divide(EXACT.add(Decimal(low), Decimal(high)), Decimal(2))
        for low, high in pairwise(bounds)
    ]
    return sorted(value for value in {*bounds, *between, bounds[-1] + 1} if value >= 0)


def _settled(condition: Condition, fixed: Mapping[CounterName, Number]) -> bool | None:
    """Return whether `condition` holds by the counters in `fixed` alone; None if others decide."""
    match condition:
        case Compare(name):
            return holds(condition, fixed) if name in fixed else None
        case All(parts):
            return _joined([_settled(part, fixed) for part in parts], decisive=False)
        case AnyOf(parts):
            return _joined([_settled(part, fixed) for part in parts], decisive=True)
        case Not(part):
            inner = _settled(part, fixed)
            return None if inner is None else not inner
        case unreachable:
            assert_never(unreachable)


def _joined(outcomes: Sequence[bool | None], *, decisive: bool) -> bool | None:
    if decisive in outcomes:
        return decisive
    return None if None in outcomes else not decisive
