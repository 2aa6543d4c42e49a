"""A chunk read, what leaves it as a repetition, and which event a badge names as its source."""

from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest

from ops.settings import DEFAULT_TENANT
from processor.batch.staging import Batch, PlacedCommand, ReadChunk, events_of, latest
from processor.events.event import Event
from processor.events.identity import event_key, fingerprint
from processor.events.rejection import Rejected
from processor.rules.counters import Contribution
from store.dead_letters import NewDeadLetter
from store.processed_events import CountedEvent
from store.values.catalog import CounterOperation
from store.values.stream import Reason, RecordPosition
from tests.builders.catalogs import TENANT
from tests.builders.messages import (
    ALICE,
    BOB,
    NOW,
    a_command,
    a_partner,
    a_quest,
    a_visit,
    a_wallet,
    an_address,
    an_event,
    encoded,
)
from tests.builders.reading import FIRST, PARTITION, TOPIC, UNHEARD, a_read_chunk

ACCOUNTED = frozenset({1})


def key_of(message: dict[str, Any]) -> str:
    return event_key(DEFAULT_TENANT, message["source"], message["id"])


def an_event_read(id_: str = "e", /, source: str = "/s", minutes: int = 0, **changes: Any) -> Event:
    """An event that added to counter 1."""
    given: dict[str, Any] = {
        "type": "partner.joined",
        "offset": 0,
        "key": event_key(TENANT, source, id_),
        "fingerprint": 1,
        "user_id": ALICE,
        "time": NOW + timedelta(minutes=minutes),
        "source": source,
        "id": id_,
        "tenant_id": TENANT,
        "contributions": (Contribution(1, CounterOperation.ADD, amount=1),),
    }
    return Event(**(given | changes))


@pytest.mark.parametrize(
    ("lesser", "greater"),
    [
        # The time decides first, whatever source and id say ...
        (an_event_read("z", source="/z", minutes=0), an_event_read("a", source="/a", minutes=1)),
        # ... then the source, whatever the id says ...
        (an_event_read("z", source="/a"), an_event_read("a", source="/b")),
        # ... and the id at last.
        (an_event_read("a"), an_event_read("b")),
    ],
)
def test_a_source_is_the_latest_by_time_then_source_then_id(lesser: Event, greater: Event) -> None:
    for events in permutations([lesser, greater]):
        assert latest(events, ACCOUNTED) == greater


def test_only_an_event_that_added_to_the_types_counters_is_a_source() -> None:
    other = an_event_read(
        "later", minutes=9, contributions=(Contribution(2, CounterOperation.ADD, amount=1),)
    )
    none = an_event_read("latest", minutes=10, contributions=())
    assert latest([an_event_read(), other, none], ACCOUNTED) == an_event_read()
    assert latest([other, none], ACCOUNTED) is None
    assert latest([], ACCOUNTED) is None


def test_events_are_gathered_for_the_users_asked_for() -> None:
    mine, his = an_event_read("a"), an_event_read("b", user_id=BOB)
    assert events_of([mine, his, mine], {ALICE}) == {ALICE: [mine, mine]}


def test_a_chunk_tells_its_messages_apart() -> None:
    partner, wallet = a_partner(), a_wallet(ALICE, an_address(1))
    command = a_command("mint", ALICE, "m1", type_code="ambassador")
    chunk = a_read_chunk(partner, an_event(UNHEARD), wallet, command, b"{broken", partner)
    assert [(event.type, event.heard) for event in chunk.events] == [
        ("partner.joined", True),
        (UNHEARD, False),
    ]
    assert chunk.keys[key_of(partner)] == fingerprint("partner.joined", ALICE)
    assert [(event.id, event.offset) for event in chunk.repeated] == [(partner["id"], FIRST + 5)]
    assert [change.user_id for change in chunk.wallets] == [ALICE]
    (placed,) = chunk.commands
    assert (placed.command.external_id, placed.position) == (
        "m1",
        RecordPosition(TOPIC, PARTITION, FIRST + 3),
    )
    (rejected,) = chunk.rejected
    assert (rejected.rejected.reason, rejected.position.offset) == (Reason.NOT_JSON, FIRST + 4)


def test_a_rejected_record_becomes_a_dead_letter_as_it_came() -> None:
    (each,) = a_read_chunk(b"{broken").rejected
    assert each.dead_letter == NewDeadLetter(
        RecordPosition(TOPIC, PARTITION, FIRST),
        b"key",
        b"{broken",
        (("h", b"1"),),
        Reason.NOT_JSON,
        each.rejected.detail,
    )


def test_a_rejected_command_becomes_a_dead_letter_unless_a_person_gave_it() -> None:
    (placed,) = a_read_chunk(a_command("mint", type_code="ambassador")).commands
    why = Rejected(type="badge.mint", reason=Reason.NO_SUCH_BADGE, detail="d")
    found = placed.record_rejected(why)
    assert found is not None
    assert (found.position, found.record, found.rejected) == (placed.position, placed.record, why)
    assert PlacedCommand(placed.command).record_rejected(why) is None


