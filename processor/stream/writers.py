"""Several batches of one worker at a time, each of other partitions.

While one batch is in the database, what Python does for another goes on: reading, adding up,
deciding. A partition's chunks all go the same way, by its number. Where the topics have as many
partitions as each other, producers that key by subject have all events of a user in partitions of
one number (docs/data-model.md), and two writers never wait for each other's rows. Where they have
not, they would, and there is one writer. Right it is either way, as with several workers: rows are
locked in one order, and the ledger says what counts.

A number goes to the writer that has fewest when its first chunk comes. By `number % writers` one of
two would have all of what a worker is given where two begin at once: Faust deals partitions out in
turn, 0 and 2 to one of them and 1 and 3 to the other.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from processor.batch.staging import ReadChunk
from processor.events.chunks import Chunk
from processor.stream.batcher import Batcher, InFlight, Rewind, SetAside
from store.values.names import Partition


@dataclass(frozen=True, slots=True)
class Writer:
    """What counts one batch at a time.

    Args:
        read: reads a chunk by the catalog that this writer counts by.
        batcher: of this writer alone.
    """

    read: Callable[[Chunk], ReadChunk]
    batcher: Batcher


class Writers:
    """The writers of a worker.

    Args:
        writers: at least one.
    """

    def __init__(self, writers: Sequence[Writer]) -> None:
        self._writers = tuple(writers)
        # What came since it was assigned, and who has its number.
        self._read: set[Partition] = set()
        self._ways: dict[int, Writer] = {}

    @property
    def counted_to(self) -> Mapping[Partition, int]:
        """Return the next offset of each partition, as of the last commit of this process.

        A writer's own partitions only: a batch that was in flight when one was revoked may have
        left where it ended with the writer of before.
        """
        return {
            partition: offset
            for each in self._writers
            for partition, offset in each.batcher.counted_to.items()
            if self._ways.get(partition[1]) is each
        }

    @property
    def committed_at(self) -> float:
        """Return when the last commit was; where some writers have work, of the slowest of them."""
        busy = [each.batcher.committed_at for each in self._writers if each.batcher.is_busy]
        return min(busy) if busy else max(each.batcher.committed_at for each in self._writers)

    def read(self, chunk: Chunk) -> ReadChunk:
        """Read a chunk by the catalog of the writer that will count it."""
        return self._of(chunk.key).read(chunk)

    async def add(self, in_flight: InFlight) -> None:
        """Queue a chunk with its writer; return once that has room for another."""
        await self._of(in_flight.chunk.chunk.key).batcher.add(in_flight)

    def progressed(self) -> None:
        """Take note that a record that takes long to be read is nearer to its end than before."""
        for each in self._writers:
            each.batcher.progressed()

    def drop_partitions(self, partitions: Iterable[Partition]) -> None:
        """Drop the queued chunks of revoked partitions: somebody else reads them now."""
        gone = frozenset(partitions)
        for each in self._writers:
            each.batcher.drop_partitions(gone)
        self._read -= gone
        left = {number for _, number in self._read}
        self._ways = {number: way for number, way in self._ways.items() if number in left}

    def stop(self) -> None:
        """Let `run` return once the batches in flight are committed."""
        for each in self._writers:
            each.batcher.stop()

    async def run(self, rewind: Rewind, set_aside: SetAside) -> None:
        """Commit batches until `stop`; arguments and errors as of Batcher.run."""
        running = [
            asyncio.create_task(each.batcher.run(rewind, set_aside), name=f"writer {number}")
            for number, each in enumerate(self._writers, 1)
        ]
        try:
            ended, _ = await asyncio.wait(running, return_when=asyncio.FIRST_EXCEPTION)
            for each in ended:
                each.result()
        finally:
            for each in running:
                each.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def _of(self, partition: Partition) -> Writer:
        self._read.add(partition)
        number = partition[1]
        if number not in self._ways:
            taken = [id(each) for each in self._ways.values()]
            self._ways[number] = min(self._writers, key=lambda each: taken.count(id(each)))
        return self._ways[number]
