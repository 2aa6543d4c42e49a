"""What a real Kafka does to offsets.

Aborted transactions, a topic made anew, records that retention took.
"""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, RecordsToDelete
from sqlalchemy import text

from ops.lifecycle import EXIT_OK
from store.engine import Database
from tests.builders.cli import laurel_beside
from tests.builders.messages import ALICE, a_partner, a_quest, encoded
from tests.e2e.workers import (
    RunningWorker,
    Site,
    a_producer,
    a_worker,
    counted,
    make_anew,
    produce,
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


async def five_are_counted(
    producer: AIOKafkaProducer, site: Site, database: Database, directory: Path
) -> None:
    """Send five quests; a worker counts them, and ends."""
    await send(producer, site, 5)
    with a_worker(site, directory / "first.log") as first:
        await until_counted(database, 5, first)
        assert first.stop() == EXIT_OK


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


# With more records than before, by offsets alone it would look like the same topic.
@pytest.mark.parametrize("now", [9, 2])
async def test_a_topic_made_anew_pauses_its_partition_and_is_counted_from_where_an_operator_says(
    now: int, kafka_site: Site, database: Database, tmp_path: Path
) -> None:
    async with a_producer(kafka_site) as producer:
        await five_are_counted(producer, kafka_site, database, tmp_path)
    await make_anew(kafka_site)
    async with a_producer(kafka_site) as producer:
        await send(producer, kafka_site, now)
    await paused_until_skipped(kafka_site, database, tmp_path, Fault("topic_recreated", 5, now, 0))


async def test_records_lost_to_retention_pause_their_partition_until_an_operator_skips_them(
    kafka_site: Site, database: Database, tmp_path: Path
) -> None:
    async with a_producer(kafka_site) as producer:
        await five_are_counted(producer, kafka_site, database, tmp_path)
        await send(producer, kafka_site, 5)
        await delete_before(kafka_site, 8)
    await paused_until_skipped(kafka_site, database, tmp_path, Fault("records_removed", 5, 2, 8))


async def test_records_that_retention_took_after_they_were_counted_are_no_loss(
    kafka_site: Site, database: Database, tmp_path: Path
) -> None:
    async with a_producer(kafka_site) as producer:
        await five_are_counted(producer, kafka_site, database, tmp_path)
        await delete_before(kafka_site, 5)
        await send(producer, kafka_site, 3)
        with a_worker(kafka_site, tmp_path / "second.log") as second:
            await until_counted(database, 8, second)
            assert second.stop() == EXIT_OK


@dataclass(frozen=True, slots=True)
class Fault:
    """What a worker finds at `offset`, and how many records there are from `skip_to` on."""

    reason: str
    offset: int
    records: int
    skip_to: int


async def paused_until_skipped(
    site: Site, database: Database, tmp_path: Path, fault: Fault
) -> None:
    """Start a worker that must pause the partition, count on elsewhere, and go on once told to."""
    topic = f"{site.prefix}.quests"
    with a_worker(site, tmp_path / "paused.log") as worker:

        async def named() -> bool:
            answer = await worker.ready()
            return f"{topic}[0]" in answer.get("degraded", {}) and answer["ready"]

        await until(named, "a worker that goes on, with a paused partition", worker)
        ready = await worker.ready()
        way_out = ready["degraded"][f"{topic}[0]"]
        assert f"paused at offset {fault.offset} ({fault.reason})" in way_out
        assert f"laurel partitions skip {topic} 0 --to" in way_out
        paused = await worker.metrics("laurel_partitions_paused{")
        assert [line for line in paused if not line.endswith(" 0.0")] == [
            f'laurel_partitions_paused{{reason="{fault.reason}",topic="{topic}"}} 1.0'
        ]

        await produce(site, [a_partner(ALICE)])
        await until_counted(database, 6, worker)

        async def listed() -> bool:
            return len(await paused_list(site)) == 1

        await until(listed, "a partition that is listed", worker)
        (row,) = await paused_list(site)
        assert (row["topic"], row["partition"]) == (topic, 0)
        assert (row["offset"], row["reason"]) == (fault.offset, fault.reason)

        # What was not mended is met again.
        resumed = await laurel_beside("partitions", "resume", topic, "0", **site.environment)
        assert resumed.returncode == EXIT_OK, resumed.stderr
        await until(listed, "a partition that is listed again", worker)

        skip = ("partitions", "skip", topic, "0", "--to", str(fault.skip_to), "--reason", "known")
        looked = await laurel_beside(*skip, "--dry-run", **site.environment)
        assert looked.returncode == EXIT_OK, looked.stderr
        assert await next_offset(database, site) == fault.offset
        skipped = await laurel_beside(*skip, **site.environment)
        assert skipped.returncode == EXIT_OK, skipped.stderr
        await until_counted(database, 6 + fault.records, worker)
        assert await paused_list(site) == []
        assert (await worker.ready())["degraded"] == {}
        assert worker.stop() == EXIT_OK
    async with database.transaction() as conn:
        decided = await conn.execute(
            text(
                "SELECT action, pause_reason, from_offset, to_offset, reason "
                "FROM partition_decision ORDER BY id"
            )
        )
        assert [tuple(row) for row in decided] == [
            ("resumed", fault.reason, fault.offset, fault.offset, None),
            ("skipped", fault.reason, fault.offset, fault.skip_to, "known"),
        ]


async def paused_list(site: Site) -> list[dict[str, Any]]:
    """What `laurel partitions list` shows."""
    done = await laurel_beside("partitions", "list", "--json", **site.environment)
    assert done.returncode == EXIT_OK, done.stderr
    return list(json.loads(done.stdout)["paused"])


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
