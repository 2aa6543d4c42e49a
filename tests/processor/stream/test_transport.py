"""The private methods of Faust and aiokafka that the chunk transport leans on.

Each test is a promise of faust-streaming 0.15.3 or aiokafka 0.14.0 that has no public form. When an
upgrade breaks one, the transport has to be looked at before the pin moves
(docs/adr/0004-faust-guards.md). That it works against real brokers is in tests/e2e.
"""

import inspect
from collections import defaultdict, deque
from types import SimpleNamespace
from typing import Any

import aiokafka
import pytest
from aiokafka.consumer.fetcher import Fetcher, OffsetResetStrategy
from aiokafka.consumer.subscription_state import TopicPartitionState
from aiokafka.errors import OffsetOutOfRangeError
from faust.app.base import App
from faust.serializers.registry import Registry
from faust.transport import consumer as base
from faust.transport.drivers import aiokafka as driver
from faust.transport.drivers import by_url
from faust.types import TP, ConsumerMessage
from faust.types.enums import ProcessingGuarantee
from mode import CrashingSupervisor
from pydantic import SecretStr

from ops.settings import Settings
from processor.events.chunks import PlainRecord
from processor.stream.app import _faust_app
from processor.stream.transport import (
    Consumer,
    ConsumerThread,
    OffsetsLost,
    Standing,
    Transport,
    _Reading,
)
from store.ledger import LedgerEntry

QUESTS = TP("laurel.quests", 0)


