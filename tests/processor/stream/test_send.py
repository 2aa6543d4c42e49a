"""`laurel send`: an event as the worker reads it, and words about what is no event."""

import json
import shutil
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from aiokafka import AIOKafkaConsumer
from click.testing import CliRunner

from cli import main
from ops.clock import SYSTEM_CLOCK
from ops.errors import UsageError
from ops.settings import Settings
from processor.catalog import load
from processor.events.reader import BadgeCommand, Event, EventReader, Ignored, WalletChange
from processor.stream import send
from processor.stream.send import PublishFailed, TypedEvent
from sandbox.broker import Broker
from sandbox.ports import reserved

ANNA = "0b9e2c1e-7a54-4f36-9a55-0d0c9b7a4a10"
DISTANCES = """
events:
  walk.finished:
    topic: walks
    fields:
      kilometres: {kind: number, required: true}
"""


def settings_for(broker: Broker, topic_prefix: str, catalog: Path | None = None) -> Settings:
    return Settings(
        kafka_brokers=broker.address, kafka={"topic_prefix": topic_prefix}, catalog_dir=catalog
    )


async def read_back(broker: Broker, topic: str, number: int) -> list[Any]:
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=broker.address, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        return [await consumer.getone() for _ in range(number)]
    finally:
        await consumer.stop()


def a_worker(catalog: Path = load.SHIPPED) -> EventReader:
    return EventReader(load.load(catalog), UUID(int=1), timedelta(minutes=10), None)


async def test_what_is_sent_is_read_by_the_worker(broker: Broker, topic_prefix: str) -> None:
    quest = TypedEvent("quest.completed", ANNA, ["quest_id=q1", "rating=5"])
    topic = await send.send(settings_for(broker, topic_prefix), quest, times=3)
    assert topic == f"{topic_prefix}.quests"
    records = await read_back(broker, topic, 3)
    read = [a_worker().at(SYSTEM_CLOCK.now(), "quests")(record) for record in records]
    assert [str(each.user_id) if isinstance(each, Event) else each for each in read] == [ANNA] * 3
    assert len({record.value for record in records}) == 3  # ids of their own
    assert {record.key for record in records} == {ANNA.encode()}


@pytest.mark.parametrize(
    ("event", "topic", "kind"),
    [
        (
            TypedEvent("wallet.linked", ANNA, ["address=0:" + "ab" * 32]),
            "wallets",
            WalletChange,
        ),
        (
            TypedEvent("badge.mint", ANNA, ["external_id=1", "type_code=explorer"]),
            "commands",
            BadgeCommand,
        ),
    ],
    ids=["a wallet", "a command"],
)
async def test_laurels_own_types_are_sent_too(
    broker: Broker, topic_prefix: str, event: TypedEvent, topic: str, kind: type
) -> None:
    full_topic = await send.send(settings_for(broker, topic_prefix), event, times=1)
    assert full_topic == f"{topic_prefix}.{topic}"
    (record,) = await read_back(broker, full_topic, 1)
    assert isinstance(a_worker().at(SYSTEM_CLOCK.now(), topic)(record), kind)


async def test_a_decimal_arrives_exactly(broker: Broker, topic_prefix: str, tmp_path: Path) -> None:
    catalog = tmp_path / "catalog"
    shutil.copytree(load.SHIPPED, catalog)
    (catalog / "distances.yaml").write_text(DISTANCES)
    walk = TypedEvent("walk.finished", ANNA, ["kilometres=0.10000000000000000001"])
    topic = await send.send(settings_for(broker, topic_prefix, catalog), walk, times=1)
    (record,) = await read_back(broker, topic, 1)
    assert json.loads(record.value, parse_float=Decimal)["data"] == {
        "kilometres": Decimal("0.10000000000000000001")
    }
    assert isinstance(a_worker(catalog).at(SYSTEM_CLOCK.now(), "walks")(record), Ignored)
    for written in ("kilometres=far", "kilometres=NaN"):
        with pytest.raises(UsageError, match=f"{written}: kilometres is a number"):
            await send.send(
                settings_for(broker, topic_prefix, catalog),
                TypedEvent("walk.finished", ANNA, [written]),
                times=1,
            )


@pytest.mark.parametrize(
    ("event_type", "data", "message"),
    [
        (
            "quest.dreamt",
            [],
            r"There is no event type quest\.dreamt\. There are: badge\.award, .*, wallet\.unlinked",
        ),
        ("city.visited", ["city_id"], r"city_id: data is written as FIELD=VALUE"),
        ("review.posted", ["review_id=1", "stars=five"], r"stars=five: stars is a whole number"),
    ],
)
async def test_what_is_no_event_is_refused_with_the_way_out(
    event_type: str, data: list[str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        await send.send(Settings(), TypedEvent(event_type, ANNA, data), times=1)


async def test_a_broker_that_is_not_there_is_named() -> None:
    with reserved() as port:
        settings = Settings(kafka_brokers=f"127.0.0.1:{port}")
        with pytest.raises(PublishFailed, match=f"Kafka does not answer at 127.0.0.1:{port}"):
            await send.send(settings, TypedEvent("partner.joined", ANNA, ["partner_id=p"]), times=1)


def test_the_command_says_what_it_sent_and_where(
    broker: Broker, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAUREL_KAFKA_BROKERS", broker.address)
    monkeypatch.setenv("LAUREL_KAFKA__TOPIC_PREFIX", topic_prefix)
    said = CliRunner().invoke(
        main, ["send", "partner.joined", "partner_id=p1", "--times", "2", "--user", ANNA]
    )
    assert (said.exit_code, said.stdout) == (0, "")
    assert said.stderr == f"2 x partner.joined sent to {topic_prefix}.partners.\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["quest.dreamt", "--user", ANNA], "laurel: There is no event type quest.dreamt."),
        (["city.visited", "--user", "anna"], "'anna' is not a valid UUID"),
        (["city.visited", "--user", ANNA, "--times", "0"], "0 is not in the range x>=1"),
    ],
)
def test_the_command_ends_with_2_for_what_is_no_event(words: list[str], message: str) -> None:
    said = CliRunner().invoke(main, ["send", *words])
    assert said.exit_code == 2
    assert message in said.stderr
