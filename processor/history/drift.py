"""What a rebuild has found: where the counters computed anew are not those in force.

It reads what is committed, a slice at a time and without a lock; batches go on and count both.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from ops.errors import InvariantBroken
from processor.catalog.plan import SAMPLE, LevelPlan, add_changes
from processor.rules.levels import Rulebook, TypeRules
from store import catalogs, instances, rebuilds, shadow_drift
from store.counting import Progress
from store.engine import Connection, Database
from store.rebuilds import OpenRebuild
from store.shadow_drift import DifferingRow, MemberDrift
from store.values.badges import Instance, InstanceStatus
from store.values.names import CounterName, Number, TypeCode
from store.values.shadows import ShadowChange, ShadowStep, filled, without_shadows

_SLICE = 2_000


@dataclass(slots=True)
class CounterDrift:
    """A counter of a type: users who would have more of it, and less; of some both numbers."""

    gained: int = 0
    lost: int = 0
    sample: list[tuple[UUID, Number, Number]] = field(default_factory=list)


@dataclass(slots=True)
class LostLevel:
    """Users who hold a level that their counters reach, and those computed anew do not."""

    users: int = 0
    sample: list[UUID] = field(default_factory=list)


@dataclass(slots=True)
class Drift:
    """All that differs.

    `rows` (`rows_of` a type) and `users` are there in all, `rows_differ` and `users_differ` of them
    differ. `gained`: the badges and levels that would be given; `lost`: those that would not be
    given today, and stay.
    """

    rows: int = 0
    users: int = 0
    rows_of: dict[TypeCode, int] = field(default_factory=dict)
    rows_differ: int = 0
    users_differ: int = 0
    counters: dict[tuple[TypeCode, CounterName], CounterDrift] = field(default_factory=dict)
    members: dict[CounterName, MemberDrift] = field(default_factory=dict)
    gained: dict[tuple[TypeCode, int], LevelPlan] = field(default_factory=dict)
    lost: dict[tuple[TypeCode, int], LostLevel] = field(default_factory=dict)

    @property
    def is_equal(self) -> bool:
        """Return whether what was computed anew is what is in force."""
        return not (self.rows_differ or self.members)


async def drift(database: Database, went_on: Callable[[int], None] = lambda _: None) -> Drift:
    """Compare the counters of the open rebuild with their shadows.

    Args:
        database: with a rebuild that takes sources.
        went_on: told now and then how many rows differ by now.

    Raises:
        UsageError: no rebuild is open.
    """
    found = Drift()
    async with database.transaction() as conn:
        await rebuilds.unhurried(conn)
        rebuild = await rebuilds.needed(conn)
        catalog = await catalogs.current(conn)
        if catalog is None:
            raise InvariantBroken("a rebuild without a catalog")
        changes = rebuild.changes(catalog, ShadowStep.SWAP)
        codes = {each.id: each.code for each in catalog.types}
        by_type, found.users = await shadow_drift.totals(conn, changes)
        found.rows_of = {codes[each.type_id]: by_type.get(each.type_id, 0) for each in changes}
        found.rows = sum(by_type.values())
        await _add_members(conn, rebuild, found)
    comparison = _Comparison(Rulebook.compile(catalog), changes, found)
    after: DifferingRow | None = None
    while True:
        async with database.transaction() as conn:
            await rebuilds.unhurried(conn)
            rows = await shadow_drift.differing(conn, changes, after, _SLICE)
            if not rows:
                return found
            await comparison.add(conn, rows, after)
        after = rows[-1]
        went_on(found.rows_differ)


async def _add_members(conn: Connection, rebuild: OpenRebuild, found: Drift) -> None:
    for counter in rebuild.counters:
        if differs := await shadow_drift.members(conn, counter):
            found.members[counter.name] = differs


class _Comparison:
    def __init__(self, rulebook: Rulebook, changes: Sequence[ShadowChange], found: Drift) -> None:
        self._rulebook = rulebook
        self._names = {each.type_id: each.counters for each in changes}
        self._found = found

    async def add(
        self, conn: Connection, rows: Sequence[DifferingRow], after: DifferingRow | None
    ) -> None:
        """Add the next rows, which follow `after`."""
        anew: list[Progress] = []
        last = None if after is None else after.user_id
        for row in rows:
            self._found.rows_differ += 1
            self._found.users_differ += row.user_id != last
            last = row.user_id
            self._add_counters(row)
            anew.append(Progress(row.user_id, row.type_id, self._anew(row)))
        await add_changes(conn, self._rulebook, anew, self._found.gained)
        held = instances.by_holder(
            await instances.read(conn, {(each.user_id, each.type_id) for each in anew})
        )
        for row, fresh in zip(rows, anew, strict=True):
            badge = held.get((row.user_id, row.type_id))
            if badge is not None and badge.status is InstanceStatus.ACTIVE:
                self._add_lost(self._rulebook.by_id[row.type_id], row, fresh, badge)

    def _add_counters(self, row: DifferingRow) -> None:
        code = self._rulebook.by_id[row.type_id].spec.code
        for name in self._names[row.type_id]:
            now, fresh = row.counters.get(name, 0), row.counters.get(filled(name), 0)
            if now == fresh:
                continue
            each = self._found.counters.setdefault((code, name), CounterDrift())
            each.gained += fresh > now
            each.lost += fresh < now
            if len(each.sample) < SAMPLE:
                each.sample.append((row.user_id, now, fresh))

    def _anew(self, row: DifferingRow) -> Mapping[CounterName, Number]:
        """Return the row's counters as a swap would leave them."""
        counters = without_shadows(row.counters)
        for name in self._names[row.type_id]:
            counters.pop(name, None)
            if filled(name) in row.counters:
                counters[name] = row.counters[filled(name)]
        return counters

    def _add_lost(
        self, rules: TypeRules, row: DifferingRow, fresh: Progress, badge: Instance
    ) -> None:
        places = [each.spec.level for each in rules.levels]
        at_least = rules.levels[places.index(badge.current_level) :]
        if not at_least[0].holds(row.counters) or any(
            each.holds(fresh.counters) for each in at_least
        ):
            return
        each = self._found.lost.setdefault((rules.spec.code, badge.current_level), LostLevel())
        each.users += 1
        if len(each.sample) < SAMPLE:
            each.sample.append(row.user_id)
