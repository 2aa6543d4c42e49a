"""`laurel send`: an event as the worker reads it, and words about what is no event."""

import json
import shutil
import socket
from dataclasses import replace
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
from processor.events.event import Event
from processor.events.reader import BadgeCommand, EventReader, WalletChange
from processor.stream import send, topics
from processor.stream.kafka_access import KafkaUnreachable
from processor.stream.send import PublishFailed, TypedEvent
from processor.stream.topics import TopicsMissing
from sandbox.broker import Broker
from sandbox.ports import reserved
from store.engine import Database
from tests.builders.messages import with_catalog

ANNA = "0b9e2c1e-7a54-4f36-9a55-0d0c9b7a4a10"
DISTANCES = """
events:
  walk.finished:
    topic: walks
    fields:
      kilometres: {kind: number, required: true}
"""
WALKER = """
counters:
  walks: {kind: count, event: walk.finished}
types:
  walker:
    category: traveler
    title: Walker
    description: Walks
    base_image_url: https://example.org/walker.png
    is_onchain_capable: false
    default_onchain_policy: never
    metadata_schema: {}
    counters: [walks]
    levels:
      1: {title: One, description: One, rarity: common, conditions: {walks: {gte: 1}}}
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


async def sent(settings: Settings, event: TypedEvent, times: int = 1) -> str:
    """Make the topics, send the event, and return the topic that it went to."""
    await topics.prepare(settings, dry_run=False)
    messages = await send.prepare(settings, event, times)
    await send.publish(settings, messages)
    return messages.topic


def a_worker(catalog: Path = load.SHIPPED) -> EventReader:
    return EventReader(load.load(catalog), UUID(int=1), timedelta(minutes=10), None)


async def test_what_is_sent_is_read_by_the_worker(broker: Broker, topic_prefix: str) -> None:
    quest = TypedEvent("quest.completed", ANNA, ["quest_id=q1", "rating=5"])
    topic = await sent(settings_for(broker, topic_prefix), quest, times=3)
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
    full_topic = await sent(settings_for(broker, topic_prefix), event)
    assert full_topic == f"{topic_prefix}.{topic}"
    (record,) = await read_back(broker, full_topic, 1)
    assert isinstance(a_worker().at(SYSTEM_CLOCK.now(), topic)(record), kind)


async def test_a_decimal_arrives_exactly(broker: Broker, topic_prefix: str, tmp_path: Path) -> None:
    catalog = tmp_path / "catalog"
    shutil.copytree(load.SHIPPED, catalog)
    (catalog / "distances.yaml").write_text(DISTANCES)
    walk = TypedEvent("walk.finished", ANNA, ["kilometres=0.10000000000000000001"])
    topic = await sent(settings_for(broker, topic_prefix, catalog), walk)
    (record,) = await read_back(broker, topic, 1)
    assert json.loads(record.value, parse_float=Decimal)["data"] == {
        "kilometres": Decimal("0.10000000000000000001")
    }
    assert isinstance(a_worker(catalog).at(SYSTEM_CLOCK.now(), "walks")(record), Event)
    for written in ("kilometres=far", "kilometres=NaN"):
        with pytest.raises(UsageError, match=f"{written}: kilometres is a number"):
            await send.prepare(
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
            r"There is no event type quest\.dreamt\..* There are: badge\.award, .*, wallet\.unlinked",
        ),
        ("city.visit", [], r"There is no event type city\.visit\. Did you mean city\.visited\?"),
        ("city.visited", ["city_id"], r"city_id: data is written as FIELD=VALUE"),
        ("review.posted", ["review_id=1", "stars=five"], r"stars=five: stars is a whole number"),
        (
            "partner.joined",
            ["partnerid=p1"],
            r"partnerid\. Did you mean partner_id\? Its fields \(\* required\): partner_id\*\.",
        ),
        (
            "partner.joined",
            ["colour=red"],
            r"a worker would reject it: missing_field: .*`partner_id`\. Its fields",
        ),
        ("review.posted", ["review_id=1", "stars=6"], r"reject it: bad_field: .*stars"),
        ("wallet.linked", ["address=0:12"], r"reject it: bad_address: "),
        ("badge.revoke", ["external_id=1", "type_code=explorer"], r"reject it: .*`reason`"),
        ("badge.mint", ["external_id=1", "type_code=explorr"], r"reject it: unknown_badge_type"),
        ("badge.award", ["external_id=1", "type_code=explorer", "level=9"], r"unknown_level: "),
        ("city.visited", ["city_id=1", "city_id=2"], r"city_id=2: city_id is given twice"),
        # What a shell makes of bytes that are no text.
        ("city.visited", ["city_id=\udcff"], r"city_id=\\xff: this is no UTF-8"),
        ("city.visited", ["city_id=1", "note=" + "x" * 2**20], r"reject it: too_large: "),
    ],
)
async def test_what_is_no_event_is_refused_with_the_way_out(
    event_type: str, data: list[str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        await send.prepare(Settings(), TypedEvent(event_type, ANNA, data), times=1)


async def test_a_field_that_only_a_filter_may_read_is_sent_and_named() -> None:
    event = TypedEvent("partner.joined", ANNA, ["partner_id=p1", "colour=red"])
    messages = await send.prepare(Settings(), event, times=1)
    assert messages.undeclared == ["colour"]
    assert json.loads(messages.values[0])["data"] == {"partner_id": "p1", "colour": "red"}


async def test_the_catalog_in_force_says_which_types_there_are(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    """Also where the files say something else, and where a level leaves out its `order`."""
    (tmp_path / "distances.yaml").write_text(DISTANCES + WALKER)
    settings = Settings(database_url=database_url, catalog_dir=tmp_path)
    walk = TypedEvent("walk.finished", ANNA, ["kilometres=1"])
    assert len((await send.prepare(settings, walk, times=2)).values) == 2
    await with_catalog(database)
    with pytest.raises(UsageError, match=r"There is no event type walk\.finished\."):
        await send.prepare(settings, walk, times=1)


A_PARTNER = send.Prepared("laurel.partners", ANNA.encode(), [b"{}"])


async def test_a_broker_that_is_not_there_is_named() -> None:
    with reserved() as port:
        settings = Settings(kafka_brokers=f"127.0.0.1:{port}")
        with pytest.raises(KafkaUnreachable, match=f"Kafka does not answer at 127.0.0.1:{port}"):
            await send.publish(settings, A_PARTNER)


async def test_a_broker_that_takes_a_connection_and_never_answers_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = f"127.0.0.1:{silent.getsockname()[1]}"
        settings = Settings(kafka_brokers=where, kafka={"request_timeout": timedelta(seconds=1)})
        with pytest.raises(KafkaUnreachable, match=f"Kafka does not answer at {where}"):
            await send.publish(settings, A_PARTNER)


async def test_a_topic_that_is_not_there_is_named_and_not_made(
    broker: Broker, topic_prefix: str
) -> None:
    settings = settings_for(broker, topic_prefix)
    messages = replace(A_PARTNER, topic=f"{topic_prefix}.partners")
    with pytest.raises(TopicsMissing, match="Make it by `laurel topics create`"):
        await send.publish(settings, messages)
    assert messages.topic not in (await topics.cluster(settings)).topics


async def test_a_message_that_kafka_does_not_take_is_named(
    broker: Broker, topic_prefix: str
) -> None:
    settings = settings_for(broker, topic_prefix)
    await topics.prepare(settings, dry_run=False)
    messages = replace(A_PARTNER, topic=f"{topic_prefix}.partners", values=[b"x" * 2_000_000])
    with pytest.raises(PublishFailed, match="Kafka did not take a message: MessageSizeTooLarge"):
        await send.publish(settings, messages)


def test_a_dry_run_prints_the_messages_alone() -> None:
    said = CliRunner().invoke(
        main, ["send", "partner.joined", "partner_id=p1", "--times=2", "--user", ANNA, "--dry-run"]
    )
    assert said.exit_code == 0
    messages = [json.loads(line) for line in said.stdout.splitlines()]
    assert [message["data"] for message in messages] == [{"partner_id": "p1"}] * 2
    assert said.stderr == "2 x partner.joined would be sent to laurel.partners.\n"


def test_the_command_says_what_it_sent_and_where(
    broker: Broker, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAUREL_KAFKA_BROKERS", broker.address)
    monkeypatch.setenv("LAUREL_KAFKA__TOPIC_PREFIX", topic_prefix)
    CliRunner().invoke(main, ["topics", "create"])
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
        (["city.visited", "--user", ANNA, "--times", "0"], "0 is not in the range 1<=x<=100000"),
    ],
)
def test_the_command_ends_with_2_for_what_is_no_event(words: list[str], message: str) -> None:
    said = CliRunner().invoke(main, ["send", *words])
    assert said.exit_code == 2
    assert message in said.stderr
