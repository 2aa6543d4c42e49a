"""Find the records that PostgreSQL refuses for what they say, and count their neighbours.

The second line behind the reader, for what nobody thought of there: a batch that is refused is cut
in two, down to one record, each part in a transaction of its own with the ledger moving as ever.
That record becomes a dead letter (`refused_by_database`); one that a constraint refuses, only where
its neighbour passed. A batch that takes PostgreSQL too long is cut in two as well, and so is one
that ends the connection while PostgreSQL is there: the same again would do the same
(processor/batch/pacing.py). Where so many records of a partition are refused that they are not the
reason, `PartitionRefused` names it: whoever reads on leaves that partition, and no other.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from ops.errors import InvariantBroken, LaurelError, Permanent
from ops.logs import logger
from processor.batch.attempt import BatchOutcome
from processor.batch.pacing import Pace
from processor.batch.pipeline import Pipeline
from processor.batch.staging import ReadChunk, as_rejected
from processor.events.chunks import Chunk
from processor.events.rejection import UNKNOWN, Rejected
from store.engine import ConnectionLost, ConstraintRefused, DataRefused, StatementTimedOut
from store.values.names import Partition
from store.values.stream import Reason

log = logger("bisection")


class PartitionRefused(Permanent):
    """PostgreSQL refuses so many records of a partition that the records are not the reason.

    What was committed before stays committed, as the ledger says.
    """

    code = "partition_refused"

    def __init__(self, partition: Partition, fault: Exception) -> None:
        super().__init__(str(fault), topic=partition[0], partition=partition[1])
        self.partition = partition
        self.fault = fault


def _nobody_asks() -> None:
    """Take no note."""


async def commit(
    pipeline: Pipeline,
    chunks: Sequence[ReadChunk],
    pace: Pace | None = None,
    progressed: Callable[[], object] = _nobody_asks,
) -> BatchOutcome:
    """Commit `chunks` in one transaction, or in several where PostgreSQL refuses what one says.

    Args:
        pipeline: commits each part.
        chunks: of one batch.
        pace: how much is tried at once, for who commits batch after batch.
        progressed: called whenever a part is committed, or has proved too large: a batch that is
            cut after one statement timeout and another takes long, and stands still at none.

    Raises:
        PartitionRefused: with InvariantBroken as its `fault` where a constraint refuses a record,
            and the one before it in its partition was refused, too; else with what came of the
            last of too many records.
        TransactionConflict, DatabaseUnreachable: as of Pipeline.commit.
    """
    return await _Search(pipeline, _sizes(chunks), pace or Pace(), progressed).commit(chunks)


def halves(chunks: Sequence[Chunk]) -> tuple[list[Chunk], list[Chunk]]:
    """Cut chunks of at least two records in all into two parts that continue each other."""
    middle = sum(len(chunk.records) for chunk in chunks) // 2
    first: list[Chunk] = []
    second: list[Chunk] = []
    for chunk in chunks:
        size = len(chunk.records)
        if size <= middle:
            first.append(chunk)
        elif middle <= 0:
            second.append(chunk)
        else:
            head = Chunk(*chunk.key, chunk.position, chunk.records[:middle])
            rest = Chunk(*chunk.key, head.reached.next_offset, chunk.records[middle:])
            first.append(head)
            second.append(rest)
        middle -= size
    return first, second


class _Search:
    def __init__(
        self,
        pipeline: Pipeline,
        sizes: Mapping[Partition, int],
        pace: Pace,
        progressed: Callable[[], object],
    ) -> None:
        self._pipeline = pipeline
        self._sizes = sizes
        self._pace = pace
        self._progressed = progressed

    async def commit(self, chunks: Sequence[ReadChunk]) -> BatchOutcome:
        size = _records(chunks)
        if size > 1 and self._pace.is_too_much(size):
            return await self._commit_halves([each.chunk for each in chunks])
        if size == 1 and (fault := self._pace.verdict(_place(chunks))):
            return await self._reject(chunks[0], fault)
        try:
            outcome = await self._pipeline.commit(chunks)
        except (DataRefused, ConstraintRefused) as error:
            if size > 1:
                return await self._commit_halves([each.chunk for each in chunks])
            return await self._reject(chunks[0], error)
        except (StatementTimedOut, ConnectionLost) as error:
            # Noted first: where the server went down with it, what follows raises, and the same
            # chunks come again when it is back.
            self._note_too_much(chunks, error)
            await self._pipeline.reachable()
            self._progressed()
            return await self.commit(chunks)
        taken = [each for each in chunks if each.chunk.key not in outcome.fenced]
        self._pace.passed(size, _sizes(taken))
        self._progressed()
        return outcome

    def _note_too_much(self, chunks: Sequence[ReadChunk], error: LaurelError) -> None:
        size = _records(chunks)
        log.warning("batch_too_large", records=size, reason=error.message)
        self._pace.broke(size)
        if size == 1:
            self._pace.strike(_place(chunks), error)

    async def _commit_halves(self, chunks: Sequence[Chunk]) -> BatchOutcome:
        first, second = halves(chunks)
        outcome = await self.commit([self._pipeline.read(chunk) for chunk in first])
        rest = await self.commit([self._pipeline.read(chunk) for chunk in second])
        return outcome.followed_by(rest)

    async def _reject(self, chunk: ReadChunk, refusal: Exception) -> BatchOutcome:
        place = chunk.chunk.key
        if not self._pace.may_refuse(place, self._sizes[place]):
            raise PartitionRefused(place, refusal) from refusal
        if isinstance(refusal, ConstraintRefused) and not self._pace.is_one_alone(place):
            raise PartitionRefused(place, InvariantBroken(refusal.message)) from refusal
        (record,) = chunk.chunk.records
        log.warning(
            "record_refused",
            topic=chunk.chunk.topic,
            partition=chunk.chunk.partition,
            offset=record.offset,
            reason=str(refusal),
        )
        rejected = Rejected(
            Reason.REFUSED_BY_DATABASE, str(refusal), next(iter(chunk.types), UNKNOWN)
        )
        try:
            return await self._pipeline.commit([as_rejected(chunk, rejected)])
        except (DataRefused, ConstraintRefused) as error:  # not even its place can be written
            raise PartitionRefused(place, error) from error


def _records(chunks: Sequence[ReadChunk]) -> int:
    return sum(len(each.chunk.records) for each in chunks)


def _sizes(chunks: Sequence[ReadChunk]) -> Counter[Partition]:
    sizes: Counter[Partition] = Counter()
    for each in chunks:
        sizes[each.chunk.key] += len(each.chunk.records)
    return sizes


def _place(chunks: Sequence[ReadChunk]) -> tuple[Partition, int]:
    """Return where the last record lies."""
    last = chunks[-1].chunk
    return last.key, last.records[-1].offset
