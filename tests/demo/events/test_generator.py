"""The generated year.

Reproducible, with the promised shares of trouble, and such that its outcome depends on nobody's
pace.
"""

import random
from collections import Counter
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise
from uuid import UUID

import pytest

from demo.cloudevents import Event, structured
from demo.events import malformed
from demo.events.generator import generate
from demo.events.options import Plan
from demo.oracle import decode
from demo.oracle.catalog import Badges
from demo.oracle.decode import read_event
from demo.oracle.expected import ExpectedOutcome, expected_outcome
from demo.records import Record, to_line
from ops.clock import SYSTEM_CLOCK
from ops.errors import UsageError
from processor.catalog.load import load
from processor.events.reader import EventReader
from processor.events.records import Headers
from processor.events.rejection import Rejected
from store.values.stream import Reason
from tests.demo.conftest import CATALOG, SMALL

pytestmark = pytest.mark.integration


@dataclass(frozen=True)
class ConsumedMessage:
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


@pytest.fixture(scope="module")
def full(badges: Badges) -> list[Record]:
    return generate(Plan(), badges)


@pytest.fixture(scope="module")
def expected(full: list[Record], badges: Badges) -> ExpectedOutcome:
    return expected_outcome(full, badges)


def _events(records: list[Record], badges: Badges) -> list[Event]:
    read = (read_event(record, badges, SYSTEM_CLOCK.now()) for record in records)
    return [event for event in read if isinstance(event, Event)]


def test_one_seed_makes_one_file(small: list[Record], badges: Badges) -> None:
    assert list(map(to_line, generate(SMALL, badges))) == list(map(to_line, small))
    assert generate(replace(SMALL, seed=8), badges) != small


def test_the_default_plan_keeps_its_promises(
    full: list[Record], expected: ExpectedOutcome, badges: Badges
) -> None:
    first = [record for record in full if record.phase == 1]
    travellers = {event.subject for event in _events(first, badges)}
    assert len(travellers) == 2_000
    assert expected.events >= 50_000
    assert expected.duplicates == 1_000
    assert 500 <= sum(expected.letters.values()) < 600
    assert len(expected.tokens) >= 150
    assert sum(badge.burned for badge in expected.badges.values()) >= 10
    assert sum(badge.status == "revoked" for badge in expected.badges.values()) == 1
    assert expected.repeated_commands == 5
    # Some badges were awarded past levels that are not earned.
    assert sum(badge.skipped > 0 for badge in expected.badges.values()) >= 5
    # Some are minted by level, some by request, some never: each type that can, does, and the one
    # that cannot, does not.
    assert {code for _, code in expected.tokens} == badges.by_code.keys() - {"premium_voucher_user"}
    # Some wait for a wallet that never comes.
    assert any(badge.wanted and badge.owner is None for badge in expected.badges.values())
    assert {(code, badge.level) for (_, code), badge in expected.badges.items()} == {
        (code, step.level) for code, badge in badges.by_code.items() for step in badge.steps
    }


def test_both_content_modes_and_headerless_producers_occur(full: list[Record]) -> None:
    modes = Counter(
        "binary" if any(name == "ce_id" for name, _ in r.headers) else len(r.headers) for r in full
    )
    assert all(modes[mode] > 10_000 for mode in ("binary", 0, 1))


def test_events_arrive_out_of_order_late_and_through_other_partitions(
    full: list[Record], badges: Badges
) -> None:
    times = [event.time for event in _events([r for r in full if r.phase == 1], badges)]
    assert sum(later < earlier for earlier, later in pairwise(times)) > 10_000
    latest, behind = times[0], 0
    for time in times:
        latest = max(latest, time)
        behind += (latest - time).days >= 5
    assert behind > 500
    read = [(r, read_event(r, badges, SYSTEM_CLOCK.now())) for r in full]
    assert sum(isinstance(e, Event) and r.key != e.subject.encode() for r, e in read) >= 400


def test_some_reviews_are_removed_before_they_are_posted(
    full: list[Record], badges: Badges
) -> None:
    posted: set[tuple[str, object]] = set()
    first = 0
    for event in _events(full, badges):
        review = (event.subject, event.data.get("review_id"))
        if event.type == "review.posted":
            posted.add(review)
        first += event.type == "review.removed" and review not in posted
    assert first > 50


