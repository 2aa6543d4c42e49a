"""Find the records that PostgreSQL refuses for what they say, and count their neighbours.

The second line behind the reader, for what nobody thought of there: a batch that is refused is cut
in two, down to one record, each part in a transaction of its own with the ledger moving as ever.
That record becomes a dead letter (`refused_by_database`); one that a constraint refuses, only where
its neighbour passed. A batch that takes PostgreSQL too long is cut in two as well, and so is one
that ends the connection while PostgreSQL is there: the same again would do the same. And no more is
tried at once than takes a fraction of a second, so that nobody waits longer for it
(processor/batch/pacing.py). Where so many records of a partition are refused that they are not the
reason, `PartitionRefused` names it: whoever reads on leaves that partition, and no other.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from ops import metrics
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


def cut(chunks: Sequence[Chunk], records: int) -> tuple[list[Chunk], list[Chunk]]:
    """Cut chunks after so many of their records; the two parts continue each other."""
    first: list[Chunk] = []
    second: list[Chunk] = []
    for chunk in chunks:
        size = len(chunk.records)
        if size <= records:
            first.append(chunk)
        elif records <= 0:
            second.append(chunk)
        else:
            head = Chunk(*chunk.key, chunk.position, chunk.records[:records])
            rest = Chunk(*chunk.key, head.reached.next_offset, chunk.records[records:])
            first.append(head)
            second.append(rest)
        records -= size
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
        if size > self._pace.records_max:
            return await self._commit_parts(chunks)
        if size == 1 and (fault := self._pace.verdict(_place(chunks))):
            return await self._reject(chunks[0], fault)
        try:
            outcome = await self._pipeline.commit(chunks)
        except (DataRefused, ConstraintRefused) as error:
            if size > 1:
                return await self._commit_halves(chunks)
            return await self._reject(chunks[0], error)
        except (StatementTimedOut, ConnectionLost) as error:
            # Noted first: where the server went down with it, what follows raises, and the same
            # chunks come again when it is back.
            self._note_too_much(chunks, error)
            await self._pipeline.reachable()
            self._progressed()
            return await self.commit(chunks)
        taken = [each for each in chunks if each.chunk.key not in outcome.fenced]
        self._pace.passed(size, outcome.seconds, _sizes(taken))
        self._progressed()
        return outcome

    def _note_too_much(self, chunks: Sequence[ReadChunk], error: LaurelError) -> None:
        size = _records(chunks)
        metrics.ERRORS.labels(error.code).inc()
        log.warning("batch_too_large", records=size, reason=error.message, code=error.code)
        self._pace.broke(size)
        if size == 1:
            self._pace.strike(_place(chunks), error)

    async def _commit_halves(self, chunks: Sequence[ReadChunk]) -> BatchOutcome:
        first, second = self._cut(chunks, _records(chunks) // 2)
        outcome = await self.commit(first)
        return outcome.followed_by(await self.commit(second))

    async def _commit_parts(self, chunks: Sequence[ReadChunk]) -> BatchOutcome:
        """Commit as much as goes into one transaction, again and again: what that is may change."""
        first, left = self._cut(chunks, self._part(chunks))
        outcome = await self.commit(first)
        while left:
            first, left = self._cut(left, self._part(left))
            outcome = outcome.followed_by(await self.commit(first))
        return outcome

    def _part(self, chunks: Sequence[ReadChunk]) -> int:
        """Return how many records go into the next transaction.

        Those of whole chunks, where one fits: a chunk that is cut has to be read again.
        """
        whole = 0
        for each in chunks:
            size = len(each.chunk.records)
            if whole + size > self._pace.records_max:
                break
            whole += size
        return whole or self._pace.records_max

    def _cut(
        self, chunks: Sequence[ReadChunk], records: int
    ) -> tuple[list[ReadChunk], list[ReadChunk]]:
        """Cut `chunks` after so many records; read again what is cut in the middle."""
        first, second = cut([each.chunk for each in chunks], records)
        whole = {id(each.chunk): each for each in chunks}
        return tuple(  # type: ignore[return-value]
            [whole.get(id(chunk)) or self._pipeline.read(chunk) for chunk in part]
            for part in (first, second)
        )

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
            code=Reason.REFUSED_BY_DATABASE.value,
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
