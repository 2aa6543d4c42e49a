"""What closing a fill would give now, without giving it: to whom, which levels, how many mints.

It reads what is committed, some users at a time and without a lock, and adds up in memory as the
closing would in the database.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from uuid import UUID

from ops.errors import UsageError
from processor.catalog.plan import LevelPlan, add_changes, adopted
from processor.rules.levels import Rulebook
from store import catalog_jobs, catalogs, fill_closing, reevaluation
from store.catalog_changes import Adoption
from store.counting import Progress
from store.engine import Connection, Database
from store.fill_closing import Share
from store.fills import FillableCounter
from store.values.catalog import JobState
from store.values.names import CounterName, Number, TypeCode

_SLICE = 2_000


async def forecast(
    database: Database, counter: FillableCounter
) -> tuple[int, Mapping[tuple[TypeCode, int], LevelPlan]]:
    """Return how many users a fill has something for, and what they would be given.

    Raises:
        UsageError: there is no catalog.
    """
    found: dict[tuple[TypeCode, int], LevelPlan] = {}
    users, after = 0, None
    while True:
        async with database.reading() as conn:
            shares = await fill_closing.shares(conn, counter.id, _SLICE, after)
            if not shares:
                return users, dict(sorted(found.items()))
            await _add(conn, counter, shares, found)
        users, after = users + len(shares), shares[-1].user_id


async def _add(
    conn: Connection,
    counter: FillableCounter,
    shares: Sequence[Share],
    found: dict[tuple[TypeCode, int], LevelPlan],
) -> None:
    catalog = await catalogs.current(conn)
    if catalog is None:
        raise UsageError(catalogs.NO_CATALOG)
    types = [each.id for each in catalog.types if counter.name in each.counters]
    adoptions = await _adoptions(conn)
    users = [each.user_id for each in shares]
    sources = {each.source_type_id for each in adoptions}
    held = await reevaluation.counters(conn, {*types, *sources}, users)
    counters: dict[tuple[UUID, UUID], Mapping[CounterName, Number]] = {
        (each.user_id, each.type_id): each.counters for each in adopted(held, adoptions)
    }
    steps = await fill_closing.steps(conn, counter.id, users)
    progress = [
        Progress(share.user_id, type_id, _filled(counter, own, share, steps))
        for share in shares
        for type_id in types
        for own in [counters.get((share.user_id, type_id), {})]
    ]
    await add_changes(conn, Rulebook.compile(catalog), progress, found)


async def _adoptions(conn: Connection) -> tuple[Adoption, ...]:
    """Return what types have not taken over of each other yet."""
    job = await catalog_jobs.current(conn)
    return () if job is None or job.state is not JobState.COUNTERS else job.work.adoptions


def _filled(
    counter: FillableCounter,
    own: Mapping[CounterName, Number],
    share: Share,
    steps: Mapping[UUID, int],
) -> Mapping[CounterName, Number]:
    """Return a user's counters of a type as they are once the fill is closed."""
    before = own.get(counter.name)
    if counter.is_max:
        after = share.amount if before is None else max(before, share.amount)
    else:
        # Decimal and int mix exactly.
        after = Decimal(before or 0) + share.amount + steps.get(share.user_id, 0)
    return {**own, counter.name: after}
