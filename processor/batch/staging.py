"""A chunk read, and several of them put together into one batch.

This runs while the database works on the batch before. It asks neither database nor clock, but is
not under the contract of what is pure: it fills the rows of a module of the store
(store/dead_letters.py), which stand there beside the SQL that takes them.

Within a batch the first of several messages with the same identity counts, and across batches the
row of processed_event stands for it. The others are held against that one: a repetition says the
same type and subject, another event under a used id does not, and becomes a dead letter.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import chain
from uuid import UUID

from processor.batch.command_rules import Command
from processor.events.chunks import Chunk
from processor.events.event import Event
from processor.events.reader import BadgeCommand, EventReader, WalletChange
from processor.events.records import LargeRecord, Record
from processor.events.rejection import Rejected
from store.dead_letters import NewDeadLetter
from store.processed_events import CountedEvent
from store.values.stream import Reason, RecordPosition


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
    """A command and the record that brought it; no record where a person gave it, or it has waited.

    `waits` says why it waits in the table of those since before this batch; None where it does not.
    `waited_from` is what a metric calls the topic that it came by then.
    """

    command: Command
    position: RecordPosition | None = None
    record: Record | None = None
    waits: Rejected | None = None
    waited_from: str = ""

    def record_rejected(self, rejected: Rejected) -> RejectedRecord | None:
        """Return the command's record as rejected; None where it has none."""
        if self.position is None or self.record is None:
            return None
        return RejectedRecord(self.position, self.record, rejected)


@dataclass(slots=True)
class ReadChunk:
    """What a chunk says. `version` and `floor` are of the catalog and of the ids it was read by.

    `keys` maps each of `events` to its fingerprint; `repeated` are events with a key that came
    earlier in the batch, whatever else they say. `refused` says why PostgreSQL refuses its
    one record.
    """

    chunk: Chunk
    version: int
    floor: date | None = None
    events: list[Event] = field(default_factory=list)
    keys: dict[str, int] = field(default_factory=dict)
    repeated: list[Event] = field(default_factory=list)
    wallets: list[WalletChange] = field(default_factory=list)
    commands: list[PlacedCommand] = field(default_factory=list)
    rejected: list[RejectedRecord] = field(default_factory=list)
    refused: Rejected | None = None

    def without(self, keys: Collection[str]) -> "ReadChunk":
        """Return this chunk as if the events `keys` were repetitions."""
        other = ReadChunk(self.chunk, self.version, self.floor)
        for event in self.events:
            if event.key in keys:
                other.repeated.append(event)
            else:
                other.add(event)
        other.wallets, other.commands = self.wallets, self.commands
        other.rejected = self.rejected
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
        self.keys[event.key] = event.fingerprint
        self.events.append(event)

    def rejected_record(self, event: Event, rejected: Rejected) -> RejectedRecord:
        """Return the record of `event`, which this chunk has, as rejected."""
        records = self.chunk.records
        place = bisect_left(records, event.offset, key=lambda record: record.offset)
        position = RecordPosition(self.chunk.topic, self.chunk.partition, event.offset)
        return RejectedRecord(position, records[place], rejected)


@dataclass(frozen=True, slots=True)
class Held:
    """The events of a batch that do not count.

    `repetitions` say again what was counted; `conflicts` are other events under a used id.
    """

    repetitions: list[Event] = field(default_factory=list)
    conflicts: list[RejectedRecord] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Batch:
    """Chunks that are committed in one transaction, in order.

    The chunks of one partition follow each other. `keys` maps each event to its fingerprint.
    """

    chunks: tuple[ReadChunk, ...]
    keys: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, chunks: Iterable[ReadChunk]) -> "Batch":
        """Put chunks together; what a later one repeats of an earlier one leaves it."""
        seen: dict[str, int] = {}
        taken: list[ReadChunk] = []
        for chunk in chunks:
            again = seen.keys() & chunk.keys.keys()
            distinct = chunk.without(again) if again else chunk
            seen |= distinct.keys
            taken.append(distinct)
        return cls(tuple(taken), seen)

    @property
    def records(self) -> int:
        """Return the number of records."""
        return sum(len(chunk.chunk.records) for chunk in self.chunks)

    @property
    def events(self) -> Iterable[Event]:
        """Return the events that are counted unless the database has them."""
        return (event for chunk in self.chunks for event in chunk.events)

    def held_against(self, known: Mapping[str, CountedEvent]) -> Held:
        """Return what the events are that do not count, since their key is taken.

        An event is held against the row, where there is one, and not against its neighbours: then
        it is all the same how records are cut into batches.

        Args:
            known: what was counted before this batch, by key.
        """
        held = Held()
        for chunk in self.chunks:
            taken = (event for event in chunk.events if event.key in known) if known else ()
            for event in chain(taken, chunk.repeated):
                first = known.get(event.key) or CountedEvent(self.keys[event.key], silent=False)
                if first.is_other_than(event.fingerprint):
                    held.conflicts.append(
                        chunk.rejected_record(
                            event, id_conflict(event.id, event.source, event.type)
                        )
                    )
                else:
                    held.repetitions.append(event)
        return held

    @property
    def wallets(self) -> list[WalletChange]:
        """Return what the batch says of wallets."""
        return [change for chunk in self.chunks for change in chunk.wallets]


def read_chunk(chunk: Chunk, reader: EventReader, now: datetime, topic: str | None) -> ReadChunk:
    """Read every record of `chunk`.

    `topic` is the contract's name of its topic, None where any type may come (a file).
    """
    result = ReadChunk(chunk, reader.catalog.version, reader.floor)
    read = reader.at(now, topic)
    keys, take = result.keys, result.events.append
    for record in chunk.records:
        parsed = read(record)
        if type(parsed) is Event:  # by far the most frequent first
            key = parsed.key
            if key in keys:
                result.repeated.append(parsed)
            else:
                keys[key] = parsed.fingerprint
                take(parsed)
            continue
        match parsed:
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
        chunk.chunk,
        chunk.version,
        chunk.floor,
        rejected=[RejectedRecord(position, record, rejected)],
        refused=rejected,
    )


def id_conflict(event_id: str, source: str, declared: str) -> Rejected:
    """Return why an event is rejected whose identity is that of another one."""
    return Rejected(
        Reason.EVENT_ID_CONFLICT,
        f"the id {event_id[:128]!r} of {source[:128]!r} is that of an event of another type or "
        "subject",
        declared,
    )


def events_of(events: Iterable[Event], users: Collection[UUID]) -> dict[UUID, list[Event]]:
    """Return the events of each of `users`."""
    numbers = {user_id.int for user_id in users}  # a UUID takes several times as long to look up
    found: dict[UUID, list[Event]] = {}
    if numbers:
        for event in events:
            if event.user_id.int in numbers:
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
