"""What became of the messages of a batch, by type and outcome.

For the metrics, the log line and the report of a backfill.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Self
from uuid import UUID

from ops import metrics
from processor.batch.command_set import CommandDecisions
from processor.batch.staging import Batch, Held
from processor.events.reader import WalletChange
from processor.events.rejection import Rejected
from store.values.names import RawAddress
from store.values.stream import Reason, topic_label


class MessageOutcome(StrEnum):
    """What became of a message; the label `outcome` of laurel_events_total."""

    COUNTED = "counted"
    DUPLICATE = "duplicate"
    """The same event (tenant, source, id) was counted before."""
    IGNORED = "ignored"
    """No counter listens to its type."""
    APPLIED = "applied"
    """A command or wallet change."""
    REPEATED = "repeated"
    """A command or wallet change that had been applied before; a command that waits already."""
    WAITING = "waiting"
    """A command that waits for its badge or token; what becomes of it counts once more."""
    DEAD_LETTER = "dead_letter"


def observe_levels(levels: Mapping[tuple[str, int], int]) -> None:
    """Add badges that were created or raised to the metric, by type and the level reached."""
    for (code, level), number in levels.items():
        metrics.LEVELS.labels(code, str(level)).inc(number)


@dataclass(frozen=True, slots=True)
class BatchStats:
    """Messages by outcome and type, and dead letters by topic and reason."""

    outcomes: dict[MessageOutcome, Counter[str]]
    letters: Counter[tuple[str, Reason]]

    @classmethod
    def of(
        cls,
        batch: Batch,
        known: Collection[str],
        held: Held,
        linked: Collection[tuple[UUID, RawAddress]],
        commands: CommandDecisions,
        cluster_id: str,
    ) -> Self:
        """Count the messages of a batch that was committed.

        Args:
            batch: its chunks.
            known: keys of its events that had been counted before.
            held: its events that do not count.
            linked: the users and addresses whose wallets it changed.
            commands: its commands, decided.
            cluster_id: where its records lie.
        """
        letters = list(_letters(batch, held, commands, cluster_id))
        fresh = [event for event in batch.events if event.key not in known]
        outcomes: dict[MessageOutcome, Counter[str]] = {
            MessageOutcome.COUNTED: Counter(event.type for event in fresh if event.heard),
            MessageOutcome.DUPLICATE: Counter(event.type for event in held.repetitions),
            MessageOutcome.IGNORED: Counter(event.type for event in fresh if not event.heard),
            MessageOutcome.APPLIED: Counter(command.type.value for command, _ in commands.accepted),
            MessageOutcome.REPEATED: Counter(command.type.value for command in commands.repeated),
            MessageOutcome.WAITING: Counter(
                placed.command.type.value for placed, _ in commands.begin_to_wait
            ),
            MessageOutcome.DEAD_LETTER: Counter(each.type for _, each in letters),
        }
        # What says the same as another of the batch has changed nothing itself.
        seen: set[WalletChange] = set()
        for chunk in batch.chunks:
            for change in chunk.wallets:
                is_news = (change.user_id, change.address) in linked and change not in seen
                seen.add(change)
                outcome = MessageOutcome.APPLIED if is_news else MessageOutcome.REPEATED
                outcomes[outcome][change.type.value] += 1
        return cls(outcomes, Counter((topic, each.reason) for topic, each in letters))

    def observe(self) -> None:
        """Add to the metrics."""
        for outcome, types in self.outcomes.items():
            for event_type, number in types.items():
                metrics.EVENTS.labels(event_type, outcome).inc(number)
        for (topic, reason), number in self.letters.items():
            metrics.DEAD_LETTERS.labels(topic, reason.value).inc(number)

    @property
    def counted(self) -> int:
        """Return how many events were counted."""
        return self.outcomes[MessageOutcome.COUNTED].total()

    @property
    def duplicates(self) -> int:
        """Return how many events had been counted before."""
        return self.outcomes[MessageOutcome.DUPLICATE].total()

    @property
    def applied(self) -> int:
        """Return how many commands and wallet changes were applied."""
        return self.outcomes[MessageOutcome.APPLIED].total()

    @property
    def dead_letters(self) -> int:
        """Return how many messages became dead letters."""
        return self.letters.total()


def _letters(
    batch: Batch, held: Held, commands: CommandDecisions, cluster_id: str
) -> Iterator[tuple[str, Rejected]]:
    """Yield each message that becomes a dead letter, beside the topic that it came by."""
    for chunk in batch.chunks:
        for each in chunk.rejected:
            yield topic_label(cluster_id, each.position.topic), each.rejected
    for each in held.conflicts:
        yield topic_label(cluster_id, each.position.topic), each.rejected
    for placed, rejected in commands.rejected:
        if placed.position is not None:
            yield topic_label(cluster_id, placed.position.topic), rejected
        elif placed.waits is not None:
            yield placed.waited_from, rejected
