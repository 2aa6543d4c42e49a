"""The ledger as a fence.

A chunk counts where the ledger stands at its position, and nowhere else.
"""

import asyncio

from sqlalchemy import text

from processor.batch.attempt import BatchOutcome
from processor.events.chunks import Chunk, PlainRecord
from store import ledger
from store.engine import Database
from store.values.stream import LedgerEntry
from tests.builders.messages import (
    ALICE,
    BOB,
    CLUSTER,
    Log,
    a_partner,
    a_pipeline,
    a_quest,
    a_visit,
    encoded,
    open_ledger,
)

PARTNERS = ("laurel.partners", 0)


async def invited(database: Database) -> int:
    async with database.transaction() as conn:
        found = await conn.execute(
            text("SELECT coalesce(sum((counters->>'partners_invited')::int), 0) FROM nft_progress")
        )
        return int(found.scalar_one())


async def entry_of(database: Database) -> LedgerEntry:
    async with database.transaction() as conn:
        return (await ledger.read(conn, CLUSTER, [PARTNERS]))[PARTNERS]


def some_partners(count: int) -> Log:
    log = Log()
    log.append(*(a_partner(ALICE) for _ in range(count)))
    return log


async def test_the_same_chunk_again_is_fenced_and_counts_nothing(counting: Database) -> None:
    chunks = some_partners(5).chunks()
    await open_ledger(counting, chunks)
    pipeline = await a_pipeline(counting)
    await pipeline.run(chunks)
    again = await pipeline.run(chunks)
    assert (again.records, again.fenced) == (
        0,
        {PARTNERS: LedgerEntry(*PARTNERS, 5, 4, chunks[0].records[4].timestamp)},
    )
    assert await invited(counting) == 5


async def test_a_chunk_that_leaves_records_out_is_fenced(counting: Database) -> None:
    whole = some_partners(6).chunks()[0]
    await open_ledger(counting, [whole])
    outcome = await (await a_pipeline(counting)).run([Chunk(*PARTNERS, 3, whole.records[3:])])
    assert outcome.fenced == {PARTNERS: LedgerEntry(*PARTNERS, 0)}
    assert await invited(counting) == 0


async def test_a_fenced_partition_leaves_the_others_alone(counting: Database) -> None:
    log = some_partners(3)
    chunks = log.chunks()
    log.append(a_quest(BOB), a_visit(BOB))
    await open_ledger(counting, chunks)
    pipeline = await a_pipeline(counting)
    await pipeline.run(chunks)
    rest = log.chunks()
    await open_ledger(counting, rest)
    outcome = await pipeline.run([*chunks, *rest])
    assert (outcome.counted, set(outcome.fenced)) == (2, {PARTNERS})


async def test_after_a_fenced_chunk_nothing_more_of_that_partition_is_taken(
    counting: Database,
) -> None:
    whole = some_partners(6).chunks()[0]
    await open_ledger(counting, [whole])
    # The second chunk would fit by itself; taken after a fenced one it would hide that something
    # lies before it.
    out_of_order = [Chunk(*PARTNERS, 3, whole.records[3:]), Chunk(*PARTNERS, 0, whole.records[:3])]
    outcome = await (await a_pipeline(counting)).run(out_of_order)
    assert (outcome.counted, set(outcome.fenced)) == (0, {PARTNERS})


async def test_offsets_may_have_gaps(counting: Database) -> None:
    """Transaction markers and compaction take offsets that no record has."""
    values = [encoded(a_partner(ALICE)) for _ in range(4)]
    first = Chunk(*PARTNERS, 0, [PlainRecord(2, values[0]), PlainRecord(5, values[1])])
    second = Chunk(*PARTNERS, 6, [PlainRecord(9, values[2]), PlainRecord(40, values[3])])
    await open_ledger(counting, [first])
    outcome = await (await a_pipeline(counting)).run([first, second])
    assert (outcome.counted, outcome.fenced) == (4, {})
    assert (await entry_of(counting)).next_offset == 41


async def test_a_zombies_late_commit_is_fenced(counting: Database) -> None:
    """A worker that was thought dead has read a chunk.

    Its successor has counted part of it, and more.
    """
    log = some_partners(10)
    whole = log.chunks()[0]
    await open_ledger(counting, [whole])
    zombie, successor = await a_pipeline(counting), await a_pipeline(counting)
    in_flight = [zombie.read(Chunk(*PARTNERS, 0, whole.records[:8]))]
    await successor.run([Chunk(*PARTNERS, 0, whole.records[:5])])
    late = await zombie.commit(in_flight)
    assert (late.counted, late.fenced[PARTNERS].next_offset) == (0, 5)
    await successor.run([Chunk(*PARTNERS, 5, whole.records[5:])])
    assert await invited(counting) == 10


async def test_of_two_workers_with_the_same_chunk_one_counts(counting: Database) -> None:
    chunks = some_partners(50).chunks()
    await open_ledger(counting, chunks)
    workers = [await a_pipeline(counting) for _ in range(4)]
    outcomes: list[BatchOutcome] = await asyncio.gather(*(worker.run(chunks) for worker in workers))
    assert sorted(outcome.counted for outcome in outcomes) == [0, 0, 0, 50]
    assert await invited(counting) == 50


async def test_two_workers_on_one_user_from_two_topics_make_one_badge(counting: Database) -> None:
    """Quests in one batch, cities in another.

    Each alone is not enough for explorer II, together they are.
    """
    for round_ in range(5):
        who = type(ALICE)(int=0x5000 + round_)
        quests, cities = Log(), Log()
        quests.append(*(a_quest(who) for _ in range(10)), partition=round_)
        cities.append(*(a_visit(who, f"city-{number}") for number in range(5)), partition=round_)
        first, second = quests.chunks(), cities.chunks()
        await open_ledger(counting, [*first, *second])
        one, two = await a_pipeline(counting), await a_pipeline(counting)
        await asyncio.gather(one.run(first), two.run(second))
    async with counting.transaction() as conn:
        rows = await conn.execute(
            text("""
                SELECT current_level,
                       (SELECT array_agg(action ORDER BY action) FROM nft_audit_log
                         WHERE nft_instance_id = badge.id),
                       (SELECT array_agg(operation || hold_reason) FROM nft_mint_queue
                         WHERE nft_instance_id = badge.id)
                  FROM nft_instance AS badge JOIN nft_type ON nft_type.id = type_id
                 WHERE code = 'explorer'
            """)
        )
        assert [tuple(row) for row in rows] == [(2, ["created", "level_up"], ["mintno_wallet"])] * 5
