"""A batcher without a database: what it commits, when, and what becomes of it, is the test's."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager

from ops.lifecycle import Part, Readiness
from processor.batch.attempt import BatchOutcome
from processor.batch.staging import ReadChunk
from processor.events.chunks import Chunk, PlainRecord
from processor.stream.batcher import BatchBounds, Batcher, InFlight
from store.values.names import Partition
from store.values.stream import LedgerEntry
from tests.builders.clock import FakeClock

QUESTS = ("laurel.quests", 0)
CITIES = ("laurel.cities", 0)
REVIEWS = ("laurel.reviews", 0)


async def settle() -> None:
    """Let every task go as far as it gets without the test."""
    for _ in range(50):
        await asyncio.sleep(0)


def a_chunk(first: int, records: int, partition: Partition = QUESTS) -> Chunk:
    return Chunk(
        *partition,
        first,
        [
            PlainRecord(offset, b"", timestamp=1_000 * offset)
            for offset in range(first, first + records)
        ],
    )


class Bench:
    """A batcher, what it had counted, acknowledged and rewound, and a gate before each commit."""

    def __init__(
        self, records_max: int = 10, bytes_max: int = 1 << 20, clock: FakeClock | None = None
    ) -> None:
        self.clock = clock or FakeClock()
        self.readiness = Readiness()
        self.readiness.arrived(Part.START)
        self.batcher = Batcher(
            self._commit, BatchBounds(records_max, bytes_max), self.readiness, self.clock
        )
        self.counted: list[list[int]] = []
        self.acked: list[int] = []
        self.rewound: list[LedgerEntry] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.fenced: Mapping[Partition, LedgerEntry] = {}
        self.errors: list[Exception] = []
        self.aside: list[tuple[Partition, str]] = []
        # Batches that hold any of it are not counted.
        self.bad: dict[Partition, Exception] = {}

    async def _commit(self, chunks: Sequence[ReadChunk]) -> BatchOutcome:
        self.counted.append([each.chunk.position for each in chunks])
        await self.gate.wait()
        if self.errors:
            raise self.errors.pop(0)
        for each in chunks:
            if fault := self.bad.get(each.chunk.key):
                raise fault
        return BatchOutcome(0, 0, 0, 0, (), self.fenced)

    async def set_aside(self, partition: Partition, fault: Exception) -> None:
        self.aside.append((partition, str(fault)))

    async def rewind(self, entries: Iterable[LedgerEntry]) -> None:
        self.rewound += entries

    async def add(self, chunk: Chunk, *, is_current: bool = True, memory: int = 0) -> None:
        await self.batcher.add(
            InFlight(
                ReadChunk(chunk, 1),
                lambda: is_current,
                lambda: self.acked.append(chunk.position),
                memory,
            )
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator["asyncio.Task[None]"]:
        """Run the batcher during the block; it ends in order after it."""
        task = asyncio.create_task(self.batcher.run(self.rewind, self.set_aside))
        await settle()
        yield task
        self.batcher.stop()
        await task
