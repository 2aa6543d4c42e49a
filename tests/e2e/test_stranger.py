"""A stranger's producer: it keeps to the contract table of docs/data-model.md and to nothing else.

Several hundred thousand events of every kind, shuffled, repeated by retries, with broken lines
between them, in binary and structured mode, through a real Kafka, with a worker killed on the way.
What must come out is counted here, from what was sent, by code of its own.
"""

import itertools
import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text

from ops.lifecycle import EXIT_OK
from store.engine import Database
from tests.e2e.workers import Site, a_producer, a_worker, until_counted, until_read

pytestmark = pytest.mark.kafka

EVENTS = 300_000
USERS = 3_000
PARTITIONS = 2
# topic, partition, key, value, headers
Message = tuple[str, int, bytes | None, bytes | None, list[tuple[str, bytes]]]


@dataclass
class Truth:
    """What the counters must be, and how many messages cannot be counted."""

    quests: Counter[str] = field(default_factory=Counter)
    cities: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    posted: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    removed: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    partners: Counter[str] = field(default_factory=Counter)
    broken: int = 0
    distinct: int = 0

    def totals(self) -> dict[str, int]:
        """Each counter, over all users."""
        return {
            "quest_completed_count": self.quests.total(),
            "unique_cities_visited": sum(map(len, self.cities.values())),
            "rf_reviews_posted": sum(
                len(posted - self.removed[who]) for who, posted in self.posted.items()
            ),
            "partners_invited": self.partners.total(),
        }

    def ambassadors(self) -> Counter[int]:
        """Badges by level: the first partner, three, six."""
        return Counter(3 if n >= 6 else 2 if n >= 3 else 1 for n in self.partners.values())


