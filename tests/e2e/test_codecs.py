"""Every codec that a Kafka producer may choose: what it compresses is counted."""

from pathlib import Path

import pytest
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from ops.lifecycle import EXIT_OK
from store.engine import Database
from tests.builders.messages import a_quest, encoded
from tests.builders.raw_names import RawName
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


async def test_a_header_whose_name_is_not_utf8_stops_nobody(
    kafka_site: Site, database: Database, tmp_path: Path
) -> None:
    """Clients that take bytes for names write such; two records beside it, and one after."""
    topic = f"{kafka_site.prefix}.quests"
    async with a_producer(kafka_site) as producer:
        batch = producer.create_batch()
        batch._builder = _DefaultRecordBatchBuilderPy(2, 0, 0, -1, -1, 0, 1_000_000)
        for name in ("good", RawName("bad"), "good"):
            appended = batch.append(
                key=b"k", value=encoded(a_quest()), timestamp=None, headers=[(name, b"v")]
            )
            assert appended is not None
        batch.close()
        await (await producer.send_batch(batch, topic, partition=0))
        await producer.send_and_wait(topic, encoded(a_quest()), partition=0)
    with a_worker(kafka_site, tmp_path / "worker.log") as worker:
        await until_counted(database, 4, worker)
        assert worker.stop() == EXIT_OK
