"""What a real Kafka does to offsets.

Aborted transactions, a topic made anew, records that retention took.
"""

import asyncio
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from sqlalchemy import text

from ops.lifecycle import EXIT_OK, EXIT_USAGE
from store.engine import Database
from tests.builders.messages import a_quest, encoded
from tests.builders.patience import PATIENCE_S
from tests.e2e.workers import (
    RunningWorker,
    Site,
    a_producer,
    a_worker,
    counted,
    until,
    until_counted,
)

pytestmark = pytest.mark.kafka

# The one bound that means something: Kafka's clients look for partitions after 300 s by default,
# Laurel's after 30. Between the two, so that a slow machine passes and the default does not.
NOTICED_WITHIN_S = 240.0


async def send(producer: AIOKafkaProducer, site: Site, number: int) -> None:
    for _ in range(number):
        await producer.send_and_wait(f"{site.prefix}.quests", encoded(a_quest()), partition=0)


async def next_offset(database: Database, site: Site) -> int:
    async with database.transaction() as conn:
        found = await conn.execute(
            text("SELECT next_offset FROM offset_ledger WHERE topic = :topic AND partition = 0"),
            {"topic": f"{site.prefix}.quests"},
        )
        return int(found.scalar_one())


async def test_aborted_transactions_are_not_counted_and_gaps_do_not_stop_a_worker(
    kafka_site: Site, database: Database, tmp_path: Path
) -> None:
    async with a_producer(kafka_site, transactional_id=kafka_site.prefix) as producer:

        async def transaction(number: int, *, abort: bool) -> None:
            await producer.begin_transaction()
            await send(producer, kafka_site, number)
            await (producer.abort_transaction() if abort else producer.commit_transaction())

        await transaction(3, abort=False)  # offsets 0 to 2, marker 3
        await transaction(4, abort=True)  # 4 to 7, marker 8
        with a_worker(kafka_site, tmp_path / "first.log") as first:
            await until_counted(database, 3, first)
            await transaction(2, abort=False)  # 9 and 10, marker 11
            await until_counted(database, 5, first)
            assert first.stop() == EXIT_OK
        await transaction(1, abort=True)  # 12, marker 13
        await transaction(2, abort=False)  # 14 and 15, marker 16
        with a_worker(kafka_site, tmp_path / "second.log") as second:
            await until_counted(database, 7, second)
            await transaction(1, abort=False)
            await until_counted(database, 8, second)
            assert second.logged("ledger_fenced") == []

            # The marker after the last record is an offset that nobody will ever count.
            await until(lambda: at_rest(second), "a worker without lag", second)
            assert second.stop() == EXIT_OK
        with a_worker(kafka_site, tmp_path / "third.log") as third:
            await until(
                lambda: at_rest(third), "a worker that has nothing to do from the start", third
            )
            assert third.stop() == EXIT_OK
    assert (await counted(database), await next_offset(database, kafka_site)) == (8, 18)


async def at_rest(worker: RunningWorker) -> bool:
    """Whether the worker has published its lag, of every topic, and it is none."""
    lags = [
        float(line.rpartition(" ")[2])
        for line in await worker.metrics("laurel_consumer_lag_records{")
    ]
    return len(lags) == 12 and not any(lags)  # six topics of two partitions


async def test_a_topic_made_anew_stops_the_worker_with_the_way_out(
    kafka_site: Site, database: Database, tmp_path: Path
) -> None:
    async with a_producer(kafka_site) as producer:
        await send(producer, kafka_site, 5)
        with a_worker(kafka_site, tmp_path / "first.log") as first:
            await until_counted(database, 5, first)
            assert first.stop() == EXIT_OK
    await make_anew(kafka_site)
    async with a_producer(kafka_site) as producer:
        # As many as before and more: by offsets alone it would look like the same topic.
        await send(producer, kafka_site, 9)
    assert "made anew" in await stopped(kafka_site, tmp_path)
    assert await counted(database) == 5


