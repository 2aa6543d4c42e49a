"""The private methods of Faust and aiokafka that the chunk transport leans on.

Each test is a promise of faust-streaming 0.15.3 or aiokafka 0.14.0 that has no public form. When an
upgrade breaks one, the transport has to be looked at before the pin moves
(docs/adr/0004-faust-guards.md). That it works against real brokers is in tests/e2e.

Those called `tripwire` compare the text of a source: they fail where the pinned version's code
reads otherwise, though it may mean the same, and prove nothing about what it does.
"""

import asyncio
import inspect
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Mapping
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import aiokafka
import pytest
from aiokafka.consumer.fetcher import Fetcher, OffsetResetStrategy
from aiokafka.consumer.subscription_state import TopicPartitionState
from aiokafka.errors import OffsetOutOfRangeError
from faust.app.base import App
from faust.serializers.registry import Registry
from faust.transport import consumer as base
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage
from faust.types.enums import ProcessingGuarantee
from mode import CrashingSupervisor
from pydantic import SecretStr

from ops.settings import Settings
from processor.events.chunks import ChunkBounds
from processor.stream.app import WorkerApp, faust_app
from processor.stream.consumer_thread import ConsumerOptions, ConsumerThread
from processor.stream.transport import Consumer, Transport
from store.values.names import Partition
from store.values.stream import LedgerEntry, PausedPartition, PauseReason

QUESTS = TP("laurel.quests", 0)


def signature(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def source(function: Any) -> str:
    return inspect.getsource(function)


def test_tripwire_the_versions_are_the_ones_that_were_read() -> None:
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


def test_tripwire_faust_seeks_by_perform_seek_alone() -> None:
    """After an assignment, and after an interruption.

    Were there another way, records below the ledger could be skipped.
    """
    from faust.tables.recovery import Recovery

    assert "consumer.perform_seek()" in source(Recovery._resume_streams)
    assert "self.perform_seek()" in source(base.Consumer.getmany)
    assert "seek_to_committed" not in source(base.Consumer.getmany)


def test_tripwire_a_stopped_flow_fetches_nothing() -> None:
    assert "if not self.consumer.flow_active:\n            return {}" in source(
        driver.AIOKafkaConsumerThread._fetch_records
    )


def test_tripwire_read_offsets_are_looked_up_where_the_transport_answers_none() -> None:
    assert "get_read_offset = self._read_offset.__getitem__" in source(
        base.Consumer._drain_messages
    )
    assert "if r_offset is None or offset >= r_offset" in source(base.Consumer._drain_messages)


def test_tripwire_aiokafka_takes_settings_until_it_starts() -> None:
    names = signature(aiokafka.AIOKafkaConsumer.__init__)
    assert {
        "fetch_max_bytes",
        "fetch_max_wait_ms",
        "isolation_level",
        "auto_offset_reset",
    } <= set(names)
    start = source(aiokafka.AIOKafkaConsumer.start)
    for attribute in (
        "_fetch_max_bytes",
        "_fetch_max_wait_ms",
        "_isolation_level",
        "_auto_offset_reset",
    ):
        assert f"self.{attribute}" in start
    assert OffsetResetStrategy.from_str("none") == OffsetResetStrategy.NONE


async def test_tripwire_a_seek_discards_what_was_fetched_before() -> None:
    assert "del self._records[tp]" in source(Fetcher.seek_to)
    state = TopicPartitionState(None)
    assert {"highwater", "lso", "timestamp"} <= set(vars(state))


def test_values_pass_faust_unread() -> None:
    registry = Registry(key_serializer="raw", value_serializer="raw")
    chunk = object()
    assert registry.loads_value(None, chunk, serializer="raw") is chunk  # type: ignore[arg-type]


PAUSED: list[PausedPartition] = []


async def nothing_counted(partitions: Mapping[Partition, int]) -> dict[Partition, LedgerEntry]:
    return {key: LedgerEntry(*key, offset) for key, offset in partitions.items()}


async def no_strangers(topic_ids: Mapping[Partition, UUID]) -> list[PausedPartition]:
    return []


OPTIONS = ConsumerOptions(
    chunk=ChunkBounds(3, 1 << 20, 1 << 20),
    take_bytes_max=1 << 20,
    buffer_bytes_max=1 << 22,
    fetch_max_wait_ms=50,
    read_ledger=nothing_counted,
    strangers=no_strangers,
    pause=PAUSED.append,
)


@pytest.fixture
async def app() -> AsyncIterator[WorkerApp]:
    """The worker's app; nothing of it is started."""
    settings = Settings(
        kafka_brokers="127.0.0.1:9092,127.0.0.1:9093", database_url=SecretStr("postgresql://h/d")
    )
    PAUSED.clear()
    yield faust_app(settings, OPTIONS)
    PAUSED.clear()


@pytest.fixture
async def consumer(app: WorkerApp) -> AsyncIterator[Consumer]:
    """The app's consumer; its thread is not started."""
    made = cast("Consumer", app.consumer)
    yield made
    made._thread.thread_loop.close()


async def test_the_app_reads_by_our_transport(app: WorkerApp, consumer: Consumer) -> None:
    assert type(app.transport) is Transport
    assert [url.host_port_subcomponent for url in app.transport.url] == [
        "127.0.0.1:9092",
        "127.0.0.1:9093",
    ]
    assert type(consumer) is Consumer
    assert type(consumer._thread) is ConsumerThread


async def test_an_offset_out_of_range_pauses_its_partition(consumer: Consumer) -> None:
    async def beginning_offsets(partitions: list[TP]) -> dict[TP, int]:
        return dict.fromkeys(partitions, 8)

    thread = consumer._thread
    seeks: list[tuple[TP, int]] = []
    paused: list[TP] = []
    thread._consumer = SimpleNamespace(
        beginning_offsets=beginning_offsets,
        seek=lambda *to: seeks.append(to),
        pause=paused.append,
        resume=lambda tp: None,
    )
    await thread._seek_to_ledger([LedgerEntry(*QUESTS, 5, 4, 1_004)])
    await thread._out_of_range(OffsetOutOfRangeError({QUESTS: 4}))
    assert seeks == [(QUESTS, 4), (QUESTS, 5)]
    await thread._out_of_range(OffsetOutOfRangeError({QUESTS: 5}))
    assert paused == [QUESTS], "at once: no fetch comes between"
    await asyncio.sleep(0)  # `pause` is called on the loop of the app
    (found,) = PAUSED
    assert (found.key, found.offset, found.skip_to) == (QUESTS, 5, 8)
    assert found.reason is PauseReason.RECORDS_REMOVED


async def test_the_app_is_made_as_the_guards_say(app: WorkerApp) -> None:
    conf: Any = app.conf
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
