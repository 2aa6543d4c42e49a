"""A catalog, and one that follows it with counters that listen to what was counted before.

The walker has `points` from the beginning. The climber comes later, with a counter of each kind.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from ops.lifecycle import Stop
from processor.history import fill
from processor.history.fill import TakenSource
from store import catalogs, fills
from store.engine import Database
from store.fills import Fill, FillableCounter
from store.values.catalog import Catalog, CounterKind, FieldKind, FieldSpec, TypeSpec
from tests.builders.catalogs import a_catalog, a_counter, a_level, a_type, an_event
from tests.builders.messages import Log, a_pipeline, open_ledger
from tests.builders.messages import an_event as a_message
from tests.builders.sources import a_history

PEOPLE = [UUID(int=0x60000 + number) for number in range(9)]
EVENTS = (
    an_event(
        "step.made",
        FieldSpec("place", FieldKind.ID, required=True),
        FieldSpec("height", FieldKind.INTEGER, required=True, minimum=0),
    ),
    an_event("step.undone", FieldSpec("place", FieldKind.ID, required=True)),
    an_event("leap.made"),
)
OLD = (a_counter("points"), a_counter("undone", event_type="step.undone"))
LATE = (
    a_counter("late_points"),
    a_counter("late_high", filter={"height": {"gte": 2}}),
    a_counter("late_places", kind=CounterKind.DISTINCT, field="place"),
    a_counter("late_highest", kind=CounterKind.MAX, field="height"),
    a_counter("late_climbed", kind=CounterKind.SUM, field="height"),
    a_counter("late_standing", field="place", undo_event_type="step.undone", undo_field="place"),
)
NAMES = tuple(str(each.name) for each in LATE)


def walker(*more: str) -> TypeSpec:
    return a_type(a_level(1, {"points": {"gte": 10**6}}), counters=("points", "undone", *more))


def climber(*counters: str, by: str | None = None) -> TypeSpec:
    """Three levels by one of the counters; the second is minted by itself."""
    levels = (
        a_level(level, {by or counters[0]: {"gte": 2 * level}}, auto_mint_onchain=level == 2)
        for level in (1, 2, 3)
    )
    return a_type(*levels, code="climber", counters=counters)


FIRST = a_catalog(walker(), counters=OLD, events=EVENTS)
SECOND = a_catalog(walker(), climber(*NAMES), counters=(*OLD, *LATE), events=EVENTS)


def a_step(who: UUID, place: str = "a", height: int = 1, /, **attributes: Any) -> dict[str, Any]:
    return a_message("step.made", who, {"place": place, "height": height}, **attributes)


def steps() -> list[dict[str, Any]]:
    """The first of the people has one step, the next two, and so on; some are undone."""
    made = [
        a_step(who, f"p{n % 3}", n, id=f"{who}-{n}")
        for number, who in enumerate(PEOPLE, 1)
        for n in range(number)
    ]
    return made + [a_message("step.undone", who, {"place": "p0"}) for who in PEOPLE[3:5]]


async def put_in_force(database: Database, catalog: Catalog, **options: bool) -> None:
    async with database.transaction() as conn:
        await catalogs.apply(conn, catalog, "admin", **options)


async def counted(
    database: Database, messages: Sequence[Mapping[str, Any]], partition: int = 0
) -> None:
    """Count messages by the catalog in force, as the whole of a partition."""
    log = Log()
    log.append(*messages, topic="laurel.steps", partition=partition)
    chunks = log.chunks()
    await open_ledger(database, chunks)
    await (await a_pipeline(database)).run(chunks)


async def late_world(database: Database, second: Catalog = SECOND) -> list[dict[str, Any]]:
    """Count by the first catalog, then put a second one in force; return what was counted."""
    await put_in_force(database, FIRST)
    messages = steps()
    await counted(database, messages)
    await put_in_force(database, second)
    return messages


async def the_counter(database: Database, name: str) -> FillableCounter:
    async with database.transaction() as conn:
        return await fill.fillable(conn, name)


async def taken(
    database: Database,
    name: str,
    messages: Sequence[Mapping[str, Any]],
    *,
    slice_events: int = 10,
) -> TakenSource:
    """Take messages as a source."""
    counter = await the_counter(database, name)
    async with database.transaction() as conn:
        catalog = await catalogs.current(conn)
    assert catalog is not None
    with a_history(messages, fill.only(catalog, counter), slice_events) as history:
        return await fill.take(database, counter, history, Stop())


async def the_fill(database: Database, name: str) -> Fill | None:
    async with database.transaction() as conn:
        counter = await fill.known(conn, name)
        return await fills.read(conn, counter.id)