def a_stranger(seed: int, truth: Truth) -> Iterator[Message]:
    """Yield the messages of a stranger's services, and count in `truth` what they say."""
    chance = random.Random(seed)
    users = [str(UUID(int=chance.getrandbits(128))) for _ in range(USERS)]
    for number in range(EVENTS):
        who = users[int(chance.triangular(0, USERS, 0))]
        kind = chance.choices(
            [
                "quest.completed",
                "city.visited",
                "review.posted",
                "review.removed",
                "partner.joined",
            ],
            [40, 40, 10, 7, 3],
        )[0]
        data: dict[str, object]
        match kind:
            case "quest.completed":
                data = {
                    "quest_id": f"q{number % 999}",
                    "rating": chance.randint(1, 5),
                    "ref": {"nested": [1, 2.5, None]},
                }
                truth.quests[who] += 1
            case "city.visited":
                city = chance.choice(
                    ["Москва", "Zürich", "New\tYork", "a\\b", f"c{chance.randrange(60)}"]
                )
                data = {"city_id": city, "country": "XX"}
                truth.cities[who].add(city)
            case "partner.joined":
                data = {"partner_id": f"p{number}"}
                truth.partners[who] += 1
            case _:
                review = f"r{chance.randrange(12)}"
                data = {"review_id": review}
                (truth.posted if kind == "review.posted" else truth.removed)[who].add(review)
        truth.distinct += 1
        day = f"2026-{chance.randint(1, 5):02}-{chance.randint(1, 28):02}"
        when = f"{day}T{chance.randint(0, 23):02}:00:00.123456789+03:00"
        # Two services may use one id: together with the source it names the event.
        attributes = {
            "specversion": "1.0",
            "id": str(number // 2),
            "source": f"//services.example/{chance.choice('ab')}{number % 2}/events",
            "type": kind,
            "subject": who.upper() if chance.random() < 0.1 else who,
            "time": when,
        }
        topic = {"quest": "quests", "city": "cities", "review": "reviews", "partner": "partners"}[
            kind.partition(".")[0]
        ]
        partition = (
            int(who[:2], 16) % PARTITIONS if chance.random() < 0.9 else chance.randrange(PARTITIONS)
        )
        message = written(
            topic,
            partition,
            attributes,
            data,
            binary=chance.random() < 0.2,
            escaped=chance.random() < 0.5,
        )
        for _ in range(2 if chance.random() < 0.02 else 1):
            yield message
        if chance.random() < 0.005:
            truth.broken += 1
            yield broken(chance, message, attributes, data)


def written(
    topic: str,
    partition: int,
    attributes: dict[str, str],
    data: object,
    *,
    binary: bool,
    escaped: bool,
) -> Message:
    """A message in one of the modes of the CloudEvents Kafka binding."""
    if binary:
        headers = [(f"ce_{name}", value.encode()) for name, value in attributes.items()]
        body = json.dumps(data, ensure_ascii=escaped).encode()
        return (
            topic,
            partition,
            b"any key",
            body,
            [*headers, ("content-type", b"application/json; charset=utf-8")],
        )
    body = json.dumps({**attributes, "data": data}, ensure_ascii=escaped).encode()
    return topic, partition, None, body, []


def broken(
    chance: random.Random, message: Message, attributes: dict[str, str], data: object
) -> Message:
    """A message that cannot be counted, made of one that can."""
    topic, partition, key, _, _ = message
    fresh = {**attributes, "id": f"broken-{chance.getrandbits(64)}", "data": data}
    values: list[bytes | None] = [
        None,
        b"",
        b"\xff\xfe not text",
        json.dumps(fresh).encode()[:-5],
        json.dumps(fresh | {"time": "yesterday"}).encode(),
        json.dumps(fresh | {"subject": "somebody"}).encode(),
        json.dumps(fresh | {"type": "quest.dreamt"}).encode(),
        json.dumps(fresh | {"data": {}}).encode(),
        json.dumps(fresh | {"id": "x" * 129}).encode(),
        json.dumps(fresh | {"id": "nul\x00"}).encode(),
        json.dumps(fresh | {"time": "2099-01-01T00:00:00Z"}).encode(),
    ]
    return topic, partition, key, chance.choice(values), []


async def publish(site: Site, messages: list[Message]) -> None:
    """Send batches built by hand.

    One by one a client takes longer than all the rest of the test.
    """
    chunks: dict[tuple[str, int], list[Message]] = defaultdict(list)
    for message in messages:
        chunks[message[0], message[1]].append(message)
    async with a_producer(site, max_batch_size=900_000, max_request_size=1_000_000) as producer:
        for (topic, partition), found in chunks.items():
            waiting = iter(found)
            held: Message | None = next(waiting, None)
            while held is not None:
                batch = producer.create_batch()
                while held is not None and batch.append(
                    key=held[2], value=held[3], timestamp=None, headers=held[4]
                ):
                    held = next(waiting, None)
                batch.close()
                await (
                    await producer.send_batch(batch, f"{site.prefix}.{topic}", partition=partition)
                )


async def totals(database: Database) -> dict[str, int]:
    """Each counter over all users, and a proof that each type shows the same."""
    async with database.transaction() as conn:
        rows = await conn.execute(
            text("""
                SELECT DISTINCT key, sum(value::int)::int
                  FROM nft_progress, jsonb_each(counters) GROUP BY type_id, key
            """)
        )
        return {row[0]: row[1] for row in rows}


async def test_a_strangers_events_are_counted_exactly(
    kafka_site: Site, database: Database, tmp_path: Path
) -> None:
    truth = Truth()
    messages = list(a_stranger(20260601, truth))
    random.Random(1).shuffle(messages)
    await publish(kafka_site, messages)
    with a_worker(kafka_site, tmp_path / "first.log", LAUREL_LOG__LEVEL="WARNING") as first:
        await until_counted(database, EVENTS // 4, first)
        first.kill()
    with a_worker(kafka_site, tmp_path / "second.log", LAUREL_LOG__LEVEL="WARNING") as second:
        await until_read(database, len(messages), second)
        assert second.stop() == EXIT_OK
    async with database.transaction() as conn:
        events = (await conn.execute(text("SELECT count(*) FROM processed_event"))).scalar_one()
        letters = (await conn.execute(text("SELECT count(*) FROM dead_letter"))).scalar_one()
        badges = await conn.execute(
            text("""
                SELECT current_level, count(*)
                  FROM nft_instance JOIN nft_type ON nft_type.id = type_id
                 WHERE code = 'ambassador' GROUP BY current_level
            """)
        )
        levels = {row[0]: row[1] for row in badges}
    assert await totals(database) == truth.totals()
    assert (events, letters, levels) == (truth.distinct, truth.broken, truth.ambassadors())


def test_the_stranger_sends_what_the_test_says() -> None:
    truth = Truth()
    sample = list(itertools.islice(a_stranger(1, truth), 2_000))
    assert {topic for topic, *_ in sample} == {"quests", "cities", "reviews", "partners"}
    assert truth.broken > 0
    assert len(sample) > truth.distinct + truth.broken