async def test_a_topic_made_anew_and_shorter_stops_the_worker_too(
    kafka_site: Site, database: Database, tmp_path: Path
) -> None:
    async with a_producer(kafka_site) as producer:
        await send(producer, kafka_site, 5)
        with a_worker(kafka_site, tmp_path / "first.log") as first:
            await until_counted(database, 5, first)
            assert first.stop() == EXIT_OK
    await make_anew(kafka_site)
    async with a_producer(kafka_site) as producer:
        await send(producer, kafka_site, 2)
    assert "ends before record 5" in await stopped(kafka_site, tmp_path)
    assert await counted(database) == 5


async def test_records_lost_to_retention_stop_the_worker_with_the_way_out(
    kafka_site: Site, database: Database, tmp_path: Path
) -> None:
    async with a_producer(kafka_site) as producer:
        await send(producer, kafka_site, 5)
        with a_worker(kafka_site, tmp_path / "first.log") as first:
            await until_counted(database, 5, first)
            assert first.stop() == EXIT_OK
        await send(producer, kafka_site, 5)
        await delete_before(kafka_site, 8)
    message = await stopped(kafka_site, tmp_path)
    assert "records 5 to 7 were removed before they were counted" in message
    assert "offset_ledger" in message
    assert await counted(database) == 5


async def test_records_that_retention_took_after_they_were_counted_are_no_loss(
    kafka_site: Site, database: Database, tmp_path: Path
) -> None:
    async with a_producer(kafka_site) as producer:
        await send(producer, kafka_site, 5)
        with a_worker(kafka_site, tmp_path / "first.log") as first:
            await until_counted(database, 5, first)
            assert first.stop() == EXIT_OK
        await delete_before(kafka_site, 5)
        await send(producer, kafka_site, 3)
        with a_worker(kafka_site, tmp_path / "second.log") as second:
            await until_counted(database, 8, second)
            assert second.stop() == EXIT_OK


async def stopped(site: Site, tmp_path: Path) -> str:
    """Start a worker that must stop by itself with exit 2; return what it said last."""
    with a_worker(site, tmp_path / "stopped.log") as worker:

        async def gone() -> bool:
            return worker.process.poll() is not None

        await until(gone, "a worker that stops by itself")
        assert worker.process.wait(PATIENCE_S) == EXIT_USAGE
        return [
            line for line in worker.log_path.read_text().splitlines() if line.startswith("laurel: ")
        ][-1]


async def make_anew(site: Site) -> None:
    """Delete the topic of quests and make it again, as somebody who cleans up does."""
    admin = AIOKafkaAdminClient(bootstrap_servers=site.brokers)
    await admin.start()
    try:
        topic = f"{site.prefix}.quests"
        await admin.delete_topics([topic])

        async def made() -> bool:
            # A deletion goes on after its answer: until then the topic "exists".
            answer = await admin.create_topics([NewTopic(topic, 2, 1)])
            return all(code == 0 for _, code, *_ in answer.topic_errors)

        await until(made, "the topic made anew")
    finally:
        await admin.close()


async def delete_before(site: Site, offset: int) -> None:
    """Remove the records before `offset`, as retention would."""
    admin = AIOKafkaAdminClient(bootstrap_servers=site.brokers)
    await admin.start()
    try:
        await admin.delete_records(
            {TopicPartition(f"{site.prefix}.quests", 0): RecordsToDelete(before_offset=offset)}
        )
    finally:
        await admin.close()


async def test_partitions_that_are_added_are_read_within_half_a_minute(
    kafka_site: Site, database: Database, tmp_path: Path
) -> None:
    """Kafka's clients look for them when their metadata are old: by default after five minutes."""
    with a_worker(kafka_site, tmp_path / "worker.log") as worker:
        async with a_producer(kafka_site) as producer:
            await send(producer, kafka_site, 1)
        await until_counted(database, 1, worker)
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka_site.brokers)
        await admin.start()
        try:
            await admin.create_partitions({f"{kafka_site.prefix}.quests": NewPartitions(3)})
        finally:
            await admin.close()
        async with a_producer(kafka_site) as producer:
            await producer.send_and_wait(
                f"{kafka_site.prefix}.quests", encoded(a_quest()), partition=2
            )
        async with asyncio.timeout(NOTICED_WITHIN_S):
            await until_counted(database, 2, worker)
        assert worker.stop() == EXIT_OK
