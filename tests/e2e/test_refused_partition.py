"""A partition whose records PostgreSQL refuses one after the other is paused; all others count.

What refuses them is mended here by an operator, who then has the partition read on.
"""

import json
from pathlib import Path

from sqlalchemy import text

from ops.lifecycle import EXIT_OK
from store.engine import Database
from tests.builders.cli import laurel_beside
from tests.builders.messages import a_partner, a_quest, encoded, user
from tests.e2e.workers import (
    Site,
    a_producer,
    a_worker,
    until,
    until_counted,
)

CONSTRAINT = (
    """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'no quests today' USING ERRCODE = 'check_violation'; END $$
    """,
    """
    CREATE TRIGGER refuse BEFORE INSERT ON nft_progress FOR EACH ROW
    WHEN (NEW.counters ? 'quest_completed_count') EXECUTE FUNCTION refuse()
    """,
)


async def execute(database: Database, *statements: str) -> None:
    async with database.transaction() as conn:
        for statement in statements:
            await conn.execute(text(statement))


async def test_it_is_paused_with_the_reason_and_read_on_once_mended(
    site: Site, database: Database, tmp_path: Path
) -> None:
    await execute(database, *CONSTRAINT)
    topic = f"{site.prefix}.quests"
    async with a_producer(site) as producer:
        for number in range(4):
            await producer.send_and_wait(topic, encoded(a_quest(user(number))), partition=0)
        with a_worker(site, tmp_path / "worker.log") as worker:

            async def named() -> bool:
                return f"{topic}[0]" in (await worker.ready()).get("degraded", {})

            await until(named, "a worker that goes on, with a paused partition", worker)
            said = (await worker.ready())["degraded"][f"{topic}[0]"]
            assert "paused at offset 0 (invariant_broken)" in said
            assert "no quests today" in said

            partners = f"{site.prefix}.partners"
            for _ in range(5):
                await producer.send_and_wait(partners, encoded(a_partner(user(1))), partition=0)
            await until_counted(database, 5, worker)

            await execute(database, "DROP TRIGGER refuse ON nft_progress")

            async def resumed() -> bool:
                done = await laurel_beside(
                    "partitions", "resume", topic, "0", "--json", **site.environment
                )
                return done.returncode == EXIT_OK

            await until(resumed, "a partition that is listed, and resumed", worker)
            await until_counted(database, 9, worker)
            listed = await laurel_beside("partitions", "list", "--json", **site.environment)
            assert json.loads(listed.stdout)["paused"] == []
            assert worker.stop() == EXIT_OK
    async with database.transaction() as conn:
        letters = await conn.execute(text("SELECT count(*) FROM dead_letter"))
        assert letters.scalar_one() == 0
