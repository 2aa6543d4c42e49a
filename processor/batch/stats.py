"""What became of the messages of a batch, by type and outcome.

For the metrics, the log line and the report of a backfill.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Self
from uuid import UUID

from ops import metrics
from processor.batch.command_set import CommandDecisions
from processor.batch.staging import Batch, Held
from processor.events.reader import WalletChange
from store.values.names import RawAddress
from store.values.stream import Reason


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


def show_reasons() -> None:
    """Have the metric of dead letters show each reason from the start."""
    for reason in Reason:
        metrics.DEAD_LETTERS.labels(reason.value)


@dataclass(frozen=True, slots=True)
class BatchStats:
    """Messages by outcome and type, and dead letters by reason."""

    outcomes: dict[MessageOutcome, Counter[str]]
    reasons: Counter[str]

    @classmethod
    def of(
        cls,
        batch: Batch,
        known: Collection[str],
        held: Held,
        linked: Collection[tuple[UUID, RawAddress]],
        commands: CommandDecisions,
    ) -> Self:
        """Count the messages of a batch that was committed.

        Args:
            batch: its chunks.
            known: keys of its events that had been counted before.
            held: its events that do not count.
            linked: the users and addresses whose wallets it changed.
            commands: its commands, decided.
        """
        rejected = [each.rejected for chunk in batch.chunks for each in chunk.rejected]
        rejected += [each.rejected for each in held.conflicts]
        rejected += [each for _, each in commands.rejected]
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
            MessageOutcome.DEAD_LETTER: Counter(each.type for each in rejected),
        }
        # What says the same as another of the batch has changed nothing itself.
        seen: set[WalletChange] = set()
        for chunk in batch.chunks:
            for change in chunk.wallets:
                is_news = (change.user_id, change.address) in linked and change not in seen
                seen.add(change)
                outcome = MessageOutcome.APPLIED if is_news else MessageOutcome.REPEATED
                outcomes[outcome][change.type.value] += 1
        return cls(outcomes, Counter(each.reason.value for each in rejected))

    def observe(self) -> None:
        """Add to the metrics."""
        for outcome, types in self.outcomes.items():
            for event_type, number in types.items():
                metrics.EVENTS.labels(event_type, outcome).inc(number)
        for reason, number in self.reasons.items():
            metrics.DEAD_LETTERS.labels(reason).inc(number)

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
        return self.reasons.total()
