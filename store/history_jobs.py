"""history_job: jobs that count history, slice by slice.

A slice is one transaction that locks the job's row and moves it by one: so of two processes with
one job each does the slices that the other has not done, and after a kill the next one goes on
where the row stands. That no event counts twice does not depend on it
(store/processed_events.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, text

from store.engine import Connection
from store.exact_json import dumped
from store.ids import ordered_id
from store.values.history import HistoryJobKind, HistoryJobState

Levels = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class NewHistoryJob:
    """What a job is to do, and what reading its sources has found.

    Args:
        kind: what it does with the events.
        digest: of the input, of the catalog that it was read by, and of how it is sliced.
        sources: their names, for a person.
        options: what is asked for beside counting.
        catalog_version: it cannot go on by another one.
        slices: how many there are.
        read: records of the input.
        duplicates: those that repeat an earlier one.
        refused: those that the stream would refuse.
    """

    kind: HistoryJobKind
    digest: bytes
    sources: Sequence[str]
    options: Mapping[str, object]
    catalog_version: int
    slices: int
    read: int
    duplicates: int
    refused: int


@dataclass(frozen=True, slots=True)
class JobStanding:
    """A job as it stands: `done` slices, and what came of them.

    `conflicts` are places of records whose id is that of another event; `levels` says of each
    type's code how many badges reached which level; `mints` were asked for.
    """

    id: UUID
    slices: int
    done: int
    read: int
    counted: int
    duplicates: int
    refused: int
    conflicts: Sequence[int]
    levels: Levels
    mints: int
    state: HistoryJobState
    created_at: datetime


@dataclass(frozen=True, slots=True)
class SliceFigures:
    """What one more slice has come to."""

    counted: int = 0
    duplicates: int = 0
    conflicts: Sequence[int] = ()
    levels: Levels = field(default_factory=dict)
    mints: int = 0


_COLUMNS = (
    "id, slices, done, read, counted, duplicates, refused, conflicts, levels, mints, state,"
    " created_at"
)
# What was read by another catalog cannot go on, and the same with other options is another job.
SUPERSEDE = text("""
    UPDATE history_job SET state = 'superseded', updated_at = clock_timestamp()
     WHERE kind = :kind AND state = 'open'
       AND (catalog_version <> :catalog_version
            OR digest = :digest AND options <> CAST(:options AS jsonb))
""")
ADD = text("""
    INSERT INTO history_job (id, kind, digest, sources, options, catalog_version, slices, read,
                             duplicates, refused)
    VALUES (:id, :kind, :digest, CAST(:sources AS text[]), CAST(:options AS jsonb),
            :catalog_version, :slices, :read, :duplicates, :refused)
        ON CONFLICT (kind, digest) WHERE state = 'open' DO NOTHING
""")
# The figures of reading are those of the same input: what an earlier run found.
STANDING = text(f"""
    SELECT {_COLUMNS} FROM history_job
     WHERE kind = :kind AND digest = :digest AND state = 'open'
""")  # noqa: S608 - a constant of this module
LOCK = text(f"SELECT {_COLUMNS} FROM history_job WHERE id = :id FOR UPDATE")  # noqa: S608
MOVE = text("""
    UPDATE history_job
       SET done = done + 1, counted = counted + :counted, duplicates = duplicates + :duplicates,
           refused = refused + cardinality(CAST(:conflicts AS bigint[])),
           conflicts = conflicts || CAST(:conflicts AS bigint[]),
           levels = CAST(:levels AS jsonb), mints = mints + :mints,
           updated_at = clock_timestamp()
     WHERE id = :id
""")
CLOSE = text("""
    UPDATE history_job SET state = 'done', updated_at = clock_timestamp()
     WHERE id = :id AND state = 'open' AND done = slices
""")


async def opened(conn: Connection, wanted: NewHistoryJob) -> JobStanding:
    """Return the open job that does what is `wanted`, a new one where there is none.

    Jobs that cannot go on beside it end here: what they counted stays counted.
    """
    parameters: dict[str, Any] = {
        "id": ordered_id(),
        "kind": wanted.kind.value,
        "digest": wanted.digest,
        "sources": list(wanted.sources),
        "options": dumped(dict(wanted.options)),
        "catalog_version": wanted.catalog_version,
        "slices": wanted.slices,
        "read": wanted.read,
        "duplicates": wanted.duplicates,
        "refused": wanted.refused,
    }
    await conn.execute(SUPERSEDE, parameters)
    while True:
        await conn.execute(ADD, parameters)
        row = (await conn.execute(STANDING, parameters)).mappings().one_or_none()
        # One that was open a moment ago may have been closed since.
        if row is not None:
            return _job(row)


async def lock(conn: Connection, job_id: UUID) -> JobStanding:
    """Return a job as it stands, under its lock."""
    return _job((await conn.execute(LOCK, {"id": job_id})).mappings().one())


async def move(conn: Connection, job: JobStanding, figures: SliceFigures) -> None:
    """Write that one more slice of a job, which is locked, is done."""
    parameters = {
        "id": job.id,
        "counted": figures.counted,
        "duplicates": figures.duplicates,
        "conflicts": list(figures.conflicts),
        "levels": dumped(_together(job.levels, figures.levels)),
        "mints": figures.mints,
    }
    await conn.execute(MOVE, parameters)


async def close(conn: Connection, job_id: UUID) -> None:
    """Write that all of a job is done."""
    await conn.execute(CLOSE, {"id": job_id})


def _together(one: Levels, other: Levels) -> dict[str, dict[str, int]]:
    found = {code: dict(levels) for code, levels in one.items()}
    for code, levels in other.items():
        mine = found.setdefault(code, {})
        for level, badges in levels.items():
            mine[level] = mine.get(level, 0) + badges
    return found


def _job(row: RowMapping) -> JobStanding:
    return JobStanding(**{**row, "state": HistoryJobState(row["state"])})


@dataclass(frozen=True, slots=True)
class ListedJob:
    """A job as a list shows it: fields as those of NewHistoryJob and JobStanding."""

    kind: HistoryJobKind
    state: HistoryJobState
    sources: Sequence[str]
    slices: int
    done: int
    counted: int
    created_at: datetime
    updated_at: datetime


LISTED = text("""
    SELECT kind, state, sources, slices, done, counted, created_at, updated_at
      FROM history_job ORDER BY created_at, id
""")


async def every(conn: Connection) -> list[ListedJob]:
    """Return all jobs, the oldest first, without a lock."""
    return [
        ListedJob(
            **{
                **row,
                "kind": HistoryJobKind(row["kind"]),
                "state": HistoryJobState(row["state"]),
            }
        )
        for row in (await conn.execute(LISTED)).mappings()
    ]
