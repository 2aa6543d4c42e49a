"""A rebuild: what counters would be, beside the live system; swapped, undone, ended."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any
from uuid import UUID

import pytest

from ops.errors import UsageError
from ops.lifecycle import Stop
from processor.batch.pipeline import Pipeline
from processor.catalog.apply import apply_catalog
from processor.catalog.job import JobRunner, SliceSize
from processor.history import fill as filling
from processor.history.drift import CounterDrift, drift
from processor.history.fill_closing import ClosingOptions, FillCloser
from processor.history.rebuild import ExchangeOptions, Rebuilding
from processor.history.shadow_fill import ShadowFillReport
from sandbox.postgres import PostgresServer
from store import catalogs, fills, retention
from store.engine import Database
from store.exact_json import dumped
from store.shadow_drift import MemberDrift
from store.values.catalog import Catalog, CounterKind, FieldKind, FieldSpec
from store.values.shadows import RebuildState
from tests.builders.catalogs import TENANT, a_catalog, a_counter, a_level, a_type, an_event
from tests.builders.chance import CatalogTeller, MessageTeller, compiled
from tests.builders.clock import FakeClock
from tests.builders.databases import copied_database
from tests.builders.messages import ALICE, BOB, NOW, Log, a_pipeline, open_ledger, user
from tests.builders.messages import an_event as a_message
from tests.builders.sql import rows, value
from tests.builders.told_files import a_history_of
from tests.fixtures.postgres import TEMPLATE

EVENTS = (
    an_event(
        "step.made",
        FieldSpec("place", FieldKind.ID, required=True),
        FieldSpec("height", FieldKind.INTEGER, required=True, minimum=0),
    ),
    an_event("step.taken_back", FieldSpec("place", FieldKind.ID, required=True)),
)
COUNTERS = (
    a_counter("points"),
    a_counter("places", kind=CounterKind.DISTINCT, field="place"),
    a_counter("highest", kind=CounterKind.MAX, field="height"),
    a_counter("kept", field="place", undo_event_type="step.taken_back", undo_field="place"),
)
CATALOG = a_catalog(
    a_type(
        *(a_level(level, {"points": {"gte": 2 * level}}) for level in (1, 2, 3)),
        code="walker",
        counters=("points", "highest"),
        metadata_fields={"steps": "points"},
    ),
    a_type(
        *(a_level(level, {"places": {"gte": level}}) for level in (1, 2)),
        code="seer",
        counters=("places", "points", "kept"),
    ),
    counters=COUNTERS,
    events=EVENTS,
)
LOUD = ExchangeOptions()


def a_step(who: UUID = ALICE, place: str = "a", height: int = 1) -> dict[str, Any]:
    return a_message("step.made", who, {"place": place, "height": height})


def steps(who: UUID, number: int) -> list[dict[str, Any]]:
    return [a_step(who, f"p{n}", n) for n in range(number)]


class Live:
    """A database that counts what it is told, and remembers it."""

    def __init__(self, database: Database, pipeline: Pipeline) -> None:
        self.database = database
        self.sent: list[dict[str, Any]] = []
        self._log = Log()
        self._pipeline = pipeline

    @classmethod
    async def of(cls, database: Database, catalog: Catalog = CATALOG) -> "Live":
        async with database.transaction() as conn:
            await catalogs.apply(conn, catalog, "admin")
        return cls(database, await a_pipeline(database))

    async def count(self, *messages: dict[str, Any], topic: str = "laurel.steps") -> None:
        self.sent += messages
        self._log.append(*(dumped(each).encode() for each in messages), topic=topic)
        chunks = self._log.chunks()
        await open_ledger(self.database, chunks)
        await self._pipeline.run(chunks)

    async def catalog(self) -> Catalog:
        async with self.database.transaction() as conn:
            found = await catalogs.current(conn)
        assert found is not None
        return found

    async def fill(
        self, messages: Sequence[Mapping[str, Any]] | None = None, **options: Any
    ) -> ShadowFillReport:
        source = self.sent if messages is None else messages
        with a_history_of(await self.catalog(), source) as history:
            return await rebuilding(self.database).fill(history, **options)


def rebuilding(database: Database, size: int = 2) -> Rebuilding:
    runner = JobRunner(database, TENANT, FakeClock(NOW), SliceSize(size))
    return Rebuilding(database, runner)


@pytest.fixture
async def live(database: Database) -> Live:
    return await Live.of(database)


async def counters(database: Database) -> dict[tuple[UUID, str], dict[str, Any]]:
    statement = """
        SELECT user_id, code, counters FROM nft_progress JOIN nft_type ON nft_type.id = type_id
    """
    return {(who, code): held for who, code, held in await rows(database, statement)}


async def held_levels(database: Database) -> dict[tuple[UUID, str], int]:
    statement = """
        SELECT user_id, code, current_level
          FROM nft_instance JOIN nft_type ON nft_type.id = type_id
    """
    return {(who, code): level for who, code, level in await rows(database, statement)}


async def content(database: Database) -> dict[str, Any]:
    """All that counters are, with their members, and nothing of a rebuild."""
    members = """
        SELECT user_id, name, member, posted, undone
          FROM progress_member JOIN counter_definition AS counter ON counter.id = counter_id
    """
    latest = """
        SELECT user_id, code, last_event_at
          FROM nft_progress JOIN nft_type ON nft_type.id = type_id
    """
    return {
        "counters": await counters(database),
        "latest": set(await rows(database, latest)),
        "members": set(await rows(database, members)),
        "left over": await rows(database, "SELECT * FROM rebuild_event"),
        "names": await rows(database, "SELECT name FROM counter_definition ORDER BY name"),
    }


async def break_points(database: Database, who: UUID, number: int) -> None:
    statement = """
        UPDATE nft_progress SET counters = jsonb_set(counters, '{points}', to_jsonb(:number))
         WHERE user_id = :who
    """
    await rows(database, statement, who=who, number=number)


async def test_a_rebuild_of_what_is_right_finds_nothing(live: Live) -> None:
    await live.count(*steps(ALICE, 4), *steps(BOB, 2))
    rebuild = await rebuilding(live.database).open()
    assert (rebuild.version, rebuild.state) == (2, RebuildState.OPEN)
    await live.count(*steps(ALICE, 2))
    report = await live.fill()
    assert (report.filled, report.live, report.unknown, report.finished) == (6, 2, 0, True)
    found = await drift(live.database)
    assert found.is_equal
    assert (found.rows, found.users) == (4, 2)
    assert await rebuilding(live.database).missing() == 0


async def test_a_rebuild_shows_what_is_wrong(live: Live) -> None:
    await live.count(*steps(ALICE, 4), *steps(BOB, 2), *steps(user(3), 3))
    await break_points(live.database, ALICE, 1)
    await break_points(live.database, BOB, 5)
    await rows(live.database, "DELETE FROM progress_member WHERE user_id = :who", who=ALICE)
    await rebuilding(live.database).open()
    await live.fill()
    found = await drift(live.database)
    assert (found.rows, found.users, found.rows_differ, found.users_differ) == (6, 3, 4, 2)
    assert found.counters == {
        (code, "points"): CounterDrift(1, 1, [(ALICE, 1, 4), (BOB, 5, 2)])
        for code in ("seer", "walker")
    }
    assert found.members == {"places": MemberDrift(4, 0, 0), "kept": MemberDrift(4, 0, 0)}
    # Bob's five points have given nothing: no batch has met them.
    assert (found.gained, found.lost) == ({}, {})


async def test_a_swap_gives_levels_and_names_those_that_would_be_lost(live: Live) -> None:
    await live.count(*steps(ALICE, 3), *steps(BOB, 1))
    await break_points(live.database, ALICE, 0)
    await break_points(live.database, BOB, 3)
    await live.count(a_step(ALICE), a_step(BOB))  # Bob has 4 of 2, and level 2
    await rows(live.database, "DELETE FROM nft_progress WHERE user_id = :who", who=ALICE)
    made = rebuilding(live.database)
    await made.open()
    await live.fill()
    found = await drift(live.database)
    assert {each: plan.raised for each, plan in found.gained.items()} == {("walker", 2): 1}
    assert {each: lost.sample for each, lost in found.lost.items()} == {("walker", 2): [BOB]}
    await made.swap(LOUD)
    assert (await held_levels(live.database))[ALICE, "walker"] == 2
    assert (await held_levels(live.database))[BOB, "walker"] == 2
    shown = """
        SELECT user_id, metadata FROM nft_instance JOIN nft_type ON nft_type.id = type_id
         WHERE code = 'walker' ORDER BY user_id
    """
    assert await rows(live.database, shown) == [
        (ALICE, {"level": 2, "steps": 4}),
        (BOB, {"level": 2, "steps": 2}),
    ]
    written = """
        SELECT count(*) FROM nft_audit_log
         WHERE action = 'metadata_updated' AND nft_instance_id IS NOT NULL
    """
    assert await value(live.database, written) == 1


async def test_sources_overlap_and_come_one_after_the_other(live: Live) -> None:
    await live.count(*steps(ALICE, 5), *steps(BOB, 5))
    await rebuilding(live.database).open()
    first = await live.fill(live.sent[:6])
    assert (first.filled, first.repeated) == (6, 0)
    assert await rebuilding(live.database).missing() == 4
    second = await live.fill(live.sent[3:])
    assert (second.filled, second.repeated) == (4, 3)
    third = await live.fill(live.sent[3:])
    assert (third.resumed_at, third.events, third.finished) == (third.slices, 0, True)
    assert (await drift(live.database)).is_equal


async def test_a_swap_needs_every_event_or_the_number_of_those_that_are_missing(
    live: Live,
) -> None:
    await live.count(*steps(ALICE, 5))
    made = rebuilding(live.database)
    await made.open()
    never = a_step(ALICE)
    report = await live.fill([*live.sent[:3], never])
    assert (report.unknown, report.examples) == (1, [f"{never['source']} {never['id']}"])
    with pytest.raises(UsageError, match="--accept-missing 2"):
        await made.swap(LOUD)
    with pytest.raises(UsageError, match="not 3: `--accept-missing 2`"):
        await made.swap(ExchangeOptions(accept_missing=3))
    assert await made.swap(ExchangeOptions(accept_missing=2)) == 3
    assert (await counters(live.database))[ALICE, "walker"]["points"] == 3


async def test_a_counter_that_came_later_has_not_counted_what_was_before(
    database: Database,
) -> None:
    walker = a_type(a_level(1, {"points": {"gte": 1}}), code="walker", counters=("points",))
    live = await Live.of(database, a_catalog(walker, counters=COUNTERS[:1], events=EVENTS))
    await live.count(*steps(ALICE, 3))
    async with database.transaction() as conn:
        await catalogs.apply(conn, CATALOG, "admin")
    await rebuilding(database).settle()
    await live.count(*steps(ALICE, 2))
    await rebuilding(database).open()
    report = await live.fill()
    assert report.filled == 5
    found = await drift(database)
    assert found.is_equal
    assert (await counters(database))[ALICE, "seer"]["places"] == 2


async def test_a_counter_that_was_given_its_past_is_rebuilt_with_it(database: Database) -> None:
    walker = a_type(a_level(1, {"points": {"gte": 1}}), code="walker", counters=("points",))
    live = await Live.of(database, a_catalog(walker, counters=COUNTERS[:1], events=EVENTS))
    await live.count(*steps(ALICE, 3))
    async with database.transaction() as conn:
        await catalogs.apply(conn, CATALOG, "admin")
    made = rebuilding(database)
    await made.settle()
    async with database.transaction() as conn:
        counter = await filling.fillable(conn, "places")
        other = await filling.fillable(conn, "kept")
    with a_history_of(await live.catalog(), live.sent) as history:
        await filling.take(database, counter, history, Stop())
    with pytest.raises(UsageError, match="A fill is open of places"):
        await made.open()
    await FillCloser(database, counter, TENANT, FakeClock(NOW)).close(ClosingOptions())
    await made.open()
    catalog = await live.catalog()
    with (
        a_history_of(catalog, live.sent) as history,
        pytest.raises(UsageError, match="A rebuild is open"),
    ):
        await filling.take(database, other, history, Stop())
    await rows(database, "UPDATE nft_progress SET counters = counters - 'places'")
    await live.fill()
    await made.swap(LOUD)
    await made.finish()
    assert (await counters(database))[ALICE, "seer"]["places"] == 3
    # It is another row of counter_definition now, and closed for good all the same.
    async with database.transaction() as conn:
        again = await filling.known(conn, "places")
        assert again.id != counter.id
        assert [each.counter_id for each in await fills.every(conn)] == [again.id]


async def test_a_rebuild_of_one_type_leaves_other_counters_alone(live: Live) -> None:
    await live.count(*steps(ALICE, 3))
    made = rebuilding(live.database)
    with pytest.raises(UsageError, match=r"There is no type nobody\. There are: seer, walker"):
        await made.open("nobody")  # type: ignore[arg-type]
    rebuild = await made.open("walker")  # type: ignore[arg-type]
    assert [each.name for each in rebuild.counters] == ["highest", "points"]
    with pytest.raises(UsageError, match="rebuild of other counters"):
        await made.open("seer")  # type: ignore[arg-type]
    await live.fill()
    assert set((await counters(live.database))[ALICE, "seer"]) == {
        "places",
        "points",
        "kept",
        "~points",
    }
    await made.swap(LOUD)
    await made.finish()
    assert await made.current() is None


async def test_steps_out_of_their_order_are_refused(live: Live) -> None:
    made = rebuilding(live.database)
    await live.count(*steps(ALICE, 3))
    for step in (made.swap(LOUD), made.undo(LOUD), made.finish(), made.missing(), live.fill()):
        with pytest.raises(UsageError, match="No rebuild is open"):
            await step
    await made.open()
    with pytest.raises(UsageError, match=r"is open\. Its counters are not in force"):
        await made.undo(LOUD)
    await live.fill()
    await made.swap(LOUD)
    for step in (made.swap(LOUD), live.fill()):
        with pytest.raises(UsageError, match="is swapped"):
            await step


async def test_another_catalog_waits_for_the_end(live: Live) -> None:
    made = rebuilding(live.database)
    await made.open()
    other = a_catalog(*CATALOG.types[:1], counters=COUNTERS[:1], events=EVENTS)
    with pytest.raises(UsageError, match="laurel rebuild --finish"):
        await apply_catalog(live.database, other, tenant_id=TENANT)
    assert not (await apply_catalog(live.database, CATALOG, tenant_id=TENANT)).is_new
    await made.finish()
    assert (await apply_catalog(live.database, other, tenant_id=TENANT)).is_new


async def test_a_rebuild_needs_every_id(live: Live) -> None:
    await live.count(*steps(ALICE, 3))
    async with live.database.transaction() as conn:
        await retention.raise_floor(conn, NOW.date())
    with pytest.raises(UsageError, match="Ids of old events were forgotten"):
        await rebuilding(live.database).open()


async def test_the_outbox_and_the_queue_are_spared_where_a_person_says_so(live: Live) -> None:
    await live.count(*steps(ALICE, 4))
    await break_points(live.database, ALICE, 0)
    await live.count(a_step(BOB))
    await rows(live.database, "DELETE FROM outbox_message")
    await rows(
        live.database, "UPDATE nft_progress SET counters = '{}' WHERE user_id = :who", who=BOB
    )
    made = rebuilding(live.database)
    await live.count(*steps(BOB, 1))
    await made.open()
    await live.fill()
    await made.swap(ExchangeOptions(silent=True, no_mint=True))
    assert (await held_levels(live.database))[BOB, "walker"] == 1
    assert await value(live.database, "SELECT count(*) FROM outbox_message") == 0


async def test_nobody_forgets_ids_beside_a_rebuild(live: Live) -> None:
    await live.count(*steps(ALICE, 3))
    made = rebuilding(live.database)
    await made.open()
    with pytest.raises(UsageError, match="laurel rebuild --finish"):
        async with live.database.transaction() as conn:
            await retention.raise_floor(conn, NOW.date())
    await made.finish()
    async with live.database.transaction() as conn:
        await retention.raise_floor(conn, NOW.date())


@pytest.mark.parametrize("undone", [False, True])
async def test_batches_beside_every_step_come_to_what_was_sent(
    live: Live, database_server: PostgresServer, undone: bool
) -> None:
    """Not between two steps: at the same moment, over several connections."""
    people = [user(number) for number in range(12)]
    await live.count(*(a_step(who, f"p{n}", n) for who in people for n in range(4)))
    logs = [Log() for _ in range(3)]
    sent: list[dict[str, Any]] = []
    done = asyncio.Event()

    async def stream(number: int) -> None:
        chance, pipeline = random.Random(number), await a_pipeline(live.database)
        while not done.is_set():
            messages = [
                a_step(chance.choice(people), f"p{chance.randrange(9)}", chance.randrange(30))
                for _ in range(6)
            ]
            # Nobody may be missing in the file: what comes before the barrier is told first.
            sent.extend(messages)
            logs[number].append(*messages, topic="laurel.steps", partition=number + 1)
            chunks = logs[number].chunks()
            await open_ledger(live.database, chunks)
            await pipeline.run(chunks)

    async def steps_of_a_rebuild() -> None:
        made = rebuilding(live.database)
        try:
            await made.open()
            await live.fill([*live.sent, *sent])
            await made.swap(LOUD)
            if undone:
                await made.undo(LOUD)
                await made.swap(LOUD)
            await made.finish()
        finally:
            done.set()

    await asyncio.gather(stream(0), steps_of_a_rebuild(), stream(1), stream(2))
    async with copied_database(database_server, TEMPLATE) as url, Database(url) as other:
        right = await Live.of(other)
        await right.count(*live.sent, *sent)
        assert await content(live.database) == await content(right.database)


# ------------------------------------------------------------------ histories of chance


class Interrupted(Exception):
    """The process ends after a slice."""


def interrupt(_report: ShadowFillReport) -> None:
    raise Interrupted


class Chance:
    """Three databases that are told the same: one is right, one broken, one is rebuilt."""

    def __init__(self, seed: int, right: Live, broken: Live, rebuilt: Live) -> None:
        self.chance = random.Random(seed)
        self.teller = MessageTeller(self.chance)
        self.right, self.broken, self.rebuilt = right, broken, rebuilt

    async def some(self, number: int) -> None:
        """Let all three count the same messages."""
        messages = self.teller.some(number)
        for each in (self.right, self.broken, self.rebuilt):
            await each.count(*messages, topic="laurel.things")

    async def damage(self) -> None:
        """Break counters and members of the two databases in the same way."""
        for statement, parameters in await self._damages():
            for each in (self.broken, self.rebuilt):
                await rows(each.database, statement, **parameters)

    async def _damages(self) -> list[tuple[str, dict[str, Any]]]:
        found: list[tuple[str, dict[str, Any]]] = []
        held = """
            SELECT user_id, type_id, counters FROM nft_progress ORDER BY user_id, type_id
        """
        for who, kind, counters in await rows(self.broken.database, held):
            key = {"who": who, "kind": kind}
            odd = self.chance.random()
            where = "WHERE user_id = :who AND type_id = :kind"
            name = self.chance.choice(sorted(counters))
            if odd < 0.2:
                found.append((f"DELETE FROM nft_progress {where}", key))
            elif odd < 0.4:
                change = (
                    f"UPDATE nft_progress SET counters = counters - CAST(:name AS text) {where}"
                )
                found.append((change, key | {"name": name}))
            elif odd < 0.7:
                change = f"""
                    UPDATE nft_progress
                       SET counters = counters || jsonb_build_object(CAST(:name AS text), CAST(:number AS int))
                    {where}
                """
                number = self.chance.randrange(9)
                found.append((change, key | {"name": name, "number": number}))
        members = """
            SELECT user_id, counter_id, member FROM progress_member
             ORDER BY user_id, counter_id, member
        """
        for who, counter, member in await rows(self.broken.database, members):
            key = {"who": who, "counter": counter, "member": member}
            where = "WHERE user_id = :who AND counter_id = :counter AND member = :member"
            odd = self.chance.random()
            if odd < 0.2:
                found.append((f"DELETE FROM progress_member {where}", key))
            elif odd < 0.3:
                found.append((f"UPDATE progress_member SET member = 'x' || member {where}", key))
            elif odd < 0.4:
                found.append((f"UPDATE progress_member SET undone = NOT undone {where}", key))
        return found


@pytest.fixture
async def three(
    request: pytest.FixtureRequest, database_url: str, database_server: PostgresServer
) -> AsyncIterator[Chance]:
    seed = request.param
    catalog = compiled(CatalogTeller(random.Random(seed)).first())
    async with AsyncExitStack() as stack:
        urls = [database_url]
        for _ in range(2):
            copy = copied_database(database_server, TEMPLATE)
            urls.append(await stack.enter_async_context(copy))
        lives = [
            await Live.of(await stack.enter_async_context(Database(url)), catalog) for url in urls
        ]
        yield Chance(seed, *lives)


async def filled_beside(told: Chance) -> None:
    """Fill the whole history, a slice at a time by another process each, with batches between."""
    while True:
        await told.some(4)
        # What came since the barrier, or during this, is in the file or not.
        with suppress(Interrupted):
            report = await told.rebuilt.fill(told.rebuilt.sent, went_on=interrupt)
            if report.finished:
                return None
        if told.chance.random() < 0.3:
            return await _rest(told)


async def _rest(told: Chance) -> None:
    sent = list(told.rebuilt.sent)
    middle = told.chance.randrange(len(sent))
    # In two files, which may overlap.
    await told.rebuilt.fill(sent[: middle + 3])
    await told.some(4)
    await told.rebuilt.fill(sent)


async def exchanged(told: Chance, how: str) -> None:
    """Let the two change places; batches come between any two slices of what follows."""

    made = rebuilding(told.rebuilt.database, 1)
    runner = made._runner
    made._runner = Stopped(told.rebuilt.database, TENANT, FakeClock(NOW), SliceSize(1))
    with suppress(Interrupted):
        missing = await made.missing()
        options = ExchangeOptions(accept_missing=missing if how == "swap" else 0)
        await getattr(made, how)(*([] if how == "finish" else [options]))
    made._runner = runner
    while await runner._next(only_counters=False, idle_for=None) is not None:
        await told.some(2)
    if how == "finish":
        await made.finish()


class Stopped(JobRunner):
    """Ends where a job would begin."""

    async def work_off(self, *_: Any, **__: Any) -> None:
        raise Interrupted


@pytest.mark.parametrize("three", range(5), indirect=True)
async def test_what_is_swapped_is_as_if_nothing_had_ever_been_broken(three: Chance) -> None:
    await broken_and_filled(three)
    await exchanged(three, "swap")
    await three.some(6)
    await exchanged(three, "finish")
    await three.some(6)
    assert await content(three.rebuilt.database) == await content(three.right.database)
    assert await content(three.broken.database) != await content(three.right.database)


@pytest.mark.parametrize("three", range(20, 24), indirect=True)
async def test_what_is_undone_is_as_broken_as_before_with_all_events_since(three: Chance) -> None:
    await broken_and_filled(three)
    await exchanged(three, "swap")
    await three.some(6)
    if three.chance.random() < 0.5:
        await exchanged(three, "undo")
        await three.some(6)
        await exchanged(three, "swap")
        await three.some(6)
    await exchanged(three, "undo")
    await three.some(6)
    await exchanged(three, "finish")
    await three.some(6)
    found, expected = await content(three.rebuilt.database), await content(three.broken.database)
    # Of a row that was lost and came again with a later event: what was filled in has its time.
    del found["latest"], expected["latest"]
    assert found == expected


async def broken_and_filled(told: Chance) -> None:
    await told.some(40)
    await told.damage()
    await told.some(6)
    await rebuilding(told.rebuilt.database).open()
    await told.some(6)
    await filled_beside(told)
