"""The catalog in the database: which one is in force, and how another takes its place.

A batch locks the current version FOR SHARE before anything else; `apply` locks the table against
that. So a batch counts by one catalog from its first statement to its last, and a new one waits for
the batches under way (docs/data-model.md, Catalog).
"""

from dataclasses import asdict, dataclass
from uuid import UUID

from sqlalchemy import text

from ops.errors import UsageError
from store import audit, catalog_jobs, catalog_use
from store.catalog_changes import NOTHING, Changes, begin_at_zero, between
from store.catalog_document import content_hash, decoded, encoded
from store.engine import Connection, TransactionConflict
from store.exact_json import dumped
from store.ids import id_prefix
from store.values.badges import AuditAction, AuditEntry
from store.values.catalog import Catalog, JobState, TypeSpec
from store.values.names import CounterName, TypeCode

NO_CATALOG = "The database has no catalog yet. Run `laurel catalog apply`."

CURRENT = text("""
    SELECT version.id, version.document,
           coalesce((SELECT jsonb_object_agg(name, id) FROM counter_definition), '{}')
               AS counter_ids
      FROM catalog_version AS version
     WHERE version.is_current
""")

CURRENT_FOR_SHARE = text("SELECT id FROM catalog_version WHERE is_current FOR SHARE")
ANY_VERSION = text("SELECT EXISTS (SELECT FROM catalog_version)")
CURRENT_HASH = text("SELECT id, content_hash FROM catalog_version WHERE is_current")
# The table, not the row: row locks have no queue, so batches that share one without a pause would
# keep `apply` waiting for ever. EXCLUSIVE lets plain reads through, and is the weakest mode that
# FOR SHARE waits for.
LOCK_OUT_BATCHES = text("LOCK TABLE catalog_version IN EXCLUSIVE MODE")

ADD_COUNTERS = text("""
    INSERT INTO counter_definition
           (id, name, kind, event_type, field, filter, undo_event_type, undo_field, first_version)
    SELECT (SELECT coalesce(max(id), 0) FROM counter_definition)
           + row_number() OVER (ORDER BY name),
           name, kind, event_type, field, filter, undo_event_type, undo_field,
           -- That of ADD_VERSION, in the same transaction under the same lock.
           (SELECT coalesce(max(id), 0) + 1 FROM catalog_version)
      FROM jsonb_to_recordset(CAST(:counters AS jsonb))
           AS counter (name text, kind text, event_type text, field text, filter jsonb,
                       undo_event_type text, undo_field text)
     ORDER BY name
""")

UPSERT_TYPES = text("""
    INSERT INTO nft_type AS old
           (id, code, title, description, category, base_image_url, is_onchain_capable,
            default_onchain_policy, onchain_min_rarity, metadata_schema, i18n)
    SELECT id, code, title, description, category, base_image_url, is_onchain_capable,
           default_onchain_policy, onchain_min_rarity, metadata_schema, i18n
      FROM jsonb_to_recordset(CAST(:types AS jsonb))
           AS new (id uuid, code text, title text, description text, category text,
                   base_image_url text, is_onchain_capable boolean, default_onchain_policy text,
                   onchain_min_rarity text, metadata_schema jsonb, i18n jsonb)
     ORDER BY code
        ON CONFLICT (code) DO UPDATE
       SET title = excluded.title, description = excluded.description, category = excluded.category,
           base_image_url = excluded.base_image_url,
           is_onchain_capable = excluded.is_onchain_capable,
           default_onchain_policy = excluded.default_onchain_policy,
           onchain_min_rarity = excluded.onchain_min_rarity,
           metadata_schema = excluded.metadata_schema, i18n = excluded.i18n, updated_at = now()
""")

# Orders that change places would meet in the unique index, which looks at each row at once: out of
# the way first, below zero.
PARK_ORDERS = text("""
    UPDATE nft_level_rule SET "order" = -1 - abs("order")
     WHERE type_id = ANY(CAST(:types AS uuid[])) AND "order" >= 0
""")

UPSERT_LEVELS = text("""
    INSERT INTO nft_level_rule AS old
           (id, type_id, level, "order", title, description, rarity, image_url, conditions,
            auto_mint_onchain, onchain_policy, i18n)
    SELECT CAST(:id_prefix || lpad(to_hex(row_number() OVER (ORDER BY type_id, level)),
                                   8, '0') AS uuid),
           type_id, level, "order", title, description, rarity, image_url, conditions,
           auto_mint_onchain, onchain_policy, i18n
      FROM jsonb_to_recordset(CAST(:levels AS jsonb))
           AS new (type_id uuid, level integer, "order" integer, title text, description text,
                   rarity text, image_url text, conditions jsonb, auto_mint_onchain boolean,
                   onchain_policy text, i18n jsonb)
     ORDER BY type_id, level
        ON CONFLICT (type_id, level) DO UPDATE
       SET "order" = excluded."order", title = excluded.title,
           description = excluded.description, rarity = excluded.rarity,
           image_url = excluded.image_url, conditions = excluded.conditions,
           auto_mint_onchain = excluded.auto_mint_onchain,
           onchain_policy = excluded.onchain_policy, i18n = excluded.i18n, updated_at = now()
""")