def test_an_event_that_adds_nothing_has_its_key_all_the_same() -> None:
    chunk, event = a_read_chunk(), an_event_read(contributions=())
    chunk.add(event)
    assert chunk.keys == {event.key: event.fingerprint}


def test_without_some_events_a_chunk_is_as_if_they_were_repetitions() -> None:
    one, two = a_partner(), a_visit()
    everything = (two, a_wallet(ALICE, an_address(1)), a_command("mint", type_code="x"), b"{", two)
    chunk = a_read_chunk(one, *everything)
    found = chunk.without({key_of(one), "of another chunk"})
    rest = a_read_chunk(an_event("partner.joined", "no user"), *everything)
    assert [event.id for event in found.events] == [two["id"]]
    assert found.keys == rest.keys
    assert [event.id for event in found.repeated] == [one["id"], two["id"]]
    assert (found.wallets, found.commands) == (chunk.wallets, chunk.commands)
    assert found.rejected == chunk.rejected
    assert (found.chunk, found.version) == (chunk.chunk, chunk.version)
    # The chunk itself may be given to another attempt: it stays as it was read.
    assert len(chunk.events) == 2
    assert [event.id for event in chunk.repeated] == [two["id"]]


def test_of_a_batch_the_first_of_several_messages_with_one_key_counts() -> None:
    one, two, three = a_partner(), a_partner(), a_partner()
    chunks = [a_read_chunk(one, two), a_read_chunk(two, three), a_read_chunk(one, three)]
    batch = Batch.of(chunks)
    assert [event.id for event in batch.events] == [one["id"], two["id"], three["id"]]
    assert [len(chunk.repeated) for chunk in batch.chunks] == [0, 1, 2]
    assert batch.records == 6
    assert batch.chunks[0] is chunks[0]


def another(event: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Another event under the id of `event`."""
    return event | {"subject": str(BOB)} | changes


def outcome(known: dict[str, CountedEvent], *chunks: ReadChunk) -> tuple[list[int], list[int]]:
    """The offsets of repetitions and conflicts."""
    held = Batch.of(chunks).held_against(known)
    assert {each.rejected.reason for each in held.conflicts} <= {Reason.EVENT_ID_CONFLICT}
    return (
        [event.offset - FIRST for event in held.repetitions],
        [each.position.offset - FIRST for each in held.conflicts],
    )


def test_within_a_batch_the_first_record_says_what_an_id_stands_for() -> None:
    one = a_partner()
    other = another(one)
    assert outcome({}, a_read_chunk(one, other, one)) == ([2], [1])
    assert outcome({}, a_read_chunk(one), a_read_chunk(one, other, one)) == ([0, 2], [1])
    assert outcome({}, a_read_chunk(other, one), a_read_chunk(other)) == ([0], [1])


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_what_was_counted_before_says_it_however_records_are_cut(cut: int) -> None:
    one = a_partner()
    other = another(one)
    messages = [other, one, other, one]
    known = {key_of(one): CountedEvent(fingerprint(one["type"], ALICE), silent=False)}
    chunks = [a_read_chunk(*messages[:cut]), a_read_chunk(*messages[cut:])]
    held = Batch.of(chunks).held_against(known)
    assert ([event.user_id for event in held.repetitions], len(held.conflicts)) == ([ALICE] * 2, 2)


def test_another_type_is_another_event_and_another_time_is_not() -> None:
    quest = a_quest(ALICE)
    published = quest | {"type": "quest.published"}
    later = quest | {"time": (NOW + timedelta(minutes=1)).isoformat(), "data": {"quest_id": "q"}}
    assert outcome({}, a_read_chunk(quest, published, later)) == ([2], [1])


def test_a_fingerprint_that_nobody_noted_conflicts_with_nothing() -> None:
    one = a_partner()
    known = {key_of(one): CountedEvent(0, silent=False)}
    assert outcome(known, a_read_chunk(one, another(one))) == ([0, 1], [])


def test_a_conflict_becomes_a_dead_letter_as_it_came() -> None:
    one, unheard = a_partner(id="e1", source="/s"), an_event(UNHEARD)
    other = another(one)
    (found,) = Batch.of([a_read_chunk(unheard, one, other)]).held_against({}).conflicts
    assert found.dead_letter == NewDeadLetter(
        RecordPosition(TOPIC, PARTITION, FIRST + 2),
        b"key",
        encoded(other),
        (("h", b"1"),),
        Reason.EVENT_ID_CONFLICT,
        "the id 'e1' of '/s' is that of an event of another type or subject",
    )
    assert found.rejected.type == "partner.joined"
