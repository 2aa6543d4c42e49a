"""Counting, held against an independent model: in any order, in any batches, repeated at will."""

import random
from collections import defaultdict
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from store.engine import Database
from tests.builders.messages import (
    ALICE,
    NOW,
    Log,
    a_partner,
    a_pipeline,
    an_event,
    clear,
    count,
    open_ledger,
    user,
)

Counters = dict[tuple[UUID, str], int]


@st.composite
def deeds(draw: st.DrawFn) -> list[dict[str, object]]:
    """A history of a few users: quests, visits, reviews posted and removed, partners."""
    found = []
    for number in range(draw(st.integers(1, 40))):
        kind, field, values = draw(
            st.sampled_from(
                [
                    ("quest.completed", "quest_id", 5),
                    ("city.visited", "city_id", 6),
                    ("review.posted", "review_id", 4),
                    ("review.removed", "review_id", 4),
                    ("partner.joined", "partner_id", 5),
                ]
            )
        )
        subject = user(draw(st.integers(1, 3)))
        value = f"{field}-{draw(st.integers(1, values))}"
        found.append(an_event(kind, subject, {field: value}, id=f"e{number}"))
    return found


def model(history: list[dict[str, object]]) -> Counters:
    """What the counters must be: no batches, no order, no database."""
    counts: Counters = defaultdict(int)
    cities: dict[str, set[str]] = defaultdict(set)
    posted: dict[str, set[str]] = defaultdict(set)
    removed: dict[str, set[str]] = defaultdict(set)
    for event in {str(event["id"]): event for event in history}.values():
        subject, data = str(event["subject"]), event["data"]
        assert isinstance(data, dict)
        match event["type"]:
            case "quest.completed":
                counts[UUID(subject), "quest_completed_count"] += 1
            case "partner.joined":
                counts[UUID(subject), "partners_invited"] += 1
            case "city.visited":
                cities[subject].add(data["city_id"])
            case "review.posted":
                posted[subject].add(data["review_id"])
            case "review.removed":
                removed[subject].add(data["review_id"])
    for subject, seen in cities.items():
        counts[UUID(subject), "unique_cities_visited"] = len(seen)
    for subject, reviews in posted.items():
        counts[UUID(subject), "rf_reviews_posted"] = len(reviews - removed[subject])
    return {key: number for key, number in counts.items() if number}


async def counters(database: Database) -> Counters:
    """What the database says, the same in each type that shows a counter."""
    found: Counters = {}
    async with database.transaction() as conn:
        rows = await conn.execute(
            text("SELECT user_id, key, value::int FROM nft_progress, jsonb_each(counters)")
        )
        for user_id, name, value in rows:
            assert found.setdefault((user_id, name), value) == value
    return {key: number for key, number in found.items() if number}


@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(history=deeds(), seed=st.integers(0, 2**32))
async def test_counters_do_not_depend_on_order_batches_or_repetitions(
    counting: Database, history: list[dict[str, object]], seed: int
) -> None:
    await clear(counting)
    chance = random.Random(seed)
    delivered = history + chance.choices(history, k=chance.randint(0, 10))
    chance.shuffle(delivered)
    log = Log()
    for event in delivered:
        log.append(event, partition=chance.randint(0, 1))
    chunks = log.chunks(records_max=chance.randint(1, 8))
    await open_ledger(counting, chunks)
    pipeline = await a_pipeline(counting)
    while chunks:
        size = chance.randint(1, 6)
        await pipeline.run(chunks[:size])
        chunks = chunks[size:]
    assert await counters(counting) == model(history)


async def test_a_badge_never_names_an_event_that_was_counted_before_as_its_source(
    counting: Database,
) -> None:
    """The repetition is the latest of the second batch, and adds nothing to it."""
    known = a_partner(ALICE, id="known", time=NOW.isoformat())
    fresh = [
        a_partner(ALICE, id=f"fresh-{hour}", time=NOW.replace(hour=hour).isoformat())
        for hour in (10, 11)
    ]
    log = Log()
    log.append(known)
    await count(counting, log)
    log.append(known, *fresh)
    await count(counting, log)
    async with counting.transaction() as conn:
        rows = await conn.execute(text("SELECT current_level, source_event_id FROM nft_instance"))
        assert [tuple(row) for row in rows] == [(2, "fresh-11")]
