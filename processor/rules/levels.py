"""Turn counters into levels.

Pure: no clock, no I/O. The stream, the backfill, the catalog's re-evaluation and `laurel explain`
all call `evaluate`, so they cannot disagree. A user's level is the highest by `order` whose
conditions hold; a level once reached stays (docs/data-model.md, Levels).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self
from uuid import UUID

from processor.rules.conditions import Condition, compiled, parse_condition
from store.values.badges import Instance, InstanceStatus
from store.values.catalog import Catalog, LevelSpec, TypeSpec
from store.values.names import CounterName, Number, TypeCode


@dataclass(frozen=True, slots=True)
class LevelRules:
    """A level, and its conditions: parsed to be shown, and compiled to be asked."""

    spec: LevelSpec
    condition: Condition
    holds: Callable[[Mapping[CounterName, Number]], bool]

    @classmethod
    def compile(cls, spec: LevelSpec) -> Self:
        """Parse and compile the conditions of `spec`; errors as of `parse_condition`."""
        condition = parse_condition(spec.conditions)
        return cls(spec, condition, compiled(condition))


@dataclass(frozen=True, slots=True)
class TypeRules:
    """A type ready to be evaluated; `levels` sorted by `order`, lowest first."""

    spec: TypeSpec
    levels: tuple[LevelRules, ...]

    @classmethod
    def compile(cls, spec: TypeSpec) -> Self:
        """Parse the conditions of `spec`.

        Raises:
            RuleError: they do not keep to the grammar; a catalog that was applied does.
        """
        ordered = sorted(spec.levels, key=lambda level: level.order)
        return cls(spec, tuple(map(LevelRules.compile, ordered)))

    def any_holds(self, counters: Mapping[CounterName, Number]) -> bool:
        """Return whether `counters` are enough for a level; where not, `evaluate` changes nothing.

        Whatever the user's badge is: to ask this first saves reading and locking it.
        """
        return any(level.holds(counters) for level in self.levels)


@dataclass(frozen=True, slots=True)
class Rulebook:
    """A whole catalog, parsed once."""

    version: int
    by_id: Mapping[UUID, TypeRules]
    by_code: Mapping[TypeCode, TypeRules]

    @classmethod
    def compile(cls, catalog: Catalog) -> Self:
        """Parse every type of `catalog`.

        Raises:
            RuleError: some conditions do not keep to the grammar; a catalog that was applied does.
        """
        rules = [TypeRules.compile(spec) for spec in catalog.types]
        return cls(
            catalog.version,
            by_id={each.spec.id: each for each in rules},
            by_code={each.spec.code: each for each in rules},
        )


@dataclass(frozen=True, slots=True)
class Award:
    """A new badge of the type, at `level`.

    `passed` has every level on the way whose conditions hold, lowest first, and `level` itself.
    """

    level: LevelSpec
    passed: tuple[LevelSpec, ...]
    metadata: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class LevelUp:
    """The badge rises to `level`.

    `passed` has the levels above the old one whose conditions hold, lowest first, and `level`
    itself.
    """

    level: LevelSpec
    passed: tuple[LevelSpec, ...]
    metadata: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Unchanged:
    """Nothing to write."""


Decision = Award | LevelUp | Unchanged
UNCHANGED = Unchanged()


def evaluate(
    rules: TypeRules, counters: Mapping[CounterName, Number], instance: Instance | None
) -> Decision:
    """Return what `counters` make of the user's badge.

    Args:
        rules: the type; its conditions decide.
        counters: the user's counters for the type; a missing one reads as 0.
        instance: the user's badge of this type: the active one, else any; None when there never was
            one. One that is revoked or burned stays as it is: events do not create another.

    Raises:
        ValueError: the badge's level is not one of the type's; the store refuses to remove a level
            that somebody holds.
    """
    if instance is not None and instance.status is not InstanceStatus.ACTIVE:
        return UNCHANGED
    above = (
        rules.levels
        if instance is None
        else rules.levels[_place(rules, instance.current_level) + 1 :]
    )
    passed = tuple(level.spec for level in above if level.holds(counters))
    if not passed:
        return UNCHANGED
    reached = passed[-1]
    shown = metadata(rules.spec, reached.level, counters)
    if instance is None:
        return Award(reached, passed, shown)
    return LevelUp(reached, passed, shown)


def award(
    rules: TypeRules,
    counters: Mapping[CounterName, Number],
    instance: Instance | None,
    level: int | None,
) -> Decision:
    """Return what an award makes of the user's badge: nothing falls, and nothing is in its way.

    Args:
        rules: the type.
        counters: the user's counters for the type; a missing one reads as 0.
        instance: the user's latest badge of this type. One that is revoked or burned is followed by
            another.
        level: the level to be awarded, whatever its conditions; None: the one that the counters
            reach, and at least the lowest.

    Raises:
        ValueError: the type has no such level.
    """
    held = instance if instance is not None and instance.status is InstanceStatus.ACTIVE else None
    first = 0 if held is None else _place(rules, held.current_level) + 1
    if level is None:
        reached = (place for place, each in enumerate(rules.levels) if each.holds(counters))
        place = max(reached, default=0)
    else:
        place = _place(rules, level)
    if place < first:
        return UNCHANGED
    awarded = rules.levels[place].spec
    earned = (each.spec for each in rules.levels[first:place] if each.holds(counters))
    passed = (*earned, awarded)
    shown = metadata(rules.spec, awarded.level, counters)
    return Award(awarded, passed, shown) if held is None else LevelUp(awarded, passed, shown)


def metadata(
    spec: TypeSpec, level: int, counters: Mapping[CounterName, Number]
) -> dict[str, object]:
    """Return a badge's metadata at `level`.

    The level, and the fields that the type maps from counters.
    """
    return {"level": level} | {
        field: counters.get(counter, 0) for field, counter in spec.metadata_fields.items()
    }


def _place(rules: TypeRules, level: int) -> int:
    for place, candidate in enumerate(rules.levels):
        if candidate.spec.level == level:
            return place
    raise ValueError(f"{rules.spec.code} has no level {level}")
