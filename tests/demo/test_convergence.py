"""Waiting ends.

When the goal is reached, when nothing moves any more, and when a process is gone.
"""

import asyncio
import time
from pathlib import Path

import pytest
from rich.console import Console
from sqlalchemy import text

from demo.convergence import Goal, Stalled, Watch
from demo.progress import View
from demo.stack.processes import Service
from sandbox.process import PartFailed
from store.engine import Database
from tests.builders.clock import FakeClock

GOAL = Goal(events=2, letters=0, badges=0, tokens=1, burned=0)


class AStack:
    """What a watch asks of a stack.

    Whether its services run, and which cluster its offsets are of.
    """

    cluster_id = "a-cluster"

    def __init__(self, service: Service | None = None) -> None:
        self.service = service

    def check(self) -> None:
        if self.service is not None:
            self.service.check()


def wait_for_the_end(service: Service) -> None:
    while service.pid is not None:
        time.sleep(0.01)


@pytest.fixture
def watch(database: Database) -> Watch:
    return Watch(AStack(), database, View(Console(quiet=True)), FakeClock())


async def test_it_says_what_is_missing_when_nothing_moves(watch: Watch, database: Database) -> None:
    async with database.transaction() as conn:
        await conn.execute(
            text(
                "INSERT INTO processed_event"
                " (event_key, first_version, fingerprint, occurred_on, silent)"
                " VALUES (gen_random_uuid(), 1, 1, current_date, false)"
            )
        )
    with pytest.raises(Stalled) as stalled:
        await watch.settled(GOAL, {})
    assert stalled.value.message == (
        "counting: nothing moved for 60 s. events counted: 1 of 2; tokens: 0 of 1; "
        "0 tasks open, 0 waiting for a wallet."
    )


async def test_it_names_the_partitions_that_are_not_read(watch: Watch, database: Database) -> None:
    async with database.transaction() as conn:
        await conn.execute(
            text(
                "INSERT INTO offset_ledger (cluster_id, topic, partition, next_offset)"
                " VALUES ('a-cluster', 'laurel.quests', 1, 7)"
            )
        )
    nothing = Goal(events=0, letters=0, badges=0, tokens=0, burned=0)
    await watch.settled(nothing, {("laurel.quests", 1): 7})
    with pytest.raises(
        Stalled, match=r"^laurel\.quests/0 read to 0 of 3; laurel\.quests/1 read to 7 of 9$"
    ):
        await watch.settled(nothing, {("laurel.quests", 1): 9, ("laurel.quests", 0): 3})


async def test_a_process_that_ends_by_itself_ends_the_waiting(
    database: Database, tmp_path: Path
) -> None:
    service = Service("worker-1", ["config", "--no-such-option"], {}, 1, tmp_path / "worker-1.log")
    service.start()
    try:
        await asyncio.to_thread(wait_for_the_end, service)
        with pytest.raises(PartFailed, match=r"(?s)worker-1 ended with 2\. .*No such option"):
            await Watch(AStack(service), database, View(Console(quiet=True))).settled(GOAL, {})
    finally:
        service.stop()
