"""Every codec that a Kafka producer may choose: what it compresses is counted."""

from pathlib import Path

import pytest

from ops.lifecycle import EXIT_OK
from store.engine import Database
from tests.builders.messages import a_quest, encoded
from tests.e2e.workers import Site, a_producer, a_worker, until_counted

pytestmark = pytest.mark.kafka

CODECS = (None, "gzip", "snappy", "lz4", "zstd")
EVENTS_OF_EACH = 20


async def test_a_worker_counts_what_each_codec_compresses(
    kafka_site: Site, database: Database, tmp_path: Path
) -> None:
    for codec in CODECS:
        async with a_producer(kafka_site, compression_type=codec) as producer:
            # A filler makes the batch worth compressing: aiokafka keeps a batch as it is where its
            # codec does not shrink it.
            sent = [
                await producer.send(
                    f"{kafka_site.prefix}.quests", encoded(a_quest() | {"filler": "x" * 500})
                )
                for _ in range(EVENTS_OF_EACH)
            ]
            for record in sent:
                await record
    with a_worker(kafka_site, tmp_path / "worker.log") as worker:
        await until_counted(database, EVENTS_OF_EACH * len(CODECS), worker)
        assert worker.stop() == EXIT_OK
