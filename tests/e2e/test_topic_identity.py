"""A topic that was deleted and made anew is another topic, however much its offsets look alike.

Nothing but its id tells it from the one that was counted here: it has more records than before, and
each bears the timestamp of the record that was there.
"""

import json
from pathlib import Path
from uuid import UUID

from aiokafka import AIOKafkaProducer

from ops.lifecycle import EXIT_OK
from store.engine import Database
from tests.builders.cli import laurel_beside
from tests.builders.messages import ALICE, a_partner, a_quest, encoded
from tests.builders.sql import rows, value
from tests.e2e.workers import (
    RunningWorker,
    Site,
    a_producer,
    a_worker,
    make_anew,
    produce,
    until,
    until_counted,
)

LETTERS = "SELECT count(*) FROM dead_letter"


async def send(producer: AIOKafkaProducer, site: Site, number: int) -> None:
    """Send a message that is none, at offset 0, and so many quests; at each offset one time."""
    topic = f"{site.prefix}.quests"
    values = [b"no message %d" % number, *(encoded(a_quest()) for _ in range(number))]
    for offset, content in enumerate(values):
        await producer.send_and_wait(
            topic, content, partition=0, timestamp_ms=1_770_000_000_000 + offset
        )


async def until_paused(site: Site, worker: RunningWorker) -> str:
    """Wait until the partition that was read is paused, and listed; return what /ready says."""
    name = f"{site.prefix}.quests[0]"

    async def paused() -> bool:
        answer = await worker.ready()
        done = await laurel_beside("partitions", "list", "--json", **site.environment)
        listed = [each["partition"] for each in json.loads(done.stdout)["paused"]]
        return list(answer.get("degraded", {})) == [name] and answer["ready"] and listed == [0]

    await until(paused, "a worker that goes on, with a paused partition", worker)
    return str((await worker.ready())["degraded"][name])


async def skip_to_begin(site: Site) -> None:
    """Do what the way out says."""
    skip = ("partitions", "skip", f"{site.prefix}.quests", "0", "--to", "0")
    done = await laurel_beside(*skip, "--reason", "made anew", **site.environment)
    assert done.returncode == EXIT_OK, done.stderr


async def ids(database: Database, site: Site, table: str) -> set[UUID]:
    found = await rows(database, f"SELECT topic, topic_id FROM {table}")
    return {topic_id for topic, topic_id in found if topic == f"{site.prefix}.quests"}


async def test_a_topic_made_anew_while_no_worker_runs_is_not_read_on_before_an_operator_says_so(
    site: Site, database: Database, tmp_path: Path
) -> None:
    async with a_producer(site) as producer:
        await send(producer, site, 4)
        with a_worker(site, tmp_path / "first.log") as first:
            await until_counted(database, 4, first)
            assert first.stop() == EXIT_OK
    (before,) = await ids(database, site, "offset_ledger")
    await make_anew(site)
    async with a_producer(site) as producer:
        await send(producer, site, 8)
    with a_worker(site, tmp_path / "second.log") as worker:
        said = await until_paused(site, worker)
        assert "paused at offset 5 (topic_recreated)" in said
        assert f"laurel partitions skip {site.prefix}.quests 0 --to 0 --reason" in said
        assert str(before) in said

        await produce(site, [a_partner(ALICE)])
        await until_counted(database, 5, worker)
        assert await value(database, LETTERS) == 1

        await skip_to_begin(site)
        await until_counted(database, 13, worker)
        assert (await worker.ready())["degraded"] == {}
        assert worker.stop() == EXIT_OK
    (after,) = await ids(database, site, "offset_ledger")
    assert after != before
    assert await ids(database, site, "partition_decision") == {after}
    assert await value(database, LETTERS) == 2, "of each topic the one at offset 0"


async def test_a_topic_made_anew_under_a_running_worker_is_noticed(
    site: Site, database: Database, tmp_path: Path
) -> None:
    with a_worker(site, tmp_path / "worker.log") as worker:
        async with a_producer(site) as producer:
            await send(producer, site, 4)
        await until_counted(database, 4, worker)
        await make_anew(site)
        async with a_producer(site) as producer:
            await send(producer, site, 8)
        said = await until_paused(site, worker)
        # Whichever it meets first: the other id, or, while the new topic is still short, its end.
        assert "(topic_recreated)" in said or "(topic_ends_early)" in said
        assert "it was made anew" in said or "deleted and made anew" in said

        await produce(site, [a_partner(ALICE)])
        partners = (
            "SELECT count(*) FROM offset_ledger WHERE topic LIKE '%.partners' AND next_offset > 0"
        )

        async def neighbour_counted() -> bool:
            return bool(await value(database, partners) == 1)

        await until(neighbour_counted, "a neighbour that is counted", worker)

        await skip_to_begin(site)
        # What the worker took for the old topic's, before it looked, counts once.
        await until_counted(database, 4 + 1 + 8, worker)
        assert worker.stop() == EXIT_OK
    assert await value(database, "SELECT count(*) FROM processed_event") == 13
    assert await value(database, LETTERS) == 2
