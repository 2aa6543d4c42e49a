"""catalog_job: what follows from a new catalog for users and badges, and how far it is done.

The row is written in the transaction that puts the version in force, so nothing that follows from
it is ever without an owner. At most one job is open. Whoever works on it locks the row for the
length of a slice; one that nobody has moved for a while is anybody's.
"""

from dataclasses import asdict, dataclass
from datetime import timedelta
from uuid import UUID

import msgspec
from sqlalchemy import text

from store.catalog_changes import Adoption, Changes, Dropped
from store.engine import Connection
from store.exact_json import dumped
from store.values.catalog import JobState
from store.values.shadows import ShadowChange


@dataclass(frozen=True, slots=True)
class CatalogWork:
    """What there is to do: counters to take over and to drop, types to evaluate, to rewrite.

    `shadows`: counters that change places with what a rebuild has kept beside them; then only those
    badges are rewritten whose counters differ from it.
    """

    adoptions: tuple[Adoption, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    rules: tuple[UUID, ...] = ()
    metadata: tuple[UUID, ...] = ()
    shadows: tuple[ShadowChange, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.adoptions or self.dropped or self.shadows or self.rules or self.metadata)

    @classmethod
    def of(cls, changes: Changes, left: "CatalogWork") -> "CatalogWork":
        """Return what follows from `changes`, and what was `left` of the version before."""
        gone = {badge_type.id for badge_type in changes.removed}
        return cls(
            changes.adoptions,
            changes.dropped,
            tuple(sorted((changes.rules_changed | set(left.rules)) - gone)),
            tuple(sorted((changes.metadata_changed | set(left.metadata)) - gone)),
        )

    @property
    def sources(self) -> frozenset[UUID]:
        """Return the types whose users have counters to be taken over, dropped or exchanged."""
        return frozenset(
            [each.source_type_id for each in self.adoptions]
            + [each.type_id for each in self.dropped]
            + [each.type_id for each in self.shadows]
        )


@dataclass(frozen=True, slots=True)
class Job:
    """An open job, and what it has done: `done_to` is the last user or badge of its state."""

    version: int
    work: CatalogWork
    silent: bool
    no_mint: bool
    state: JobState
    done_to: UUID | None = None
    users: int = 0
    awarded: int = 0
    raised: int = 0
    rewritten: int = 0

    @property
    def left(self) -> CatalogWork:
        """Return what another version would take over; the counters must be done."""
        if self.state is JobState.LEVELS:
            return CatalogWork(rules=self.work.rules, metadata=self.work.metadata)
        return CatalogWork(metadata=self.work.metadata)


_OPEN_STATES = "('counters', 'levels', 'metadata')"

OPEN = text(f"SELECT * FROM catalog_job WHERE state IN {_OPEN_STATES}")  # noqa: S608
TAKE = text(f"""
    SELECT * FROM catalog_job
     WHERE state IN {_OPEN_STATES}
       AND updated_at <= clock_timestamp() - CAST(:idle_for AS interval)
       FOR UPDATE
""")  # noqa: S608
TAKE_IDLE = text(str(TAKE) + " SKIP LOCKED")
ADOPTING = text("SELECT work FROM catalog_job WHERE state = 'counters'")
ADD = text("""
    INSERT INTO catalog_job (version, work, silent, no_mint, state)
    VALUES (:version, CAST(:work AS jsonb), :silent, :no_mint, :state)
""")
SUPERSEDE = text(f"""
    UPDATE catalog_job SET state = 'superseded', updated_at = clock_timestamp()
     WHERE state IN {_OPEN_STATES}
""")  # noqa: S608
SAVE = text("""
    UPDATE catalog_job
       SET state = :state, done_to = :done_to, users = :users, awarded = :awarded,
           raised = :raised, rewritten = :rewritten, updated_at = clock_timestamp()
     WHERE version = :version
""")


async def current(conn: Connection) -> Job | None:
    """Return the open job, without a lock."""
    return _job((await conn.execute(OPEN)).mappings().one_or_none())


async def take(conn: Connection, idle_for: timedelta | None) -> Job | None:
    """Lock and return the open job.

    Args:
        conn: in the transaction of a slice, which holds the catalog's version.
        idle_for: only a job that nobody has moved for so long, and that nobody holds; None takes
            any, and waits for whoever works on it.
    """
    statement = TAKE if idle_for is None else TAKE_IDLE
    parameters = {"idle_for": idle_for or timedelta()}
    return _job((await conn.execute(statement, parameters)).mappings().one_or_none())


async def adopting(conn: Connection) -> CatalogWork | None:
    """Return what a batch has to take over for its users first; None is the rule."""
    work = (await conn.execute(ADOPTING)).scalar_one_or_none()
    return None if work is None else msgspec.convert(work, CatalogWork)


async def open_job(
    conn: Connection, version: int, work: CatalogWork, *, silent: bool, no_mint: bool
) -> None:
    """Write the job of a version, in the transaction that puts it in force.

    A job that is still open ends here: `work` holds what was left of it.
    """
    await conn.execute(SUPERSEDE)
    if not work:
        return
    parameters = {
        "version": version,
        "work": dumped(asdict(work)),
        "silent": silent,
        "no_mint": no_mint,
        "state": JobState.COUNTERS if work.sources else JobState.LEVELS,
    }
    await conn.execute(ADD, parameters)


async def save(conn: Connection, job: Job) -> None:
    """Write how far a job is done, under its lock."""
    fields = ("version", "state", "done_to", "users", "awarded", "raised", "rewritten")
    await conn.execute(SAVE, {name: getattr(job, name) for name in fields})


def _job(row: object) -> Job | None:
    if row is None:
        return None
    values = dict(row)  # type: ignore[call-overload]
    for name in ("created_at", "updated_at"):
        del values[name]
    values |= {
        "work": msgspec.convert(values["work"], CatalogWork),
        "state": JobState(values["state"]),
    }
    return Job(**values)