@pytest.mark.parametrize("seed", [1, 2])
def test_the_outcome_does_not_depend_on_the_order_of_counting(badges: Badges, seed: int) -> None:
    records = generate(Plan(seed=seed, events=1_500, travellers=60), badges)
    shuffled = [record for record in records if record.phase == 1 and record.topic != "wallets"]
    random.Random(seed).shuffle(shuffled)
    others = [record for record in records if record.phase != 1 or record.topic == "wallets"]
    again = expected_outcome(sorted([*shuffled, *others], key=lambda record: record.phase), badges)
    assert again == expected_outcome(records, badges)


def test_no_level_is_reached_on_the_way_and_lost_again(
    full: list[Record], expected: ExpectedOutcome, badges: Badges
) -> None:
    """The highest counters, without any removal, give the levels of the final ones."""
    now = SYSTEM_CLOCK.now()
    read = [(record, read_event(record, badges, now)) for record in full]
    removals = {
        (event.source, event.id)
        for _, event in read
        if isinstance(event, Event) and event.type == "review.removed"
    }
    kept = [
        record
        for record, event in read
        if not isinstance(event, Event) or (event.source, event.id) not in removals
    ]
    highest = expected_outcome(kept, badges)
    assert {holder: badge.level for holder, badge in highest.badges.items()} == {
        holder: badge.level for holder, badge in expected.badges.items()
    }
    assert highest.counters != expected.counters


@pytest.mark.parametrize("kind", malformed.KINDS, ids=lambda kind: kind.name)
def test_each_kind_of_broken_message_has_its_reason(kind: malformed.Kind, badges: Badges) -> None:
    for type_, declared in badges.events.items():
        data = {field.name: "x" if field.kind != "integer" else 3 for field in declared.fields}
        event = Event(
            declared.topic,
            type_,
            "/a",
            "1",
            "0b9e2c1e-7a54-4f36-9a55-0d0c9b7a4a10",
            SYSTEM_CLOCK.now(),
            data,
        )
        assert read_event(kind.spoil(event), badges, SYSTEM_CLOCK.now()) == decode.Rejected(
            kind.reason
        )
    assert kind.reason in set(Reason)


@pytest.mark.parametrize("kind", malformed.USED_ID, ids=lambda kind: kind.name)
def test_another_event_under_a_used_id_keeps_to_the_contract(
    kind: malformed.Kind, small: list[Record], badges: Badges
) -> None:
    """Only the event before it tells that it is none."""
    first = _events([record for record in small if record.phase == 1], badges)
    events = {event.type: event for event in first if event.type in badges.events}
    assert events.keys() == badges.events.keys()
    for event in events.values():
        outcome = expected_outcome([structured(event), kind.spoil(event)], badges)
        assert [letter.reason for letter in outcome.letters] == [kind.reason]
        assert (outcome.events, outcome.duplicates) == (1, 0)
        alone = expected_outcome([kind.spoil(event)], badges)
        assert (alone.events, alone.letters) == (1, {})


def test_some_ids_are_used_again_once_their_events_are_counted(
    full: list[Record], badges: Badges
) -> None:
    first = [record for record in full if record.phase == 1]

    def conflicts(records: list[Record]) -> int:
        letters = expected_outcome(records, badges).letters
        return sum(n for letter, n in letters.items() if letter.reason == "event_id_conflict")

    assert (conflicts(first), conflicts(full)) == (0, 20)


def test_the_worker_reads_every_message_as_the_oracle_does(
    small: list[Record], badges: Badges
) -> None:
    """Two readers that share no code; where they differ, one of them is wrong."""
    now = SYSTEM_CLOCK.now()
    worker = EventReader(load(CATALOG), UUID(int=1), timedelta(minutes=10), None)
    for record in small:
        message = ConsumedMessage(0, 0, record.key, record.value, record.headers)
        parsed = worker.at(now, record.topic)(message)
        read = read_event(record, badges, now)
        assert (parsed.reason if isinstance(parsed, Rejected) else None) == (
            read.reason if isinstance(read, decode.Rejected) else None
        )


def test_too_little_to_do_is_refused() -> None:
    with pytest.raises(UsageError, match="make --events twice --travellers"):
        Plan(events=10, travellers=6)
