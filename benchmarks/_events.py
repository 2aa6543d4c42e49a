"""The events of the benchmarks.

CloudEvents of 300 bytes and a little, of many users, unevenly spread, with a few repetitions.

They are the quests and cities of the shipped catalog: a count and a distinct counter, two badges.
Half of them each.
"""

import random
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate

import msgspec

SEED = 20261123
PARTITIONS = 2  # of each topic
QUESTS, CITIES = "laurel.quests", "laurel.cities"
TOPICS = (QUESTS, CITIES)
USERS = 100_000
_CITIES = 5_000
_REPEATED = 0.01
_SKEW = 0.8  # of Zipf's law: the first user has about 0.4 % of the events
START = datetime(2026, 3, 1, tzinfo=UTC)

Partition = tuple[str, int]
NewId = Callable[[datetime, random.Random], uuid.UUID]


@dataclass(frozen=True, slots=True)
class Message:
    """A record before it has an offset.

    All events of a user and a topic lie in one partition, in their order.
    """

    topic: str
    partition: int
    value: bytes


def random_id(_moment: datetime, chance: random.Random) -> uuid.UUID:
    """Return a UUIDv4."""
    return uuid.UUID(int=chance.getrandbits(128), version=4)


def time_led_id(moment: datetime, chance: random.Random) -> uuid.UUID:
    """Return a UUIDv7."""
    milliseconds = round(moment.timestamp() * 1000)
    # uuid.UUID knows version 7 from Python 3.14 on.
    bits = chance.getrandbits(74)
    return uuid.UUID(
        int=milliseconds << 80 | 0x7 << 76 | bits >> 62 << 64 | 0b10 << 62 | bits & (1 << 62) - 1
    )


def user_ids(number: int, chance: random.Random | None = None) -> Iterator[str]:
    """Return the users that so many messages' subjects are taken from."""
    chance = chance or random.Random(SEED)
    return (str(random_id(START, chance)) for _ in range(number))


def messages(
    number: int, *, users: int = USERS, new_id: NewId = random_id, start: datetime = START
) -> Iterator[Message]:
    """Return `number` messages, the same ones each time.

    Args:
        number: how many.
        users: of how many users.
        new_id: makes an event's id of its time.
        start: the first event's time; the others follow at 20 a second.
    """
    chance = random.Random(SEED)
    known = list(user_ids(users, chance))
    chosen_users = chance.choices(range(users), cum_weights=_zipf(users), k=number)
    chosen_cities = chance.choices(range(_CITIES), cum_weights=_zipf(_CITIES), k=number)
    encode = msgspec.json.Encoder().encode
    recent: list[Message] = []
    for position, (user, city) in enumerate(zip(chosen_users, chosen_cities, strict=True)):
        if recent and chance.random() < _REPEATED:
            yield chance.choice(recent)
            continue
        is_quest = chance.random() < 0.5
        moment = start + timedelta(milliseconds=position * 50)
        event = {
            "specversion": "1.0",
            "id": str(new_id(moment, chance)),
            "source": "/quest-service/eu" if is_quest else "/city-service/eu",
            "type": "quest.completed" if is_quest else "city.visited",
            "subject": known[user],
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "datacontenttype": "application/json",
            "data": {
                "quest_id": f"q-{position % 20_000}",
                "city_id": f"c-{city}",
                "rating": 1 + position % 5,
            }
            if is_quest
            else {"city_id": f"c-{city}", "country": "rs"},
        }
        made = Message(QUESTS if is_quest else CITIES, user % PARTITIONS, encode(event))
        recent.append(made)
        if len(recent) > 50_000:
            recent = recent[25_000:]
        yield made


def by_partition(made: Iterable[Message]) -> dict[Partition, list[bytes]]:
    """Return messages as the partitions would hold them."""
    found: dict[Partition, list[bytes]] = {
        (topic, part): [] for topic in TOPICS for part in range(PARTITIONS)
    }
    for message in made:
        found[message.topic, message.partition].append(message.value)
    return found


def _zipf(number: int) -> list[float]:
    return list(accumulate(1 / (rank + 1) ** _SKEW for rank in range(number)))