def signature(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def source(function: Any) -> str:
    return inspect.getsource(function)


def test_the_versions_are_the_ones_that_were_read() -> None:
    from importlib.metadata import version

    assert version("faust-streaming").startswith("0.15.")
    assert aiokafka.__version__.startswith("0.14.")


def test_the_overridden_methods_exist_with_their_parameters() -> None:
    thread, consumer = driver.AIOKafkaConsumerThread, driver.Consumer
    assert signature(thread._create_worker_consumer) == ["self", "transport"]
    assert signature(thread._fetch_records) == [
        "self",
        "consumer",
        "active_partitions",
        "timeout",
        "max_records",
    ]
    assert signature(thread.on_partitions_revoked) == ["self", "revoked"]
    assert signature(consumer._new_consumer_thread) == ["self"]
    assert signature(consumer._to_message) == ["self", "tp", "record"]
    assert signature(consumer._add_gap) == ["self", "tp", "offset_from", "offset_to"]
    assert signature(consumer.ack) == ["self", "message"]
    assert signature(consumer._new_offset) == ["self", "tp"]
    assert signature(consumer.on_partitions_revoked) == ["self", "revoked"]
    assert signature(consumer.perform_seek) == ["self"]
    assert signature(App.on_first_start) == ["self"]


def test_faust_seeks_by_perform_seek_alone() -> None:
    """After an assignment, and after an interruption.

    Were there another way, records below the ledger could be skipped.
    """
    from faust.tables.recovery import Recovery

    assert "consumer.perform_seek()" in source(Recovery._resume_streams)
    assert "self.perform_seek()" in source(base.Consumer.getmany)
    assert "seek_to_committed" not in source(base.Consumer.getmany)


def test_a_stopped_flow_fetches_nothing() -> None:
    assert "if not self.consumer.flow_active:\n            return {}" in source(
        driver.AIOKafkaConsumerThread._fetch_records
    )


def test_read_offsets_are_looked_up_where_the_transport_answers_none() -> None:
    assert "get_read_offset = self._read_offset.__getitem__" in source(
        base.Consumer._drain_messages
    )
    assert "if r_offset is None or offset >= r_offset" in source(base.Consumer._drain_messages)


def test_aiokafka_takes_settings_until_it_starts() -> None:
    names = signature(aiokafka.AIOKafkaConsumer.__init__)
    assert {"fetch_max_wait_ms", "isolation_level", "auto_offset_reset"} <= set(names)
    start = source(aiokafka.AIOKafkaConsumer.start)
    for attribute in ("_fetch_max_wait_ms", "_isolation_level", "_auto_offset_reset"):
        assert f"self.{attribute}" in start
    assert OffsetResetStrategy.from_str("none") == OffsetResetStrategy.NONE


async def test_a_seek_discards_what_was_fetched_before() -> None:
    assert "del self._records[tp]" in source(Fetcher.seek_to)
    state = TopicPartitionState(None)
    assert {"highwater", "lso", "timestamp"} <= set(vars(state))


def test_values_pass_faust_unread() -> None:
    registry = Registry(key_serializer="raw", value_serializer="raw")
    chunk = object()
    assert registry.loads_value(None, chunk, serializer="raw") is chunk  # type: ignore[arg-type]


def test_the_scheme_brings_the_transport() -> None:
    assert by_url("laurel://127.0.0.1:9092") is Transport
    assert Transport.Consumer is Consumer


@pytest.fixture
def thread(monkeypatch: pytest.MonkeyPatch) -> ConsumerThread:
    """A consumer thread that talks to nobody.

    Its state and its navigator are all that these tests use.
    """
    made = ConsumerThread.__new__(ConsumerThread)
    failures: list[BaseException] = []
    navigator = SimpleNamespace(chunk_records_max=3, fail=failures.append, failures=failures)
    made.app = SimpleNamespace(navigator=navigator)  # type: ignore[assignment]
    made.parent_loop = SimpleNamespace(call_soon_threadsafe=lambda call, *args: call(*args))  # type: ignore[assignment]
    made._reading = {}
    return made


def failures(thread: ConsumerThread) -> list[OffsetsLost]:
    return thread.app.navigator.failures  # type: ignore[attr-defined, no-any-return]


def records(*offsets: int) -> list[PlainRecord]:
    return [PlainRecord(offset, b"", timestamp=1_000 + offset) for offset in offsets]


def test_chunks_continue_each_other_over_gaps(thread: ConsumerThread) -> None:
    thread._reading[QUESTS] = _Reading(1, 4, None)
    first = thread._chunks(QUESTS, records(4, 5, 9, 10, 11))
    second = thread._chunks(QUESTS, records(20))
    places = [
        (each.chunk.position, [record.offset for record in each.chunk.records])
        for each in first + second
    ]
    assert places == [(4, [4, 5, 9]), (10, [10, 11]), (12, [20])]


def test_the_last_counted_record_is_looked_at_and_not_counted_again(thread: ConsumerThread) -> None:
    thread._reading[QUESTS] = _Reading(1, 5, LedgerEntry(*QUESTS, 5, 4, 1_004))
    (only,) = thread._chunks(QUESTS, records(4, 5))
    assert (only.chunk.position, [record.offset for record in only.chunk.records]) == (5, [5])
    assert failures(thread) == []


def test_another_record_in_place_of_the_last_counted_one_ends_the_worker(
    thread: ConsumerThread,
) -> None:
    thread._reading[QUESTS] = _Reading(1, 5, LedgerEntry(*QUESTS, 5, 4, 999))
    assert thread._chunks(QUESTS, records(4, 5)) == []
    (error,) = failures(thread)
    assert "made anew" in error.message
    assert "offset_ledger" in error.message


def test_a_compacted_last_record_cannot_be_looked_at_and_is_no_reason_to_stop(
    thread: ConsumerThread,
) -> None:
    thread._reading[QUESTS] = _Reading(1, 5, LedgerEntry(*QUESTS, 5, 4, 1_004))
    (only,) = thread._chunks(QUESTS, records(7))
    assert (only.chunk.position, failures(thread)) == (5, [])


async def test_an_offset_out_of_range_ends_the_worker(thread: ConsumerThread) -> None:
    async def beginning(partitions: list[TP]) -> dict[TP, int]:
        return dict.fromkeys(partitions, 8)

    thread._consumer = SimpleNamespace(beginning_offsets=beginning)
    thread._reading[QUESTS] = _Reading(1, 5, None)
    await thread._out_of_range(OffsetOutOfRangeError({QUESTS: 5}))
    (error,) = failures(thread)
    assert "records 5 to 7 were removed before they were counted" in error.message


async def test_the_app_is_made_as_the_guards_say() -> None:
    app = _faust_app(
        Settings(
            kafka_brokers="127.0.0.1:9092,127.0.0.1:9093",
            database_url=SecretStr("postgresql://h/d"),
        )
    )
    conf: Any = app.conf
    assert [url.scheme for url in conf.broker] == ["laurel", "laurel"]
    assert conf.web_enabled is False
    assert conf.topic_disable_leader is True
    assert conf.topic_allow_declare is False
    assert conf.agent_supervisor is CrashingSupervisor
    assert conf.processing_guarantee is ProcessingGuarantee.AT_LEAST_ONCE


def test_a_message_is_acknowledged_in_order_of_its_partition() -> None:
    consumer = Consumer.__new__(Consumer)
    consumer._inflight = defaultdict(deque)
    first, second = (
        ConsumerMessage(*QUESTS, offset, 0.0, 0, [], None, b"", None) for offset in (9, 19)
    )
    consumer._inflight[QUESTS].extend([first, second])
    second.acked = True
    assert consumer._new_offset(QUESTS) is None
    first.acked = True
    assert consumer._new_offset(QUESTS) == 20


@pytest.mark.parametrize(
    ("standing", "counted_to", "lag"),
    [
        pytest.param(
            Standing(100, 100, 100, 100, 0.0),
            0,
            0,
            id="sought to the end, nothing counted by this worker yet",
        ),
        pytest.param(Standing(100, 100, 40, 99, 0.0), 99, 0, id="a marker after the last record"),
        pytest.param(Standing(100, 100, 40, 100, 0.0), 70, 30, id="fetched, and not counted yet"),
        pytest.param(
            Standing(60, 100, 40, 60, 0.0),
            60,
            40,
            id="counted as far as fetched, and more to fetch",
        ),
        pytest.param(Standing(None, None, 40, 40, 0.0), 0, 0, id="no answer yet"),
    ],
)
def test_lag_is_work_and_nothing_else(standing: Standing, counted_to: int, lag: int) -> None:
    assert standing.lag(counted_to) == lag
