"""Every message of a batch has one outcome, and the metrics say it by type."""

from collections import Counter

import pytest
from prometheus_client import REGISTRY

from processor.batch.command_rules import Accepted, Repeated, Waits
from processor.batch.command_set import CommandDecisions, CommandSet
from processor.batch.staging import Batch, Held, PlacedCommand
from processor.batch.stats import BatchStats, MessageOutcome
from processor.events.rejection import Rejected
from store.processed_events import CountedEvent
from store.values.names import RawAddress
from store.values.stream import FILES, Reason
from tests.builders.commands import a_badge_state
from tests.builders.messages import (
    ALICE,
    BOB,
    CLUSTER,
    a_command,
    a_partner,
    a_visit,
    a_wallet,
    an_address,
    an_event,
)
from tests.builders.reading import TOPIC, UNHEARD, a_read_chunk

NEW, OLD = RawAddress(an_address(1)), RawAddress(an_address(2))
KNOWN, TWICE = a_partner(), a_partner()
IMPOSTOR = TWICE | {"subject": str(BOB)}
BATCH = Batch.of(
    [
        a_read_chunk(
            a_partner(),
            a_visit(),
            KNOWN,
            TWICE,
            TWICE,
            an_event(UNHEARD),
            a_wallet(ALICE, NEW),
            a_wallet(ALICE, OLD),
            a_wallet(BOB, NEW),
            a_wallet(ALICE, NEW, linked=False),
            b"{broken",
            an_event("partner.joined", ALICE, {"partner_id": 7}),
        ),
        a_read_chunk(
            TWICE,
            IMPOSTOR,
            # Another message, maybe of another id, that says what the first one said.
            a_wallet(ALICE, NEW),
            a_command("mint", type_code="x"),
            a_command("burn", type_code="x"),
            a_command("revoke", type_code="x", reason="r"),
            a_command("revoke", type_code="x", reason="r"),
            a_command("burn", type_code="y"),
            a_command("burn", type_code="y"),
        ),
    ]
)
PLACED = CommandSet.of(BATCH).placed
WHY = Rejected(type="badge.burn", reason=Reason.NO_TOKEN, detail="d")
COMMANDS = CommandDecisions(
    tuple(
        zip(
            PLACED,
            (
                Accepted(a_badge_state()),
                WHY,
                Repeated(),
                Accepted(a_badge_state()),
                Waits(WHY),
                Waits(WHY, again=True),
            ),
            strict=True,
        )
    )
)


def stats(cluster_id: str = CLUSTER) -> BatchStats:
    known = {
        event.key: CountedEvent(event.fingerprint, silent=False)
        for event in BATCH.events
        if event.id == KNOWN["id"]
    }
    held = BATCH.held_against(known)
    return BatchStats.of(BATCH, known, held, {(ALICE, NEW)}, COMMANDS, cluster_id)


def test_each_message_has_one_outcome() -> None:
    found = stats()
    assert found.outcomes == {
        MessageOutcome.COUNTED: Counter({"partner.joined": 2, "city.visited": 1}),
        MessageOutcome.DUPLICATE: Counter({"partner.joined": 3}),
        MessageOutcome.IGNORED: Counter({UNHEARD: 1}),
        # A wallet change is applied where the row changed, and repeated where it did not: two of
        # Alice's were news; her other address and Bob's were known, and one said the same again.
        MessageOutcome.APPLIED: Counter(
            {"wallet.linked": 1, "wallet.unlinked": 1, "badge.mint": 1, "badge.revoke": 1}
        ),
        MessageOutcome.REPEATED: Counter({"wallet.linked": 3, "badge.revoke": 1, "badge.burn": 1}),
        MessageOutcome.WAITING: Counter({"badge.burn": 1}),
        MessageOutcome.DEAD_LETTER: Counter({"unknown": 1, "partner.joined": 2, "badge.burn": 1}),
    }
    assert sum(types.total() for types in found.outcomes.values()) == BATCH.records


@pytest.mark.parametrize(("cluster_id", "topic"), [(CLUSTER, TOPIC), (FILES, "file")])
def test_dead_letters_are_counted_by_topic_and_reason(cluster_id: str, topic: str) -> None:
    found = stats(cluster_id)
    assert found.letters == {
        (topic, Reason.NOT_JSON): 1,
        (topic, Reason.BAD_FIELD): 1,
        (topic, Reason.EVENT_ID_CONFLICT): 1,
        (topic, Reason.NO_TOKEN): 1,
    }
    assert found.dead_letters == found.outcomes[MessageOutcome.DEAD_LETTER].total() == 4


def test_what_waited_in_vain_counts_at_the_topic_that_it_came_by() -> None:
    command = PLACED[1].command
    waited = PlacedCommand(command, waits=WHY, waited_from="laurel.commands")
    decided = CommandDecisions(((waited, WHY), (PlacedCommand(command), WHY)))
    found = BatchStats.of(Batch(()), (), Held(), (), decided, FILES)
    # A person's own command is no letter: the person has the answer.
    assert found.letters == {("laurel.commands", Reason.NO_TOKEN): 1}


def test_the_sums_are_those_of_the_outcomes() -> None:
    found = stats()
    assert (found.counted, found.duplicates, found.applied, found.dead_letters) == (3, 3, 4, 4)


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_the_metrics_move_by_what_happened_and_by_nothing_else() -> None:
    found = stats()
    events = {
        (kind, outcome.value): number
        for outcome, kinds in found.outcomes.items()
        for kind, number in kinds.items()
    }
    before = {
        key: sample("laurel_events_total", type=key[0], outcome=key[1])
        for key in [*events, ("wallet.linked", "dead_letter")]
    }
    reasons = {
        each: sample("laurel_dead_letters_total", topic=TOPIC, reason=each) for each in Reason
    }
    found.observe()
    for key, old in before.items():
        moved = sample("laurel_events_total", type=key[0], outcome=key[1]) - old
        assert moved == events.get(key, 0), key
    for reason, old in reasons.items():
        moved = sample("laurel_dead_letters_total", topic=TOPIC, reason=reason) - old
        assert moved == found.letters[TOPIC, reason], reason


def test_an_empty_batch_has_nothing_to_say() -> None:
    found = BatchStats.of(Batch(()), frozenset(), Held(), frozenset(), CommandDecisions(), CLUSTER)
    assert (found.counted, found.duplicates, found.applied, found.dead_letters) == (0, 0, 0, 0)
