"""A batcher on PostgreSQL whose partition somebody else has counted of."""

from collections.abc import Iterable

from ops.lifecycle import Readiness
from processor.events.chunks import Chunk
from processor.stream.batcher import BatchBounds, Batcher, InFlight
from store import ledger
from store.engine import Database
from store.values.names import Partition
from store.values.stream import LedgerEntry
from tests.builders.clock import FakeClock
from tests.builders.messages import CLUSTER, Log, a_partner, a_pipeline, open_ledger


async def test_a_former_owners_chunk_leads_back_to_the_ledger(
    counting: Database,
) -> None:
    """It goes on behind what the other one counted, and counts nothing twice."""
    log = Log()
    log.append(*(a_partner() for _ in range(8)))
    (whole,) = log.chunks()
    await open_ledger(counting, [whole])
    pipeline = await a_pipeline(counting)
    await pipeline.run([Chunk(*whole.key, 0, whole.records[:5])])
    batcher = Batcher(pipeline.commit, BatchBounds(100, 1 << 20), Readiness(), FakeClock())
    acked: list[int] = []

    def in_flight(first: int, end: int) -> InFlight:
        def ack() -> None:
            acked.append(first)
            batcher.stop()

        chunk = pipeline.read(Chunk(*whole.key, first, whole.records[first:end]))
        return InFlight(chunk, lambda: True, ack)

    async def rewind(entries: Iterable[LedgerEntry]) -> None:
        (entry,) = entries
        assert (entry.next_offset, acked) == (5, [])
        await batcher.add(in_flight(entry.next_offset, 8))

    await batcher.add(in_flight(0, 8))

    async def set_aside(partition: Partition, fault: Exception) -> None:
        raise AssertionError(f"{partition}: {fault}")

    await batcher.run(rewind, set_aside)
    async with counting.transaction() as conn:
        entries = await ledger.read(conn, CLUSTER, [whole.key])
    assert acked == [5]
    assert batcher.counted_to == {whole.key: 8}
    assert entries[whole.key].next_offset == 8
