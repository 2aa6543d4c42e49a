"""Catalogs and messages of chance: what tests/builders/plain_model.py is told, and Laurel's own form.

Counters of every kind, shared by types; conditions of every comparison, nested; levels that mint by
every policy; ids that repeat, conflict and tie in time.
"""

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from processor.catalog.load import type_id
from store.values.catalog import (
    Catalog,
    CounterKind,
    CounterSpec,
    FieldKind,
    FieldSpec,
    OnchainPolicy,
    Rarity,
)
from store.values.names import CounterName, TypeCode
from tests.builders.catalogs import a_catalog, a_counter, a_level, a_type
from tests.builders.catalogs import an_event as an_event_type
from tests.builders.messages import NOW
from tests.builders.plain_rules import BadgeType, Counted, Level, Message, Rules, holds

USERS = [UUID(int=0x20000 + number) for number in range(4)]
OTHER_TENANT = UUID(int=0x99)

_ID, _WHOLE, _DECIMAL = FieldKind.ID, FieldKind.INTEGER, FieldKind.NUMBER
_EVENTS: Mapping[str, Sequence[FieldSpec]] = {
    "step.made": (
        FieldSpec("step_id", _ID, required=True),
        FieldSpec("height", _WHOLE),
        FieldSpec("weight", _DECIMAL, minimum=0),
    ),
    "place.seen": (
        FieldSpec("place_id", _ID, required=True),
        FieldSpec("depth", _DECIMAL, minimum=-9),
    ),
    "review.put": (FieldSpec("review_id", _ID, required=True), FieldSpec("stars", _WHOLE)),
    "review.cut": (FieldSpec("review_id", _ID, required=True),),
    "noise.made": (
        FieldSpec("noise_id", _ID, required=True),
        FieldSpec("volume", _DECIMAL, minimum=-9),
    ),
}
_COUNTERS: Mapping[str, Counted] = {
    "steps": Counted("count", "step.made"),
    "high_steps": Counted("count", "step.made", filter={"height": {"gte": 3}}),
    "highest": Counted("max", "step.made", "height"),
    "weight": Counted("sum", "step.made", "weight"),
    "places": Counted("distinct", "place.seen", "place_id"),
    "depth": Counted("max", "place.seen", "depth"),
    "reviews": Counted("count", "review.put", "review_id", undo="review.cut"),
    "good_reviews": Counted(
        "count", "review.put", "review_id", filter={"stars": {"gt": 2}}, undo="review.cut"
    ),
    "noises": Counted("count", "noise.made"),
    "loudest": Counted("max", "noise.made", "volume"),
}
_BOUNDS = (0, 1, 2, 3, 4, 5, 6, 8, Decimal("0.5"), Decimal("2.5"), Decimal("3.0"))
_AMOUNTS = (0, 1, 2, 3, Decimal("0.1"), Decimal("2.5"), Decimal("0.40"), Decimal("1E-30"), 10**29)
# Of counters that keep the greatest: where it lies below 0, its user stands there from the first on.
_BELOW = (-1, Decimal("-1.5"), -2, -4)
_DEPTHS = (*_AMOUNTS, -1, Decimal("-2.5"), -4)
_OPS = ("gte", "gte", "gte", "gte", "gt", "gt", "lte", "lt", "eq", "ne")


# ---------------------------------------------------------------- catalogs


