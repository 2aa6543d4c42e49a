"""What applying a catalog would change, without changing anything: for `--dry-run`.

It reads what is committed, a slice at a time and without a lock, and takes over counters in memory
as the job would in the database.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal
from uuid import UUID

from processor.catalog import evaluation
from processor.rules.levels import Award, Rulebook
from processor.rules.onchain_policy import mints_by_itself
from store import catalog_jobs, catalogs, reevaluation
from store.catalog_changes import NOTHING, Adoption, Changes, TypeChange, begin_at_zero
from store.catalog_jobs import CatalogWork
from store.counting import Progress
from store.engine import Connection, Database
from store.values.badges import OnchainStatus
from store.values.catalog import Catalog, JobState, LevelSpec
from store.values.names import CounterName, Number, TypeCode

SAMPLE = 10
_SLICE = 2_000


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A field of a type, or of one of its levels, that would not be what it is."""

    type_code: TypeCode
    level: int | None
    field: str
    old: object
    new: object


@dataclass(slots=True)
class LevelPlan:
    """What would be given at one level, and to whom: the first few users."""

    created: int = 0
    raised: int = 0
    mints: int = 0
    sample: list[UUID] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Plan:
    """What `apply` would do now.

    `changes` is None where the catalog is in force already; `levels` may have entries all the same,
    where a job is not done yet.
    """

    changes: Changes | None
    levels: Mapping[tuple[TypeCode, int], LevelPlan]
    rewritten: int
    at_zero: tuple[CounterName, ...] = ()  # new counters whose past events are not in them

    @property
    def totals(self) -> Counter[str]:
        """Return the numbers of badges created and raised, and of mint tasks."""
        found: Counter[str] = Counter()
        for each in self.levels.values():
            found.update(created=each.created, raised=each.raised, mints=each.mints)
        return found

    @property
    def fields(self) -> list[FieldChange]:
        """Return every field that would change, by type and level."""
        changed = () if self.changes is None else self.changes.changed
        return [each for change in changed for each in _field_changes(change)]


async def plan(database: Database, catalog: Catalog) -> Plan:
    """Return what applying `catalog`, which lint found sound, would do.

    Raises:
        UsageError: it would be refused; each reason on a line of its own.
    """
    async with database.transaction() as conn:
        changes = await catalogs.preview(conn, catalog)
        at_zero = begin_at_zero(await catalogs.current(conn) or NOTHING, catalog)
        job = await catalog_jobs.current(conn)
    left = CatalogWork() if job is None else job.left
    adoptions: tuple[Adoption, ...] = () if changes is None else changes.adoptions
    if job is not None and job.state is JobState.COUNTERS:
        left, adoptions = job.work, (*job.work.adoptions, *adoptions)
    work = CatalogWork(rules=left.rules, metadata=left.metadata)
    if changes is not None:
        work = CatalogWork.of(changes, left)
    rulebook = Rulebook.compile(catalog)
    levels = await _levels(database, rulebook, frozenset(work.rules), adoptions)
    rewritten = await _rewritten(database, rulebook, frozenset(work.metadata))
    return Plan(changes, levels, rewritten, at_zero)


async def _levels(
    database: Database,
    rulebook: Rulebook,
    types: frozenset[UUID],
    adoptions: tuple[Adoption, ...],
) -> dict[tuple[TypeCode, int], LevelPlan]:
    sources = types | {each.source_type_id for each in adoptions}
    found: dict[tuple[TypeCode, int], LevelPlan] = {}
    users: list[UUID] = []
    while True:
        async with database.transaction() as conn:
            after = users[-1] if users else None
            users = await reevaluation.users(conn, sources if types else (), after, _SLICE)
            if not users:
                return dict(sorted(found.items()))
            progress = adopted(await reevaluation.counters(conn, sources, users), adoptions)
            await add_changes(
                conn, rulebook, [each for each in progress if each.type_id in types], found
            )


async def add_changes(
    conn: Connection,
    rulebook: Rulebook,
    progress: list[Progress],
    found: dict[tuple[TypeCode, int], LevelPlan],
) -> None:
    """Add to `found` what these counters would give, without a lock."""
    for change in await evaluation.changes(conn, rulebook, progress):
        spec = rulebook.by_id[change.progress.type_id].spec
        level = found.setdefault((spec.code, change.decision.level.level), LevelPlan())
        if isinstance(change.decision, Award):
            level.created += 1
        else:
            level.raised += 1
        status = OnchainStatus.NOT_MINTED if change.badge is None else change.badge.onchain_status
        if status is OnchainStatus.NOT_MINTED and mints_by_itself(spec, change.decision.passed):
            level.mints += 1
        if len(level.sample) < SAMPLE:
            level.sample.append(change.progress.user_id)


async def _rewritten(database: Database, rulebook: Rulebook, types: frozenset[UUID]) -> int:
    number, after = 0, None
    while types:
        async with database.transaction() as conn:
            badges = await reevaluation.badges(conn, types, after, _SLICE)
        if not badges:
            break
        number += sum(evaluation.rewritten(rulebook, badge) is not None for badge in badges)
        after = badges[-1].id
    return number


def adopted(found: Iterable[Progress], adoptions: Iterable[Adoption]) -> list[Progress]:
    """Return users' counters as they are once `adoptions` are made (store/adoption.py)."""
    held: dict[tuple[UUID, UUID], dict[CounterName, Number]] = {
        (each.user_id, each.type_id): dict(each.counters) for each in found
    }
    for (user_id, type_id), counters in list(held.items()):
        for each in adoptions:
            if each.source_type_id != type_id or each.counter not in counters:
                continue
            own = held.setdefault((user_id, each.type_id), {})
            own[each.counter] = _combined(each, own.get(each.counter), counters[each.counter])
    return [Progress(*holder, counters) for holder, counters in sorted(held.items())]


def _combined(adoption: Adoption, own: Number | None, taken: Number) -> Number:
    if own is None or not adoption.moves:
        return taken
    if adoption.is_max:
        return max(own, taken)
    # Decimal and int mix exactly.
    return Decimal(own) + taken


def _field_changes(change: TypeChange) -> list[FieldChange]:
    old = {level.level: level for level in change.old.levels}
    new = {level.level: level for level in change.new.levels}
    code = change.new.code
    found = []
    for name in change.what:
        if not name.startswith("levels."):
            found.append(
                FieldChange(code, None, name, getattr(change.old, name), getattr(change.new, name))
            )
            continue
        number = int(name.removeprefix("levels."))
        before, after = old.get(number), new.get(number)
        if before is None or after is None:
            words = (None if before is None else "there", None if after is None else "there")
            found.append(FieldChange(code, number, "level", *words))
            continue
        found += [
            FieldChange(
                code, number, each.name, getattr(before, each.name), getattr(after, each.name)
            )
            for each in fields(LevelSpec)
            if getattr(before, each.name) != getattr(after, each.name)
        ]
    return found


def level_lines(code: TypeCode, level: int, found: LevelPlan) -> list[str]:
    """Return what would be given at a level, for a person."""
    numbers = f"created {found.created}, raised {found.raised}, mint tasks {found.mints}"
    return [
        f"    {code}, level {level}: {numbers}",
        f"      users {', '.join(map(str, found.sample))}",
    ]
