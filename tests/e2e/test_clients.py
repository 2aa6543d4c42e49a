"""Every client, codec, mode and way of delivery that a producer may choose: what it sends is counted once."""

import asyncio
import itertools
import os
import re
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from ops.lifecycle import EXIT_OK
from sandbox.broker import Broker
from store.engine import Database
from tests.builders.messages import a_partner, a_quest, a_review, a_visit, encoded, user
from tests.builders.sql import column
from tests.e2e.clients import (
    BINARY,
    CODECS,
    IDEMPOTENT,
    MODES,
    PLAIN,
    TRANSACTIONAL,
    BatchKind,
    Message,
    Order,
    batches_on_disk,
    by_aiokafka,
    by_kcat,
    by_librdkafka,
    by_the_java_console,
    written,
)
from tests.e2e.workers import ROOT, Site, a_producer, a_worker, until_counted

pytestmark = pytest.mark.kafka

EVENTS_OF_EACH = 2
_users = itertools.count(1_000)


@dataclass(frozen=True, slots=True)
class Client:
    """A client, and the topic that is its own: the broker's files say what it wrote there."""

    send: Callable[[Site, Iterable[Order]], Awaitable[None]]
    topic: str
    event: Callable[[UUID], dict[str, Any]]
    deliveries: tuple[str, ...] = (PLAIN, IDEMPOTENT)


_numbers = itertools.count()
CLIENTS = {
    "librdkafka": Client(by_librdkafka, "quests", a_quest, (PLAIN, IDEMPOTENT, TRANSACTIONAL)),
    "aiokafka": Client(
        by_aiokafka,
        "cities",
        lambda who: a_visit(who, f"city-{next(_numbers)}"),
        (PLAIN, IDEMPOTENT, TRANSACTIONAL),
    ),
    "the Java console producer": Client(
        by_the_java_console,
        "reviews",
        lambda who: a_review(who, f"review-{next(_numbers)}"),
    ),
    "kcat": Client(by_kcat, "partners", a_partner),
}


@pytest.mark.parametrize("name", CLIENTS)
async def test_what_a_client_sends_is_counted_once_and_what_it_aborts_never(
    kafka_site: Site, kafka_broker: Broker, database: Database, tmp_path: Path, name: str
) -> None:
    """A user for each codec, mode and way of delivery; their counters say what was counted."""
    client, expected, orders = CLIENTS[name], dict[UUID, int](), list[Order]()
    topic = f"{kafka_site.prefix}.{client.topic}"
    for codec, delivery in itertools.product(CODECS, client.deliveries):
        messages: list[Message] = []
        for mode in MODES:
            who = user(next(_users))
            messages += _messages(client, who, mode)
            expected[who] = EVENTS_OF_EACH
        aborted = _messages(client, user(next(_users)), BINARY)
        orders.append(Order(topic, codec, delivery, messages, aborted))
    await client.send(kafka_site, orders)
    with a_worker(kafka_site, tmp_path / "worker.log") as worker:
        await until_counted(database, sum(expected.values()), worker)
        assert worker.stop() == EXIT_OK
    assert await counters(database) == expected
    assert await dead_letters(database) == 0
    # The client did choose what it was told to choose.
    assert batches_on_disk(kafka_broker.directory / "data", topic) == {
        BatchKind(codec, delivery) for codec in CODECS for delivery in client.deliveries
    }


def _messages(client: Client, who: UUID, mode: str) -> list[Message]:
    # The filler makes a batch worth compressing: some keep it as it is where its codec does not
    # shrink it. Every other structured message declares no content type.
    return [
        written(client.event(who) | {"filler": "x" * 500}, mode, named=number % 2 == 0)
        for number in range(EVENTS_OF_EACH)
    ]


async def counters(database: Database) -> Mapping[UUID, int]:
    """What was counted of each user."""
    async with database.transaction() as conn:
        rows = await conn.execute(text("SELECT user_id, counters FROM nft_progress"))
        return {row.user_id: max(map(int, row.counters.values())) for row in rows}


async def dead_letters(database: Database) -> int:
    """How many messages were rejected."""
    async with database.transaction() as conn:
        return int((await conn.execute(text("SELECT count(*) FROM dead_letter"))).scalar_one())


async def test_a_range_of_a_topic_is_counted_as_the_runbook_says(
    kafka_site: Site, database: Database
) -> None:
    page = (ROOT / "docs" / "runbook.md").read_text()
    (line,) = re.findall(r"^laurel backfill --topic .*$", page, re.MULTILINE)
    topic = f"{kafka_site.prefix}.quests"
    for word, ours in (
        ("laurel.quests", topic),
        ("--from 1000 --to 1500", "--from 2 --to 5"),
        ("laurel backfill", f"{sys.executable} -m cli backfill"),
    ):
        assert word in line
        line = line.replace(word, ours)
    events = [a_quest(user(number)) for number in range(7)]
    async with a_producer(kafka_site) as producer:
        for event in events:
            await producer.send_and_wait(topic, encoded(event), partition=0)
    process = await asyncio.create_subprocess_shell(
        line, cwd=ROOT, env=os.environ | kafka_site.environment
    )
    assert await process.wait() == 0
    found = await column(database, "SELECT user_id FROM nft_progress ORDER BY user_id")
    assert found == [user(number) for number in (2, 3, 4)]