REMOVE_LEVELS = text("""
    DELETE FROM nft_level_rule AS rule
     USING jsonb_to_recordset(CAST(:levels AS jsonb)) AS gone (type_id uuid, level integer)
     WHERE rule.type_id = gone.type_id AND rule.level = gone.level
""")
REMOVE_TYPE_LEVELS = text("DELETE FROM nft_level_rule WHERE type_id = ANY(CAST(:types AS uuid[]))")
REMOVE_TYPES = text("DELETE FROM nft_type WHERE id = ANY(CAST(:types AS uuid[]))")
REMOVE_COUNTERS = text("DELETE FROM counter_definition WHERE name = ANY(CAST(:names AS text[]))")

REBUILDING = text("SELECT EXISTS (SELECT FROM rebuild WHERE state <> 'done')")

RETIRE = text("UPDATE catalog_version SET is_current = false WHERE is_current")
ADD_VERSION = text("""
    INSERT INTO catalog_version (id, content_hash, document, is_current)
    SELECT coalesce(max(id), 0) + 1, :hash, CAST(:document AS jsonb), true FROM catalog_version
    RETURNING id
""")
ADD_SAME_VERSION = text("""
    INSERT INTO catalog_version (id, content_hash, document, is_current)
    SELECT (SELECT max(id) + 1 FROM catalog_version), content_hash, document, true
      FROM catalog_version WHERE id = :version
    RETURNING id
""")


class CountersPending(Exception):
    """The job of the version in force still takes over counters: work that off first."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What `apply` did. `version` is the current one, old where nothing changed.

    `at_zero` are the new counters whose past events are not in them.

    Users of the types in `rules_changed` may stand at another level now, and badges of those in
    `metadata_changed` have other metadata fields: the version's job evaluates them again
    (processor/catalog/job.py).
    """

    version: int
    is_new: bool
    created: tuple[TypeCode, ...] = ()
    changed: tuple[TypeCode, ...] = ()
    removed: tuple[TypeCode, ...] = ()
    at_zero: tuple[CounterName, ...] = ()
    rules_changed: frozenset[UUID] = frozenset()
    metadata_changed: frozenset[UUID] = frozenset()


async def current(conn: Connection) -> Catalog | None:
    """Return the catalog in force, with its version and its counters' ids.

    None before the first `laurel catalog apply`.
    """
    row = (await conn.execute(CURRENT)).one_or_none()
    return None if row is None else decoded(row.document, row.id, row.counter_ids)


async def current_for_share(conn: Connection) -> int:
    """Hold the current version until the transaction ends, and return it.

    The first lock of a batch.

    A caller that computed with another version rolls back, reads `current` and starts over.

    Raises:
        UsageError: no catalog was applied yet.
    """
    while True:
        version = (await conn.execute(CURRENT_FOR_SHARE)).scalar_one_or_none()
        if version is not None:
            return int(version)
        # A statement that waited for `apply` finds its row retired and returns nothing; the next
        # one sees the new row.
        if not (await conn.execute(ANY_VERSION)).scalar_one():
            raise UsageError(NO_CATALOG)


async def preview(conn: Connection, catalog: Catalog) -> Changes | None:
    """Return what `apply` would change; None for the catalog in force. Nothing is locked.

    Raises:
        UsageError: as `apply`.
    """
    row = (await conn.execute(CURRENT_HASH)).one_or_none()
    if row is not None and row.content_hash == content_hash(encoded(catalog)):
        return None
    await _refuse_beside_rebuild(conn)
    changes = between(await current(conn) or NOTHING, catalog)
    await catalog_use.refuse(conn, changes)
    return changes


