"""A chunk read, and several of them put together into one batch.

This runs while the database works on the batch before. It asks neither database nor clock, but is
not under the contract of what is pure: it fills the lines and rows of two modules of the store
(store/counting.py, store/dead_letters.py), which stand there beside the SQL that takes them.

Within a batch the first of several messages with the same source and id counts. Across batches the
database knows.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from processor.batch.command_rules import Command
from processor.events.chunks import Chunk
from processor.events.reader import (
    BadgeCommand,
    Event,
    EventReader,
    Ignored,
    WalletChange,
)
from processor.events.records import LargeRecord, Record
from processor.events.rejection import Rejected
from store.counting import Staging
from store.dead_letters import NewDeadLetter
from store.values import RecordPosition


@dataclass(frozen=True, slots=True)
class RejectedRecord:
    """A record that becomes a dead letter: where it lies, as it came, and why."""

    position: RecordPosition
    record: Record
    rejected: Rejected

    @property
    def dead_letter(self) -> NewDeadLetter:
        """Return the row."""
        record, rejected = self.record, self.rejected
        return NewDeadLetter(
            self.position,
            record.key,
            record.value,
            record.headers,
            rejected.reason,
            rejected.detail,
            record.timestamp or 0,
            record.whole if isinstance(record, LargeRecord) else None,
        )


@dataclass(frozen=True, slots=True)
class PlacedCommand:
    """A command and the record that brought it; no record where a person gave it."""

    command: Command
    position: RecordPosition | None = None
    record: Record | None = None

    def record_rejected(self, rejected: Rejected) -> RejectedRecord | None:
        """Return the command's record as rejected; None where a person gave it."""
        if self.position is None or self.record is None:
            return None
        return RejectedRecord(self.position, self.record, rejected)


@dataclass(slots=True)
class ReadChunk:
    """What a chunk says. `version` is the catalog it was read by.

    `repeated` counts messages that the chunk itself repeats, by type.
    """

    chunk: Chunk
    version: int
    staging: Staging = field(default_factory=Staging)
    events: list[Event] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    wallets: list[WalletChange] = field(default_factory=list)
    commands: list[PlacedCommand] = field(default_factory=list)
    rejected: list[RejectedRecord] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    repeated: Counter[str] = field(default_factory=Counter)

    def without(self, keys: Collection[str]) -> "ReadChunk":
        """Return this chunk as if the events `keys` were repetitions."""
        other = ReadChunk(self.chunk, self.version)
        for event in self.events:
            if event.key in keys:
                other.repeated[event.type] += 1
            else:
                other.add(event)
        other.wallets, other.commands = self.wallets, self.commands
        other.rejected, other.ignored = self.rejected, self.ignored
        other.repeated += self.repeated
        return other

    @property
    def types(self) -> list[str]:
        """Return the type of each message that would change something."""
        found = [event.type for event in self.events]
        found += [change.type.value for change in self.wallets]
        return found + [placed.command.type.value for placed in self.commands]

    def add(self, event: Event) -> None:
        """Take in an event that this chunk does not have yet."""
        self.keys.add(event.key)
        self.events.append(event)
        self.staging.add(event.key, event.time, event.user_id, event.contributions)


@dataclass(frozen=True, slots=True)
class Batch:
    """Chunks that are committed in one transaction, in order.

    The chunks of one partition follow each other.
    """

    chunks: tuple[ReadChunk, ...]

    @classmethod
    def of(cls, chunks: Iterable[ReadChunk]) -> "Batch":
        """Put chunks together; what a later one repeats of an earlier one leaves it."""
        seen: set[str] = set()
        taken: list[ReadChunk] = []
        for chunk in chunks:
            distinct = chunk if seen.isdisjoint(chunk.keys) else chunk.without(seen & chunk.keys)
            seen |= distinct.keys
            taken.append(distinct)
        return cls(tuple(taken))

    @property
    def records(self) -> int:
        """Return the number of records."""
        return sum(len(chunk.chunk.records) for chunk in self.chunks)

    @property
    def events(self) -> Iterable[Event]:
        """Return the events that are counted unless the database has them."""
        return (event for chunk in self.chunks for event in chunk.events)

    @property
    def wallets(self) -> list[WalletChange]:
        """Return what the batch says of wallets."""
        return [change for chunk in self.chunks for change in chunk.wallets]


def read_chunk(chunk: Chunk, reader: EventReader, now: datetime, topic: str | None) -> ReadChunk:
    """Read every record of `chunk`.

    `topic` is the contract's name of its topic, None where any type may come (a file).
    """
    result = ReadChunk(chunk, reader.catalog.version)
    read = reader.at(now, topic)
    keys, add = result.keys, result.add
    for record in chunk.records:
        parsed = read(record)
        if type(parsed) is Event:  # by far the most frequent first
            if parsed.key in keys:
                result.repeated[parsed.type] += 1
            else:
                add(parsed)
            continue
        match parsed:
            case Ignored(kind):
                result.ignored[kind] += 1
            case WalletChange():
                result.wallets.append(parsed)
            case BadgeCommand():
                place = RecordPosition(chunk.topic, chunk.partition, record.offset)
                result.commands.append(PlacedCommand(parsed, place, record))
            case Rejected():
                place = RecordPosition(chunk.topic, chunk.partition, record.offset)
                result.rejected.append(RejectedRecord(place, record, parsed))
    return result


def as_rejected(chunk: ReadChunk, rejected: Rejected) -> ReadChunk:
    """Return a chunk of one record as if reading had rejected that."""
    (record,) = chunk.chunk.records
    position = RecordPosition(chunk.chunk.topic, chunk.chunk.partition, record.offset)
    return ReadChunk(
        chunk.chunk, chunk.version, rejected=[RejectedRecord(position, record, rejected)]
    )


def events_of(events: Iterable[Event], users: Collection[UUID]) -> dict[UUID, list[Event]]:
    """Return the events of each of `users`."""
    found: dict[UUID, list[Event]] = {}
    for event in events:
        if event.user_id in users:
            found.setdefault(event.user_id, []).append(event)
    return found


def latest(events: Iterable[Event], counter_ids: Collection[int]) -> Event | None:
    """Return the event that a badge names as its source.

    The latest time, then source, then id, of those that added to `counter_ids`.
    """
    counted = (
        event
        for event in events
        if any(part.counter_id in counter_ids for part in event.contributions)
    )
    return max(counted, key=lambda event: (event.time, event.source, event.id), default=None)
