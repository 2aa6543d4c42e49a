"""Generate what the travellers do over the year, as events that are counted.

Quests, cities, reviews and their removals, partners, vouchers, published quests.
"""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

from demo.cloudevents import Event
from demo.events.travellers import WEIGHTS, Atlas, Traveller
from demo.oracle.catalog import Badges
from demo.oracle.counting import count_up

# The past for every clock: no event is too new.
BEGIN = datetime(2025, 1, 1, tzinfo=UTC)
YEAR = timedelta(days=364)
# Of a traveller's review events, the shares that remove an earlier one and that post one again;
# of the removals, the share that speaks of a review that never was.
REMOVED = 0.12
REPOSTED = 0.03
UNHEARD = 0.06
_ACTS_MIN = 2
_OTHER_TENANT = "6f1d4c1e-2f0b-4c55-9d3f-0d9f6a1c7a10"
_IN_OTHER_TENANT = 0.1

TOPICS = {
    "quest.completed": "quests",
    "quest.published": "quests",
    "city.visited": "cities",
    "review.posted": "reviews",
    "review.removed": "reviews",
    "partner.joined": "partners",
    "voucher.redeemed": "partners",
}
# Two regions number their events separately: an id names an event only together with its source.
_SOURCES = {
    "quests": ("/quest-service/eu", "/quest-service/asia"),
    "cities": ("/city-service", "https://cities.example/city-service"),
    "reviews": ("/review-service/eu", "/review-service/asia"),
    "partners": ("/referral-service", "urn:connect-service:partners"),
}
_TIERS = ("basic", "silver", "gold", "premium")
_TIER_WEIGHTS = (50, 25, 15, 10)


class ActivityGenerator:
    """Generates a crowd's events; ids and choices follow from `rng` alone."""

    def __init__(self, rng: random.Random, world: Atlas, badges: Badges) -> None:
        self._rng = rng
        self._world = world
        self._badges = badges
        self._numbers = {source: count(1) for sources in _SOURCES.values() for source in sources}
        self._things = count(1)

    def generate(self, people: Sequence[Traveller], events: int) -> list[Event]:
        """Return exactly `events` events in the order of the travellers, at least two for each."""
        activity = [person.activity for person in people]
        shares = Counter(
            self._rng.choices(range(len(people)), activity, k=events - _ACTS_MIN * len(people))
        )
        return [
            event
            for person in people
            for event in self._of(person, _ACTS_MIN + shares[person.number])
        ]

    def _of(self, person: Traveller, acts: int) -> Iterator[Event]:
        habits = WEIGHTS[person.habit]
        types = self._rng.choices(list(habits), list(habits.values()), k=acts)
        times = sorted(BEGIN + self._rng.random() * YEAR for _ in range(acts))
        tenant = _OTHER_TENANT if self._rng.random() < _IN_OTHER_TENANT else None
        written = [
            self._event(person, type_, time.replace(microsecond=0), tenant)
            for type_, time in zip(types, times, strict=True)
        ]
        return iter(self._with_second_thoughts(written))

    def _event(self, person: Traveller, type_: str, time: datetime, tenant: str | None) -> Event:
        topic = TOPICS[type_]
        source = self._rng.choice(_SOURCES[topic])
        number = f"{next(self._numbers[source]):07d}"
        return Event(
            topic, type_, source, number, person.id, time, self._data(person, type_), tenant
        )

    def _data(self, person: Traveller, type_: str) -> dict[str, object]:
        rng = self._rng
        match type_:
            case "quest.completed":
                city = self._world.from_home(rng, person.home)
                data: dict[str, object] = {
                    "quest_id": f"q-{rng.randrange(4_000)}",
                    "city_id": city.id,
                }
                data |= {"author_id": f"a-{rng.randrange(300)}", "rating": rng.randint(1, 5)}
                return data | {"duration_s": rng.randint(300, 14_400)}
            case "city.visited":
                city = self._world.from_home(rng, person.home)
                # `name` is not declared: what a producer adds of its own must not hurt.
                return {"city_id": city.id, "country": city.country, "name": city.name}
            case "review.posted":
                data = {
                    "review_id": f"r-{next(self._things)}",
                    "place_id": f"p-{rng.randrange(9_000)}",
                }
                return data | {"stars": rng.randint(1, 5), "length": rng.randint(20, 4_000)}
            case "quest.published":
                return {"quest_id": f"q-{4_000 + next(self._things)}", "draft_of": None}
            case "partner.joined":
                return {"partner_id": f"partner-{next(self._things)}"}
            case _:
                tier = rng.choices(_TIERS, _TIER_WEIGHTS)[0]
                return {"voucher_id": f"v-{next(self._things)}", "tier": tier}

    def _with_second_thoughts(self, events: list[Event]) -> list[Event]:
        """Return `events` with some reviews turned into removals or repetitions of earlier ones.

        A counter that falls again may or may not have been seen at its highest, depending on the
        batches. So the second thoughts stay only where they cost no level: the final and the
        highest counters then give the same badges.
        """
        thought_over = list(self._second_thoughts(events))
        kept = [event for event in thought_over if event.type != "review.removed"]
        highest, final = (
            self._badges.levels(count_up(some, self._badges)[events[0].subject])
            for some in (kept, thought_over)
        )
        return thought_over if highest == final else events

    def _second_thoughts(self, events: Sequence[Event]) -> Iterator[Event]:
        posted: list[object] = []
        for event in events:
            chance = self._rng.random()
            if event.type != "review.posted" or not posted or chance > REMOVED + REPOSTED:
                if event.type == "review.posted":
                    posted.append(event.data["review_id"])
                yield event
            elif chance > REMOVED:
                yield replace(event, data={**event.data, "review_id": self._rng.choice(posted)})
            else:
                unheard = self._rng.random() < UNHEARD
                review = f"r-unheard-{next(self._things)}" if unheard else self._rng.choice(posted)
                yield replace(event, type="review.removed", data={"review_id": review})
