"""What of history is no event: wallet changes and commands, after the events.

The pipeline that counts the stream carries them out, in batches, under a partition of the ledger
that the input names: a run that was killed goes on there. What it refuses it writes as dead
letters, and it is named here by its place.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, dropwhile

from ops.clock import SYSTEM_CLOCK, Clock
from ops.lifecycle import Stop
from ops.settings import Settings
from processor.batch import bisection
from processor.batch.attempt import BatchOutcome
from processor.batch.options import PipelineOptions
from processor.batch.pacing import Pace
from processor.batch.pipeline import Pipeline
from processor.events.chunks import Chunk, ChunkBounds, PlainRecord, cut
from processor.events.records import Record
from processor.history.kept_records import OtherRecord
from processor.history.slice_transaction import Speech
from store import ledger
from store.engine import Database
from store.mint_queue import PRIORITY_OF_HISTORY
from store.values.names import Partition
from store.values.stream import FILES


@dataclass(slots=True)
class OthersDone:
    """What became of wallet changes and commands; `rejected` says of each place why."""

    taken: int = 0
    rejected: list[tuple[int, str, str]] = field(default_factory=list)
    finished: bool = False


async def carry_out(
    db: Database,
    settings: Settings,
    digest: bytes,
    others: Iterable[OtherRecord],
    speech: Speech,
    stop: Stop,
    clock: Clock = SYSTEM_CLOCK,
) -> OthersDone:
    """Carry out what is not yet; return early, resumable, once `stop` is requested.

    Args:
        db: the database.
        settings: bounds on batches, tenant, times.
        digest: of the input.
        others: in the order of their places.
        speech: what is said of badges.
        stop: ends the run after the batch in flight.
        clock: the host's; tests bring their own.

    Raises:
        PartitionRefused: PostgreSQL refuses so many that they are not the reason.
    """
    done = OthersDone()
    records: Iterator[Record] = map(_record, others)
    first = next(records, None)
    if first is None:
        done.finished = True
        return done
    options = PipelineOptions.of(
        settings, FILES, has_contract_topics=False, publish=speech.publish, mint=speech.mint
    )
    pipeline = Pipeline(db, replace(options, mint_priority=PRIORITY_OF_HISTORY), clock)
    await pipeline.load()
    partition, pace = _partition(digest, speech), Pace()
    position = await _opened(db, partition)
    left = dropwhile(lambda record: record.offset < position, chain([first], records))
    for part, _ in cut(left, _bounds(settings)):
        waiting = part
        while waiting:
            if stop.requested:
                return done
            chunk = Chunk(*partition, position, waiting)
            outcome = await bisection.commit(pipeline, [pipeline.read(chunk)], pace)
            _note(done, outcome)
            # Another process may do the same: then this one goes on where that one stands.
            fenced = outcome.fenced.get(partition)
            position = chunk.reached.next_offset if fenced is None else fenced.next_offset
            waiting = [record for record in waiting if record.offset >= position]
    done.finished = True
    return done


def _note(done: OthersDone, outcome: BatchOutcome) -> None:
    done.taken += outcome.records - len(outcome.rejected)
    done.rejected += [
        (each.position.offset, each.rejected.reason.value, each.rejected.detail)
        for each in outcome.rejected
    ]


def _record(other: OtherRecord) -> PlainRecord:
    """Return the record as one of a partition: its place is its offset."""
    record = other.record
    return PlainRecord(other.place, record.value, record.key, record.headers, record.timestamp or 0)


def _partition(digest: bytes, speech: Speech) -> Partition:
    """Return where the ledger keeps how far it is: the same input said aloud is another one."""
    spoken = "".join(f"+{name}" for name in ("publish", "mint") if getattr(speech, name))
    return f"history:{digest.hex()}{spoken}", 0


def _bounds(settings: Settings) -> ChunkBounds:
    worker = settings.worker
    return ChunkBounds(
        min(worker.chunk_records_max, worker.batch_records_max),
        min(worker.chunk_bytes_max, worker.batch_bytes_max),
        worker.record_bytes_max,
    )


async def _opened(db: Database, partition: Partition) -> int:
    async with db.transaction() as conn:
        await ledger.open_partitions(conn, FILES, {partition: 0})
        return (await ledger.read(conn, FILES, [partition]))[partition].next_offset
