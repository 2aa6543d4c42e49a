"""Apply a catalog, and evaluate again every user and badge that it may have changed.

One transaction, all or nothing.

While it runs, batches wait: each begins by holding the catalog's version. Users whose counters
reach a level by the new rules are given it as if the next event had come, with its audit, message
and mint; badges whose metadata has other fields now are rewritten.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from ops.clock import SYSTEM_CLOCK, Clock
from processor.batch.decisions import Decisions
from processor.rules.levels import UNCHANGED, Rulebook, evaluate, metadata
from store import audit, catalogs, instances, mint_queue, outbox, reevaluation
from store.counting import Progress
from store.engine import Connection, Database
from store.instances import Provenance
from store.reevaluation import ActiveBadge
from store.values import Actor, AuditAction, AuditEntry, Catalog


@dataclass(frozen=True, slots=True)
class ApplyResult:
    """What was done, or with `dry_run` what would be.

    `rewritten` counts badges with new metadata and the same level.
    """

    applied: catalogs.Applied
    dry_run: bool
    awarded: int = 0
    raised: int = 0
    rewritten: int = 0

    @property
    def document(self) -> dict[str, object]:
        """Return this for a script."""
        return {
            "changed": self.applied.is_new,
            "dry_run": self.dry_run,
            "version": None if self.dry_run and self.applied.is_new else self.applied.version,
            "types_created": list(self.applied.created),
            "types_changed": list(self.applied.changed),
            "types_removed": list(self.applied.removed),
            "counters_at_zero": list(self.applied.at_zero),
            "badges_awarded": self.awarded,
            "badges_raised": self.raised,
            "badges_rewritten": self.rewritten,
        }

    @property
    def text(self) -> str:
        """Return this for a person, a line or a few."""
        if not self.applied.is_new:
            version = self.applied.version
            return f"Nothing changed: version {version} of the catalog is in force already."
        lines = [
            "This would be a new version:"
            if self.dry_run
            else f"Version {self.applied.version} of the catalog is in force:"
        ]
        for change, codes in (
            ("created", self.applied.created),
            ("changed", self.applied.changed),
            ("removed", self.applied.removed),
        ):
            if codes:
                lines.append(f"  types {change}: {', '.join(codes)}")
        lines.append(
            f"  badges awarded {self.awarded}, raised {self.raised}, rewritten {self.rewritten}"
        )
        if self.applied.at_zero:
            lines.append(
                f"  counters that begin at zero: {', '.join(self.applied.at_zero)}: "
                "events before this version are not in them, and a backfill does not add what was "
                "counted before"
            )
        return "\n".join(lines)


async def apply_catalog(
    database: Database,
    catalog: Catalog,
    *,
    tenant_id: UUID,
    dry_run: bool = False,
    clock: Clock = SYSTEM_CLOCK,
) -> ApplyResult:
    """Apply `catalog` and re-evaluate the users it touches.

    Args:
        database: with this Laurel's tables.
        catalog: sound, as `catalog.load` returns it.
        tenant_id: of badges that are awarded now: no event names one.
        dry_run: roll everything back at the end.
        clock: for the messages.

    Raises:
        UsageError: the catalog would take away something in use; nothing is changed.
    """

    async def body(conn: Connection) -> ApplyResult:
        applied = await catalogs.apply(conn, catalog, Actor.ADMIN)
        outcome = ApplyResult(applied, dry_run)
        if applied.is_new:
            rules = Rulebook.compile(catalog)
            awarded, raised = await _evaluate(conn, rules, applied, tenant_id, clock.now())
            outcome = ApplyResult(
                applied, dry_run, awarded, raised, await _rewrite(conn, rules, applied)
            )
        if dry_run:
            await conn.rollback()
        return outcome

    return await database.retried("catalog_apply", body)


async def _evaluate(
    conn: Connection, rulebook: Rulebook, applied: catalogs.Applied, tenant_id: UUID, now: datetime
) -> tuple[int, int]:
    """Award and raise badges of the types whose rules changed.

    Return badges awarded and raised.
    """
    awarded = raised = 0
    found = (
        await reevaluation.counters(conn, applied.rules_changed, None)
        if applied.rules_changed
        else []
    )
    while found:
        decisions = await _decide(conn, rulebook, found, tenant_id, now)
        await instances.create(conn, decisions.created)
        await instances.raise_levels(conn, decisions.raised)
        await audit.append(conn, decisions.audit)
        await mint_queue.enqueue_mints(conn, decisions.mints)
        await outbox.append(conn, decisions.outbox)
        awarded += len(decisions.created)
        raised += len(decisions.raised)
        found = await reevaluation.counters(conn, applied.rules_changed, found[-1])
    return awarded, raised


async def _decide(
    conn: Connection, rulebook: Rulebook, found: list[Progress], tenant_id: UUID, now: datetime
) -> Decisions:
    decisions = Decisions(now)
    # Who reaches no level without a badge reaches none with one either: only the others' badges
    # need a lock.
    reaching = [
        each
        for each in found
        if evaluate(rulebook.by_id[each.type_id], each.counters, None) is not UNCHANGED
    ]
    locked = await instances.lock(conn, {(each.user_id, each.type_id) for each in reaching})
    badges = instances.by_holder(locked)
    for each in reaching:
        badge = badges.get((each.user_id, each.type_id))
        provenance = Provenance(Actor.SYSTEM, None, tenant_id if badge is None else badge.tenant_id)
        decisions.take_level(rulebook.by_id[each.type_id], each, badge, provenance)
    return decisions


async def _rewrite(conn: Connection, rulebook: Rulebook, applied: catalogs.Applied) -> int:
    """Rewrite the metadata of active badges whose types map other fields now.

    Return how many changed.
    """
    rewritten = 0
    found = (
        await reevaluation.lock_badges(conn, applied.metadata_changed, None)
        if applied.metadata_changed
        else []
    )
    while found:
        stale = [
            (badge.id, fresh)
            for badge in found
            if (fresh := _fresh(rulebook, badge)) != badge.metadata
        ]
        await reevaluation.rewrite(conn, stale)
        details = {"catalog_version": applied.version}
        await audit.append(
            conn,
            [
                AuditEntry(badge, AuditAction.METADATA_UPDATED, Actor.ADMIN, details)
                for badge, _ in stale
            ],
        )
        rewritten += len(stale)
        found = await reevaluation.lock_badges(conn, applied.metadata_changed, found[-1])
    return rewritten


def _fresh(rulebook: Rulebook, badge: ActiveBadge) -> dict[str, object]:
    return metadata(rulebook.by_id[badge.type_id].spec, badge.level, badge.counters)
