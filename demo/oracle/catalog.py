"""Read the catalog's YAML files and evaluate their conditions.

The files as they are, with a few lines that ask them. Nothing of the product's code.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

Number = int | Decimal
Document = Mapping[str, Any]

INTEGER_MAX = 2**53 - 1
_RARITIES = ("common", "uncommon", "rare", "epic", "legendary")
_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "gte": lambda found, bound: found >= bound,
    "gt": lambda found, bound: found > bound,
    "lte": lambda found, bound: found <= bound,
    "lt": lambda found, bound: found < bound,
    "eq": lambda found, bound: found == bound,
    "ne": lambda found, bound: found != bound,
    "in": lambda found, bound: found in bound,
}


@dataclass(frozen=True, slots=True)
class Counter:
    """A counter of the catalog; `kind` is count, distinct, sum or max."""

    name: str
    kind: str
    event: str
    field: str | None
    filter: Document | None
    undo_event: str | None
    undo_field: str | None


@dataclass(frozen=True, slots=True)
class Step:
    """A level.

    Its conditions, whether its badge may have a token, and whether passing it asks for one.
    """

    level: int
    conditions: Document
    may_mint: bool
    mints_by_itself: bool


@dataclass(frozen=True, slots=True)
class Badge:
    """A type; `steps` from the lowest to the highest."""

    code: str
    counters: tuple[str, ...]
    steps: tuple[Step, ...]

    def level(self, counters: Mapping[str, Number]) -> int:
        """Return the highest level whose conditions hold, 0 for none."""
        return max(
            (step.level for step in self.steps if holds(step.conditions, counters, missing=0)),
            default=0,
        )

    def mints_by_itself(self, counters: Mapping[str, Number], above: int = 0) -> bool:
        """Return whether rising from level `above` by `counters` gives a token unasked."""
        return any(
            step.mints_by_itself and holds(step.conditions, counters, missing=0)
            for step in self.steps
            if step.level > above
        )

    def may_mint(self, level: int) -> bool:
        """Return whether the badge may have a token at `level`."""
        return any(step.level == level and step.may_mint for step in self.steps)


@dataclass(frozen=True, slots=True)
class Field:
    """A declared field of an event; `kind` is id, text or integer, the bounds are inclusive."""

    name: str
    kind: str
    required: bool
    minimum: int
    maximum: int


@dataclass(frozen=True, slots=True)
class EventType:
    """An event type of the contract: its topic without prefix, and its fields."""

    topic: str
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class Badges:
    """The whole catalog: types by code, counters by name, events by type."""

    by_code: Mapping[str, Badge]
    counters: Mapping[str, Counter]
    events: Mapping[str, EventType]

    @cached_property
    def listeners(self) -> Mapping[str, tuple[Counter, ...]]:
        """Return the counters that listen to an event type, undoing ones included."""
        heard = {
            name
            for each in self.counters.values()
            for name in (each.event, each.undo_event)
            if name
        }
        return {
            event: tuple(
                each for each in self.counters.values() if event in (each.event, each.undo_event)
            )
            for event in sorted(heard)
        }

    def levels(self, counters: Mapping[str, Number]) -> dict[str, int]:
        """Return the levels that `counters` reach, by type code; types without one are left out."""
        reached = {code: badge.level(counters) for code, badge in self.by_code.items()}
        return {code: level for code, level in reached.items() if level}


def holds(condition: Document, values: Mapping[str, Any], *, missing: Number | None) -> bool:
    """Return whether `condition` holds for `values`.

    One that is not there reads as `missing`, and None compares as false.
    """
    return all(_holds(name, wanted, values, missing) for name, wanted in condition.items())


def _holds(name: str, wanted: Any, values: Mapping[str, Any], missing: Number | None) -> bool:  # noqa: ANN401 - YAML
    if name == "all":
        return all(holds(part, values, missing=missing) for part in wanted)
    if name == "any":
        return any(holds(part, values, missing=missing) for part in wanted)
    if name == "not":
        return not holds(wanted, values, missing=missing)
    found = values.get(name, missing)
    return found is not None and all(
        _COMPARISONS[sign](found, bound) for sign, bound in wanted.items()
    )


def read_badges(directory: Path) -> Badges:
    """Return the catalog of `directory`.

    `laurel catalog lint` says what is wrong with one that cannot be read.
    """
    merged: dict[str, dict[str, Any]] = {"events": {}, "counters": {}, "types": {}}
    for path in sorted(directory.glob("*.yaml")):
        for part, entries in yaml.safe_load(path.read_text(encoding="utf-8")).items():
            merged[part] |= entries
    return Badges(
        by_code={code: _badge(code, entry) for code, entry in merged["types"].items()},
        counters={name: _counter(name, entry) for name, entry in merged["counters"].items()},
        events={type_: _declared(entry) for type_, entry in merged["events"].items()},
    )


def _badge(code: str, entry: Document) -> Badge:
    steps = sorted(entry["levels"].items(), key=lambda item: int(item[1].get("order", item[0])))
    return Badge(
        code,
        tuple(entry["counters"]),
        tuple(_step(entry, int(level), step) for level, step in steps),
    )


def _step(badge: Document, level: int, entry: Document) -> Step:
    policy = entry.get("onchain_policy", badge["default_onchain_policy"])
    least = _RARITIES.index(badge.get("onchain_min_rarity", "rare"))
    rare_enough = policy != "rare_and_above" or _RARITIES.index(entry["rarity"]) >= least
    may_mint = badge["is_onchain_capable"] and policy != "never" and rare_enough
    unasked = entry.get("auto_mint_onchain", False) and policy != "by_user_request"
    return Step(level, entry["conditions"], may_mint, may_mint and unasked)


def _counter(name: str, entry: Document) -> Counter:
    undo = entry.get("undo", {})
    return Counter(
        name,
        entry["kind"],
        entry["event"],
        entry.get("field"),
        entry.get("filter"),
        undo.get("event"),
        undo.get("field"),
    )


def _declared(entry: Document) -> EventType:
    fields = [
        Field(
            name,
            each["kind"],
            each.get("required", False),
            each.get("minimum", 0),
            each.get("maximum", INTEGER_MAX),
        )
        for name, each in entry.get("fields", {}).items()
    ]
    return EventType(entry["topic"], tuple(fields))