class CatalogTeller:
    """Catalogs of chance, each of which may follow the one before."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def first(self) -> Rules:
        shown = self._chance.sample(sorted(_COUNTERS), self._chance.randint(4, 8))
        codes = ("hiker", "seer", "walker", "critic")[: self._chance.randint(2, 4)]
        return _rules({code: self._type(code, self._some(shown)) for code in codes})

    def following(self, old: Rules) -> Rules:
        """Return what may come after `old`: no counter is lost, no type and no level."""
        types = dict(old.types)
        for code in self._chance.sample(sorted(types), self._chance.randint(1, len(types))):
            types[code] = self._changed(types[code])
        if self._chance.random() < 0.5:
            code = f"late_{len(types)}"
            types[code] = self._type(code, self._some(sorted(_COUNTERS)))
        for name in set(old.counters) - {name for each in types.values() for name in each.counters}:
            code = self._chance.choice(sorted(types))
            types[code] = replace(types[code], counters=(*types[code].counters, name))
        return _rules(types)

    def _changed(self, old: BadgeType) -> BadgeType:
        if self._chance.random() < 0.2:
            return replace(old, metadata=self._metadata(old.counters))
        counters = (
            tuple(
                dict.fromkeys(
                    each
                    for each in (*old.counters, *self._some(sorted(_COUNTERS))[:1])
                    if self._chance.random() < 0.8
                )
            )
            or old.counters[:1]
        )
        number = max(len(old.levels), self._chance.randint(1, 4))
        levels = self._levels(counters, number)
        if set(counters) >= set(old.counters) and self._chance.random() < 0.3:
            levels = (*old.levels, *levels[len(old.levels) :])
        return replace(old, counters=counters, levels=levels, metadata=self._metadata(counters))

    def _some(self, names: Sequence[str]) -> tuple[str, ...]:
        return tuple(self._chance.sample(names, self._chance.randint(1, min(4, len(names)))))

    def _type(self, code: str, counters: tuple[str, ...]) -> BadgeType:
        return BadgeType(
            type_id(TypeCode(code)),
            counters,
            self._levels(counters, self._chance.randint(1, 4)),
            policy=self._chance.choice(("always", "always", "rare_and_above", "never")),
            min_rarity=self._chance.choice(("uncommon", "rare")),
            metadata=self._metadata(counters),
        )

    def _metadata(self, counters: tuple[str, ...]) -> dict[str, str]:
        shown = self._chance.sample(counters, self._chance.randint(0, min(2, len(counters))))
        return {self._chance.choice(("so_many", "shown")) + name: name for name in shown}

    def _levels(self, counters: tuple[str, ...], number: int) -> tuple[Level, ...]:
        ladder = self._chance.choice(counters) if self._chance.random() < 0.5 else None
        step = self._chance.choice((1, 2))
        return tuple(
            Level(
                level,
                {ladder: {"gte": step * level}} if ladder else self._conditions(counters, level),
                auto_mint=self._chance.random() < 0.6,
                policy=self._chance.choice(
                    (None, None, None, "by_user_request", "always", "never")
                ),
                rarity=("common", "common", "uncommon", "rare")[level - 1],
            )
            for level in range(1, number + 1)
        )

    def _conditions(self, counters: tuple[str, ...], level: int) -> dict[str, Any]:
        """Return conditions that nobody fulfils who did nothing yet: lint refuses the others."""
        while True:
            found = self._tree(counters, level, depth=self._chance.choice((0, 0, 1, 1, 2)))
            if not holds(found, {}):
                return found

    def _tree(self, counters: tuple[str, ...], level: int, depth: int) -> dict[str, Any]:
        if depth == 0:
            name = self._chance.choice(counters)
            if self._chance.random() < 0.4:
                return {name: {"gte": level + self._chance.randint(0, 2)}}
            below = _BELOW if _COUNTERS[name].kind == "max" else ()
            return {name: {self._chance.choice(_OPS): self._chance.choice((*_BOUNDS, *below))}}
        if self._chance.random() < 0.15:
            return {"not": self._tree(counters, level, depth - 1)}
        parts = [self._tree(counters, level, depth - 1) for _ in range(self._chance.randint(2, 3))]
        if self._chance.random() < 0.3:
            return {key: value for part in parts for key, value in part.items()}
        return {self._chance.choice(("all", "any")): parts}


def _rules(types: Mapping[str, BadgeType]) -> Rules:
    used = {name for each in types.values() for name in each.counters}
    return Rules({name: each for name, each in _COUNTERS.items() if name in used}, types)


def compiled(rules: Rules) -> Catalog:
    """The same as Laurel's own catalog."""
    types = (
        a_type(
            *(
                a_level(
                    each.level,
                    each.conditions,
                    auto_mint_onchain=each.auto_mint,
                    onchain_policy=each.policy and OnchainPolicy(each.policy),
                    rarity=Rarity(each.rarity),
                    order_dependent=True,
                )
                for each in spec.levels
            ),
            code=code,
            counters=spec.counters,
            default_onchain_policy=OnchainPolicy(spec.policy),
            onchain_min_rarity=Rarity(spec.min_rarity),
            metadata_fields={name: CounterName(of) for name, of in spec.metadata.items()},
        )
        for code, spec in rules.types.items()
    )
    events = (an_event_type(kind, *fields, topic="things") for kind, fields in _EVENTS.items())
    counters = tuple(_counter(name, counted) for name, counted in rules.counters.items())
    return a_catalog(*types, counters=counters, events=tuple(events))


