"""Put a catalog in force, and have what follows from it done.

A short transaction brings the version with its job (store/catalogs.py); the job is worked off in
slices afterwards (job.py). Who is interrupted there has lost nothing: the same command goes on, and
so does a worker, after a while.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from uuid import UUID

from ops.clock import SYSTEM_CLOCK, Clock
from ops.errors import UsageError
from processor.catalog.job import JobRunner
from processor.catalog.plan import FieldChange, Plan, level_lines, plan
from store import catalogs
from store.catalog_jobs import Job
from store.catalogs import Applied, CountersPending
from store.engine import Connection, Database
from store.exact_json import dumped
from store.values.badges import Actor
from store.values.catalog import Catalog
from store.values.names import CounterName, TypeCode

_PROGRESS_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class ApplyOptions:
    """How a catalog is applied.

    `silent`: no messages about what it gives; `no_mint`: no token by itself; `awards_max`: refused
    where it would give more badges and levels than that.
    """

    silent: bool = False
    no_mint: bool = False
    awards_max: int | None = None


@dataclass(frozen=True, slots=True)
class ApplyResult:
    """What was done, or with `dry_run` what would be.

    `version` is None for one that would be new. `rewritten` counts badges with new metadata and the
    same level.
    """

    is_new: bool
    version: int | None
    dry_run: bool = False
    created: tuple[TypeCode, ...] = ()
    changed: tuple[TypeCode, ...] = ()
    removed: tuple[TypeCode, ...] = ()
    at_zero: tuple[CounterName, ...] = ()
    awarded: int = 0
    raised: int = 0
    rewritten: int = 0
    plan: Plan | None = field(default=None, repr=False)

    @property
    def document(self) -> dict[str, object]:
        """Return this for a script."""
        document: dict[str, object] = {
            "changed": self.is_new,
            "dry_run": self.dry_run,
            "version": self.version,
            "types_created": list(self.created),
            "types_changed": list(self.changed),
            "types_removed": list(self.removed),
            "counters_at_zero": list(self.at_zero),
            "badges_awarded": self.awarded,
            "badges_raised": self.raised,
            "badges_rewritten": self.rewritten,
        }
        if self.plan is not None:
            document |= {
                "mint_tasks": self.plan.totals["mints"],
                "fields": [
                    {
                        "type": each.type_code,
                        "level": each.level,
                        "field": each.field,
                        "old": each.old,
                        "new": each.new,
                    }
                    for each in self.plan.fields
                ],
                "levels": [
                    {
                        "type": code,
                        "level": level,
                        "created": each.created,
                        "raised": each.raised,
                        "mint_tasks": each.mints,
                        "sample_users": [str(user) for user in each.sample],
                    }
                    for (code, level), each in self.plan.levels.items()
                ],
            }
        return document

    @property
    def text(self) -> str:
        """Return this for a person, a line or a few."""
        given = f"  badges awarded {self.awarded}, raised {self.raised}, rewritten {self.rewritten}"
        if not self.is_new:
            lines = ["Nothing changed: the catalog is in force already."]
            if self.version is not None:
                lines = [
                    f"Nothing changed: version {self.version} of the catalog is in force already."
                ]
            if self.awarded or self.raised or self.rewritten:
                lines += ["What was left to do for it:", given]
            return "\n".join(lines)
        lines = [
            "This would be a new version:"
            if self.dry_run
            else f"Version {self.version} of the catalog is in force:"
        ]
        for change, codes in (
            ("created", self.created),
            ("changed", self.changed),
            ("removed", self.removed),
        ):
            if codes:
                lines.append(f"  types {change}: {', '.join(codes)}")
        if self.plan is not None:
            lines += [f"    {_field_text(each)}" for each in self.plan.fields]
            given += f"; mint tasks {self.plan.totals['mints']}"
        lines.append(given)
        if self.plan is not None:
            for (code, level), each in self.plan.levels.items():
                lines += level_lines(code, level, each)
        if self.at_zero:
            lines.append(
                f"  counters that begin at zero: {', '.join(self.at_zero)}: "
                "events before this version are not in them; `laurel history fill` adds those "
                "that were counted before"
            )
        return "\n".join(lines)


class JobLines:
    """Says now and then how far a job is.

    Args:
        say: is given a line of text every two seconds at most.
        clock: the host's; tests bring their own.
    """

    def __init__(self, say: Callable[[str], None], clock: Clock = SYSTEM_CLOCK) -> None:
        self._say = say
        self._clock = clock
        self._said_at = clock.monotonic()

    def __call__(self, job: Job) -> None:
        """Say where `job` stands, if it is time."""
        now = self._clock.monotonic()
        if now - self._said_at < _PROGRESS_EVERY_S:
            return
        self._said_at = now
        self._say(
            f"version {job.version} is in force; {job.state}: {job.users} users evaluated, badges "
            f"awarded {job.awarded}, raised {job.raised}, rewritten {job.rewritten}"
        )


async def apply_catalog(
    database: Database,
    catalog: Catalog,
    options: ApplyOptions | None = None,
    *,
    tenant_id: UUID,
    prepare: Callable[[], Awaitable[object]] | None = None,
    report: Callable[[Job], None] = lambda _: None,
    clock: Clock = SYSTEM_CLOCK,
) -> ApplyResult:
    """Apply `catalog`, and evaluate again the users it touches.

    Args:
        database: with this Laurel's tables.
        catalog: sound, as `catalog.load` returns it.
        options: in silence, within a bound.
        tenant_id: of badges that are awarded now: no event names one.
        prepare: done once nothing speaks against the catalog, before it is in force: its topics.
        report: told after each slice of users.
        clock: for the messages.

    Raises:
        UsageError: the catalog would take away something in use, or give more than `awards_max`;
            nothing is changed.
    """
    options = options or ApplyOptions()
    if options.awards_max is not None:
        _bound(await plan(database, catalog), options.awards_max)
    if prepare is not None:
        async with database.transaction() as conn:
            await catalogs.preview(conn, catalog)
        await prepare()
    runner = JobRunner(database, tenant_id, clock)
    applied = await _in_force(database, catalog, options, runner)
    job = await runner.work_off(report)
    return ApplyResult(
        applied.is_new,
        applied.version,
        created=applied.created,
        changed=applied.changed,
        removed=applied.removed,
        at_zero=applied.at_zero,
        awarded=job.awarded if job else 0,
        raised=job.raised if job else 0,
        rewritten=job.rewritten if job else 0,
    )


async def dry_run(database: Database, catalog: Catalog) -> ApplyResult:
    """Return what applying `catalog` would do now.

    Raises:
        UsageError: the catalog would take away something in use.
    """
    found = await plan(database, catalog)
    changes, totals = found.changes, found.totals
    return ApplyResult(
        changes is not None,
        None,
        dry_run=True,
        created=tuple(each.code for each in changes.created) if changes else (),
        changed=tuple(each.new.code for each in changes.changed) if changes else (),
        removed=tuple(each.code for each in changes.removed) if changes else (),
        at_zero=found.at_zero,
        awarded=totals["created"],
        raised=totals["raised"],
        rewritten=found.rewritten,
        plan=found,
    )


async def _in_force(
    database: Database, catalog: Catalog, options: ApplyOptions, runner: JobRunner
) -> Applied:
    async def body(conn: Connection) -> Applied:
        return await catalogs.apply(
            conn, catalog, Actor.ADMIN, silent=options.silent, no_mint=options.no_mint
        )

    while True:
        try:
            return await database.retried("catalog_apply", body)
        except CountersPending:
            # Nobody is given anything by the rules that this catalog may be there to correct.
            await runner.work_off(only_counters=True)


def _bound(found: Plan, awards_max: int) -> None:
    awards = found.totals["created"] + found.totals["raised"]
    if awards > awards_max:
        raise UsageError(
            f"The catalog would give {awards} badges and levels, more than --max-awards "
            f"{awards_max}. Nothing was changed; `--dry-run` shows them."
        )


def _field_text(change: FieldChange) -> str:
    place = (
        change.type_code if change.level is None else f"{change.type_code}, level {change.level}"
    )
    return f"{place}: {change.field} {dumped(change.old)} -> {dumped(change.new)}"
