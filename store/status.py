"""Catalog, mint queue and outbox, for `laurel status`."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

from ops.checks import Said, warn
from ops.quantities import shown_age
from ops.settings import Settings
from ops.status import Look, Row, Section, StatusSource
from store import live_state, migrations
from store.engine import Connection, Database
from store.live_state import COUNTED_MAX, CatalogState, LastToken, OutboxDepth, TaskGroup
from store.values.minting import HoldReason, TaskStatus

# A mint takes seconds: what is due for longer waits for more than its turn.
_OVERDUE = timedelta(minutes=15)
# A worker goes on with a job that nobody has moved for half a minute.
_JOB_STANDS = timedelta(minutes=5)
# And a message is published at once, where somebody does it.
_UNPUBLISHED = timedelta(minutes=5)
_WAYS_OUT = {
    HoldReason.OPERATOR: "`laurel queue list`",
    HoldReason.RECIPIENT: "`laurel queue list --hold recipient`",
    HoldReason.BREAKER: "`laurel doctor` says why",
}


@asynccontextmanager
async def _open(settings: Settings) -> AsyncIterator[Look]:
    async with Database(settings.need("database_url"), settings.database) as db:
        async with db.reading() as conn:
            await migrations.check(conn)

        async def look() -> Sequence[Section]:
            async with db.reading() as conn:
                await live_state.bound_statements(conn)
                return [await _catalog(conn), await _queue(conn), await _outbox(conn)]

        yield look


async def _catalog(conn: Connection) -> Section:
    found = await live_state.catalog(conn)
    if found is None:
        missing = warn("none yet: run `laurel catalog apply`")
        return Section("catalog", (Row("version", missing),), {"version": None})
    facts = {
        "version": found.version,
        "applied_at": found.applied_at.isoformat(),
        "job": found.job_state,
        "job_users": found.job_users,
    }
    applied = f"{found.version}, applied {found.applied_at:%Y-%m-%d %H:%M:%S} UTC"
    return Section("catalog", (Row("version", applied), Row("job", job_said(found))), facts)


async def _queue(conn: Connection) -> Section:
    groups = await live_state.task_groups(conn)
    failed = await live_state.failed_burns(conn)
    last = await live_state.last_confirmed(conn)
    rows = [Row(_label(each), group_said(each)) for each in groups]
    if failed:
        rows.append(Row("burn failed", warn(f"{_counted(failed)}: `laurel queue list`")))
    if not rows:
        rows = [Row("waiting", "none")]
    rows.append(Row("last confirmed", last_said(last)))
    facts = {
        "tasks": [
            {
                "operation": each.operation.value,
                "status": each.status.value,
                "hold": each.hold.value if each.hold else None,
                "tasks": each.tasks,
                "oldest_seconds": round(each.oldest_seconds, 1),
            }
            for each in groups
        ],
        "failed_burns": failed,
        "last_confirmed": None
        if last is None
        else {
            "operation": last.operation.value,
            "type": last.type_code,
            "token": last.token,
            "seconds_ago": round(last.seconds_ago, 1),
        },
    }
    return Section("mint queue", tuple(rows), facts)


async def _outbox(conn: Connection) -> Section:
    depth = await live_state.outbox(conn)
    facts = {"messages": depth.messages, "oldest_seconds": round(depth.oldest_seconds, 1)}
    return Section("outbox", (Row("unpublished", outbox_said(depth)),), facts)


def job_said(catalog: CatalogState) -> Said:
    """Return how far what follows from the catalog is worked off."""
    if catalog.job_state is None:
        return "none open"
    told = f"{catalog.job_state}, {catalog.job_users:,} users evaluated"
    if catalog.job_idle_seconds > _JOB_STANDS.total_seconds():
        idle = shown_age(catalog.job_idle_seconds)
        return warn(f"{told}, and not moved for {idle}: `laurel catalog apply` goes on with it")
    return told


def group_said(group: TaskGroup) -> Said:
    """Return how many tasks stand where, and whether somebody should see to them."""
    told = f"{_counted(group.tasks)}, the oldest for {shown_age(group.oldest_seconds)}"
    if group.hold in _WAYS_OUT:
        return warn(f"{told}: {_WAYS_OUT[group.hold]}")
    if group.hold is None and group.oldest_seconds > _OVERDUE.total_seconds():
        return warn(f"{told}: is a minter at work, and its wallet funded?")
    return told


def last_said(last: LastToken | None) -> str:
    """Return which task the chain confirmed last."""
    if last is None:
        return "none lately"
    token = f" {last.token}" if last.token else ""
    return f"{last.operation} of {last.type_code}{token}, {shown_age(last.seconds_ago)} ago"


def outbox_said(depth: OutboxDepth) -> Said:
    """Return how many messages wait, and whether somebody who published does so no more."""
    if not depth.messages:
        return "none"
    told = f"{_counted(depth.messages)}, the oldest for {shown_age(depth.oldest_seconds)}"
    if depth.is_published and depth.oldest_seconds > _UNPUBLISHED.total_seconds():
        return warn(f"{told}: is a relay at work?")
    return told


def _label(group: TaskGroup) -> str:
    if group.status is TaskStatus.PENDING:
        return f"{group.operation} {'due' if group.hold is None else f'held: {group.hold}'}"
    return f"{group.operation} {group.status}"


def _counted(number: int) -> str:
    return f"more than {COUNTED_MAX:,}" if number > COUNTED_MAX else f"{number:,}"


SOURCES = (StatusSource(("catalog", "mint queue", "outbox"), ("database_url",), _open),)
