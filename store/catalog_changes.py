"""Compare two catalogs: types, levels and counters created, changed and removed.

Pure: two catalogs in, one record out; store/catalogs.py asks the database whether the changes are
allowed, and makes them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from uuid import UUID

from store.values.catalog import Catalog, CounterKind, CounterSpec, LevelSpec, TypeSpec
from store.values.names import CounterName, TypeCode


@dataclass(frozen=True, slots=True)
class Adoption:
    """A type begins to use a counter that another one has kept: it takes over the value.

    `moves`: the other keeps it no more, so that each event from now on is counted here alone.
    """

    type_id: UUID
    counter: CounterName
    source_type_id: UUID
    moves: bool = False
    is_max: bool = False


@dataclass(frozen=True, slots=True)
class Dropped:
    """A type uses `counters` no more: their values go from its users' progress."""

    type_id: UUID
    counters: tuple[CounterName, ...]


@dataclass(frozen=True, slots=True)
class TypeChange:
    """A type that is in both catalogs and differs.

    `what` names its fields, a level as `levels.2`.
    """

    old: TypeSpec
    new: TypeSpec
    what: tuple[str, ...]

    @property
    def removed_levels(self) -> tuple[int, ...]:
        """Return the levels that are no more."""
        kept = {level.level for level in self.new.levels}
        return tuple(level.level for level in self.old.levels if level.level not in kept)

    @property
    def dropped_counters(self) -> tuple[CounterName, ...]:
        """Return the counters that the type uses no more."""
        return tuple(name for name in self.old.counters if name not in self.new.counters)


@dataclass(frozen=True, slots=True)
class Changes:
    """All differences, each list in the order of the names."""

    created: tuple[TypeSpec, ...]
    changed: tuple[TypeChange, ...]
    removed: tuple[TypeSpec, ...]
    new_counters: tuple[CounterSpec, ...]
    altered_counters: tuple[tuple[CounterSpec, CounterSpec], ...]  # (old, new): never allowed
    removed_counters: tuple[CounterSpec, ...]
    adoptions: tuple[Adoption, ...]

    @property
    def rules_changed(self) -> frozenset[UUID]:
        """Return the types whose users may stand at another level now.

        Conditions, levels or counters are not what they were.
        """
        adopting = {adoption.type_id for adoption in self.adoptions}
        return frozenset(
            adopting
            | {change.new.id for change in self.changed if _rules(change.old) != _rules(change.new)}
        )

    @property
    def dropped(self) -> tuple[Dropped, ...]:
        """Return what types that stay use no more."""
        return tuple(
            Dropped(change.new.id, change.dropped_counters)
            for change in self.changed
            if change.dropped_counters
        )

    @property
    def metadata_changed(self) -> frozenset[UUID]:
        """Return the types whose badges' metadata has other fields now."""
        return frozenset(
            change.new.id
            for change in self.changed
            if change.old.metadata_fields != change.new.metadata_fields
        )


NOTHING = Catalog(version=0, events=(), counters=(), types=())


def between(old: Catalog, new: Catalog) -> Changes:
    """Return what `new` changes about `old`."""
    old_types, new_types = _types(old), _types(new)
    old_counters, new_counters = _counters(old), _counters(new)
    keepers = _keepers(old_types, new_types)
    return Changes(
        created=tuple(
            badge_type for code, badge_type in new_types.items() if code not in old_types
        ),
        changed=tuple(
            TypeChange(old_types[code], badge_type, _differences(old_types[code], badge_type))
            for code, badge_type in new_types.items()
            if code in old_types and old_types[code] != badge_type
        ),
        removed=tuple(
            badge_type for code, badge_type in old_types.items() if code not in new_types
        ),
        new_counters=tuple(
            counter for name, counter in new_counters.items() if name not in old_counters
        ),
        altered_counters=tuple(
            (old_counters[name], counter)
            for name, counter in new_counters.items()
            if name in old_counters and _meaning(old_counters[name]) != _meaning(counter)
        ),
        removed_counters=tuple(
            counter for name, counter in old_counters.items() if name not in new_counters
        ),
        adoptions=tuple(
            Adoption(
                badge_type.id,
                name,
                *keepers[name],
                is_max=new_counters[name].kind is CounterKind.MAX,
            )
            for code, badge_type in new_types.items()
            for name in badge_type.counters
            if name in keepers and not (code in old_types and name in old_types[code].counters)
        ),
    )


def _keepers(
    old: Mapping[TypeCode, TypeSpec], new: Mapping[TypeCode, TypeSpec]
) -> Mapping[CounterName, tuple[UUID, bool]]:
    """Return for each old counter a type that has its values, and whether it drops them.

    One that goes on counting is better: it has the whole value at any time.
    """
    found: dict[CounterName, tuple[UUID, bool]] = {}
    for code, badge_type in old.items():
        kept = new[code].counters if code in new else ()
        for name in badge_type.counters:
            if name in kept or name not in found:
                found[name] = badge_type.id, name not in kept
    return found


def begin_at_zero(old: Catalog, new: Catalog) -> tuple[CounterName, ...]:
    """Return the counters of `new` whose events may have come already, and are not in them.

    Those of an event type that `old` did not declare have missed nothing: such events were dead
    letters.
    """
    declared = {event.type for event in old.events}
    return tuple(
        counter.name
        for counter in between(old, new).new_counters
        if {counter.event_type, counter.undo_event_type} & declared
    )


def _types(catalog: Catalog) -> Mapping[TypeCode, TypeSpec]:
    return {
        badge_type.code: badge_type
        for badge_type in sorted(catalog.types, key=lambda each: each.code)
    }


def _counters(catalog: Catalog) -> Mapping[CounterName, CounterSpec]:
    return {
        counter.name: counter for counter in sorted(catalog.counters, key=lambda each: each.name)
    }


def _meaning(counter: CounterSpec) -> tuple[object, ...]:
    return tuple(getattr(counter, each.name) for each in fields(CounterSpec) if each.name != "id")


def _rules(badge_type: TypeSpec) -> dict[int, tuple[int, object]]:
    return {level.level: (level.order, level.conditions) for level in badge_type.levels}


def _differences(old: TypeSpec, new: TypeSpec) -> tuple[str, ...]:
    plain = [each.name for each in fields(TypeSpec) if each.name != "levels"]
    before: dict[int, LevelSpec] = {level.level: level for level in old.levels}
    after: dict[int, LevelSpec] = {level.level: level for level in new.levels}
    return (
        *(name for name in plain if getattr(old, name) != getattr(new, name)),
        *(
            f"levels.{number}"
            for number in sorted(before | after)
            if before.get(number) != after.get(number)
        ),
    )
