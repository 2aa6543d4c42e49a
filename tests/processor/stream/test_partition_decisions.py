"""`laurel partitions`: what may be decided, and what is refused with a word."""

import json

import pytest

from ops.lifecycle import EXIT_OK, EXIT_USAGE
from store import ledger, paused_partitions
from store.engine import Database
from store.values.stream import PausedPartition, PauseReason
from tests.builders.cli import laurel_beside
from tests.builders.sql import value

TOPIC = "laurel.quests"


async def paused(database: Database, reason: PauseReason | None, cluster: str = "a") -> None:
    async with database.transaction() as conn:
        await ledger.open_partitions(conn, cluster, {(TOPIC, 0): 5})
        if reason is not None:
            found = PausedPartition(TOPIC, 0, 5, reason, "gone", 8)
            await paused_partitions.save(conn, cluster, found)


async def laurel(database: Database, *arguments: str) -> tuple[int, str]:
    url = database.engine.url.set(drivername="postgresql")
    done = await laurel_beside(
        "partitions", *arguments, LAUREL_DATABASE_URL=url.render_as_string(hide_password=False)
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("reason", "arguments", "words"),
    [
        (None, ("resume", TOPIC, "0"), "it is not paused"),
        (None, ("resume", TOPIC, "9"), "nothing was ever read of it"),
        (
            PauseReason.UNDECODABLE_BATCH,
            ("skip", TOPIC, "0", "--to", "4", "--reason", "no"),
            "--to 4 lies before 5",
        ),
        (
            PauseReason.RECORDS_REMOVED,
            ("skip", TOPIC, "0", "--to", "8", "--reason", " "),
            "say why",
        ),
    ],
)
async def test_what_cannot_be_decided_is_refused_and_changes_nothing(
    database: Database, reason: PauseReason | None, arguments: tuple[str, ...], words: str
) -> None:
    await paused(database, reason)
    code, said = await laurel(database, *arguments)
    assert (code, words in said) == (EXIT_USAGE, True), said
    assert await value(database, "SELECT next_offset FROM offset_ledger") == 5
    assert await value(database, "SELECT count(*) FROM partition_decision") == 0


async def test_a_partition_of_two_clusters_has_to_be_named(database: Database) -> None:
    for cluster in "ab":
        await paused(database, PauseReason.RECORDS_REMOVED, cluster)
    code, said = await laurel(database, "resume", TOPIC, "0")
    assert (code, "--cluster (a, b)" in said) == (EXIT_USAGE, True), said
    code, said = await laurel(database, "resume", TOPIC, "0", "--cluster", "b", "--json")
    assert (code, json.loads(said)["cluster_id"]) == (EXIT_OK, "b")


async def test_a_list_says_where_why_and_the_way_out(database: Database) -> None:
    assert await laurel(database, "list") == (EXIT_OK, "No partition is paused.\n")
    await paused(database, PauseReason.RECORDS_REMOVED)
    code, said = await laurel(database, "list")
    assert code == EXIT_OK
    assert f"{TOPIC} 0  offset 5  records_removed  since " in said
    assert f"laurel partitions skip {TOPIC} 0 --to 8 --reason TEXT" in said
