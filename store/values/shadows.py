"""A counter beside a counter: the shadow that a rebuild fills, and what becomes of it.

The shadow of `points` is kept as `~points` in the same rows, under an id of its own. Once the two
have changed places, what was `points` before is kept as `^points`, so that a row says by its names
whether it has been exchanged. No name of a catalog begins like that. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar
from uuid import UUID

from store.values.catalog import Catalog, CounterSpec
from store.values.names import CounterName, Number

Name = TypeVar("Name", bound=str)

_FILLED, _REPLACED, _GONE = "~", "^", "!"
# Of a row that was exchanged, whatever else is in it.
MARK = "^"


class RebuildState(StrEnum):
    """How far a rebuild is: `open` takes sources; `swapped`: its counters are in force.

    `closing`: what is not in force goes, for good; then it is `done`.
    """

    OPEN = "open"
    SWAPPED = "swapped"
    CLOSING = "closing"
    DONE = "done"


class ShadowStep(StrEnum):
    """What is done to the rows of a type: the two change places, or back, or one goes."""

    SWAP = "swap"
    UNDO = "undo"
    CLEAR = "clear"


@dataclass(frozen=True, slots=True)
class ShadowChange:
    """A step for the rows of one type, and for those of its counters that have shadows."""

    type_id: UUID
    counters: tuple[CounterName, ...]
    step: ShadowStep


def filled(name: CounterName) -> CounterName:
    """Return the name of the shadow that is to take the place of the counter `name`."""
    return CounterName(_FILLED + name)


def replaced(name: CounterName) -> CounterName:
    """Return the name of what was the counter `name` until its shadow took the place."""
    return CounterName(_REPLACED + name)


def gone(name: CounterName) -> CounterName:
    """Return the name of what nobody counts any more, until its members are removed."""
    return CounterName(_GONE + name)


def is_shadow(name: str) -> bool:
    """Return whether batches count something of this name beside the catalog's counters."""
    return name.startswith((_FILLED, _REPLACED))


def without_shadows(counters: Mapping[Name, Number]) -> dict[Name, Number]:
    """Return of a row's counters those of the catalog."""
    return {name: value for name, value in counters.items() if not is_shadow(name)}


def with_shadows(catalog: Catalog, shadows: Mapping[CounterName, int]) -> Catalog:
    """Return the catalog as batches count by it: each shadow is a counter like its own.

    Args:
        catalog: in force.
        shadows: their names and ids; without any, `catalog` itself comes back.
    """
    if not shadows:
        return catalog
    beside: dict[CounterName, CounterSpec] = {}
    by_name = {counter.name: counter for counter in catalog.counters}
    for name, number in sorted(shadows.items()):
        own = CounterName(name[1:])
        beside[own] = replace(by_name[own], id=number, name=name)
    types = tuple(
        replace(
            badge_type,
            counters=(
                *badge_type.counters,
                *(beside[name].name for name in badge_type.counters if name in beside),
            ),
        )
        for badge_type in catalog.types
    )
    return replace(catalog, counters=(*catalog.counters, *beside.values()), types=types)
