"""The database as the demo reads it, after the worker's own counting.

The comparison finds nothing, and what is planted in SQL.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import text

from demo.oracle.catalog import Badges
from demo.oracle.comparison import Aspect, differences
from demo.oracle.expected import ExpectedOutcome, expected_outcome
from demo.records import Record
from ops.settings import DEFAULT_TENANT
from processor.batch.options import PipelineOptions
from processor.batch.pipeline import Pipeline
from processor.catalog import load
from processor.events.chunks import Chunk, PlainRecord
from store import catalogs, inspection, ledger
from store.engine import Database

CLUSTER = "a-cluster"
# What needs no minter.
COUNTED = {"events", "dead letters", "counters", "badges", "audit", "outbox"}

PLANTED = {
    "events": """
        DELETE FROM processed_event
         WHERE event_key = (SELECT min(event_key::text)::uuid FROM processed_event)
    """,
    "dead letters": "DELETE FROM dead_letter WHERE id = (SELECT min(id) FROM dead_letter)",
    "counters": """
        UPDATE nft_progress SET counters = '{}'
         WHERE id = (SELECT min(id::text)::uuid FROM nft_progress)
    """,
    "outbox": """
        UPDATE outbox_message SET seq = seq + 1000
         WHERE id = (SELECT min(id::text)::uuid FROM outbox_message)
    """,
    "badges": """
        UPDATE nft_instance SET status = 'revoked'
         WHERE id = (SELECT min(id::text)::uuid FROM nft_instance)
    """,
}


async def count_all(database: Database, records: Sequence[Record]) -> None:
    """Count `records` in batches, as a worker would."""
    async with database.transaction() as conn:
        await catalogs.apply(conn, load.load(load.SHIPPED), "admin")
    logs: dict[str, list[PlainRecord]] = defaultdict(list)
    for record in records:
        log = logs[f"laurel.{record.topic}"]
        log.append(PlainRecord(len(log), record.value, record.key, record.headers))
    async with database.transaction() as conn:
        await ledger.open_partitions(conn, CLUSTER, {(topic, 0): 0 for topic in logs})
    pipeline = Pipeline(
        database, PipelineOptions(CLUSTER, "laurel", DEFAULT_TENANT, timedelta(minutes=10))
    )
    await pipeline.load()
    for start in range(0, max(map(len, logs.values())), 300):
        chunks = [
            Chunk(topic, 0, start, log[start : start + 300])
            for topic, log in logs.items()
            if start < len(log)
        ]
        await pipeline.run(chunks)


def unminted(expected: ExpectedOutcome) -> ExpectedOutcome:
    return replace(
        expected,
        badges={holder: replace(badge, owner=None) for holder, badge in expected.badges.items()},
    )


async def found_differences(
    database: Database, expected: ExpectedOutcome, badges: Badges
) -> set[Aspect]:
    async with database.transaction() as conn:
        found = await inspection.snapshot(conn)
    return {each.aspect for each in differences(expected, badges, found, "laurel")} & COUNTED


async def test_the_worker_counts_what_the_oracle_expects_until_a_row_is_changed(
    database: Database, small: list[Record], badges: Badges
) -> None:
    first = [record for record in small if record.phase == 1]
    expected = unminted(expected_outcome(first, badges))
    await count_all(database, first)
    assert await found_differences(database, expected, badges) == set()

    async with database.transaction() as conn:
        figures = await inspection.figures(conn)
        reached = await inspection.ledger(conn, CLUSTER)
    assert (figures.events, figures.letters, figures.badges) == (
        expected.events,
        expected.letters.total(),
        len(expected.badges),
    )
    wanted = sum(badge.wanted for badge in expected.badges.values())
    assert (figures.open_tasks + figures.held_tasks, figures.tokens) == (wanted, 0)
    assert sum(reached.values()) == expected.messages

    for check, statement in PLANTED.items():
        before = await found_differences(database, expected, badges)
        async with database.transaction() as conn:
            await conn.execute(text(statement))
        assert await found_differences(database, expected, badges) - before == {check}
