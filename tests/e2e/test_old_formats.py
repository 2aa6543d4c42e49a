"""What producers wrote before Kafka 0.11 is still in the logs of brokers that were upgraded since.

The sets are put into the segments of a broker that is stopped: no client of today writes them.
"""

import zlib
from pathlib import Path

import pytest
from aiokafka.codec import gzip_encode
from aiokafka.record.legacy_records import _LegacyRecordBatchBuilderPy

from ops.lifecycle import EXIT_OK
from sandbox.kafka import kafka
from sandbox.process import PartMissing
from store.engine import Database
from tests.builders.messages import a_quest, encoded, with_catalog
from tests.builders.sql import rows
from tests.e2e.workers import Site, a_producer, a_worker, until_counted, until_read
from tests.fixtures.parts import missing

pytestmark = pytest.mark.kafka

TIME = 1_500_000_000_000
GZIP = 1
# More than is read, each.
LARGE, LARGE_BYTES = 3, 3_000_000


def a_set(magic: int, first: int, values: list[bytes]) -> bytes:
    """A set as it is in a log."""
    inner = b""
    for place, value in enumerate(values):
        builder = _LegacyRecordBatchBuilderPy(magic, 0, 1 << 40)
        # From Kafka 0.10 on the offsets within a set count from its first message.
        builder.append(place if magic else first + place, TIME, None, value)
        inner += builder.build()
    builder = _LegacyRecordBatchBuilderPy(magic, 0, 1 << 40)
    builder.append(first + len(values) - 1, TIME, None, gzip_encode(inner))
    found = bytearray(builder.build())
    found[17] |= GZIP
    crc = zlib.crc32(found[16:])
    found[12:16] = crc.to_bytes(4, "big")
    return bytes(found)


async def test_compressed_sets_of_old_formats_are_counted_and_what_is_too_large_is_set_aside(
    database: Database, database_url: str, topic_prefix: str, tmp_path: Path
) -> None:
    await with_catalog(database)
    place = tmp_path / "kafka"
    try:
        with kafka(place, keep=True) as broker:
            site = Site(broker.address, database_url, topic_prefix)
            await site.make_topics()
            async with a_producer(site) as producer:
                await producer.send_and_wait(f"{site.prefix}.quests", b"to go", partition=0)
    except PartMissing as error:
        missing(error.message)
    quests = [encoded(a_quest()) or b"" for _ in range(6)]
    large = [b"%d" % number + b"x" * LARGE_BYTES for number in range(LARGE)]
    segment = next(place.rglob(f"{site.prefix}.quests-0/*.log"))
    segment.write_bytes(
        a_set(0, 0, quests[:2])
        + a_set(1, 2, [quests[2], *large, quests[3]])
        + a_set(1, 4 + LARGE, quests[4:])
    )
    with kafka(place, keep=True) as broker:
        site = Site(broker.address, database_url, topic_prefix)
        with a_worker(site, tmp_path / "worker.log") as worker:
            await until_counted(database, 6, worker)
            await until_read(database, 6 + LARGE, worker)
            assert worker.stop() == EXIT_OK
    found = await rows(
        database, 'SELECT "offset", value_length, reason FROM dead_letter ORDER BY 1'
    )
    assert found == [(3 + number, len(large[number]), "too_large") for number in range(LARGE)]
