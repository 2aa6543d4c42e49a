"""Find the records that PostgreSQL refuses for what they say, and count their neighbours.

The second line behind the reader, for what nobody thought of there: a batch that is refused is cut
in two, down to one record, each part in a transaction of its own with the ledger moving as ever.
That record becomes a dead letter (`refused_by_database`). A batch that takes PostgreSQL too long is
cut in two as well: the same again would take as long.
"""

from collections.abc import Sequence

from ops.logs import logger
from processor.batch.pipeline import BatchOutcome, Pipeline
from processor.batch.staging import ReadChunk, as_rejected
from processor.events.chunks import Chunk
from processor.events.rejection import UNKNOWN, Rejected
from store.engine import DataRefused, StatementTimedOut
from store.values import Reason

# So many records of a batch may be refused, or one in a hundred if that is more; beyond it the
# fault is not the records', and setting thousands aside would be the damage.
REFUSED_MIN = 20
REFUSED_SHARE = 100

log = logger("bisection")


async def commit(pipeline: Pipeline, chunks: Sequence[ReadChunk]) -> BatchOutcome:
    """Commit `chunks` in one transaction, or in several where PostgreSQL refuses what one says.

    Raises:
        DataRefused: so many records are refused that the records are not the reason; what was
            committed before that stays committed, as the ledger says.
        StatementTimedOut: a single record takes too long.
        TransactionConflict, DatabaseUnreachable: as of Pipeline.commit.
    """
    records = sum(len(each.chunk.records) for each in chunks)
    return await _Search(pipeline, max(REFUSED_MIN, records // REFUSED_SHARE)).commit(chunks)


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
    def __init__(self, pipeline: Pipeline, refused_max: int) -> None:
        self._pipeline = pipeline
        self._refused_left = refused_max

    async def commit(self, chunks: Sequence[ReadChunk]) -> BatchOutcome:
        try:
            return await self._pipeline.commit(chunks)
        except (DataRefused, StatementTimedOut) as error:
            if sum(len(each.chunk.records) for each in chunks) > 1:
                return await self._commit_halves([each.chunk for each in chunks])
            if isinstance(error, StatementTimedOut):
                raise
            return await self._reject(chunks[0], error)

    async def _commit_halves(self, chunks: Sequence[Chunk]) -> BatchOutcome:
        first, second = halves(chunks)
        outcome = await self.commit([self._pipeline.read(chunk) for chunk in first])
        rest = await self.commit([self._pipeline.read(chunk) for chunk in second])
        return outcome.followed_by(rest)

    async def _reject(self, chunk: ReadChunk, refusal: DataRefused) -> BatchOutcome:
        if self._refused_left == 0:
            raise refusal
        self._refused_left -= 1
        (record,) = chunk.chunk.records
        log.warning(
            "record_refused",
            topic=chunk.chunk.topic,
            partition=chunk.chunk.partition,
            offset=record.offset,
            sqlstate=refusal.sqlstate,
        )
        rejected = Rejected(
            Reason.REFUSED_BY_DATABASE, refusal.message, next(iter(chunk.types), UNKNOWN)
        )
        return await self._pipeline.commit([as_rejected(chunk, rejected)])
