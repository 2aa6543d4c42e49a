"""A broker's disk goes bad: what a real Kafka then hands out pauses its partition alone.

The bytes are changed in the segments of a broker that is stopped; Kafka sends what is there.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from aiokafka.record.util import calc_crc32c

from ops.lifecycle import EXIT_OK
from sandbox.kafka import kafka
from sandbox.process import PartMissing
from store.engine import Database
from tests.builders.cli import laurel_beside
from tests.builders.messages import ALICE, a_partner, a_quest, encoded, with_catalog
from tests.e2e.workers import Site, a_producer, a_worker, produce, until, until_counted
from tests.fixtures.parts import missing

pytestmark = pytest.mark.kafka

# Of a batch (Kafka's message format, version 2): what its checksum covers begins after it.
LENGTH, CRC, COVERED, RECORDS = slice(8, 12), slice(17, 21), 21, 61
EVENTS_OF_BATCH = 3
CODECS = {0: None, 1: "zstd"}


async def send_batches(site: Site, partition: int) -> None:
    """Send three batches of three quests, which the partition's codec makes smaller."""
    async with a_producer(site, compression_type=CODECS[partition]) as producer:
        for _ in range(3):
            batch = producer.create_batch()
            for _ in range(EVENTS_OF_BATCH):
                filled = encoded(a_quest() | {"filler": "x" * 500})
                assert batch.append(key=None, value=filled, timestamp=None) is not None
            batch.close()
            sent = await producer.send_batch(batch, f"{site.prefix}.quests", partition=partition)
            await sent


def flipped(batch: bytearray) -> None:
    """Flip a bit within a value; the checksum is what it was."""
    batch[RECORDS + 100] ^= 1


def garbled(batch: bytearray) -> None:
    """Put bytes that do not expand in the place of the records, under a checksum that is right."""
    batch[RECORDS:] = b"\xff" * (len(batch) - RECORDS)
    batch[CRC] = calc_crc32c(bytes(batch[COVERED:])).to_bytes(4, "big")


def beheaded(batch: bytearray) -> None:
    """Say of the batch that it is shorter than any: who looks for what is behind it finds nothing."""
    batch[LENGTH] = (3).to_bytes(4, "big")


def damage_second_batch(segment: Path, damage: Callable[[bytearray], None]) -> None:
    data = bytearray(segment.read_bytes())
    start = 12 + int.from_bytes(data[LENGTH], "big")
    end = start + 12 + int.from_bytes(data[start:][LENGTH], "big")
    batch = data[start:end]
    damage(batch)
    data[start:end] = batch
    segment.write_bytes(data)


async def test_a_batch_that_the_disk_has_changed_pauses_its_partition_until_it_is_skipped(
    database: Database, database_url: str, topic_prefix: str, tmp_path: Path
) -> None:
    await with_catalog(database)
    place = tmp_path / "kafka"
    try:
        with kafka(place, keep=True) as broker:
            site = Site(broker.address, database_url, topic_prefix)
            await site.make_topics()
            for partition in CODECS:
                await send_batches(site, partition)
    except PartMissing as error:
        missing(error.message)
    topic = f"{site.prefix}.quests"
    for partition, damage in enumerate((flipped, garbled)):
        segment = place / "data" / f"{topic}-{partition}" / f"{0:020}.log"
        damage_second_batch(segment, damage)

    port = int(site.brokers.rpartition(":")[2])
    with a_worker(site, tmp_path / "worker.log") as worker, kafka(place, keep=True, port=port):

        async def both_named() -> bool:
            answer = await worker.ready()
            return len(answer.get("degraded", {})) == len(CODECS) and answer["ready"]

        await until(both_named, "a worker that goes on, with two paused partitions", worker)
        degraded = (await worker.ready())["degraded"]
        for partition in CODECS:
            said = degraded[f"{topic}[{partition}]"]
            assert f"paused at offset {EVENTS_OF_BATCH} (undecodable_batch)" in said
            assert f"--to {2 * EVENTS_OF_BATCH} " in said
        assert "CRC" in degraded[f"{topic}[0]"]

        await produce(site, [a_partner(ALICE)])
        await until_counted(database, 2 * EVENTS_OF_BATCH + 1, worker)

        async def listed() -> bool:
            done = await laurel_beside("partitions", "list", "--json", **site.environment)
            return len(json.loads(done.stdout)["paused"]) == len(CODECS)

        await until(listed, "partitions that are listed", worker)
        for number in map(str, CODECS):
            skip = ("partitions", "skip", topic, number, "--to", str(2 * EVENTS_OF_BATCH))
            done = await laurel_beside(*skip, "--reason", "bad disk", **site.environment)
            assert done.returncode == EXIT_OK, done.stderr
        await until_counted(database, 4 * EVENTS_OF_BATCH + 1, worker)
        assert (await worker.ready())["degraded"] == {}
        assert worker.stop() == EXIT_OK


async def test_what_the_broker_cannot_read_itself_pauses_its_partition_too(
    database: Database, database_url: str, topic_prefix: str, tmp_path: Path
) -> None:
    """Behind the damage the broker answers with an error; by itself aiokafka would ask for ever."""
    await with_catalog(database)
    place = tmp_path / "kafka"
    try:
        with kafka(place, keep=True) as broker:
            site = Site(broker.address, database_url, topic_prefix)
            await site.make_topics()
            await send_batches(site, 0)
    except PartMissing as error:
        missing(error.message)
    topic = f"{site.prefix}.quests"
    damage_second_batch(place / "data" / f"{topic}-0" / f"{0:020}.log", beheaded)

    port = int(site.brokers.rpartition(":")[2])
    with a_worker(site, tmp_path / "worker.log") as worker, kafka(place, keep=True, port=port):

        async def named_at(offset: int) -> bool:
            said = (await worker.ready()).get("degraded", {}).get(f"{topic}[0]", "")
            return f"paused at offset {offset} (undecodable_batch)" in said

        await until(lambda: named_at(EVENTS_OF_BATCH), "a partition paused at the damage", worker)

        async def skipped() -> bool:
            skip = ("partitions", "skip", topic, "0", "--to", str(2 * EVENTS_OF_BATCH))
            done = await laurel_beside(*skip, "--reason", "bad disk", **site.environment)
            return done.returncode == EXIT_OK

        await until(skipped, "a partition that is listed, and skipped", worker)
        await until(lambda: named_at(2 * EVENTS_OF_BATCH), "paused again, behind it", worker)
        assert "the broker cannot read" in (await worker.ready())["degraded"][f"{topic}[0]"]
        await produce(site, [a_partner(ALICE)])
        await until_counted(database, EVENTS_OF_BATCH + 1, worker)
        assert worker.stop() == EXIT_OK