async def apply(
    conn: Connection, catalog: Catalog, actor: str, *, silent: bool = False, no_mint: bool = False
) -> Applied:
    """Put `catalog`, which lint found sound, in force; the same again changes nothing.

    What follows from it for users and badges is written down as a job, and done afterwards.

    Args:
        conn: in a transaction; waits for the batches under way, and later ones wait for its end.
        catalog: as `processor.catalog.load.load` returns it.
        actor: for the audit log: `admin` from the command line.
        silent: the job sends no messages about what it gives.
        no_mint: the job mints nothing by itself.

    Raises:
        CountersPending: the version before has not taken over its counters yet.
        UsageError: it would take something away that is in use, or change what a counter means;
            each reason on a line of its own.
        TransactionConflict: what was in use is not any more; nothing is written.
    """
    locked = await conn.begin_nested()
    await conn.execute(LOCK_OUT_BATCHES)
    await conn.execute(catalog_use.BY_INDEX)
    row = (await conn.execute(CURRENT_HASH)).one_or_none()
    document = encoded(catalog)
    if row is not None and row.content_hash == content_hash(document):
        return Applied(version=row.id, is_new=False)
    await _refuse_beside_rebuild(conn)
    before = await catalog_jobs.current(conn)
    if before is not None and before.state is JobState.COUNTERS:
        raise CountersPending
    old = await current(conn) or NOTHING
    changes = between(old, catalog)
    if await catalog_use.takes_away(conn, changes):
        # Batches go on while it is counted for the reasons.
        await locked.rollback()
        await catalog_use.refuse(conn, changes)
        raise TransactionConflict("what the catalog takes away was in use until now")
    await _write(conn, changes)
    await conn.execute(RETIRE)
    parameters = {"hash": content_hash(document), "document": document}
    version = int((await conn.execute(ADD_VERSION, parameters)).scalar_one())
    work = catalog_jobs.CatalogWork.of(
        changes, catalog_jobs.CatalogWork() if before is None else before.left
    )
    await catalog_jobs.open_job(
        conn,
        version,
        work,
        # What was to be given in silence stays so.
        silent=silent or (before is not None and before.silent),
        no_mint=no_mint or (before is not None and before.no_mint),
    )
    await audit.append(conn, _history(changes, version, actor))
    return Applied(
        version=version,
        is_new=True,
        created=tuple(badge_type.code for badge_type in changes.created),
        changed=tuple(change.new.code for change in changes.changed),
        removed=tuple(badge_type.code for badge_type in changes.removed),
        at_zero=begin_at_zero(old, catalog),
        rules_changed=changes.rules_changed,
        metadata_changed=changes.metadata_changed,
    )


async def lock_out_batches(conn: Connection) -> None:
    """Wait for the batches under way, and keep later ones waiting until the transaction ends."""
    await conn.execute(LOCK_OUT_BATCHES)
    await conn.execute(catalog_use.BY_INDEX)


async def renew(
    conn: Connection, work: catalog_jobs.CatalogWork, *, silent: bool = False, no_mint: bool = False
) -> int:
    """Put the same catalog in force as a version of its own, with `work` as its job; return it.

    Every batch reads anew what it counts by. The caller has locked them out (`lock_out_batches`),
    and no job is open that takes over counters.
    """
    version = await current_for_share(conn)
    await conn.execute(RETIRE)
    added = int((await conn.execute(ADD_SAME_VERSION, {"version": version})).scalar_one())
    await catalog_jobs.open_job(conn, added, work, silent=silent, no_mint=no_mint)
    return added


async def _refuse_beside_rebuild(conn: Connection) -> None:
    if (await conn.execute(REBUILDING)).scalar_one():
        raise UsageError(
            "A rebuild is open, which keeps a second value of counters of the catalog in force: "
            "another catalog waits for its end. `laurel rebuild --status` shows it; "
            "`laurel rebuild --finish` keeps what is in force and ends it."
        )


async def _write(conn: Connection, changes: Changes) -> None:
    """Make `changes` of what the catalog itself is: no user's row is touched."""
    changed = [change.new for change in changes.changed]
    await conn.execute(ADD_COUNTERS, {"counters": dumped(changes.new_counters)})
    await conn.execute(
        REMOVE_LEVELS, {"levels": dumped(catalog_use.removed_levels(changes.changed))}
    )
    await conn.execute(PARK_ORDERS, {"types": [badge_type.id for badge_type in changed]})
    written = (*changes.created, *changed)
    await conn.execute(UPSERT_TYPES, {"types": dumped(written)})
    levels = [
        asdict(level) | {"type_id": badge_type.id}
        for badge_type in written
        for level in badge_type.levels
    ]
    await conn.execute(UPSERT_LEVELS, {"levels": dumped(levels), "id_prefix": id_prefix()})
    removed = {"types": [badge_type.id for badge_type in changes.removed]}
    await conn.execute(REMOVE_TYPE_LEVELS, removed)
    await conn.execute(REMOVE_TYPES, removed)
    await conn.execute(
        REMOVE_COUNTERS, {"names": [counter.name for counter in changes.removed_counters]}
    )


def _history(changes: Changes, version: int, actor: str) -> list[AuditEntry]:
    def entry(action: AuditAction, badge_type: TypeSpec, **details: object) -> AuditEntry:
        return AuditEntry(
            None,
            action,
            actor,
            {"type_code": badge_type.code, "catalog_version": version} | details,
        )

    return [
        *(entry(AuditAction.CREATED, badge_type) for badge_type in changes.created),
        *(
            entry(AuditAction.METADATA_UPDATED, change.new, changed=list(change.what))
            for change in changes.changed
        ),
        *(
            entry(AuditAction.METADATA_UPDATED, badge_type, removed=True)
            for badge_type in changes.removed
        ),
    ]
