"""A batcher on PostgreSQL, one of whose partitions is refused record by record."""

from collections.abc import Iterable

from ops.lifecycle import Readiness
from processor.batch import bisection
from processor.batch.pacing import REFUSED_MIN, Pace
from processor.events.chunks import Chunk
from processor.stream.batcher import BatchBounds, Batcher, InFlight
from store import ledger
from store.engine import Database
from store.values.names import Partition
from store.values.stream import LedgerEntry
from tests.builders.clock import FakeClock
from tests.builders.messages import ALICE, CLUSTER, Log, a_partner, a_pipeline, open_ledger
from tests.builders.sql import value
from tests.processor.batch.test_bisection import POISON, refusing


async def test_in_a_batch_with_others_it_is_set_aside_at_the_first_try(counting: Database) -> None:
    """The good records before it, and those of the other partitions, count all the same."""
    await refusing(counting, "nft_progress")
    log = Log()
    log.append(*(a_partner(ALICE) for _ in range(7)), partition=0)
    log.append(a_partner(ALICE), *(a_partner(POISON) for _ in range(REFUSED_MIN + 5)), partition=1)
    log.append(*(a_partner(ALICE) for _ in range(5)), partition=2)
    chunks = {chunk.key: chunk for chunk in log.chunks()}
    await open_ledger(counting, chunks.values())
    pipeline, pace = await a_pipeline(counting), Pace()
    aside: list[Partition] = []

    batcher = Batcher(
        lambda read: bisection.commit(pipeline, read, pace),
        BatchBounds(1_000, 1 << 20),
        Readiness(),
        FakeClock(),
    )

    def taken(chunk: Chunk) -> InFlight:
        return InFlight(
            pipeline.read(chunk), lambda: chunk.key not in aside, lambda: ended(chunk.key)
        )

    left = set(chunks)

    def ended(partition: Partition) -> None:
        left.discard(partition)
        if not left:
            batcher.stop()

    async def rewind(entries: Iterable[LedgerEntry]) -> None:
        for entry in entries:
            rest = chunks[entry.key].records[entry.next_offset :]
            if rest:
                await batcher.add(taken(Chunk(*entry.key, entry.next_offset, rest)))
            else:
                ended(entry.key)

    async def set_aside(partition: Partition, _fault: object) -> None:
        aside.append(partition)

    for chunk in chunks.values():
        await batcher.add(taken(chunk))
    await batcher.run(rewind, set_aside)

    assert aside == [("laurel.partners", 1)]
    assert await value(counting, "SELECT count(*) FROM dead_letter") == REFUSED_MIN
    async with counting.transaction() as conn:
        entries = await ledger.read(conn, CLUSTER, chunks)
    assert [entries["laurel.partners", n].next_offset for n in range(3)] == [7, 1 + REFUSED_MIN, 5]
    assert await value(counting, "SELECT counters->'partners_invited' FROM nft_progress") == 13
