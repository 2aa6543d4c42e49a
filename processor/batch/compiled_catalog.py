"""What follows from one catalog version, compiled once for every batch until the next."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Self
from uuid import UUID

from processor.events.reader import EventReader
from processor.rules.counters import can_fall, counter_bindings
from processor.rules.levels import Rulebook
from store.merge_statement import MergeStatement
from store.values.catalog import Catalog
from store.values.names import CounterName
from store.values.shadows import with_shadows


@dataclass(frozen=True, slots=True)
class CompiledCatalog:
    """A catalog, ready to read messages and to decide by.

    `reader` knows the counters of `catalog`, and those that a rebuild keeps beside them.

    `counters_of` maps a type's id to the ids of its counters: an event that added to one of them
    may be a badge's source. `undoable` are the counters whose members another event may take out.
    """

    catalog: Catalog
    reader: EventReader
    rulebook: Rulebook
    merge_statement: MergeStatement
    counters_of: Mapping[UUID, frozenset[int]]
    undoable: frozenset[int]

    @classmethod
    def of(
        cls,
        catalog: Catalog,
        tenant_id: UUID,
        future_tolerance: timedelta,
        floor: date,
        shadows: Mapping[CounterName, int] | None = None,
    ) -> Self:
        """Compile `catalog`.

        Args:
            catalog: in force; its rules decide.
            tenant_id: see processor/events/reader.py, EventReader, as the next two.
            future_tolerance: see there.
            floor: see there.
            shadows: what a rebuild counts beside the catalog's counters, by name and id.

        Raises:
            RuleError: conditions or a filter do not keep to the grammar; those of a catalog that
                was applied do.
        """
        counted = with_shadows(catalog, shadows or {})
        bindings = counter_bindings(counted)
        counters_of: dict[UUID, set[int]] = {}
        for binding in bindings:
            counters_of.setdefault(binding.type_id, set()).add(binding.counter_id)
        return cls(
            catalog,
            EventReader(counted, tenant_id, future_tolerance, floor),
            Rulebook.compile(catalog),
            MergeStatement.of(bindings),
            {type_id: frozenset(ids) for type_id, ids in counters_of.items()},
            frozenset(each.id for each in counted.counters if can_fall(each)),
        )

    @property
    def version(self) -> int:
        """Return catalog_version.id."""
        return self.rulebook.version
