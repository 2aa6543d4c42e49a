"""Explain a badge's level: each counter beside each condition, and what is missing.

Pure, and built on what the worker evaluates with (conditions.py, levels.py), so that the
explanation and the badge cannot disagree.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import assert_never

from processor.rules.conditions import All, AnyOf, Compare, Condition, Not, holds, shortfalls
from processor.rules.levels import LevelRules, TypeRules
from store.values.badges import Instance, InstanceStatus, OnchainStatus
from store.values.catalog import Rarity
from store.values.names import CounterName, Number, TypeCode


@dataclass(frozen=True, slots=True)
class ConditionCheck:
    """One line of a level's conditions. `depth` counts the groups around it.

    `counter` and `value` are None for a group's own line.
    """

    depth: int
    text: str
    holds: bool
    counter: CounterName | None = None
    value: Number | None = None


@dataclass(frozen=True, slots=True)
class LevelExplained:
    """A level of the explained type.

    `reached` by the badge (it stays reached when counters fall), `holds` by the counters as they
    are now.
    """

    level: int
    title: str
    rarity: Rarity
    reached: bool
    holds: bool
    checks: tuple[ConditionCheck, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BadgeExplained:
    """A type for one user; `level` is None without a badge."""

    type_code: TypeCode
    title: str
    level: int | None
    status: InstanceStatus | None
    onchain_status: OnchainStatus | None
    token_id: str | None
    counters: Mapping[CounterName, Number]
    levels: tuple[LevelExplained, ...]


def explain(
    rules: TypeRules, counters: Mapping[CounterName, Number], instance: Instance | None
) -> BadgeExplained:
    """Return the explanation of one type; arguments as for `levels.evaluate`."""
    level = None if instance is None else instance.current_level
    return BadgeExplained(
        type_code=rules.spec.code,
        title=rules.spec.title,
        level=level,
        status=None if instance is None else instance.status,
        onchain_status=None if instance is None else instance.onchain_status,
        token_id=None if instance is None else instance.onchain_token_id,
        counters={name: counters.get(name, 0) for name in rules.spec.counters},
        levels=tuple(_level(each, counters, level) for each in rules.levels),
    )


def as_text(badge: BadgeExplained) -> str:
    """Return the explanation for a person, several lines."""
    return "\n".join(_lines(badge))


def _level(
    rules: LevelRules, counters: Mapping[CounterName, Number], reached: int | None
) -> LevelExplained:
    condition = rules.condition
    return LevelExplained(
        level=rules.spec.level,
        title=rules.spec.title,
        rarity=rules.spec.rarity,
        reached=reached is not None and rules.spec.level <= reached,
        holds=holds(condition, counters),
        checks=tuple(_checks(condition, counters, 0)),
        missing=tuple(
            f"{short.missing} more {short.part.name}"
            if isinstance(short.part, Compare) and short.missing
            else str(short.part)
            for short in shortfalls(condition, counters)
        ),
    )


def _checks(
    condition: Condition, counters: Mapping[CounterName, Number], depth: int
) -> Iterator[ConditionCheck]:
    true = holds(condition, counters)
    match condition:
        case Compare(name):
            counter = CounterName(name)
            yield ConditionCheck(depth, str(condition), true, counter, counters.get(counter, 0))
        case All(parts):
            if depth:
                yield ConditionCheck(depth, "all of:", true)
            for part in parts:
                yield from _checks(part, counters, depth + bool(depth))
        case AnyOf(parts):
            yield ConditionCheck(depth, "any of:", true)
            for part in parts:
                yield from _checks(part, counters, depth + 1)
        case Not(part):
            yield ConditionCheck(depth, "not:", true)
            yield from _checks(part, counters, depth + 1)
        case unreachable:
            assert_never(unreachable)


def _lines(badge: BadgeExplained) -> Iterator[str]:
    if badge.level is None:
        yield f"{badge.type_code}: no badge yet"
    else:
        token = f", token {badge.token_id}" if badge.token_id else ""
        level = f"level {badge.level} of {badge.levels[-1].level}"
        yield f"{badge.type_code}: {level}, {badge.status}, {badge.onchain_status}{token}"
    for each in badge.levels:
        mark = "x" if each.reached else " "
        yield f"  [{mark}] level {each.level}  {each.title} ({each.rarity})"
        for check in each.checks:
            line = f"        {'  ' * check.depth}{check.text}"
            here = "" if check.counter is None else f"   has {check.value}"
            yield f"{line:<52}{here:<12} {'ok' if check.holds else '--'}"
        if each.missing and not each.reached:
            yield f"        missing: {', '.join(each.missing)}"
