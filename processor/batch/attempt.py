"""An attempt at a batch: what it merged and decided, and what is told of it once committed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from ops import metrics
from ops.logs import logger
from processor.batch import event_age
from processor.batch.command_sequence import Waiting
from processor.batch.command_set import Claims, CommandDecisions, CommandSet, HeardCommand
from processor.batch.decisions import Decisions
from processor.batch.staging import Batch, Held, RejectedRecord
from processor.batch.stats import BatchStats, observe_levels
from processor.events.event import Event
from store import counting
from store.processed_events import CountedEvent
from store.values.names import Partition, RawAddress
from store.values.stream import FILES, LedgerEntry

log = logger("pipeline")


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """What became of a batch.

    `fenced` maps partitions whose chunks did not continue the ledger to where it stands. `seconds`
    is how long its transactions took.
    """

    records: int
    counted: int
    duplicates: int
    levels: int
    rejected: Sequence[RejectedRecord]
    fenced: Mapping[Partition, LedgerEntry]
    seconds: float = 0.0

    def followed_by(self, other: "BatchOutcome") -> "BatchOutcome":
        """Return what became of this batch and the one after it together."""
        return BatchOutcome(
            self.records + other.records,
            self.counted + other.counted,
            self.duplicates + other.duplicates,
            self.levels + other.levels,
            [*self.rejected, *other.rejected],
            {**self.fenced, **other.fenced},
            self.seconds + other.seconds,
        )


@dataclass(frozen=True, slots=True)
class Merged:
    """What the database said of a batch while it was merged.

    `known` are its events that had been counted before, `held` all that do not count, `heard` those
    that a silent job had counted and that the stream brings now, `heard_commands` the commands that
    such a job had carried out, `linked` the wallets that it changed, `progress` the counters that
    may have changed a level. `commands` are its own behind those that have waited, `beside` what
    waits under ids of theirs without being one of them.
    """

    known: Mapping[str, CountedEvent] = field(default_factory=dict)
    held: Held = field(default_factory=Held)
    heard: Sequence[Event] = ()
    heard_commands: Sequence[HeardCommand] = ()
    linked: frozenset[tuple[UUID, RawAddress]] = frozenset()
    commands: CommandSet = field(default_factory=lambda: CommandSet(()))
    claims: Claims = field(default_factory=Claims)
    beside: Mapping[str, Waiting] = field(default_factory=dict)
    progress: Sequence[counting.Progress] = ()


@dataclass(slots=True)
class Attempt:
    """One attempt at a batch; its facts hold only if it commits."""

    batch: Batch
    fenced: Mapping[Partition, LedgerEntry]
    rows: Decisions
    merged: Merged = field(default_factory=Merged)
    commands: CommandDecisions = field(default_factory=CommandDecisions)
    letters_repeated: int = 0
    counted_first: frozenset[int] = frozenset()  # counters that no event had added to before

    @property
    def rejected(self) -> list[RejectedRecord]:
        """Return the records that become dead letters."""
        of_commands = (
            placed.record_rejected(rejected) for placed, rejected in self.commands.rejected
        )
        return [
            *(each for chunk in self.batch.chunks for each in chunk.rejected),
            *self.merged.held.conflicts,
            *(each for each in of_commands if each is not None),
        ]


def reported(
    attempt: Attempt, seconds: float, committed_at: datetime, cluster_id: str
) -> BatchOutcome:
    """Count what was committed in the metrics, log it, and return it.

    Args:
        attempt: the one that was committed.
        seconds: how long the batch took.
        committed_at: when.
        cluster_id: where its records lie.
    """
    batch, merged = attempt.batch, attempt.merged
    stats = BatchStats.of(
        batch, merged.known, merged.held, merged.linked, attempt.commands, cluster_id
    )
    stats.observe()
    if cluster_id != FILES:  # a line's timestamp is its checksum
        for each in batch.chunks:
            event_age.observe(each.chunk, committed_at)
    metrics.DEAD_LETTERS_REPEATED.inc(attempt.letters_repeated)
    observe_levels(attempt.rows.levels)
    metrics.BATCH_RECORDS.observe(batch.records)
    outcome = BatchOutcome(
        batch.records,
        stats.counted,
        stats.duplicates,
        attempt.rows.levels.total(),
        attempt.rejected,
        attempt.fenced,
        seconds,
    )
    log.debug(
        "batch_committed",
        records=outcome.records,
        partitions=len({chunk.chunk.key for chunk in batch.chunks}),
        counted=outcome.counted,
        duplicates=outcome.duplicates,
        dead_letters=stats.dead_letters,
        waiting=len(attempt.commands.begin_to_wait),
        dead_letters_repeated=attempt.letters_repeated,
        levels=outcome.levels,
        applied=stats.applied,
        fenced=len(outcome.fenced),
        seconds=round(seconds, 4),
    )
    return outcome
