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
from hashlib import sha256
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import aiokafka
import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import Fetcher, OffsetResetStrategy
from aiokafka.consumer.subscription_state import SubscriptionState, TopicPartitionState
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
from processor.events.chunks import Chunk, ChunkBounds, PlainRecord
from processor.events.records import LargeRecord
from processor.stream import bounded_fetch, guarded_records
from processor.stream.app import WorkerApp, faust_app
from processor.stream.consumer_thread import ConsumerOptions, ConsumerThread
from processor.stream.positions import FetchedChunk
from processor.stream.room import TAKE_STEPS_BYTES
from processor.stream.transport import Consumer, Transport
from store.values.names import Partition
from store.values.stream import LedgerEntry, PausedPartition, PauseReason
from tests.builders.patience import PATIENCE_S
from tests.processor.stream.test_large_batches import Given, a_batch

QUESTS = TP("laurel.quests", 0)
CITIES = TP("laurel.cities", 0)


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
PROGRESS: list[str] = []


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
    progressed=lambda: PROGRESS.append("a step"),
)


def a_fetcher(fetched: Mapping[TP, Given], codec: int) -> Fetcher:
    """aiokafka's fetcher with what it fetched of each partition; it fetches no more."""
    state = SubscriptionState()
    state.assign_from_user([TopicPartition(*tp) for tp in fetched])
    assignment = state.subscription.assignment
    made = Fetcher.__new__(Fetcher)
    made._subscriptions, made._closed, made._wait_consume_future = state, False, None
    made._records = {}
    for tp, records in fetched.items():
        partition = TopicPartition(*tp)
        assignment.state_value(partition).seek(0)
        data = fetcher.MemoryRecords(a_batch(records, codec))
        of_partition = fetcher.PartitionRecords(partition, data, None, 0, None, None, True, 1)
        made._records[partition] = fetcher.FetchResult(
            partition, assignment=assignment, partition_records=of_partition, backoff=0.1
        )
    return made


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


@pytest.mark.parametrize("codec", [0, 1, 2, 3, 4])
async def test_the_loop_is_never_held_by_a_record_however_large(
    consumer: Consumer, codec: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Heartbeats go out from it; with each turn one more may. Its neighbours come meanwhile."""
    for name in ("FetchResult", "MemoryRecords", "PartitionRecords"):
        monkeypatch.setattr(fetcher, name, getattr(fetcher, name))  # put back at the end
    bounded_fetch.install()
    guarded_records.install()
    PROGRESS.clear()
    steps = 6
    value = bytes((steps + 1) * TAKE_STEPS_BYTES)
    fetched = a_fetcher({QUESTS: [(None, value, [])], CITIES: [(None, b"small", [])]}, codec)
    consumer.flow_active = True
    thread = consumer._thread
    for tp in (QUESTS, CITIES):
        thread._positions.seek(LedgerEntry(*tp, 0))
    kafka = SimpleNamespace(_fetcher=fetched, _closed=False)
    turns: list[int] = []

    async def heartbeats() -> None:
        while True:
            turns.append(len(turns))
            await asyncio.sleep(0)

    beating = asyncio.create_task(heartbeats())
    found: dict[TP, list[Any]] = {}
    takes = 0
    while len(found) < 2:
        found |= await thread._fetch_records(kafka, {QUESTS, CITIES}, timeout=0)
        takes += 1
        if takes == 1:
            assert list(found) == [CITIES], "what is ready does not wait for the large one"
    beating.cancel()
    ((large,),) = (chunk.chunk.records for chunk in found[QUESTS])
    assert isinstance(large, LargeRecord)
    assert large.whole.value_sha256 == sha256(value).digest()
    assert len(turns) >= steps
    # The watchdog hears of each: a record of gigabytes is no stall.
    assert len(PROGRESS) >= steps - 1


async def test_nothing_is_taken_while_as_much_as_may_wait_is_not_counted(
    consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[float] = []

    async def take(_consumer: Consumer, timeout: float) -> tuple[dict[TP, Any], None]:  # noqa: ASYNC109
        taken.append(timeout)
        return {}, None

    monkeypatch.setattr(base.Consumer, "_wait_next_records", take)
    chunk = Chunk(*QUESTS, 0, [PlainRecord(0, b"")])
    message = consumer._to_message(QUESTS, FetchedChunk(chunk, 1, OPTIONS.buffer_bytes_max))
    waiting = asyncio.create_task(consumer._wait_next_records(PATIENCE_S))
    for _ in range(50):
        await asyncio.sleep(0)
    assert (waiting.done(), taken) == (False, [])
    consumer.ack(message)
    assert await waiting == (None, None)
    await consumer._wait_next_records(1.0)
    assert taken == [1.0]


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
