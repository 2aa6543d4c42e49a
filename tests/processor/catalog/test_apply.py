"""A new catalog on a database that lives: who gets what, and what a dry run says of it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from ops.errors import UsageError
from processor.catalog.apply import ApplyOptions, ApplyResult, JobLines, apply_catalog, dry_run
from processor.catalog.load import SHIPPED, load
from store import catalogs, wallets
from store.catalog_jobs import CatalogWork, Job
from store.engine import Database
from store.values.catalog import Catalog, JobState, Rarity
from store.values.names import CounterName, RawAddress
from tests.builders.catalogs import TENANT, a_catalog, a_level, a_type
from tests.builders.clock import FakeClock
from tests.builders.messages import Log, a_partner, a_pipeline, count
from tests.builders.sql import rows

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
POINTS = CounterName("points")


def person(number: int) -> UUID:
    return UUID(int=0x20000 + number)


async def applied(database: Database, catalog: Catalog, **options: Any) -> ApplyResult:
    return await apply_catalog(database, catalog, tenant_id=TENANT, clock=FakeClock(NOW), **options)


async def counted(database: Database, people: dict[UUID, int]) -> None:
    """Give each person points, as if events had been counted under the catalog in force."""
    async with database.transaction() as conn:
        for user, points in people.items():
            await conn.execute(
                text(
                    "INSERT INTO nft_progress (type_id, user_id, counters, last_event_at)"
                    " SELECT id, :user, jsonb_build_object('points', CAST(:points AS int)), now() FROM nft_type WHERE code = 'walker'"
                ),
                {"user": user, "points": points},
            )


async def a_badge(database: Database, user: UUID, level: int, status: str = "active") -> None:
    async with database.transaction() as conn:
        await conn.execute(
            text(
                "INSERT INTO nft_instance (type_id, user_id, current_level, status, metadata, source_service, source_event_id, tenant_id)"
                " SELECT id, :user, :level, :status, jsonb_build_object('level', CAST(:level AS int)), 'quest_service', 'e1', :tenant"
                "   FROM nft_type WHERE code = 'walker'"
            ),
            {"user": user, "level": level, "status": status, "tenant": UUID(int=7)},
        )


async def levels(database: Database) -> dict[UUID, tuple[int, str]]:
    return {
        user: (level, status)
        for user, level, status in await rows(
            database, "SELECT user_id, current_level, status FROM nft_instance"
        )
    }


def steps(*thresholds: int, **changes: Any) -> Catalog:
    made = [
        a_level(number, {"points": {"gte": bound}}) for number, bound in enumerate(thresholds, 1)
    ]
    return a_catalog(a_type(*made, **changes))


async def test_those_who_reach_a_level_by_the_new_rules_are_given_it(database: Database) -> None:
    await applied(database, steps(5, 10))
    await counted(database, {person(number): number for number in (2, 3, 5, 8, 9, 12)})
    await a_badge(database, person(5), 1)
    await a_badge(database, person(8), 1)
    await a_badge(database, person(9), 1, status="revoked")
    await a_badge(database, person(12), 2)
    outcome = await applied(database, steps(3, 8))
    assert (outcome.awarded, outcome.raised, outcome.rewritten) == (1, 1, 0)
    assert await levels(database) == {
        person(3): (1, "active"),
        person(5): (1, "active"),
        person(8): (2, "active"),
        person(9): (1, "revoked"),
        person(12): (2, "active"),
    }


async def test_what_is_given_has_its_audit_message_source_and_tenant(database: Database) -> None:
    await applied(database, steps(5, 10))
    await counted(database, {person(1): 9, person(2): 9})
    await a_badge(database, person(2), 1)
    await applied(database, steps(4, 9))
    assert await rows(
        database,
        "SELECT user_id, source_service, source_event_id, tenant_id, metadata FROM nft_instance ORDER BY user_id",
    ) == [
        (person(1), "system", None, TENANT, {"level": 2}),
        (person(2), "system", None, UUID(int=7), {"level": 2}),
    ]
    assert await rows(
        database,
        "SELECT user_id, action, actor_service, details->'level' FROM nft_audit_log AS log"
        " JOIN nft_instance AS badge ON badge.id = nft_instance_id ORDER BY user_id, details->'level'",
    ) == [
        (person(1), "created", "system", 1),
        (person(1), "level_up", "system", 2),
        (person(2), "level_up", "system", 2),
    ]
    assert await rows(
        database,
        "SELECT user_id, event_type, seq, occurred_at FROM outbox_message ORDER BY user_id",
    ) == [
        (person(1), "badge.created", 1, NOW),
        (person(2), "badge.leveled_up", 1, NOW),
    ]


async def test_what_mints_by_itself_is_minted_or_held_without_a_wallet(database: Database) -> None:
    def catalog(threshold: int) -> Catalog:
        level = a_level(
            1, {"points": {"gte": threshold}}, rarity=Rarity.RARE, auto_mint_onchain=True
        )
        return a_catalog(a_type(level))

    await applied(database, catalog(10))
    await counted(database, {person(1): 5, person(2): 5})
    async with database.transaction() as conn:
        await wallets.merge(
            conn, [wallets.WalletObservation(person(1), RawAddress("0:" + "ab" * 32), NOW, None)]
        )
    await applied(database, catalog(5))
    assert await rows(
        database,
        "SELECT user_id, operation, task.status, hold_reason, onchain_status FROM nft_mint_queue AS task"
        " JOIN nft_instance AS badge ON badge.id = nft_instance_id ORDER BY user_id",
    ) == [
        (person(1), "mint", "pending", None, "pending"),
        (person(2), "mint", "pending", "no_wallet", "not_minted"),
    ]


async def test_a_type_that_adopts_a_counter_gives_its_badges_at_once(database: Database) -> None:
    await applied(database, steps(5))
    await counted(database, {person(1): 7, person(2): 3})
    walker = a_type(a_level(1, {"points": {"gte": 5}}))
    runner = a_type(
        a_level(1, {"points": {"gte": 2}}), a_level(2, {"points": {"gte": 6}}), code="runner"
    )
    outcome = await applied(database, a_catalog(walker, runner))
    assert outcome.awarded == 2
    assert await rows(
        database,
        "SELECT user_id, current_level FROM nft_instance AS badge JOIN nft_type AS type ON type.id = type_id"
        " WHERE code = 'runner' ORDER BY user_id",
    ) == [(person(1), 2), (person(2), 1)]


async def test_other_metadata_fields_rewrite_the_badges_that_stand(database: Database) -> None:
    await applied(database, steps(5))
    await counted(database, {person(1): 7, person(2): 6})
    await a_badge(database, person(1), 1)
    await a_badge(database, person(2), 1, status="revoked")
    await a_badge(database, person(3), 1)  # awarded by hand: nothing was counted
    outcome = await applied(database, steps(5, metadata_fields={"points": POINTS}))
    assert (outcome.awarded, outcome.raised, outcome.rewritten) == (0, 0, 2)
    assert await rows(database, "SELECT user_id, metadata FROM nft_instance ORDER BY user_id") == [
        (person(1), {"level": 1, "points": 7}),
        (person(2), {"level": 1}),
        (person(3), {"level": 1, "points": 0}),
    ]
    assert (
        await rows(
            database,
            "SELECT action, actor_service, details FROM nft_audit_log WHERE nft_instance_id IS NOT NULL",
        )
        == [("metadata_updated", "admin", {"catalog_version": outcome.version})] * 2
    )


async def test_new_words_touch_no_badge(database: Database) -> None:
    await applied(database, steps(5))
    await counted(database, {person(1): 7})
    outcome = await applied(database, steps(5, title="Rambler"))
    assert outcome.document == {
        "changed": True,
        "dry_run": False,
        "version": outcome.version,
        "types_created": [],
        "types_changed": ["walker"],
        "types_removed": [],
        "counters_at_zero": [],
        "badges_awarded": 0,
        "badges_raised": 0,
        "badges_rewritten": 0,
    }


async def test_a_dry_run_names_what_would_change_and_uses_up_nothing(database: Database) -> None:
    def catalog(threshold: int) -> Catalog:
        level = a_level(
            1, {"points": {"gte": threshold}}, rarity=Rarity.RARE, auto_mint_onchain=True
        )
        return a_catalog(a_type(level, a_level(2, {"points": {"gte": 20}}, rarity=Rarity.RARE)))

    await applied(database, catalog(5))
    await counted(database, {person(number): number for number in range(6)})
    before = await rows(database, "SELECT xmin, * FROM catalog_version")
    outcome = await dry_run(database, catalog(3))
    assert outcome.text.splitlines() == [
        "This would be a new version:",
        "  types changed: walker",
        '    walker, level 1: conditions {"points":{"gte":5}} -> {"points":{"gte":3}}',
        "  badges awarded 3, raised 0, rewritten 0; mint tasks 3",
        "    walker, level 1: created 3, raised 0, mint tasks 3",
        f"      users {person(3)}, {person(4)}, {person(5)}",
    ]
    assert outcome.document == {
        "changed": True,
        "dry_run": True,
        "version": None,
        "types_created": [],
        "types_changed": ["walker"],
        "types_removed": [],
        "counters_at_zero": [],
        "badges_awarded": 3,
        "badges_raised": 0,
        "badges_rewritten": 0,
        "mint_tasks": 3,
        "fields": [
            {
                "type": "walker",
                "level": 1,
                "field": "conditions",
                "old": {"points": {"gte": 5}},
                "new": {"points": {"gte": 3}},
            }
        ],
        "levels": [
            {
                "type": "walker",
                "level": 1,
                "created": 3,
                "raised": 0,
                "mint_tasks": 3,
                "sample_users": [str(person(number)) for number in (3, 4, 5)],
            }
        ],
    }
    assert await levels(database) == {}
    assert await rows(database, "SELECT xmin, * FROM catalog_version") == before
    assert (await applied(database, catalog(3))).version == 2


async def test_what_would_give_more_than_its_bound_is_refused_before_anything(
    database: Database,
) -> None:
    await applied(database, steps(5, 10))
    await counted(database, {person(number): 7 for number in range(4)})
    await a_badge(database, person(0), 1)
    with pytest.raises(UsageError, match=r"give 4 badges and levels, more than --max-awards 3\b"):
        await applied(database, steps(3, 6), options=ApplyOptions(awards_max=3))
    assert await rows(database, "SELECT count(*) FROM catalog_version") == [(1,)]
    outcome = await applied(database, steps(3, 6), options=ApplyOptions(awards_max=4))
    assert (outcome.awarded, outcome.raised) == (3, 1)


async def test_in_silence_nobody_is_told_and_nothing_is_minted(database: Database) -> None:
    level = a_level(1, {"points": {"gte": 9}}, rarity=Rarity.RARE, auto_mint_onchain=True)
    await applied(database, a_catalog(a_type(level)))
    await counted(database, {person(1): 7})
    lower = a_catalog(a_type(replace(level, conditions={"points": {"gte": 5}})))
    quiet = ApplyOptions(silent=True, no_mint=True)
    assert (await applied(database, lower, options=quiet)).awarded == 1
    assert await levels(database) == {person(1): (1, "active")}
    for table in ("outbox_message", "nft_mint_queue"):
        assert await rows(database, f"SELECT * FROM {table}") == []


async def test_what_was_interrupted_is_told_of_when_it_is_done(database: Database) -> None:
    await applied(database, steps(5))
    await counted(database, {person(1): 4})
    async with database.transaction() as conn:
        await catalogs.apply(conn, steps(3), "admin")
    assert (await applied(database, steps(3))).text.splitlines() == [
        "Nothing changed: version 2 of the catalog is in force already.",
        "What was left to do for it:",
        "  badges awarded 1, raised 0, rewritten 0",
    ]


def test_progress_is_told_every_two_seconds_at_most() -> None:
    clock, said = FakeClock(NOW), list[str]()
    lines = JobLines(said.append, clock)
    job = Job(
        3, CatalogWork(), silent=False, no_mint=False, state=JobState.LEVELS, users=500, awarded=7
    )
    for _ in range(5):
        lines(job)
        clock.advance(timedelta(seconds=1))
    assert (
        said
        == [
            "version 3 is in force; levels: 500 users evaluated, badges awarded 7, raised 0, rewritten 0"
        ]
        * 2
    )


async def test_a_counter_that_comes_later_is_said_to_begin_at_zero(database: Database) -> None:
    first = await applied(database, steps(5))
    assert first.document["counters_at_zero"] == []
    with_walks = steps(5, counters=("points", "walks"))
    assert (await dry_run(database, with_walks)).document["counters_at_zero"] == ["walks"]
    later = await applied(database, with_walks)
    assert later.document["counters_at_zero"] == ["walks"]
    assert later.text.splitlines()[-1] == (
        "  counters that begin at zero: walks: events before this version are not in them; "
        "`laurel history fill` adds those that were counted before"
    )


async def test_what_is_refused_changes_no_badge(database: Database) -> None:
    await applied(database, steps(5, 10))
    await counted(database, {person(1): 4})
    await a_badge(database, person(2), 2)
    with pytest.raises(UsageError, match="level 2: 1 badges stand at it"):
        await applied(database, steps(3))
    assert await levels(database) == {person(2): (2, "active")}


async def test_a_catalog_that_comes_later_ends_where_one_that_was_there_would_have(
    database: Database,
) -> None:
    def log() -> Log:
        made = Log()
        for number in range(12):
            made.append(*(a_partner(person(number)) for _ in range(number)))
        return made

    shipped = load(SHIPPED)
    unreachable = [
        replace(level, conditions={"partners_invited": {"gte": 100 * level.level}})
        for level in shipped.types[0].levels
    ]
    assert shipped.types[0].code == "ambassador"
    await applied(
        database,
        replace(
            shipped,
            types=(replace(shipped.types[0], levels=tuple(unreachable)), *shipped.types[1:]),
        ),
    )
    await count(database, log())
    assert await levels(database) == {}
    await applied(database, shipped)
    assert await levels(database) == {
        person(number): (1 if number < 3 else 2 if number < 6 else 3, "active")
        for number in range(1, 12)
    }


def with_counters(*names: str, event_type: str = "partner.joined") -> Catalog:
    """The shipped catalog, with an ambassador that keeps further counters of an event."""
    shipped = load(SHIPPED)
    (invited,) = (each for each in shipped.counters if each.name == "partners_invited")
    more = tuple(replace(invited, name=CounterName(name), event_type=event_type) for name in names)
    types = tuple(
        replace(each, counters=(*each.counters, *(counter.name for counter in more)))
        if each.code == "ambassador"
        else each
        for each in shipped.types
    )
    return replace(shipped, counters=(*shipped.counters, *more), types=types)


async def test_a_counter_that_an_event_has_reached_stays(database: Database) -> None:
    await applied(database, with_counters("friends"))
    log = Log()
    log.append(a_partner(person(1)))
    await count(database, log)
    with pytest.raises(UsageError, match="counter friends: it has counted"):
        await applied(database, load(SHIPPED))


async def test_a_counter_that_no_event_has_reached_goes(database: Database) -> None:
    """Its type is in use; and what repeats an event from before the counter does not reach it."""
    await applied(database, load(SHIPPED))
    log, event = Log(), a_partner(person(1))
    log.append(event)
    await count(database, log)
    await applied(database, with_counters("friends"))
    log.append(event)
    await count(database, log)
    await applied(database, load(SHIPPED))
    names = await rows(database, "SELECT name FROM counter_definition WHERE has_counted")
    assert names == [("partners_invited",)]


async def test_what_has_counted_is_marked_once(database: Database) -> None:
    await applied(database, load(SHIPPED))
    log, pipeline = Log(), await a_pipeline(database)
    marked = []
    for number in range(3):
        log.append(a_partner(person(number)))
        await count(database, log, pipeline)
        marked += await rows(database, "SELECT xmin FROM counter_definition WHERE has_counted")
    assert len(marked) == 3
    assert len(set(marked)) == 1
