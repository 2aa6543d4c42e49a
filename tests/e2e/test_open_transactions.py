"""A producer's transaction that hangs: what waits behind it shows, and is counted after its end."""

from pathlib import Path

import pytest

from ops.lifecycle import EXIT_OK
from store.engine import Database
from tests.builders.messages import a_quest, encoded
from tests.e2e.workers import Site, a_producer, a_worker, until, until_counted

pytestmark = pytest.mark.kafka

BEHIND = 5


async def test_records_behind_an_open_transaction_show_until_it_ends(
    kafka_site: Site, database: Database, tmp_path: Path
) -> None:
    topic = f"{kafka_site.prefix}.quests"
    gauge = f'laurel_withheld_records{{partition="0",topic="{topic}"}}'
    async with (
        a_producer(kafka_site, transactional_id=kafka_site.prefix) as hanging,
        a_producer(kafka_site) as other,
    ):
        with a_worker(kafka_site, tmp_path / "worker.log") as worker:
            await hanging.begin_transaction()
            await hanging.send_and_wait(topic, encoded(a_quest()), partition=0)
            for _ in range(BEHIND):
                await other.send_and_wait(topic, encoded(a_quest()), partition=0)

            async def shows(records: int) -> bool:
                return f"{gauge} {records}.0" in await worker.metrics("laurel_withheld_records")

            await until(lambda: shows(1 + BEHIND), "withheld records in the metrics", worker)
            await hanging.commit_transaction()
            await until_counted(database, 1 + BEHIND, worker)
            await until(lambda: shows(0), "nothing withheld", worker)
            assert worker.stop() == EXIT_OK