def _counter(name: str, counted: Counted) -> CounterSpec:
    return a_counter(
        name,
        kind=CounterKind(counted.kind),
        event_type=counted.event,
        field=counted.field,
        filter=counted.filter,
        undo_event_type=counted.undo,
        undo_field=counted.undo and counted.field,
    )


# ---------------------------------------------------------------- messages


class MessageTeller:
    """Messages of chance. One identity says the same again, but at times of another type or user."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._told: list[Message] = []
        self._users = list(USERS)
        self._newcomers = itertools.count(0x30000)

    def somebody_joins(self) -> None:
        """Tell of users from now on of whom nothing was told, beside those whom all tell of."""
        self._users = [*USERS, *(UUID(int=next(self._newcomers)) for _ in range(3))]

    def some(self, number: int) -> list[Message]:
        return [
            self._again() if self._chance.random() < 0.3 else self._new() for _ in range(number)
        ]

    def _again(self) -> Message:
        if not self._told:
            return self._new()
        told = self._told if self._chance.random() < 0.4 else self._told[-12:]
        again = dict(self._chance.choice(told))
        odd = self._chance.random()
        if odd < 0.06:
            again["subject"] = str(self._chance.choice(self._users))
        elif odd < 0.12:
            again |= {"type": "noise.made", "data": {"noise_id": "n"}}
        elif odd < 0.4:
            again["time"] = self._time()
        return again

    def _new(self) -> Message:
        kinds = ["step.made"] * 4 + ["place.seen"] * 3 + ["review.put"] * 3
        kind = self._chance.choice([*kinds, "review.cut", "review.cut", "noise.made"])
        # The same id by another source, or of another tenant, is another event.
        places = ({"source": "/a-service/eu"}, {"source": "/b-service"})
        other = {"source": "/c-service", "tenantid": str(OTHER_TENANT)}
        made = {
            "specversion": "1.0",
            "id": f"e{len(self._told) // 2}",
            "type": kind,
            "subject": str(self._chance.choice(self._users)),
            "time": self._time(),
            "data": self._data(kind),
            **self._chance.choice((*places, other)),
        }
        self._told.append(made)
        return made

    def _time(self) -> str:
        at = NOW - timedelta(
            days=self._chance.randrange(4) // 2, seconds=self._chance.randrange(3) // 2
        )
        return at.isoformat()

    def _data(self, kind: str) -> dict[str, Any]:
        chance = self._chance
        data: dict[str, Any] = {}
        for each in _EVENTS[kind]:
            if not each.required and chance.random() < 0.2:
                continue
            if each.kind is _ID:
                data[each.name] = chance.choice(("a", "b", "c", "d\tä", "e\\N", "f" * 128))
            elif each.kind is _WHOLE:
                data[each.name] = chance.randrange(7)
            else:
                data[each.name] = chance.choice(_AMOUNTS if each.minimum == 0 else _DEPTHS)
        return data
