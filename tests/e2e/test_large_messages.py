"""What is large when it is expanded neither fills a worker's memory nor stops its neighbours."""

import os
from hashlib import sha256
from pathlib import Path

import pytest

from ops.lifecycle import EXIT_OK
from store.engine import Database
from tests.builders.messages import a_quest, encoded
from tests.builders.sql import rows, value
from tests.e2e.workers import RunningWorker, Site, a_producer, a_worker, until_counted

pytestmark = pytest.mark.kafka

MEGABYTE = 1_000_000
# `make long` sends four times as many: more than a gigabyte, expanded.
IS_LONG = "LONG_TESTS" in os.environ
MESSAGES = 1_200 if IS_LONG else 300
# Measured 2026-11-26: a peak of 251 to 286 MB. The messages are 300 MB by themselves, expanded.
PEAK_MB_MAX = 700 if IS_LONG else 400


def garbage(number: int) -> bytes:
    """A megabyte that is no JSON, unlike any other, and a kilobyte when it is packed."""
    return b"%d " % number + b"x" * (MEGABYTE - 10)


def peak_mb(worker: RunningWorker) -> float:
    """The most memory that the worker has had."""
    status = Path(f"/proc/{worker.process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


async def send_garbage(site: Site, codec: str, messages_of_batch: int) -> None:
    async with a_producer(
        site, compression_type=codec, max_batch_size=1 << 30, max_request_size=1 << 30
    ) as producer:
        for first in range(0, MESSAGES, messages_of_batch):
            batch = producer.create_batch()
            for number in range(first, first + messages_of_batch):
                assert batch.append(key=None, value=garbage(number), timestamp=None) is not None
            batch.close()
            await (await producer.send_batch(batch, f"{site.prefix}.quests", partition=0))


@pytest.mark.parametrize(
    ("codec", "messages_of_batch"), [("gzip", 1), ("gzip", 100), ("zstd", 100)]
)
async def test_compressed_garbage_becomes_dead_letters_in_little_memory(
    kafka_site: Site, database: Database, tmp_path: Path, codec: str, messages_of_batch: int
) -> None:
    await send_garbage(kafka_site, codec, messages_of_batch)
    async with a_producer(kafka_site) as producer:
        for _ in range(20):
            await producer.send_and_wait(
                f"{kafka_site.prefix}.quests", encoded(a_quest()), partition=1
            )
    with a_worker(kafka_site, tmp_path / "worker.log") as worker:
        await until_counted(database, 20, worker)
        async with a_producer(kafka_site) as producer:
            await producer.send_and_wait(
                f"{kafka_site.prefix}.quests", encoded(a_quest()), partition=0
            )
        await until_counted(database, 21, worker)
        peak = peak_mb(worker)
        assert worker.stop() == EXIT_OK
    assert await value(database, "SELECT count(*) FROM dead_letter") == MESSAGES
    assert await rows(
        database, 'SELECT value_length, value_sha256 FROM dead_letter ORDER BY "offset"'
    ) == [(len(garbage(n)), sha256(garbage(n)).digest()) for n in range(MESSAGES)]
    assert peak < PEAK_MB_MAX
