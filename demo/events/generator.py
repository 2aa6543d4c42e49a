"""Generate a year of a travelling crowd, as the messages that Kafka would carry.

Seeded, so that one seed makes one file, byte for byte.

Phase 1 holds the events, with duplicates, broken messages, reordering and latecomers; what needs a
badge to exist follows in phases 2 to 4 (demo/events/requests.py). Whatever the order in which
workers and minter come to these messages, the outcome is the same: only about such data can
demo/oracle/expected.py be exact.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from demo.cloudevents import Event, binary, structured
from demo.events import malformed
from demo.events.activity import BEGIN, YEAR, ActivityGenerator
from demo.events.options import Plan
from demo.events.requests import Requests
from demo.events.travellers import atlas, crowd
from demo.events.wallet_histories import WalletHistories
from demo.oracle.catalog import Badges
from demo.records import Record

# Shares of the good events: sent twice, copied into a broken message, arriving weeks after they
# happened (the others within hours); and of the removals, arriving before what they remove.
DUPLICATES = 0.02
BROKEN = 0.01
LATE = 0.03
REMOVALS_FIRST = 0.25
# Other events under the ids of good ones.
IMPOSTORS = 20
_DELAY = timedelta(hours=2)
_LATE_DELAY = timedelta(days=40)


@dataclass(frozen=True, slots=True)
class _Arrival:
    at: datetime
    event: Event


def generate(plan: Plan, badges: Badges) -> list[Record]:
    """Return all messages in the order of their sending.

    The same plan and catalog make the same messages.
    """
    rng = random.Random(plan.seed)  # noqa: S311 - a crowd that can be met again, nothing secret
    world = atlas()
    people = crowd(rng, world, plan.travellers)
    histories = WalletHistories(rng, people)
    arrivals = [
        _arrival(rng, event)
        for event in ActivityGenerator(rng, world, badges).generate(people, plan.events)
    ]
    sent = [(arrival.at, _written(rng, arrival.event)) for arrival in arrivals]
    sent += [(at, structured(event)) for at, event in histories.during_the_year()]
    sent += _duplicates(rng, arrivals, round(plan.events * DUPLICATES))
    sent += _broken(rng, arrivals, round(plan.events * BROKEN))
    sent.sort(key=lambda message: message[0])
    first = [record for _, record in sent]
    requests = Requests(rng, badges).write(first, histories)
    return [*first, *_impostors(rng, arrivals), *requests]


def _arrival(rng: random.Random, event: Event) -> _Arrival:
    if event.type == "review.removed" and rng.random() < REMOVALS_FIRST:
        return _Arrival(BEGIN + rng.random() * (event.time - BEGIN), event)
    delay = _LATE_DELAY if rng.random() < LATE else _DELAY
    return _Arrival(event.time + rng.random() * delay, event)


def _written(rng: random.Random, event: Event) -> Record:
    match rng.randrange(3):
        case 0:
            return structured(event)
        case 1:
            return structured(event, named=False)
        case _:
            return binary(event)


def _duplicates(
    rng: random.Random, arrivals: Sequence[_Arrival], number: int
) -> Iterator[tuple[datetime, Record]]:
    """Yield second messages of some events.

    Soon after or months later, in any mode, half of them through another partition.
    """
    for position, first in enumerate(rng.sample(arrivals, number)):
        record = _written(rng, first.event)
        if position % 2:
            # The subject wins over the key.
            record = replace(record, key=f"retry-{position}".encode())
        later = timedelta(minutes=rng.randint(0, 90)) if rng.random() < 0.8 else rng.random() * YEAR
        yield first.at + later, record


def _broken(
    rng: random.Random, arrivals: Sequence[_Arrival], number: int
) -> Iterator[tuple[datetime, Record]]:
    """Yield broken messages of every kind in turn.

    Each is made of a good event, under an id of its own.
    """
    for position in range(number):
        event = replace(rng.choice(arrivals).event, source="/broken-service", id=f"{position:07d}")
        yield (
            BEGIN + rng.random() * YEAR,
            malformed.KINDS[position % len(malformed.KINDS)].spoil(event),
        )


def _impostors(rng: random.Random, arrivals: Sequence[_Arrival]) -> Iterator[Record]:
    """Yield other events under the ids of good ones.

    They belong to phase 2: of two events with one id the first counts, and only when phase 1 is
    counted is it known which one that is.
    """
    for position, arrival in enumerate(rng.sample(arrivals, min(IMPOSTORS, len(arrivals)))):
        kind = malformed.USED_ID[position % len(malformed.USED_ID)]
        yield replace(kind.spoil(arrival.event), phase=2)
