"""What follows from one catalog version, worked out once and used for every batch until the next."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Self
from uuid import UUID

from processor.events.reader import EventReader
from processor.rules.counters import KINDS, counter_uses
from processor.rules.levels import Rulebook
from store.counting import Use
from store.values import Catalog, CounterOperation


@dataclass(frozen=True, slots=True)
class Definitions:
    """A catalog, ready to read and to judge by.

    `counters_of` maps a type's id to the ids of its counters: an event that added to one of them
    may be a badge's source.
    """

    reader: EventReader
    rulebook: Rulebook
    uses: tuple[Use, ...]
    counters_of: Mapping[UUID, frozenset[int]]

    @classmethod
    def of(
        cls,
        catalog: Catalog,
        tenant_id: UUID,
        future_tolerance: timedelta,
        retention: timedelta | None,
    ) -> Self:
        """Compile `catalog`.

        Raises:
            RuleError: conditions or a filter do not keep to the grammar; those of a catalog that
                was applied do.
        """
        uses = counter_uses(catalog)
        counters_of: dict[UUID, set[int]] = {}
        for use in uses:
            counters_of.setdefault(use.type.id, set()).add(use.counter.id)
        return cls(
            EventReader(catalog, tenant_id, future_tolerance, retention),
            Rulebook.compile(catalog),
            tuple(
                Use(
                    use.counter.id,
                    use.type.id,
                    use.counter.name,
                    KINDS[use.counter.kind].operation is CounterOperation.MAX,
                    use.thresholds,
                )
                for use in uses
            ),
            {type_id: frozenset(ids) for type_id, ids in counters_of.items()},
        )

    @property
    def version(self) -> int:
        """Return catalog_version.id."""
        return self.rulebook.version
