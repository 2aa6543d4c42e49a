"""What `laurel status` shows of counting and of Kafka."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from aiokafka import AIOKafkaProducer
from pydantic import SecretStr

from ops.checks import CheckState, Said
from ops.kafka_settings import KafkaSettings
from ops.settings import Settings
from ops.status import Board, Row, Section
from processor import status
from processor.status import (
    SOURCES,
    RateMeter,
    TopicLag,
    lag_rows,
    lag_said,
    letters_said,
    paused_said,
    topic_lags,
)
from processor.stream import topics
from processor.stream.extents import Extent
from sandbox.broker import Broker
from store.engine import Database
from store.live_state import CountedTo
from store.paused_partitions import PauseRow
from store.values.stream import PausedPartition, PauseReason, Reason
from tests.builders.clock import FakeClock
from tests.builders.sql import rows

AWAY = SecretStr("postgresql://laurel@127.0.0.1:9/laurel")


async def shown(settings: Settings) -> dict[str, Section]:
    board = Board(SOURCES, settings)
    async with board.following():
        await board.filled()
        return {each.title: each for each in board.sections()}


def row_of(section: Section, label: str) -> Row:
    return {row.label: row for row in section.rows}[label]


@pytest.fixture
async def settings(
    counting: Database,
    database_url: str,
    broker: Broker,
    topic_prefix: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Settings:
    """Topics of the shipped catalog, and three records in one of them."""
    del counting
    monkeypatch.setattr(status, "_MEASURED", timedelta(milliseconds=50))
    found = Settings(
        database_url=SecretStr(database_url),
        kafka_brokers=broker.address,
        kafka=KafkaSettings(topic_prefix=topic_prefix, consumer_group=f"{topic_prefix}-group"),
    )
    await topics.prepare(found, dry_run=False)
    async with AIOKafkaProducer(bootstrap_servers=broker.address) as producer:
        for _ in range(3):
            await producer.send_and_wait(f"{topic_prefix}.quests", b"any", partition=1)
    return found


async def test_lag_is_what_the_ledger_has_not_reached(
    database: Database, settings: Settings
) -> None:
    quests = f"{settings.kafka.topic_prefix}.quests"
    lag = row_of((await shown(settings))["kafka"], f"lag {quests}")
    assert (lag.state, lag.text) == (
        CheckState.WARN,
        "3, and none was ever counted: is a worker at work?",
    )
    cluster = (await topics.cluster(settings)).id
    await rows(
        database,
        """
        INSERT INTO offset_ledger (cluster_id, topic, partition, next_offset)
        VALUES (:cluster, :topic, 1, 2), ('another', :topic, 1, 0)
        """,
        cluster=cluster,
        topic=quests,
    )
    kafka = (await shown(settings))["kafka"]
    assert (row_of(kafka, f"lag {quests}").state, kafka.state) == (CheckState.OK, CheckState.OK)
    assert kafka.facts["lag"] == {
        f"{settings.kafka.topic_prefix}.{name}": 1 if name == "quests" else 0
        for name in ("cities", "commands", "partners", "quests", "reviews", "wallets")
    }


async def test_no_group_is_joined_and_no_topic_made(settings: Settings) -> None:
    without = settings.kafka.model_copy(update={"topic_prefix": f"{settings.kafka.topic_prefix}x"})
    before = (await topics.cluster(settings)).topics
    kafka = (await shown(settings.model_copy(update={"kafka": without})))["kafka"]
    assert row_of(kafka, "topics").state is CheckState.WARN
    assert "laurel topics create" in row_of(kafka, "topics").text
    await shown(settings)
    assert (await topics.cluster(settings)).topics == before
    async with topics.administered(settings) as admin:
        groups = {name for name, *_ in await admin.list_consumer_groups()}
    assert settings.kafka.consumer_group not in groups


async def test_without_kafka_counting_is_shown_all_the_same(settings: Settings) -> None:
    found = await shown(settings.model_copy(update={"kafka_brokers": "127.0.0.1:9"}))
    assert (found["counting"].state, found["kafka"].state) == (CheckState.OK, CheckState.FAIL)
    assert "127.0.0.1:9" in found["kafka"].rows[0].text


async def test_without_the_database_kafka_is_shown_as_far_as_it_tells(settings: Settings) -> None:
    found = await shown(settings.model_copy(update={"database_url": AWAY}))
    assert found["counting"].state is CheckState.FAIL
    lag = row_of(found["kafka"], "lag")
    assert lag.state is CheckState.WARN
    assert lag.text.startswith("unknown of 3 records: PostgreSQL does not answer at ")


async def test_what_a_person_has_to_see_to_is_in_the_screen(
    database: Database, settings: Settings
) -> None:
    await rows(
        database,
        """
        INSERT INTO offset_ledger (cluster_id, topic, partition, next_offset)
        VALUES ('k', 't', 3, 7)
        """,
    )
    await rows(
        database,
        """
        INSERT INTO paused_partition (cluster_id, topic, partition, "offset", reason, detail)
        VALUES ('k', 't', 3, 7, 'topic_recreated', '')
        """,
    )
    counting = (await shown(settings))["counting"]
    assert row_of(counting, "paused") == Row("paused", paused_said([a_pause("t", 3)]))
    assert counting.state is CheckState.WARN
    assert counting.facts["paused"] == [
        {"topic": "t", "partition": 3, "offset": 7, "reason": "topic_recreated"}
    ]


def a_pause(topic: str, partition: int) -> PauseRow:
    paused = PausedPartition(topic, partition, 7, PauseReason.TOPIC_RECREATED, "", None, None)
    return PauseRow("k", paused, datetime(2026, 11, 27, tzinfo=UTC))


def told(said: Said) -> tuple[CheckState, str]:
    row = Row("any", said)
    return row.state, row.text


def test_the_rate_is_that_of_partitions_seen_twice() -> None:
    clock = FakeClock()
    meter = RateMeter(clock)
    assert meter.is_new
    first = {"k": {("t", 0): CountedTo(100, 0), ("t", 1): CountedTo(50, 0)}}
    assert meter.rate(first) == (0.0, 0.0)
    clock.advance(timedelta(seconds=4))
    second = {
        "k": {("t", 0): CountedTo(180, 0), ("t", 1): CountedTo(20, 0), ("t", 2): CountedTo(9, 0)},
        "l": {("t", 0): CountedTo(9_999, 0)},
    }
    assert not meter.is_new
    assert meter.rate(second) == (20.0, 4.0)


def test_a_partition_that_was_never_read_waits_from_its_begin_on() -> None:
    found = {
        ("a", 0): Extent(10, 15),
        ("a", 1): Extent(0, 7),
        ("b", 0): Extent(0, 0),
    }
    counted = {("a", 1): CountedTo(9, 30.0), ("a", 0): CountedTo(3, 70.0)}
    assert topic_lags(found, counted) == [TopicLag("a", 5, 30.0), TopicLag("b", 0, None)]


@pytest.mark.parametrize(
    ("records", "idle", "state"),
    [
        (5, 59.0, CheckState.OK),
        (5, 61.0, CheckState.WARN),
        (5, None, CheckState.WARN),
    ],
)
def test_records_that_wait_and_are_not_counted_need_a_worker(
    records: int, idle: float | None, state: CheckState
) -> None:
    assert told(lag_said(TopicLag("quests", records, idle)))[0] is state


def test_topics_of_which_nothing_waits_share_a_row() -> None:
    empty, other = TopicLag("cities", 0, None), TopicLag("quests", 2, 1.0)
    assert lag_rows([empty, empty]) == [Row("lag", "0 in 2 topics")]
    assert lag_rows([empty, other]) == [Row("lag quests", "2")]


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "none"), (2, "t/0, t/1: `laurel partitions list`"), (7, "t/4, and 2 more: ")],
)
def test_paused_partitions_are_named_up_to_some(number: int, words: str) -> None:
    paused: Sequence[PauseRow] = [a_pause("t", each) for each in range(number)]
    assert words in told(paused_said(paused))[1]


def test_dead_letters_are_told_by_reason() -> None:
    assert told(letters_said({})) == (CheckState.OK, "none in the last hour")
    some = letters_said({Reason.NOT_JSON: 1_200, Reason.MISSING_FIELD: 1})
    assert told(some) == (
        CheckState.WARN,
        "1,201 in the last hour: not_json 1,200, missing_field 1",
    )
    assert told(letters_said({Reason.NOT_JSON: 10_001}))[1].startswith("more than 10,000 in ")
